/**
 * Processor state that only the system routines use, beyond layout.ts, and what follows from a change
 * of mode: MODE, CPL and the TLB set (Intel SDM vol. 3, 2.2 "Modes of operation", 5.5 "Privilege levels").
 */
import {
  CC_OP, CPL, CR0, DR7, EFER, FLAGS, INTERRUPT_WINDOW, MODE, MODE_CODE16, MODE_CODE32, MODE_CODE64, MODE_CODE_MASK,
  MODE_FLAT, MODE_REAL, MODE_STACK32, MODE_STEP, POLL, POLL_HOST, POLL_STEP, POLL_WINDOW, SEG_ATTR, SEG_CS, SEG_SS, SHADOW,
  TLB_SET, TLB_SUPERVISOR, TLB_USER,
} from "../layout";
import { raiseError, VEC_GP } from "./fault";
import { AC, CC_EXPLICIT, getFlags, IF, TF, VM } from "./flags";
import { flushUserTlb } from "./mmu";
import { isFlat, updateMarks } from "./segment-check";

/** u32: see STEP_*. */
export const STEP_STATE = 0xe00;
/** u32: DR6 bits B0–B3 of data and port breakpoints that the current instruction met. */
export const DEBUG_PENDING = 0xe04;
/** u32: 1 from the delivery of an NMI to the next IRET. */
export const NMI_BLOCKED = 0xe08;
/** u32: version field of the KVM clock structures. */
export const KVM_CLOCK_VERSION = 0xe0c;
/** u64 each. */
export const MSR_DEBUGCTL = 0xe10;
export const MSR_MCG_STATUS = 0xe18;
/** Sixteen u64: base and mask of the eight variable-range MTRRs. */
export const MTRR_VARIABLE = 0xe20;
/** Eleven u64: the fixed-range MTRRs in the order of their numbers. */
export const MTRR_FIXED = 0xea0;
export const MTRR_FIXED_COUNT = 11;

/** TF was set when the current instruction began. */
export const STEP_ARMED: u32 = 1;
/** RF was set when the current instruction began. */
export const STEP_RESUMED: u32 = 2;
/** MOV SS or POP SS: debug traps wait for one instruction (SDM vol. 3, 6.8.3). */
export const STEP_HELD: u32 = 4;

/** A repeated string operation has stopped between two iterations. */
export const STEP_REPEATING: u32 = 16;

/** STI or MOV SS with an interrupt waiting: the next block is one instruction, and this boundary is not its end. */
export const STEP_ONCE: u32 = 8;

export const CR0_PE: u64 = 0x1;
export const CR0_TS: u64 = 0x8;
export const CR0_ET: u64 = 0x10;
export const CR0_PG: u64 = 0x80000000;
export const CR4_VME: u64 = 0x1;
export const CR4_TSD: u64 = 0x4;
export const CR4_DE: u64 = 0x8;
export const CR4_PAE: u64 = 0x20;
export const CR4_PGE: u64 = 0x80;
export const EFER_SCE: u64 = 0x1;
export const EFER_LME: u64 = 0x100;
export const EFER_LMA: u64 = 0x400;
export const EFER_NXE: u64 = 0x800;

/** Attribute bits of a segment (layout.ts SEG_ATTR). */
export const ATTR_ACCESSED: u32 = 0x1;
/** Writable data, readable code. */
export const ATTR_RW: u32 = 0x2;
/** Expand-down data, conforming code. */
export const ATTR_CONFORMING: u32 = 0x4;
export const ATTR_CODE: u32 = 0x8;
export const ATTR_S: u32 = 0x10;
export const ATTR_DPL_SHIFT: u32 = 5;
export const ATTR_P: u32 = 0x80;
export const ATTR_L: u32 = 0x2000;
export const ATTR_D: u32 = 0x4000;
export const ATTR_G: u32 = 0x8000;

// @ts-ignore: decorator
@inline
export function attrOf(cpu: usize, slot: u32): u32 {
  return load<u32>(cpu + slot * 4, SEG_ATTR);
}

// @ts-ignore: decorator
@inline
export function cplOf(cpu: usize): u32 {
  return load<u32>(cpu, CPL);
}

// @ts-ignore: decorator
@inline
export function isLong(cpu: usize): bool {
  return (load<u64>(cpu, EFER) & EFER_LMA) != 0;
}

// @ts-ignore: decorator
@inline
export function isCode64(cpu: usize): bool {
  return (load<u32>(cpu, MODE) & MODE_CODE_MASK) == MODE_CODE64;
}

/** Real-address or virtual-8086 mode. */
// @ts-ignore: decorator
@inline
export function isRealOrVm(cpu: usize): bool {
  return (load<u32>(cpu, MODE) & MODE_REAL) != 0;
}

