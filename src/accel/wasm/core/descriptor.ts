/**
 * Segment descriptors (Intel SDM vol. 3, 3.4.5 and 5.2–5.6): reading them from the GDT and LDT, and
 * loading data and stack segments.
 */
import {
  GDT_BASE, GDT_LIMIT, SEG_ATTR, SEG_BASE, SEG_LDTR, SEG_LIMIT, SEG_SEL, SEG_SS, TLB_SUPERVISOR,
} from "../layout";
import { faulted, raiseError, VEC_GP, VEC_NP, VEC_SS } from "./fault";
import { readMemAs, writeMemAs } from "./operand";
import {
  ATTR_ACCESSED, ATTR_CODE, ATTR_CONFORMING, ATTR_DPL_SHIFT, ATTR_G, ATTR_P, ATTR_RW, ATTR_S, attrOf, cplOf, isCode64,
  isRealOrVm, isVm,
} from "./system-state";

/** Of the last `readDescriptor`: its first eight bytes and its linear address. */
export let descriptor: u64 = 0;
export let descriptorAddress: u64 = 0;

/** Bit EXT of the error codes: 1 while an event outside the program is being delivered (SDM vol. 3, 6.13). */
export let externalEvent: u32 = 0;

export function setExternalEvent(value: u32): void {
  externalEvent = value;
}

/** Raises `vector` with a selector error code; false, so that a check can return it. */
export function selectorFault(cpu: usize, vector: u32, selector: u32): bool {
  raiseError(cpu, vector, (selector & 0xfffc) | externalEvent);
  return false;
}

// @ts-ignore: decorator
@inline
export function attrFrom(raw: u64): u32 {
  return ((raw >> 40) as u32) & 0xf0ff;
}

// @ts-ignore: decorator
@inline
export function baseFrom(raw: u64): u64 {
  return ((raw >> 16) & 0xffffff) | ((raw >> 32) & 0xff000000);
}

export function limitFrom(raw: u64): u32 {
  const limit = ((raw & 0xffff) | ((raw >> 32) & 0xf0000)) as u32;
  return raw & 0x80000000000000 ? (limit << 12) | 0xfff : limit;
}

// @ts-ignore: decorator
@inline
export function dplOf(attr: u32): u32 {
  return (attr >> ATTR_DPL_SHIFT) & 3;
}

// @ts-ignore: decorator
@inline
export function isNull(selector: u32): bool {
  return (selector & 0xfffc) == 0;
}

/** Linear address of the descriptor of `selector` when `bytes` bytes of it are in its table, else all ones. */
function locate(cpu: usize, selector: u32, bytes: u32): u64 {
  const last = (selector & 0xfff8) + (bytes - 1);
  if (!(selector & 4)) {
    return last <= load<u32>(cpu, GDT_LIMIT) ? load<u64>(cpu, GDT_BASE) + (selector & 0xfff8) : u64.MAX_VALUE;
  }
  if (!(attrOf(cpu, SEG_LDTR) & ATTR_P) || last > load<u32>(cpu + SEG_LDTR * 4, SEG_LIMIT)) return u64.MAX_VALUE;
  return load<u64>(cpu + SEG_LDTR * 8, SEG_BASE) + (selector & 0xfff8);
}

/** Reads the descriptor of `selector`, raising `vector` when it is outside its table. */
export function readDescriptor(cpu: usize, selector: u32, vector: u32): bool {
  descriptorAddress = locate(cpu, selector, 8);
  if (descriptorAddress == u64.MAX_VALUE) return selectorFault(cpu, vector, selector);
  descriptor = readMemAs(cpu, TLB_SUPERVISOR, descriptorAddress, 3);
  return !faulted(cpu);
}

/** As readDescriptor, without an exception for a null selector or one outside its table. */
export function peekDescriptor(cpu: usize, selector: u32): bool {
  if (isNull(selector)) return false;
  descriptorAddress = locate(cpu, selector, 8);
  if (descriptorAddress == u64.MAX_VALUE) return false;
  descriptor = readMemAs(cpu, TLB_SUPERVISOR, descriptorAddress, 3);
  return !faulted(cpu);
}

/** Upper eight bytes of a 16-byte descriptor (64-bit TSS, LDT, call gate). Check `faulted`. */
export function readUpper(cpu: usize, selector: u32): u64 {
  if (locate(cpu, selector, 16) == u64.MAX_VALUE) {
    selectorFault(cpu, VEC_GP, selector);
    return 0;
  }
  return readMemAs(cpu, TLB_SUPERVISOR, descriptorAddress + 8, 3);
}

/** Sets bits of the type byte of the descriptor at `address` whose content is `raw`. */
export function markDescriptor(cpu: usize, address: u64, raw: u64, bits: u32): bool {
  const kind = (raw >> 40) as u32 & 0xff;
  return (kind & bits) == bits || writeMemAs(cpu, TLB_SUPERVISOR, address + 5, 0, kind | bits);
}

/** Fills segment register `slot` from a descriptor. */
export function setSegment(cpu: usize, slot: u32, selector: u32, raw: u64): void {
  setHidden(cpu, slot, selector, baseFrom(raw), limitFrom(raw), attrFrom(raw) | ATTR_ACCESSED);
}

