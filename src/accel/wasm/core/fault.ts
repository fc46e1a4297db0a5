/**
 * Exceptions on their way: a routine that meets one records it here and returns; the run loop
 * delivers it at the instruction's own RIP (Intel SDM vol. 3, 6.5 "Exception classifications").
 */
import { EXC_ERROR, EXC_HAS_ERROR, EXC_VECTOR } from "../layout";

export const VEC_DE: u32 = 0;
export const VEC_DB: u32 = 1;
export const VEC_NMI: u32 = 2;
export const VEC_BP: u32 = 3;
export const VEC_OF: u32 = 4;
export const VEC_BR: u32 = 5;
export const VEC_UD: u32 = 6;
export const VEC_NM: u32 = 7;
export const VEC_DF: u32 = 8;
export const VEC_TS: u32 = 10;
export const VEC_NP: u32 = 11;
export const VEC_SS: u32 = 12;
export const VEC_GP: u32 = 13;
export const VEC_PF: u32 = 14;
export const VEC_MF: u32 = 16;
export const VEC_AC: u32 = 17;
export const VEC_XM: u32 = 19;

/** Records an exception without an error code. */
export function raise(cpu: usize, vector: u32): void {
  store<u32>(cpu, vector + 1, EXC_VECTOR);
  store<u32>(cpu, 0, EXC_HAS_ERROR);
}

/** Records an exception with an error code. */
export function raiseError(cpu: usize, vector: u32, error: u32): void {
  store<u32>(cpu, vector + 1, EXC_VECTOR);
  store<u32>(cpu, error, EXC_ERROR);
  store<u32>(cpu, 1, EXC_HAS_ERROR);
}

/** Whether an exception is pending. */
// @ts-ignore: decorator
@inline
export function faulted(cpu: usize): bool {
  return load<u32>(cpu, EXC_VECTOR) != 0;
}
