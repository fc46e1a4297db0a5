/**
 * Far jumps, calls and returns (Intel SDM vol. 2, JMP, CALL, RET; vol. 3, 5.8 "Privilege level checking
 * when transferring program control between code segments"). Each routine sets NEXT_RIP, or raises and gives false.
 */
import { CPL, GPR, NEXT_RIP, RSP, SEG_BASE, SEG_CS, SEG_DS, SEG_ES, SEG_FS, SEG_GS, SEG_SEL, SEG_SS } from "../layout";
import {
  attrFrom, baseFrom, checkStack, descriptor, descriptorAddress, dplOf, isNull, limitFrom, markDescriptor,
  readDescriptor, readUpper, selectorFault, setHidden, setNull, setReal, setSegment,
} from "./descriptor";
import { faulted, VEC_GP, VEC_NP, VEC_TS } from "./fault";
import { getFlags } from "./flags";
import {
  commitStack, moveStack, popValue, pushValue, readTaskStack, readTaskStack64, stackPointer, taskStackPointer,
  taskStackSelector, useStack, useStack64, useStackOf,
} from "./system-stack";
import {
  ATTR_ACCESSED, ATTR_CODE, ATTR_CONFORMING, ATTR_D, ATTR_L, ATTR_P, ATTR_S, attrOf, cplOf, isCanonical, isLong,
  isRealOrVm, protection, updateMode,
} from "./system-state";
import { switchTask, TASK_CALL, TASK_JUMP } from "./task";

const CODE_SEGMENT: u32 = ATTR_S | ATTR_CODE;

/** Whether `raw` is a code segment in 64-bit mode's sense. */
// @ts-ignore: decorator
@inline
function is64(cpu: usize, attr: u32): bool {
  return (attr & ATTR_L) != 0 && isLong(cpu);
}

/** Whether `target` can be executed in the code segment `raw`; raises #GP(0) when not. */
export function targetAllowed(cpu: usize, raw: u64, target: u64): bool {
  if (is64(cpu, attrFrom(raw))) return isCanonical(target) || protection(cpu);
  return target <= (limitFrom(raw) as u64) || protection(cpu);
}

function mask(size: u32, value: u64): u64 {
  return size == 1 ? value & 0xffff : size == 2 ? value & 0xffffffff : value;
}

function realJump(cpu: usize, selector: u32, offset: u64): bool {
  setReal(cpu, SEG_CS, selector);
  store<u64>(cpu, offset, NEXT_RIP);
  return true;
}

/** Loads CS with privilege `cpl` (SS must be loaded before) and enters it at `target`. */
function enterCode(cpu: usize, selector: u32, raw: u64, cpl: u32, target: u64): void {
  setSegment(cpu, SEG_CS, (selector & 0xfffc) | cpl, raw);
  updateMode(cpu);
  store<u64>(cpu, target, NEXT_RIP);
}

/** JMP ptr16:16/32 and m16:16/32/64. */
export function farJump(cpu: usize, selector: u32, offset: u64, size: u32, next: u64): bool {
  offset = mask(size, offset);
  if (isRealOrVm(cpu)) return realJump(cpu, selector, offset);
  if (isNull(selector)) return protection(cpu);
  if (!readDescriptor(cpu, selector, VEC_GP)) return false;
  const raw = descriptor;
  const attr = attrFrom(raw);
  if (!(attr & ATTR_S)) return systemTransfer(cpu, selector, raw, false, next);
  if (!directAllowed(cpu, selector, attr)) return false;
  if (!targetAllowed(cpu, raw, offset) || !markDescriptor(cpu, descriptorAddress, raw, ATTR_ACCESSED)) return false;
  enterCode(cpu, selector, raw, cplOf(cpu), offset);
  return true;
}