/** Fills segment register `slot`, visible and hidden parts. */
export function setHidden(cpu: usize, slot: u32, selector: u32, base: u64, limit: u32, attr: u32): void {
  store<u64>(cpu + slot * 8, base, SEG_BASE);
  store<u32>(cpu + slot * 4, limit, SEG_LIMIT);
  store<u32>(cpu + slot * 4, attr, SEG_ATTR);
  store<u32>(cpu + slot * 4, selector & 0xffff, SEG_SEL);
}

/** Makes segment register `slot` null. A null SS keeps the privilege level in its DPL. */
export function setNull(cpu: usize, slot: u32, selector: u32, cpl: u32): void {
  setHidden(cpu, slot, selector, 0, 0, slot == SEG_SS ? cpl << ATTR_DPL_SHIFT : 0);
}

/** A flat segment as SYSCALL, SYSENTER and their returns load it. */
export function setFlat(cpu: usize, slot: u32, selector: u32, kind: u32, dpl: u32): void {
  setHidden(cpu, slot, selector, 0, 0xffffffff, kind | ATTR_S | ATTR_P | ATTR_G | (dpl << ATTR_DPL_SHIFT));
}

/** Real-address and virtual-8086 mode: selector × 16 (SDM vol. 3, 20.1.1 and 20.2.1). */
export function setReal(cpu: usize, slot: u32, selector: u32): void {
  store<u64>(cpu + slot * 8, (selector as u64 & 0xffff) << 4, SEG_BASE);
  store<u32>(cpu + slot * 4, selector & 0xffff, SEG_SEL);
  // In real mode limit and rights stay those of before, unless there were none.
  const virtual = isVm(cpu);
  if (!virtual && attrOf(cpu, slot) & ATTR_P) return;
  store<u32>(cpu + slot * 4, 0xffff, SEG_LIMIT);
  store<u32>(cpu + slot * 4, virtual ? 0xf3 : 0x93, SEG_ATTR);
}

/**
 * Checks a stack segment for privilege `cpl` and leaves it in `descriptor`. `vector` is #GP, or #TS when
 * the selector comes from a TSS.
 */
export function checkStack(cpu: usize, selector: u32, cpl: u32, vector: u32): bool {
  if (isNull(selector)) return selectorFault(cpu, vector, 0);
  if (!readDescriptor(cpu, selector, vector)) return false;
  const attr = attrFrom(descriptor);
  if ((selector & 3) != cpl || dplOf(attr) != cpl || (attr & (ATTR_S | ATTR_CODE | ATTR_RW)) != (ATTR_S | ATTR_RW)) {
    return selectorFault(cpu, vector, selector);
  }
  if (!(attr & ATTR_P)) return selectorFault(cpu, VEC_SS, selector);
  return markDescriptor(cpu, descriptorAddress, descriptor, ATTR_ACCESSED);
}

/** Whether `cpl` may use a data segment or readable code segment through `selector`. */
export function dataAllowed(attr: u32, selector: u32, cpl: u32): bool {
  if (!(attr & ATTR_S) || (attr & (ATTR_CODE | ATTR_RW)) == ATTR_CODE) return false;
  if ((attr & (ATTR_CODE | ATTR_CONFORMING)) == (ATTR_CODE | ATTR_CONFORMING)) return true;
  return dplOf(attr) >= cpl && dplOf(attr) >= (selector & 3);
}

/** Loads ES, SS, DS, FS or GS as MOV, POP and LDS do (SDM vol. 2, MOV). False after a fault. */
export function loadSegment(cpu: usize, slot: u32, selector: u32): bool {
  selector &= 0xffff;
  if (isRealOrVm(cpu)) {
    setReal(cpu, slot, selector);
    return true;
  }
  const cpl = cplOf(cpu);
  if (slot == SEG_SS) {
    if (isNull(selector) && isCode64(cpu) && cpl != 3 && (selector & 3) == cpl) {
      setNull(cpu, slot, selector, cpl);
      return true;
    }
    if (!checkStack(cpu, selector, cpl, VEC_GP)) return false;
    setSegment(cpu, slot, selector, descriptor);
    return true;
  }
  if (isNull(selector)) {
    setNull(cpu, slot, selector, cpl);
    return true;
  }
  if (!checkData(cpu, selector, cpl, VEC_GP)) return false;
  setSegment(cpu, slot, selector, descriptor);
  return true;
}

/** Checks a non-null data selector and leaves it in `descriptor`. */
export function checkData(cpu: usize, selector: u32, cpl: u32, vector: u32): bool {
  if (!readDescriptor(cpu, selector, vector)) return false;
  const attr = attrFrom(descriptor);
  if (!dataAllowed(attr, selector, cpl)) return selectorFault(cpu, vector, selector);
  if (!(attr & ATTR_P)) return selectorFault(cpu, VEC_NP, selector);
  return markDescriptor(cpu, descriptorAddress, descriptor, ATTR_ACCESSED);
}
