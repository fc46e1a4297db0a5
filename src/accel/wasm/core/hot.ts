/**
 * Bodies of the operations that the run loop executes in line. Each is instantiated for the signed
 * type T of its operand size. Those that touch memory return false after a fault, with nothing changed.
 */
import { BOUNCE, CC_A, CC_B, CC_OP, CC_RES, FLAGS, GPR, REC_B, REC_IMM, REC_R, RSP } from "../layout";
import {
  carryFlag, CC_EXPLICIT, CC_INC, CC_LOGIC, CC_MUL64, CC_SUB, condition, setAdd, setIncDec, setLogic,
  setParts, setSbb, setSub, SF, ZF,
} from "./flags";

import { commit, modifyPtr, readPtr, storeTo } from "./mmu";
import { addressOf } from "./operand";
import { ordered } from "./order";

export const ADD: u32 = 0;
export const OR: u32 = 1;
export const ADC: u32 = 2;
export const SBB: u32 = 3;
export const AND: u32 = 4;
export const SUB: u32 = 5;
export const XOR: u32 = 6;
export const CMP: u32 = 7;
export const TEST: u32 = 8;

export const SHL: u32 = 0;
export const SHR: u32 = 1;
export const SAR: u32 = 2;

// @ts-ignore: decorator
@inline
export function slotR(cpu: usize, rec: usize): usize {
  return cpu + load<u8>(rec, REC_R);
}

// @ts-ignore: decorator
@inline
export function slotB(cpu: usize, rec: usize): usize {
  return cpu + load<u8>(rec, REC_B);
}

/**
 * Writes a general register: 8 and 16 bits merge, 32 bits zero-extend. A value that comes straight from
 * a load must have been loaded unsigned: Binaryen 132 folds the extension of an `i32.load` that it
 * knows as signed into `i64.load32_s`.
 */
// @ts-ignore: decorator
@inline
export function put<T>(slot: usize, value: T): void {
  if (sizeof<T>() == 4) store<u64>(slot, (value as u32) as u64, GPR);
  else store<T>(slot, value, GPR);
}

/** Result of an arithmetic operation on `a` and `b`; sets the flags. */
// @ts-ignore: decorator
@inline
function alu<T>(cpu: usize, kind: u32, a: T, b: T): T {
  if (kind == ADD) {
    const r = (a + b) as T;
    setAdd(cpu, a as i64, b as i64, r as i64);
    return r;
  }
  if (kind == SUB || kind == CMP) {
    const r = (a - b) as T;
    setSub(cpu, a as i64, b as i64, r as i64);
    return r;
  }
  if (kind == ADC) {
    const r = (a + b + ((carryFlag(cpu) ? 1 : 0) as T)) as T;
    setAdd(cpu, a as i64, b as i64, r as i64);
    return r;
  }
  if (kind == SBB) {
    const r = (a - b - ((carryFlag(cpu) ? 1 : 0) as T)) as T;
    setSbb(cpu, a as i64, b as i64, r as i64);
    return r;
  }
  let r: T;
  if (kind == OR) r = (a | b) as T;
  else if (kind == XOR) r = (a ^ b) as T;
  else r = (a & b) as T;
  setLogic(cpu, r as i64);
  return r;
}

// @ts-ignore: decorator
@inline
export function aluRR<T>(cpu: usize, rec: usize, kind: u32): void {
  const to = slotB(cpu, rec);
  const r = alu<T>(cpu, kind, load<T>(to, GPR), load<T>(slotR(cpu, rec), GPR));
  if (kind < CMP) put<T>(to, r);
}

// @ts-ignore: decorator
@inline
export function aluRI<T>(cpu: usize, rec: usize, kind: u32): void {
  const to = slotB(cpu, rec);
  const r = alu<T>(cpu, kind, load<T>(to, GPR), load<i32>(rec, REC_IMM) as T);
  if (kind < CMP) put<T>(to, r);
}

// @ts-ignore: decorator
@inline
export function aluRM<T>(cpu: usize, set: u32, rec: usize, kind: u32): bool {
  const ptr = readPtr<T>(cpu, set, addressOf(cpu, rec));
  if (!ptr) return false;
  const to = slotR(cpu, rec);
  const r = alu<T>(cpu, kind, load<T>(to, GPR), load<T>(ptr));
  if (kind < CMP) put<T>(to, r);
  return true;
}

