/**
 * Hardware task switches (Intel SDM vol. 3, chapter 7): JMP, CALL, IRET and interrupts through a TSS or
 * a task gate, with 16- and 32-bit TSSs. In IA-32e mode there are none.
 */
import {
  CR0, CR3, CR4, GPR, NEXT_RIP, POLL, POLL_STEP, RIP, SEG_BASE, SEG_CS, SEG_DS, SEG_ES, SEG_FS, SEG_GS, SEG_LDTR,
  SEG_SEL, SEG_SS, SEG_TR, TLB_SUPERVISOR,
} from "../layout";
import { checkPointers } from "./control";
import {
  attrFrom, baseFrom, checkData, checkStack, descriptor, descriptorAddress, dplOf, externalEvent, isNull, limitFrom,
  markDescriptor, readDescriptor, selectorFault, setHidden, setNull, setReal, setSegment,
} from "./descriptor";
import { faulted, raiseError, VEC_DF, VEC_GP, VEC_NP, VEC_TS } from "./fault";
import { NT, VM } from "./flags";
import { deliver } from "./interrupt";
import { flushTlb } from "./mmu";
import { readMemAs, writeMemAs } from "./operand";
import { pushValue, commitStack, useStack } from "./system-stack";
import {
  ATTR_ACCESSED, ATTR_CODE, ATTR_CONFORMING, ATTR_P, ATTR_S, attrOf, CR0_PG, CR0_TS, CR4_PAE, DEBUG_PENDING, updateMode,
  writeFlags,
} from "./system-state";
import { charge, COST_TASK_SWITCH } from "./work";

export const TASK_JUMP: u32 = 0;
export const TASK_CALL: u32 = 1;
export const TASK_INTERRUPT: u32 = 2;
export const TASK_RETURN: u32 = 3;

const TYPE_BUSY: u32 = 2;
/** DR6.BT */
const TASK_TRAP: u32 = 0x8000;

/** Offsets of a TSS: [32-bit, 16-bit]. */
// @ts-ignore: decorator
@inline
function at(wide: bool, wideOffset: u32, narrowOffset: u32): u64 {
  return wide ? wideOffset : narrowOffset;
}

/** Probes that the task state area at `base` can be read, or written; raises the fault when not. */
function reachable(cpu: usize, base: u64, last: u32, write: bool): bool {
  const first = readMemAs(cpu, TLB_SUPERVISOR, base, 0);
  if (faulted(cpu) || (write && !writeMemAs(cpu, TLB_SUPERVISOR, base, 0, first))) return false;
  const end = readMemAs(cpu, TLB_SUPERVISOR, base + last, 0);
  return !faulted(cpu) && (!write || writeMemAs(cpu, TLB_SUPERVISOR, base + last, 0, end));
}

/**
 * Switches to the task of TSS `selector`. The old task goes on at `from` with `flags`. True: NEXT_RIP is
 * set, in the new task or in a handler of a fault that the new task met. False: a fault of the old task.
 */