// @ts-ignore: decorator
@inline
export function isVm(cpu: usize): bool {
  return (load<u32>(cpu, FLAGS) & VM) != 0;
}

// @ts-ignore: decorator
@inline
export function iopl(cpu: usize): u32 {
  return (load<u32>(cpu, FLAGS) >> 12) & 3;
}

// @ts-ignore: decorator
@inline
export function isCanonical(va: u64): bool {
  return (((va as i64) << 16) >> 16) == (va as i64);
}

/** Raises #GP(0); false, so that a check can return it. */
export function protection(cpu: usize): bool {
  raiseError(cpu, VEC_GP, 0);
  return false;
}

/** Whether CPL is 0; raises #GP(0) when not. */
export function privileged(cpu: usize): bool {
  return cplOf(cpu) == 0 || protection(cpu);
}

/**
 * Recomputes MODE, CPL, TLB_SET and SEG_MARK. To be called after a segment register, CR0, EFER, RFLAGS.TF, RFLAGS.VM
 * or DR7 changed. CPL is the DPL of SS in protected mode, also of a null SS in 64-bit code.
 */
export function updateMode(cpu: usize): void {
  const flags = load<u32>(cpu, FLAGS);
  const cs = attrOf(cpu, SEG_CS);
  const ss = attrOf(cpu, SEG_SS);
  let mode: u32 = MODE_CODE16;
  let cpl: u32 = 0;
  if (!(load<u64>(cpu, CR0) & CR0_PE)) {
    mode = MODE_REAL | (cs & ATTR_D ? MODE_CODE32 : MODE_CODE16) | (ss & ATTR_D ? MODE_STACK32 : 0);
  } else if (flags & VM) {
    mode = MODE_REAL | MODE_CODE16;
    cpl = 3;
  } else {
    cpl = (ss >> ATTR_DPL_SHIFT) & 3;
    if (cs & ATTR_L && isLong(cpu)) mode = MODE_CODE64;
    else mode = (cs & ATTR_D ? MODE_CODE32 : MODE_CODE16) | (ss & ATTR_D ? MODE_STACK32 : 0);
  }
  if ((mode & MODE_CODE_MASK) != MODE_CODE64) {
    updateMarks(cpu);
    if (mode == (MODE_CODE32 | MODE_STACK32) && isFlat(cpu)) mode |= MODE_FLAT;
  }
  if (flags & TF || load<u32>(cpu, DR7) & 0xff) {
    mode |= MODE_STEP;
    atomic.or<u32>(cpu + POLL, POLL_STEP);
  }
  store<u32>(cpu, mode, MODE);
  store<u32>(cpu, cpl, CPL);
  store<u32>(cpu, cpl == 3 ? TLB_USER : TLB_SUPERVISOR, TLB_SET);
}

/** Asks the run loop to look for interrupts when IF lets one in that waits. */
export function openWindow(cpu: usize): void {
  if (load<u32>(cpu, INTERRUPT_WINDOW) && load<u32>(cpu, FLAGS) & IF) atomic.or<u32>(cpu + POLL, POLL_WINDOW);
}

/**
 * After STI and MOV SS: the interrupt that waits comes right after the next instruction, so that one is a block of
 * its own (SDM vol. 2 "STI"; vol. 3, 6.8.3).
 */
export function openShadow(cpu: usize): void {
  store<u32>(cpu, 1, SHADOW);
  if (!load<u32>(cpu, INTERRUPT_WINDOW) && !(load<u32>(cpu, POLL) & (POLL_HOST | POLL_WINDOW))) return;
  store<u32>(cpu, load<u32>(cpu, MODE) | MODE_STEP, MODE);
  store<u32>(cpu, load<u32>(cpu, STEP_STATE) | STEP_ONCE, STEP_STATE);
  atomic.or<u32>(cpu + POLL, POLL_STEP | POLL_WINDOW);
}

/** Flags that exist. */
const DEFINED: u32 = 0x3f7fd5;

/** Writes RFLAGS whole, with what follows from IF, TF, VM and AC. */
export function writeFlags(cpu: usize, value: u32): void {
  const changed = load<u32>(cpu, FLAGS) ^ value;
  store<u32>(cpu, CC_EXPLICIT, CC_OP);
  store<u32>(cpu, (value & DEFINED) | 2, FLAGS);
  if (changed & (TF | VM)) updateMode(cpu);
  // With alignment checks on, the user's accesses have to take the slow path.
  if (changed & value & AC) flushUserTlb(cpu);
  if (value & IF) openWindow(cpu);
}