// @ts-ignore: decorator
@inline
function aluMemory<T>(cpu: usize, set: u32, rec: usize, kind: u32, b: T): bool {
  if (kind >= CMP) {
    const ptr = readPtr<T>(cpu, set, addressOf(cpu, rec));
    if (!ptr) return false;
    alu<T>(cpu, kind, load<T>(ptr), b);
    return true;
  }
  const ptr = modifyPtr<T>(cpu, set, addressOf(cpu, rec));
  if (!ptr) return false;
  store<T>(ptr, alu<T>(cpu, kind, load<T>(ptr), b));
  ordered(cpu, rec);
  if (ptr == cpu + BOUNCE) commit(cpu);
  return true;
}

// @ts-ignore: decorator
@inline
export function aluMR<T>(cpu: usize, set: u32, rec: usize, kind: u32): bool {
  return aluMemory<T>(cpu, set, rec, kind, load<T>(slotR(cpu, rec), GPR));
}

// @ts-ignore: decorator
@inline
export function aluMI<T>(cpu: usize, set: u32, rec: usize, kind: u32): bool {
  return aluMemory<T>(cpu, set, rec, kind, load<i32>(rec, REC_IMM) as T);
}

// @ts-ignore: decorator
@inline
export function incR<T>(cpu: usize, rec: usize, kind: u32): void {
  const to = slotB(cpu, rec);
  const a = load<T>(to, GPR);
  const r = (kind == CC_INC ? a + (1 as T) : a - (1 as T)) as T;
  setIncDec(cpu, kind, a as i64, r as i64);
  put<T>(to, r);
}

// @ts-ignore: decorator
@inline
export function incM<T>(cpu: usize, set: u32, rec: usize, kind: u32): bool {
  const ptr = modifyPtr<T>(cpu, set, addressOf(cpu, rec));
  if (!ptr) return false;
  const a = load<T>(ptr);
  const r = (kind == CC_INC ? a + (1 as T) : a - (1 as T)) as T;
  store<T>(ptr, r);
  ordered(cpu, rec);
  if (ptr == cpu + BOUNCE) commit(cpu);
  setIncDec(cpu, kind, a as i64, r as i64);
  return true;
}

// @ts-ignore: decorator
@inline
export function movRM<T>(cpu: usize, set: u32, rec: usize): bool {
  const ptr = readPtr<T>(cpu, set, addressOf(cpu, rec));
  if (!ptr) return false;
  put<T>(slotR(cpu, rec), load<T>(ptr));
  return true;
}

/** Load of a narrow type S, extended into a register of type T. */
// @ts-ignore: decorator
@inline
export function extendRM<S, T>(cpu: usize, set: u32, rec: usize): bool {
  const ptr = readPtr<S>(cpu, set, addressOf(cpu, rec));
  if (!ptr) return false;
  put<T>(slotR(cpu, rec), load<S>(ptr) as T);
  return true;
}

// @ts-ignore: decorator
@inline
export function extendRR<S, T>(cpu: usize, rec: usize): void {
  put<T>(slotR(cpu, rec), load<S>(slotB(cpu, rec), GPR) as T);
}

/** SHL, SHR and SAR of a register by an immediate (SDM vol. 2 "SAL/SAR/SHL/SHR"). */
// @ts-ignore: decorator
@inline
export function shiftRI<T>(cpu: usize, rec: usize, kind: u32): void {
  const bits: u32 = sizeof<T>() * 8;
  const count = load<u32>(rec, REC_IMM) & (bits == 64 ? 63 : 31);
  const to = slotB(cpu, rec);
  const a = load<T>(to, GPR) as i64;
  if (count == 0) {
    put<T>(to, a as T);
    return;
  }
  if (kind == SHL) {
    const r = (a << count) as T;
    const carry = bits == 64 ? ((a as u64) >> (64 - count)) & 1 : (((a as u64) << count) >> bits) & 1;
    setParts(cpu, r as i64, carry, carry ^ (((r as i64) as u64) >> 63));
    put<T>(to, r);
  } else if (kind == SHR) {
    const u = bits == 64 ? (a as u64) : (a as u64) & (((1 as u64) << bits) - 1);
    const r = (u >> count) as T;
    setParts(cpu, r as i64, (u >> (count - 1)) & 1, (u >> (bits - 1)) & 1);
    put<T>(to, r);
  } else {
    const r = (a >> count) as T;
    setParts(cpu, r as i64, ((a >> (count - 1)) & 1) as u64, 0);
    put<T>(to, r);
  }
}