export function switchTask(
  cpu: usize, selector: u32, kind: u32, from: u64, flags: u32, hasError: bool, error: u32,
): bool {
  charge(cpu, COST_TASK_SWITCH);
  const vector = kind == TASK_RETURN ? VEC_TS : VEC_GP;
  if (isNull(selector) || selector & 4) return selectorFault(cpu, vector, selector);
  if (!readDescriptor(cpu, selector, vector)) return false;
  const raw = descriptor;
  const address = descriptorAddress;
  const attr = attrFrom(raw);
  if ((attr & (ATTR_S | 7)) != (kind == TASK_RETURN ? 3 : 1)) return selectorFault(cpu, vector, selector);
  if (!(attr & ATTR_P)) return selectorFault(cpu, VEC_NP, selector);
  const wide = (attr & 8) != 0;
  if (limitFrom(raw) < (wide ? 0x67 : 0x2b)) return selectorFault(cpu, VEC_TS, selector);
  const base = baseFrom(raw);
  const oldBase = load<u64>(cpu, SEG_BASE + SEG_TR * 8);
  const oldSelector = load<u32>(cpu, SEG_SEL + SEG_TR * 4);
  const oldWide = (attrOf(cpu, SEG_TR) & 8) != 0;
  if (!reachable(cpu, oldBase, oldWide ? 0x5f : 0x29, true)) return false;
  if (!reachable(cpu, base, wide ? 0x67 : 0x2b, kind == TASK_CALL || kind == TASK_INTERRUPT)) return false;
  if (kind == TASK_JUMP || kind == TASK_RETURN) {
    if (!readDescriptor(cpu, oldSelector, VEC_TS)) return false;
    const busy = attrFrom(descriptor) & 0xff & ~TYPE_BUSY;
    if (!writeMemAs(cpu, TLB_SUPERVISOR, descriptorAddress + 5, 0, busy)) return false;
  }
  if (kind != TASK_RETURN && !markDescriptor(cpu, address, raw, TYPE_BUSY)) return false;
  saveTask(cpu, oldBase, oldWide, from, flags);
  if (kind == TASK_CALL || kind == TASK_INTERRUPT) writeMemAs(cpu, TLB_SUPERVISOR, base, 1, oldSelector);
  setHidden(cpu, SEG_TR, selector, base, limitFrom(raw), attr | TYPE_BUSY);
  store<u64>(cpu, load<u64>(cpu, CR0) | CR0_TS, CR0);
  const nested = kind == TASK_CALL || kind == TASK_INTERRUPT;
  if (loadTask(cpu, base, wide, nested) && (!hasError || pushError(cpu, wide, error))) return true;
  // The fault belongs to the new task (SDM vol. 3, 7.3): it is delivered at its first instruction.
  store<u64>(cpu, load<u64>(cpu, NEXT_RIP), RIP);
  if (deliver(cpu)) return true;
  raiseError(cpu, VEC_DF, 0);
  return false;
}

function pushError(cpu: usize, wide: bool, error: u32): bool {
  useStack(cpu);
  if (!pushValue(cpu, wide ? 2 : 1, error)) return false;
  commitStack(cpu);
  return true;
}

function saveTask(cpu: usize, base: u64, wide: bool, from: u64, flags: u32): void {
  const size: u32 = wide ? 2 : 1;
  const step: u64 = wide ? 4 : 2;
  writeMemAs(cpu, TLB_SUPERVISOR, base + at(wide, 0x20, 0x0e), size, from);
  writeMemAs(cpu, TLB_SUPERVISOR, base + at(wide, 0x24, 0x10), size, flags);
  for (let index: u32 = 0; index < 8; index++) {
    const value = load<u64>(cpu + index * 8, GPR);
    writeMemAs(cpu, TLB_SUPERVISOR, base + at(wide, 0x28, 0x12) + index * step, size, value);
  }
  const segments: u32 = wide ? 6 : 4;
  for (let index: u32 = 0; index < segments; index++) {
    const value = load<u32>(cpu + (SEG_ES + index) * 4, SEG_SEL);
    writeMemAs(cpu, TLB_SUPERVISOR, base + at(wide, 0x48, 0x22) + index * step, 1, value);
  }
}

function field(cpu: usize, address: u64, size: u32): u64 {
  return readMemAs(cpu, TLB_SUPERVISOR, address, size);
}

