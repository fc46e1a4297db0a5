/**
 * The x87 FPU's registers and how its instructions report exceptions (Intel SDM vol. 1, 8.1 and 8.5).
 *
 * A tag is kept as 0 (in use) or 3 (empty): the other two values are made from the contents when an
 * environment is stored, and loading one tells only empty registers from the rest (SDM vol. 2, FLDENV).
 */
import { CR0, FPR, FPU_CW, FPU_SW, FPU_TAG, FPU_TOP } from "../layout";
import { raise, VEC_MF, VEC_NM, VEC_UD } from "./fault";
import {
  FP_DE, FP_IE, FP_OE, FP_UE, FP_ZE, fpClear, fpFlags, fpMode, fpRoundedUp, KIND_FINITE, KIND_INF, KIND_ZERO, rExp,
  rKind, rSig, rSign, setA, setB, unpack80,
} from "./softfloat-core";

export const SW_SF: u32 = 0x40;
export const SW_ES: u32 = 0x80;
export const SW_C0: u32 = 0x100;
export const SW_C1: u32 = 0x200;
export const SW_C2: u32 = 0x400;
export const SW_C3: u32 = 0x4000;
export const SW_B: u32 = 0x8000;
export const SW_CC: u32 = SW_C0 | SW_C2 | SW_C3;
const SW_EXCEPTIONS: u32 = 0x3f;

export const CR0_MP: u32 = 2;
const CR0_EM: u32 = 4;
const CR0_TS: u32 = 8;

/** QNaN floating-point indefinite. */
const INDEFINITE_SE: u16 = 0xffff;
const INDEFINITE_SIG: u64 = 0xc000000000000000;

/* ---- availability ------------------------------------------------------------------------------ */

/** Whether MMX and FXSAVE may run: #UD with CR0.EM, #NM with CR0.TS. */
export function fpuAvailable(cpu: usize): bool {
  const cr0 = load<u32>(cpu, CR0);
  if (cr0 & CR0_EM) raise(cpu, VEC_UD);
  else if (cr0 & CR0_TS) raise(cpu, VEC_NM);
  else return true;
  return false;
}

/**
 * Begins an MMX instruction after its operands have been read: false with #MF when an x87 exception
 * is pending, else TOP is 0 and all tags are valid (SDM vol. 3, 13.2).
 */
export function mmxEnter(cpu: usize): bool {
  if (pending(cpu)) return false;
  store<u32>(cpu, 0, FPU_TOP);
  store<u32>(cpu, 0, FPU_TAG);
  return true;
}

/** Whether an x87 instruction may run: #NM with CR0.EM or CR0.TS; a waiting one: #MF (SDM vol. 1, 8.7). */
export function x87Enter(cpu: usize, waiting: bool): bool {
  if (load<u32>(cpu, CR0) & (CR0_EM | CR0_TS)) {
    raise(cpu, VEC_NM);
    return false;
  }
  return !waiting || !pending(cpu);
}

/**
 * Raises #MF for an unmasked exception of an earlier instruction. With CR0.NE clear a PC reports it by
 * FERR# and IRQ 13; the machine has no such wire, and #MF is what the pin stands for.
 */
export function pending(cpu: usize): bool {
  if (!(load<u32>(cpu, FPU_SW) & SW_ES)) return false;
  raise(cpu, VEC_MF);
  return true;
}

/* ---- status word -------------------------------------------------------------------------------- */

/** Makes ES and B what the flags and the masks say; after loading the control or status word. */
export function fpuSummary(cpu: usize): void {
  const status = load<u32>(cpu, FPU_SW) & ~(SW_ES | SW_B);
  const unmasked = status & ~load<u32>(cpu, FPU_CW) & SW_EXCEPTIONS;
  store<u32>(cpu, unmasked ? status | SW_ES | SW_B : status, FPU_SW);
}

/** Sets exception flags. */
export function fpuRaise(cpu: usize, flags: u32): void {
  if (!flags) return;
  store<u32>(cpu, load<u32>(cpu, FPU_SW) | flags, FPU_SW);
  fpuSummary(cpu);
}

/** Sets the bits of `mask` in the status word to those of `bits`. */
// @ts-ignore: decorator
@inline
export function setStatus(cpu: usize, mask: u32, bits: u32): void {
  store<u32>(cpu, (load<u32>(cpu, FPU_SW) & ~mask) | bits, FPU_SW);
}

// @ts-ignore: decorator
@inline
export function masked(cpu: usize, flags: u32): bool {
  return (load<u32>(cpu, FPU_CW) & flags) == flags;
}

/** Prepares the arithmetic for one instruction: rounding control, masks, no exceptions yet. */
export function x87Begin(cpu: usize): void {
  const control = load<u32>(cpu, FPU_CW);
  fpClear();
  fpMode((control >> 10) & 3, false, false, ~control & (FP_OE | FP_UE));
}