/** A code segment that JMP or CALL names directly. */
function directAllowed(cpu: usize, selector: u32, attr: u32): bool {
  const cpl = cplOf(cpu);
  if ((attr & CODE_SEGMENT) != CODE_SEGMENT) return selectorFault(cpu, VEC_GP, selector);
  if (is64(cpu, attr) && attr & ATTR_D) return selectorFault(cpu, VEC_GP, selector);
  const dpl = dplOf(attr);
  if (attr & ATTR_CONFORMING ? dpl > cpl : dpl != cpl || (selector & 3) > cpl) {
    return selectorFault(cpu, VEC_GP, selector);
  }
  return (attr & ATTR_P) != 0 || selectorFault(cpu, VEC_NP, selector);
}

/** CALL ptr16:16/32 and m16:16/32/64. */
export function farCall(cpu: usize, selector: u32, offset: u64, size: u32, next: u64): bool {
  offset = mask(size, offset);
  if (isRealOrVm(cpu)) {
    useStack(cpu);
    if (!pushValue(cpu, size, load<u32>(cpu, SEG_SEL + SEG_CS * 4)) || !pushValue(cpu, size, next)) return false;
    commitStack(cpu);
    return realJump(cpu, selector, offset);
  }
  if (isNull(selector)) return protection(cpu);
  if (!readDescriptor(cpu, selector, VEC_GP)) return false;
  const raw = descriptor;
  const attr = attrFrom(raw);
  if (!(attr & ATTR_S)) return systemTransfer(cpu, selector, raw, true, next);
  if (!directAllowed(cpu, selector, attr)) return false;
  useStack(cpu);
  if (!targetAllowed(cpu, raw, offset) || !markDescriptor(cpu, descriptorAddress, raw, ATTR_ACCESSED)) return false;
  if (!pushReturn(cpu, size, next)) return false;
  commitStack(cpu);
  enterCode(cpu, selector, raw, cplOf(cpu), offset);
  return true;
}

function pushReturn(cpu: usize, size: u32, next: u64): bool {
  return pushValue(cpu, size, load<u32>(cpu, SEG_SEL + SEG_CS * 4)) && pushValue(cpu, size, next);
}

/** JMP or CALL through a call gate, task gate or TSS. */
function systemTransfer(cpu: usize, selector: u32, raw: u64, call: bool, next: u64): bool {
  const attr = attrFrom(raw);
  const type = attr & 15;
  const dpl = dplOf(attr);
  const long = isLong(cpu);
  const gate = type == 0xc || (!long && type == 4);
  const task = !long && (type == 5 || type == 1 || type == 9);
  if (!gate && !task) return selectorFault(cpu, VEC_GP, selector);
  if (dpl < cplOf(cpu) || dpl < (selector & 3)) return selectorFault(cpu, VEC_GP, selector);
  if (gate || type == 5) {
    if (!(attr & ATTR_P)) return selectorFault(cpu, VEC_NP, selector);
  }
  if (gate) return callGate(cpu, selector, raw, call, next);
  const target = type == 5 ? (raw >> 16) as u32 & 0xffff : selector;
  return switchTask(cpu, target, call ? TASK_CALL : TASK_JUMP, next, getFlags(cpu), false, 0);
}