/** Loads registers and segments of the new task. False when one of its segments faults. */
function loadTask(cpu: usize, base: u64, wide: bool, nested: bool): bool {
  const size: u32 = wide ? 2 : 1;
  const step: u64 = wide ? 4 : 2;
  const page = wide ? field(cpu, base + 0x1c, 2) : 0;
  const target = field(cpu, base + at(wide, 0x20, 0x0e), size);
  const flags = field(cpu, base + at(wide, 0x24, 0x10), size) as u32;
  for (let index: u32 = 0; index < 8; index++) {
    store<u64>(cpu + index * 8, field(cpu, base + at(wide, 0x28, 0x12) + index * step, size), GPR);
  }
  const segments = base + at(wide, 0x48, 0x22);
  const es = field(cpu, segments, 1) as u32;
  const cs = field(cpu, segments + step, 1) as u32;
  const ss = field(cpu, segments + step * 2, 1) as u32;
  const ds = field(cpu, segments + step * 3, 1) as u32;
  const fs = wide ? field(cpu, segments + step * 4, 1) as u32 : 0;
  const gs = wide ? field(cpu, segments + step * 5, 1) as u32 : 0;
  const ldt = field(cpu, base + at(wide, 0x60, 0x2a), 1) as u32;
  const trap = wide ? field(cpu, base + 0x64, 1) & 1 : 0;
  store<u64>(cpu, target, NEXT_RIP);
  if (wide && load<u64>(cpu, CR0) & CR0_PG && page != load<u64>(cpu, CR3)) {
    if (load<u64>(cpu, CR4) & CR4_PAE && !checkPointers(cpu, page)) return false;
    store<u64>(cpu, page, CR3);
    flushTlb(cpu, true);
  }
  writeFlags(cpu, flags | (nested ? NT : 0));
  if (trap) {
    store<u32>(cpu, load<u32>(cpu, DEBUG_PENDING) | TASK_TRAP, DEBUG_PENDING);
    atomic.or<u32>(cpu + POLL, POLL_STEP);
  }
  const level = flags & VM ? 3 : cs & 3;
  // Every segment is invalid until its own check has passed.
  for (let slot = SEG_ES; slot <= SEG_GS; slot++) setNull(cpu, slot, 0, level);
  setNull(cpu, SEG_SS, ss, level);
  updateMode(cpu);
  if (!loadLocalTable(cpu, ldt)) return false;
  if (flags & VM) {
    setReal(cpu, SEG_CS, cs);
    setReal(cpu, SEG_SS, ss);
    setReal(cpu, SEG_ES, es);
    setReal(cpu, SEG_DS, ds);
    setReal(cpu, SEG_FS, fs);
    setReal(cpu, SEG_GS, gs);
    updateMode(cpu);
    return true;
  }
  if (!loadCode(cpu, cs, target)) return false;
  if (!checkStack(cpu, ss, level, VEC_TS)) return false;
  setSegment(cpu, SEG_SS, ss, descriptor);
  updateMode(cpu);
  if (!loadData(cpu, SEG_DS, ds, level) || !loadData(cpu, SEG_ES, es, level)) return false;
  updateMode(cpu);
  const loaded = loadData(cpu, SEG_FS, fs, level) && loadData(cpu, SEG_GS, gs, level);
  updateMode(cpu);
  return loaded;
}

function loadLocalTable(cpu: usize, selector: u32): bool {
  if (isNull(selector)) {
    setHidden(cpu, SEG_LDTR, selector, 0, 0, 0);
    return true;
  }
  if (selector & 4) return selectorFault(cpu, VEC_TS, selector);
  if (!readDescriptor(cpu, selector, VEC_TS)) return false;
  const attr = attrFrom(descriptor);
  if ((attr & 0x9f) != 0x82) return selectorFault(cpu, VEC_TS, selector);
  setHidden(cpu, SEG_LDTR, selector, baseFrom(descriptor), limitFrom(descriptor), attr);
  return true;
}

function loadCode(cpu: usize, selector: u32, target: u64): bool {
  if (isNull(selector)) return selectorFault(cpu, VEC_TS, 0);
  if (!readDescriptor(cpu, selector, VEC_TS)) return false;
  const attr = attrFrom(descriptor);
  const code = (attr & (ATTR_S | ATTR_CODE)) == (ATTR_S | ATTR_CODE);
  const rpl = selector & 3;
  if (!code || (attr & ATTR_CONFORMING ? dplOf(attr) > rpl : dplOf(attr) != rpl)) {
    return selectorFault(cpu, VEC_TS, selector);
  }
  if (!(attr & ATTR_P)) return selectorFault(cpu, VEC_NP, selector);
  if (!markDescriptor(cpu, descriptorAddress, descriptor, ATTR_ACCESSED)) return false;
  setSegment(cpu, SEG_CS, selector, descriptor);
  if (target <= (limitFrom(descriptor) as u64)) return true;
  raiseError(cpu, VEC_GP, externalEvent);
  return false;
}

function loadData(cpu: usize, slot: u32, selector: u32, level: u32): bool {
  if (isNull(selector)) {
    setNull(cpu, slot, selector, level);
    return true;
  }
  if (!checkData(cpu, selector, level, VEC_TS)) return false;
  setSegment(cpu, slot, selector, descriptor);
  return true;
}
