/**
 * The stack as far transfers and event delivery use it (Intel SDM vol. 1, 6.2; vol. 3, 5.8.5): a cursor
 * that moves without touching RSP, so that a fault half way leaves the registers as they were.
 */
import { GPR, RSP, SEG_BASE, SEG_LIMIT, SEG_SEL, SEG_SS, SEG_TR, TLB_SET, TLB_SUPERVISOR, TLB_USER } from "../layout";
import { externalEvent, selectorFault } from "./descriptor";
import { faulted, raiseError, VEC_SS, VEC_TS } from "./fault";
import { readMemAs, writeMemAs } from "./operand";
import { ATTR_CODE, ATTR_CONFORMING, ATTR_D, attrOf, isCanonical, isCode64 } from "./system-state";

/** Where the cursor stands: the new RSP once the transfer is certain. */
export let stackPointer: u64 = 0;
let stackMask: u64 = 0;
let stackBase: u64 = 0;
let stackSet: u32 = 0;
let stackLimit: u32 = 0;
let stackDown: bool = false;

/** The cursor on the current stack. */
export function useStack(cpu: usize): void {
  stackPointer = load<u64>(cpu, GPR + RSP);
  stackSet = load<u32>(cpu, TLB_SET);
  if (isCode64(cpu)) {
    stackMask = u64.MAX_VALUE;
    stackBase = 0;
    return;
  }
  shape(load<u64>(cpu, SEG_BASE + SEG_SS * 8), load<u32>(cpu, SEG_LIMIT + SEG_SS * 4), attrOf(cpu, SEG_SS));
}

/** The cursor at `sp` of a 64-bit stack of privilege `cpl`. */
export function useStack64(sp: u64, cpl: u32): void {
  stackPointer = sp;
  stackMask = u64.MAX_VALUE;
  stackBase = 0;
  stackSet = cpl == 3 ? TLB_USER : TLB_SUPERVISOR;
}

/** The cursor at `sp` of a stack segment of privilege `cpl`. */
export function useStackOf(base: u64, limit: u32, attr: u32, sp: u64, cpl: u32): void {
  stackPointer = sp;
  stackSet = cpl == 3 ? TLB_USER : TLB_SUPERVISOR;
  shape(base, limit, attr);
}

function shape(base: u64, limit: u32, attr: u32): void {
  stackMask = attr & ATTR_D ? 0xffffffff : 0xffff;
  stackBase = base;
  stackLimit = limit;
  stackDown = (attr & (ATTR_CODE | ATTR_CONFORMING)) == ATTR_CONFORMING;
}

/** Linear address of `bytes` bytes at the cursor; raises #SS and gives false when they are outside the stack. */
function inside(cpu: usize, bytes: u32): bool {
  if (stackMask == u64.MAX_VALUE) {
    if (isCanonical(stackPointer)) return true;
  } else {
    const first = stackPointer & stackMask;
    const last = first + (bytes - 1);
    if (stackDown ? first > stackLimit && last <= stackMask : last <= (stackLimit as u64)) return true;
  }
  raiseError(cpu, VEC_SS, externalEvent);
  return false;
}

function address(): u64 {
  return stackMask == u64.MAX_VALUE ? stackPointer : (stackBase + (stackPointer & stackMask)) & 0xffffffff;
}

/** Moves the cursor by `bytes`. */
export function moveStack(bytes: i32): void {
  stackPointer = (stackPointer & ~stackMask) | ((stackPointer + (bytes as i64 as u64)) & stackMask);
}

/** Pushes a value of operand size `size`; false after a fault. */
export function pushValue(cpu: usize, size: u32, value: u64): bool {
  const bytes: u32 = 1 << size;
  moveStack(-(bytes as i32));
  return inside(cpu, bytes) && writeMemAs(cpu, stackSet, address(), size, value);
}

/** Pops a value of operand size `size`. Check `faulted`. */
export function popValue(cpu: usize, size: u32): u64 {
  const bytes: u32 = 1 << size;
  if (!inside(cpu, bytes)) return 0;
  const value = readMemAs(cpu, stackSet, address(), size);
  moveStack(bytes as i32);
  return value;
}

/** Makes the cursor the stack pointer. SP keeps the bits above it that the segment does not use. */
export function commitStack(cpu: usize): void {
  if (stackMask == 0xffff) store<u16>(cpu, stackPointer as u16, GPR + RSP);
  else store<u64>(cpu, stackMask == u64.MAX_VALUE ? stackPointer : stackPointer & 0xffffffff, GPR + RSP);
}

/** Of the last `readTaskStack`: the stack of a more privileged level. */
export let taskStackPointer: u64 = 0;
export let taskStackSelector: u32 = 0;

/** Reads the stack of level `cpl` from a 16- or 32-bit TSS (SDM vol. 3, 7.2.1 and 7.6). */
export function readTaskStack(cpu: usize, cpl: u32): bool {
  const wide = (attrOf(cpu, SEG_TR) & 8) != 0;
  const at: u32 = wide ? 4 + cpl * 8 : 2 + cpl * 4;
  if (!inTask(cpu, at + (wide ? 5 : 3))) return false;
  const base = load<u64>(cpu, SEG_BASE + SEG_TR * 8) + at;
  taskStackPointer = readMemAs(cpu, TLB_SUPERVISOR, base, wide ? 2 : 1);
  if (faulted(cpu)) return false;
  taskStackSelector = readMemAs(cpu, TLB_SUPERVISOR, base + (wide ? 4 : 2), 1) as u32;
  return !faulted(cpu);
}

/** Reads RSP0–RSP2 (`index` 0–2) or IST1–IST7 (`index` 4–10) from a 64-bit TSS (SDM vol. 3, 7.7). */
export function readTaskStack64(cpu: usize, index: u32): bool {
  const at: u32 = 4 + index * 8;
  if (!inTask(cpu, at + 7)) return false;
  taskStackPointer = readMemAs(cpu, TLB_SUPERVISOR, load<u64>(cpu, SEG_BASE + SEG_TR * 8) + at, 3);
  return !faulted(cpu);
}

function inTask(cpu: usize, last: u32): bool {
  if (last <= load<u32>(cpu, SEG_LIMIT + SEG_TR * 4)) return true;
  return selectorFault(cpu, VEC_TS, load<u32>(cpu, SEG_SEL + SEG_TR * 4));
}