/** SDM vol. 3, 5.8.3–5.8.5. */
function callGate(cpu: usize, gateSelector: u32, gate: u64, call: bool, next: u64): bool {
  const long = isLong(cpu);
  const size: u32 = long ? 3 : attrFrom(gate) & 8 ? 2 : 1;
  let target = size == 1 ? gate & 0xffff : (gate & 0xffff) | ((gate >> 32) & 0xffff0000);
  if (long) {
    const high = readUpper(cpu, gateSelector);
    if (faulted(cpu)) return false;
    if (high & 0x1f0000000000) return selectorFault(cpu, VEC_GP, gateSelector);
    target |= high << 32;
  }
  const selector = (gate >> 16) as u32 & 0xffff;
  if (isNull(selector)) return protection(cpu);
  if (!readDescriptor(cpu, selector, VEC_GP)) return false;
  const raw = descriptor;
  const address = descriptorAddress;
  const attr = attrFrom(raw);
  const cpl = cplOf(cpu);
  const dpl = dplOf(attr);
  const conforming = (attr & ATTR_CONFORMING) != 0;
  if ((attr & CODE_SEGMENT) != CODE_SEGMENT || dpl > cpl) return selectorFault(cpu, VEC_GP, selector);
  if (!call && !conforming && dpl != cpl) return selectorFault(cpu, VEC_GP, selector);
  if (long && (attr & (ATTR_L | ATTR_D)) != ATTR_L) return selectorFault(cpu, VEC_GP, selector);
  if (!(attr & ATTR_P)) return selectorFault(cpu, VEC_NP, selector);
  if (!targetAllowed(cpu, raw, target)) return false;
  if (call && !conforming && dpl < cpl) {
    return long ? innerCall64(cpu, selector, raw, address, dpl, target, next)
      : innerCall(cpu, selector, raw, address, dpl, target, next, size, (gate >> 32) as u32 & 31);
  }
  if (!markDescriptor(cpu, address, raw, ATTR_ACCESSED)) return false;
  if (call) {
    useStack(cpu);
    if (!pushReturn(cpu, size, next)) return false;
    commitStack(cpu);
  }
  enterCode(cpu, selector, raw, cpl, target);
  return true;
}

function innerCall64(cpu: usize, selector: u32, raw: u64, address: u64, level: u32, target: u64, next: u64): bool {
  if (!readTaskStack64(cpu, level)) return false;
  useStack64(taskStackPointer, level);
  if (!pushValue(cpu, 3, load<u32>(cpu, SEG_SEL + SEG_SS * 4)) || !pushValue(cpu, 3, load<u64>(cpu, GPR + RSP))) {
    return false;
  }
  if (!pushReturn(cpu, 3, next) || !markDescriptor(cpu, address, raw, ATTR_ACCESSED)) return false;
  store<u64>(cpu, stackPointer, GPR + RSP);
  setNull(cpu, SEG_SS, level, level);
  enterCode(cpu, selector, raw, level, target);
  return true;
}

function innerCall(
  cpu: usize, selector: u32, raw: u64, address: u64, level: u32, target: u64, next: u64, size: u32, count: u32,
): bool {
  if (!readTaskStack(cpu, level)) return false;
  const stackSelector = taskStackSelector;
  if (!checkStack(cpu, stackSelector, level, VEC_TS)) return false;
  const stack = descriptor;
  const base = baseFrom(stack);
  const limit = limitFrom(stack);
  const attr = attrFrom(stack);
  useStackOf(base, limit, attr, taskStackPointer, level);
  if (!pushValue(cpu, size, load<u32>(cpu, SEG_SEL + SEG_SS * 4)) || !pushValue(cpu, size, load<u64>(cpu, GPR + RSP))) {
    return false;
  }
  let top = stackPointer;
  for (let index = count; index > 0; index--) {
    useStack(cpu);
    moveStack(((index - 1) << size) as i32);
    const parameter = popValue(cpu, size);
    if (faulted(cpu)) return false;
    useStackOf(base, limit, attr, top, level);
    if (!pushValue(cpu, size, parameter)) return false;
    top = stackPointer;
  }
  if (!pushReturn(cpu, size, next) || !markDescriptor(cpu, address, raw, ATTR_ACCESSED)) return false;
  setSegment(cpu, SEG_SS, stackSelector, stack);
  commitStack(cpu);
  enterCode(cpu, selector, raw, level, target);
  return true;
}

