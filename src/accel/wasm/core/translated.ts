/**
 * What translated code calls besides the interpreter's own routines. Lazy flags come as the locals that
 * hold them: `kind` is negative while those in memory stand.
 */
import { CC_A, CC_B, CC_OP, CC_RES, TLB_SET } from "../layout";
import { carryFlag, condition } from "./flags";
import { readSlow, storeBytes } from "./mmu";
import { misaligned } from "./sse-operand";

/** Makes the flags in memory right. */
export function storeFlags(cpu: usize, kind: i32, a: i64, b: i64, res: i64): void {
  if (kind < 0) return;
  store<i32>(cpu, kind, CC_OP);
  store<i64>(cpu, a, CC_A);
  store<i64>(cpu, b, CC_B);
  store<i64>(cpu, res, CC_RES);
}

export function lazyCarry(cpu: usize, kind: i32, a: i64, b: i64, res: i64): bool {
  storeFlags(cpu, kind, a, b, res);
  return carryFlag(cpu);
}

export function lazyCondition(cpu: usize, code: u32, kind: i32, a: i64, b: i64, res: i64): bool {
  storeFlags(cpu, kind, a, b, res);
  return condition(cpu, code);
}

/** Pointer to 16 readable bytes at `va`, which has to be a multiple of 16 when `aligned`; 0 after a fault. */
export function read16Miss(cpu: usize, va: u64, aligned: bool): usize {
  if (aligned && va & 15) return misaligned(cpu);
  return readSlow(cpu, load<u32>(cpu, TLB_SET), va, 16);
}

/** Stores the 16 bytes at `from`; false after a fault, with nothing written. */
export function store16Miss(cpu: usize, va: u64, from: usize, aligned: bool): bool {
  if (aligned && va & 15) {
    misaligned(cpu);
    return false;
  }
  return storeBytes(cpu, load<u32>(cpu, TLB_SET), va, from, 16);
}