/** Two-operand signed multiplication: CF = OF = the product was cut. */
// @ts-ignore: decorator
@inline
export function imul<T>(cpu: usize, to: usize, a: T, b: T): void {
  if (sizeof<T>() == 8) {
    const r = (a * b) as i64;
    store<u32>(cpu, CC_MUL64, CC_OP);
    store<i64>(cpu, a as i64, CC_A);
    store<i64>(cpu, b as i64, CC_B);
    store<i64>(cpu, r, CC_RES);
    store<i64>(to, r, GPR);
    return;
  }
  const product = (a as i64) * (b as i64);
  const r = product as T;
  const cut: u64 = (r as i64) != product ? 1 : 0;
  setParts(cpu, r as i64, cut, cut);
  put<T>(to, r);
}

// @ts-ignore: decorator
@inline
export function imulRM<T>(cpu: usize, set: u32, rec: usize): bool {
  const ptr = readPtr<T>(cpu, set, addressOf(cpu, rec));
  if (!ptr) return false;
  const to = slotR(cpu, rec);
  imul<T>(cpu, to, load<T>(to, GPR), load<T>(ptr));
  return true;
}

// @ts-ignore: decorator
@inline
export function imulRMI<T>(cpu: usize, set: u32, rec: usize): bool {
  const ptr = readPtr<T>(cpu, set, addressOf(cpu, rec));
  if (!ptr) return false;
  imul<T>(cpu, slotR(cpu, rec), load<T>(ptr), load<i32>(rec, REC_IMM) as T);
  return true;
}

/** Pushes 64 bits in 64-bit code. */
// @ts-ignore: decorator
@inline
export function push64(cpu: usize, set: u32, value: u64): bool {
  const rsp = load<u64>(cpu, RSP) - 8;
  if (!storeTo<u64>(cpu, set, rsp, value)) return false;
  store<u64>(cpu, rsp, RSP);
  return true;
}

/**
 * Conditions by their 4-bit code, in line for the flags that comparisons leave. `code` is constant, so
 * only its own arm remains.
 */
// @ts-ignore: decorator
@inline
export function test(cpu: usize, code: u32): bool {
  const kind = load<u32>(cpu, CC_OP);
  const negate = (code & 1) != 0;
  let value: bool;
  if ((code >> 1) == 2) {
    value = kind == CC_EXPLICIT ? (load<u32>(cpu, FLAGS) & ZF) != 0 : load<i64>(cpu, CC_RES) == 0;
  } else if ((code >> 1) == 4) {
    value = kind == CC_EXPLICIT ? (load<u32>(cpu, FLAGS) & SF) != 0 : load<i64>(cpu, CC_RES) < 0;
  } else if ((code >> 1) == 1) {
    value = kind == CC_SUB ? load<u64>(cpu, CC_A) < load<u64>(cpu, CC_B) : carryFlag(cpu);
  } else if ((code >> 1) == 3) {
    value = kind == CC_SUB ? load<u64>(cpu, CC_A) <= load<u64>(cpu, CC_B) : condition(cpu, 6);
  } else if ((code >> 1) == 6) {
    value = kind == CC_SUB
      ? load<i64>(cpu, CC_A) < load<i64>(cpu, CC_B)
      : kind == CC_LOGIC ? load<i64>(cpu, CC_RES) < 0 : condition(cpu, 12);
  } else if ((code >> 1) == 7) {
    value = kind == CC_SUB
      ? load<i64>(cpu, CC_A) <= load<i64>(cpu, CC_B)
      : kind == CC_LOGIC ? load<i64>(cpu, CC_RES) <= 0 : condition(cpu, 14);
  } else {
    value = condition(cpu, code & ~1);
  }
  return value != negate;
}

// @ts-ignore: decorator
@inline
export function setccR(cpu: usize, rec: usize, code: u32): void {
  store<u8>(slotB(cpu, rec), test(cpu, code) ? 1 : 0, GPR);
}

// @ts-ignore: decorator
@inline
export function setccM(cpu: usize, set: u32, rec: usize, code: u32): bool {
  return storeTo<u8>(cpu, set, addressOf(cpu, rec), test(cpu, code) ? 1 : 0);
}