/** RETF, releasing `release` bytes of parameters. */
export function farReturn(cpu: usize, size: u32, release: u32): bool {
  useStack(cpu);
  const target = popValue(cpu, size);
  if (faulted(cpu)) return false;
  const selector = popValue(cpu, size) as u32 & 0xffff;
  if (faulted(cpu)) return false;
  if (isRealOrVm(cpu)) {
    moveStack(release as i32);
    commitStack(cpu);
    return realJump(cpu, selector, target);
  }
  if (!returnSegment(cpu, selector)) return false;
  const raw = descriptor;
  const address = descriptorAddress;
  if (!targetAllowed(cpu, raw, target)) return false;
  moveStack(release as i32);
  if ((selector & 3) == cplOf(cpu)) {
    if (!markDescriptor(cpu, address, raw, ATTR_ACCESSED)) return false;
    commitStack(cpu);
    enterCode(cpu, selector, raw, cplOf(cpu), target);
    return true;
  }
  const sp = popValue(cpu, size);
  if (faulted(cpu)) return false;
  const ss = popValue(cpu, size) as u32 & 0xffff;
  if (faulted(cpu) || !markDescriptor(cpu, address, raw, ATTR_ACCESSED)) return false;
  if (!loadReturnStack(cpu, ss, selector & 3, raw)) return false;
  setReturnStack(cpu, sp, raw, size, release);
  enterCode(cpu, selector, raw, selector & 3, target);
  dropPrivileged(cpu);
  return true;
}

/** Checks the code segment of RETF or IRET and leaves it in `descriptor`. */
export function returnSegment(cpu: usize, selector: u32): bool {
  if (isNull(selector)) return protection(cpu);
  if (!readDescriptor(cpu, selector, VEC_GP)) return false;
  const attr = attrFrom(descriptor);
  const rpl = selector & 3;
  const dpl = dplOf(attr);
  if ((attr & CODE_SEGMENT) != CODE_SEGMENT || rpl < cplOf(cpu)) return selectorFault(cpu, VEC_GP, selector);
  if (attr & ATTR_CONFORMING ? dpl > rpl : dpl != rpl) return selectorFault(cpu, VEC_GP, selector);
  if (is64(cpu, attr) && attr & ATTR_D) return selectorFault(cpu, VEC_GP, selector);
  return (attr & ATTR_P) != 0 || selectorFault(cpu, VEC_NP, selector);
}

/** Checks and loads SS of a return to privilege `cpl` in code segment `code`. */
export function loadReturnStack(cpu: usize, selector: u32, cpl: u32, code: u64): bool {
  if (isNull(selector) && is64(cpu, attrFrom(code)) && cpl != 3 && (selector & 3) == cpl) {
    setNull(cpu, SEG_SS, selector, cpl);
    return true;
  }
  if (!checkStack(cpu, selector, cpl, VEC_GP)) return false;
  setSegment(cpu, SEG_SS, selector, descriptor);
  return true;
}

/** Sets the stack pointer of a return; the stack's width is that of the segments just loaded or about to be. */
export function setReturnStack(cpu: usize, sp: u64, code: u64, size: u32, release: u32): void {
  if (is64(cpu, attrFrom(code))) store<u64>(cpu, sp + release, GPR + RSP);
  else if (attrOf(cpu, SEG_SS) & ATTR_D) store<u64>(cpu, (sp + release) & 0xffffffff, GPR + RSP);
  else store<u16>(cpu, (sp + release) as u16, GPR + RSP);
}

/** After a return to an outer level: data segments that it may not use become null. Their bases, which 64-bit code uses, stay. */
export function dropPrivileged(cpu: usize): void {
  drop(cpu, SEG_ES);
  drop(cpu, SEG_DS);
  drop(cpu, SEG_FS);
  drop(cpu, SEG_GS);
  updateMode(cpu);
}

function drop(cpu: usize, slot: u32): void {
  const attr = attrOf(cpu, slot);
  if ((attr & (ATTR_CODE | ATTR_CONFORMING)) == (ATTR_CODE | ATTR_CONFORMING)) return;
  if (attr & ATTR_P && dplOf(attr) < load<u32>(cpu, CPL)) setHidden(cpu, slot, 0, load<u64>(cpu + slot * 8, SEG_BASE), 0, 0);
}