/** Bits of significand that the precision control asks for. */
export function precisionOf(cpu: usize): u32 {
  const control = (load<u32>(cpu, FPU_CW) >> 8) & 3;
  return control == 0 ? 24 : control == 2 ? 53 : 64;
}

/** Whether an exception that comes before the result is unmasked: the instruction stores nothing. */
export function stopped(cpu: usize): bool {
  return (fpFlags & (FP_IE | FP_DE | FP_ZE) & ~load<u32>(cpu, FPU_CW)) != 0;
}

/** Records the exceptions of the arithmetic and C1; whether the result is to be stored. */
export function settle(cpu: usize): bool {
  setStatus(cpu, SW_C1, 0);
  if (stopped(cpu)) {
    fpuRaise(cpu, fpFlags & (FP_IE | FP_DE | FP_ZE));
    return false;
  }
  if (fpRoundedUp) setStatus(cpu, SW_C1, SW_C1);
  fpuRaise(cpu, fpFlags);
  return true;
}

/* ---- register stack ------------------------------------------------------------------------------- */

/** Where ST(i) is. */
// @ts-ignore: decorator
@inline
export function stAt(cpu: usize, i: u32): usize {
  return cpu + FPR + (((load<u32>(cpu, FPU_TOP) + i) & 7) << 4);
}

// @ts-ignore: decorator
@inline
export function isEmpty(cpu: usize, i: u32): bool {
  const physical = (load<u32>(cpu, FPU_TOP) + i) & 7;
  return ((load<u32>(cpu, FPU_TAG) >> (physical << 1)) & 3) == 3;
}

export function setTag(cpu: usize, i: u32, tag: u32): void {
  const shift = ((load<u32>(cpu, FPU_TOP) + i) & 7) << 1;
  store<u32>(cpu, (load<u32>(cpu, FPU_TAG) & ~(3 << shift)) | (tag << shift), FPU_TAG);
}

// @ts-ignore: decorator
@inline
export function rotate(cpu: usize, by: u32): void {
  store<u32>(cpu, (load<u32>(cpu, FPU_TOP) + by) & 7, FPU_TOP);
}

export function pop(cpu: usize): void {
  setTag(cpu, 0, 3);
  rotate(cpu, 1);
}

export function popTimes(cpu: usize, count: u32): void {
  for (; count > 0; count--) pop(cpu);
}

/** Moves TOP down to a register whose contents the caller then writes. */
export function push(cpu: usize): void {
  rotate(cpu, 7);
  setTag(cpu, 0, 0);
}

/** Writes the QNaN indefinite to ST(i) and marks it in use. */
export function putIndefinite(cpu: usize, i: u32): void {
  const at = stAt(cpu, i);
  store<u64>(at, INDEFINITE_SIG);
  store<u16>(at, INDEFINITE_SE, 8);
  setTag(cpu, i, 0);
}

/** Records a stack fault; whether the masked response is to follow. */
export function stackFault(cpu: usize, overflow: bool): bool {
  setStatus(cpu, SW_C1, overflow ? SW_C1 : 0);
  fpuRaise(cpu, FP_IE | SW_SF);
  return masked(cpu, FP_IE);
}

/** Whether a push would overwrite a register in use; does the whole response when it would. */
export function pushFaults(cpu: usize): bool {
  if (isEmpty(cpu, 7)) return false;
  if (stackFault(cpu, true)) {
    push(cpu);
    putIndefinite(cpu, 0);
  }
  return true;
}

/** Unpacks ST(i) as operand A, B. */
export function loadA(cpu: usize, i: u32): void {
  const at = stAt(cpu, i);
  unpack80(load<u16>(at, 8), load<u64>(at));
  setA();
}

export function loadB(cpu: usize, i: u32): void {
  const at = stAt(cpu, i);
  unpack80(load<u16>(at, 8), load<u64>(at));
  setB();
}

/** Packs R, rounded or exact, into the register at `at`. */
export function storeR(at: usize): void {
  const sign = rSign << 15;
  let se: u32 = sign;
  let sig: u64 = 0;
  if (rKind == KIND_FINITE) {
    sig = rSig;
    se |= sig >> 63 ? (rExp + 16383) as u32 : 0;
  } else if (rKind != KIND_ZERO) {
    se |= 0x7fff;
    sig = rKind == KIND_INF ? 0x8000000000000000 : rSig | INDEFINITE_SIG;
  }
  store<u64>(at, sig);
  store<u16>(at, se as u16, 8);
}

/** Writes R to ST(i) and marks it in use. */
export function putR(cpu: usize, i: u32): void {
  storeR(stAt(cpu, i));
  setTag(cpu, i, 0);
}
