/**
 * Operands of MMX and SSE instructions, and the conditions on which they run at all (Intel SDM vol. 3,
 * 2.5 "Control registers", 14.1 and 13.1; vol. 1, 9.5 and 11.6).
 */
import {
  CR0, CR4, FPR, MXCSR, REC_B, REC_R, TLB_ENTRIES, TLB_SET, TLB_WRITE, XMM,
} from "../layout";
import { raise, raiseError, VEC_GP, VEC_NM, VEC_UD, VEC_XM } from "./fault";
import { readPtr, storeBytes } from "./mmu";
import { addressOf, isMemory } from "./operand";
import { fpuAvailable, pending } from "./x87-state";

const CR0_EM: u32 = 4;
const CR0_TS: u32 = 8;
export const CR4_OSFXSR: u32 = 0x200;
const CR4_OSXMMEXCPT: u32 = 0x400;

/** Sign and exponent that a write of an MMX register leaves in its x87 register (SDM vol. 1, 9.6.2). */
const MMX_EXPONENT: u16 = 0xffff;

/** Whether SSE instructions run; raises #UD or #NM when not. */
// @ts-ignore: decorator
@inline
export function sseAvailable(cpu: usize): bool {
  return ((load<u32>(cpu, CR0) & (CR0_EM | CR0_TS)) == 0 && (load<u32>(cpu, CR4) & CR4_OSFXSR) != 0) || refuseSse(cpu);
}

function refuseSse(cpu: usize): bool {
  raise(cpu, load<u32>(cpu, CR0) & CR0_EM || !(load<u32>(cpu, CR4) & CR4_OSFXSR) ? VEC_UD : VEC_NM);
  return false;
}

/** Whether MMX instructions run; raises #UD, #NM or #MF when not. */
// @ts-ignore: decorator
@inline
export function mmxAvailable(cpu: usize): bool {
  return fpuAvailable(cpu) && !pending(cpu);
}

// @ts-ignore: decorator
@inline
export function mmxOf(cpu: usize, number: u32): u64 {
  return load<u64>(cpu + (number << 4), FPR);
}

// @ts-ignore: decorator
@inline
export function setMmx(cpu: usize, number: u32, value: u64): void {
  store<u64>(cpu + (number << 4), value, FPR);
  store<u16>(cpu + (number << 4), MMX_EXPONENT, FPR + 8);
}

/** The XMM register that the `reg` operand names: base to add XMM to. */
// @ts-ignore: decorator
@inline
export function xmmReg(cpu: usize, rec: usize): usize {
  return cpu + load<u8>(rec, REC_R);
}

/** Pointer to an XMM register or 16 bytes of memory, which must be aligned; 0 after a fault. */
// @ts-ignore: decorator
@inline
export function source16(cpu: usize, rec: usize): usize {
  return isMemory(rec) ? alignedMemory(cpu, rec) : cpu + load<u8>(rec, REC_B) + XMM;
}

// @ts-ignore: decorator
@inline
export function alignedMemory(cpu: usize, rec: usize): usize {
  const va = addressOf(cpu, rec);
  if (va & 15) return misaligned(cpu);
  return readPtr<v128>(cpu, load<u32>(cpu, TLB_SET), va);
}

/** Raises #GP(0) for an operand that is not on a 16-byte boundary. */
export function misaligned(cpu: usize): usize {
  raiseError(cpu, VEC_GP, 0);
  return 0;
}

/** Pointer to the low bytes of an XMM register, or to `sizeof<T>()` bytes of memory; 0 after a fault. */
// @ts-ignore: decorator
@inline
export function sourceLow<T>(cpu: usize, rec: usize): usize {
  if (!isMemory(rec)) return cpu + load<u8>(rec, REC_B) + XMM;
  return readPtr<T>(cpu, load<u32>(cpu, TLB_SET), addressOf(cpu, rec));
}

/** Pointer to an MMX register, or to `sizeof<T>()` bytes of memory; 0 after a fault. */
// @ts-ignore: decorator
@inline
export function sourceMmx<T>(cpu: usize, rec: usize): usize {
  if (!isMemory(rec)) return cpu + (<usize>load<u8>(rec, REC_B) << 4) + FPR;
  return readPtr<T>(cpu, load<u32>(cpu, TLB_SET), addressOf(cpu, rec));
}

/** Stores 16 bytes of the core's own memory at `va`; false after a fault, with nothing written. */
// @ts-ignore: decorator
@inline
export function store16(cpu: usize, va: u64, from: usize): bool {
  const set = load<u32>(cpu, TLB_SET);
  const entry = cpu + set + ((((va as u32) >> 12) & (TLB_ENTRIES - 1)) << 4);
  if (load<u64>(entry, TLB_WRITE) == ((va + 15) & ~0xfff)) {
    store<v128>(((va as u32) + load<u32>(entry, TLB_WRITE + 8)) as usize, load<v128>(from));
    return true;
  }
  return storeBytes(cpu, set, va, from, 16);
}

/**
 * Ends a floating-point instruction: adds `flags` (in MXCSR's places) to MXCSR and tells whether the
 * results may be stored; raises #XM, or #UD without CR4.OSXMMEXCPT, when one of them is unmasked.
 */
// @ts-ignore: decorator
@inline
export function report(cpu: usize, flags: u32, traps: bool): bool {
  store<u32>(cpu, load<u32>(cpu, MXCSR) | flags, MXCSR);
  return !traps || trap(cpu);
}

function trap(cpu: usize): bool {
  raise(cpu, load<u32>(cpu, CR4) & CR4_OSXMMEXCPT ? VEC_XM : VEC_UD);
  return false;
}
