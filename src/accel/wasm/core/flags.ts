/**
 * The arithmetic flags (Intel SDM vol. 1, 3.4.3.1), computed when they are read.
 *
 * An operation leaves its kind in CC_OP and its operands and result, sign-extended to 64 bits, in
 * CC_A, CC_B and CC_RES. Sign extension keeps both the signed and the unsigned order of values of
 * one size, and puts each size's top bit at bit 63: so no formula below knows the operand size.
 */
import { CC_A, CC_B, CC_OP, CC_RES, FLAGS } from "../layout";
import { mulHighSigned } from "./divide";

/** All flags are in FLAGS. */
export const CC_EXPLICIT: u32 = 0;
/** res = a - b: conditions compare a with b. */
export const CC_SUB: u32 = 1;
/** Only CC_RES counts; CF = OF = AF = 0. */
export const CC_LOGIC: u32 = 2;
/** res = a + b, or a + b + 1. */
export const CC_ADD: u32 = 3;
/** res = a - b - borrow. */
export const CC_SBB: u32 = 4;
/** res = a + 1 and res = a - 1 with CC_B = 1; CF is in FLAGS. */
export const CC_INC: u32 = 5;
export const CC_DEC: u32 = 6;

/** CF and AF are those bits of CC_A, OF is bit 0 of CC_B. */
export const CC_PARTS: u32 = 7;
/** res = low half of a × b, 64 bits: CF = OF = the product does not fit. */
export const CC_MUL64: u32 = 8;

export const CF: u32 = 0x001;
export const PF: u32 = 0x004;
export const AF: u32 = 0x010;
export const ZF: u32 = 0x040;
export const SF: u32 = 0x080;
export const TF: u32 = 0x100;
export const IF: u32 = 0x200;
export const DF: u32 = 0x400;
export const OF: u32 = 0x800;
export const IOPL: u32 = 0x3000;
export const NT: u32 = 0x4000;
export const RF: u32 = 0x10000;
export const VM: u32 = 0x20000;
export const AC: u32 = 0x40000;
export const VIF: u32 = 0x80000;
export const VIP: u32 = 0x100000;
export const ARITHMETIC: u32 = CF | PF | AF | ZF | SF | OF;

// @ts-ignore: decorator
@inline
export function setSub(cpu: usize, a: i64, b: i64, res: i64): void {
  store<u32>(cpu, CC_SUB, CC_OP);
  store<i64>(cpu, a, CC_A);
  store<i64>(cpu, b, CC_B);
  store<i64>(cpu, res, CC_RES);
}

// @ts-ignore: decorator
@inline
export function setAdd(cpu: usize, a: i64, b: i64, res: i64): void {
  store<u32>(cpu, CC_ADD, CC_OP);
  store<i64>(cpu, a, CC_A);
  store<i64>(cpu, b, CC_B);
  store<i64>(cpu, res, CC_RES);
}

// @ts-ignore: decorator
@inline
export function setSbb(cpu: usize, a: i64, b: i64, res: i64): void {
  store<u32>(cpu, CC_SBB, CC_OP);
  store<i64>(cpu, a, CC_A);
  store<i64>(cpu, b, CC_B);
  store<i64>(cpu, res, CC_RES);
}

// @ts-ignore: decorator
@inline
export function setLogic(cpu: usize, res: i64): void {
  store<u32>(cpu, CC_LOGIC, CC_OP);
  store<i64>(cpu, res, CC_RES);
}

/** ZF SF PF of `res`, the given CF and OF. */
// @ts-ignore: decorator
@inline
export function setParts(cpu: usize, res: i64, carry: u64, overflow: u64): void {
  store<u32>(cpu, CC_PARTS, CC_OP);
  store<u64>(cpu, carry, CC_A);
  store<u64>(cpu, overflow, CC_B);
  store<i64>(cpu, res, CC_RES);
}

/** Whether the signed product of `a` and `b`, whose low half is `low`, does not fit 64 bits. */
function productOverflows(a: i64, b: i64, low: i64): bool {
  return mulHighSigned(a, b) != low >> 63;
}

/** `kind` is CC_INC or CC_DEC: CF keeps its value. */
// @ts-ignore: decorator
@inline
export function setIncDec(cpu: usize, kind: u32, a: i64, res: i64): void {
  const carry = carryFlag(cpu) ? 1 : 0;
  store<u32>(cpu, (load<u32>(cpu, FLAGS) & ~CF) | carry, FLAGS);
  store<u32>(cpu, kind, CC_OP);
  store<i64>(cpu, a, CC_A);
  store<i64>(cpu, 1, CC_B);
  store<i64>(cpu, res, CC_RES);
}

/** Sets CF PF AF ZF SF OF to those bits of `flags`; the other bits of FLAGS stay. */
export function setArithmetic(cpu: usize, flags: u32): void {
  store<u32>(cpu, CC_EXPLICIT, CC_OP);
  store<u32>(cpu, (load<u32>(cpu, FLAGS) & ~ARITHMETIC) | (flags & ARITHMETIC), FLAGS);
}

/** Sets only the flags of `mask` to those bits of `flags`. */
export function setSome(cpu: usize, mask: u32, flags: u32): void {
  setArithmetic(cpu, (arithmetic(cpu) & ~mask) | (flags & mask));
}

/** ZF, SF and PF of a sign-extended result. */
export function zspOf(res: i64): u32 {
  return (res == 0 ? ZF : 0) | (res < 0 ? SF : 0) | (popcnt<u32>((res as u32) & 0xff) & 1 ? 0 : PF);
}

export function carryFlag(cpu: usize): bool {
  const kind = load<u32>(cpu, CC_OP);
  if (kind == CC_LOGIC) return false;
  const a = load<i64>(cpu, CC_A);
  const b = load<i64>(cpu, CC_B);
  if (kind == CC_SUB) return (a as u64) < (b as u64);
  const res = load<i64>(cpu, CC_RES);
  if (kind == CC_PARTS) return (a & CF) != 0;
  if (kind == CC_MUL64) return productOverflows(a, b, res);
  if (kind == CC_ADD) return ((a & b) | ((a | b) & ~res)) < 0;
  if (kind == CC_SBB) return ((~a & b) | ((~a | b) & res)) < 0;
  return (load<u32>(cpu, FLAGS) & CF) != 0;
}

export function overflowFlag(cpu: usize): bool {
  const kind = load<u32>(cpu, CC_OP);
  if (kind == CC_LOGIC) return false;
  if (kind == CC_EXPLICIT) return (load<u32>(cpu, FLAGS) & OF) != 0;
  const a = load<i64>(cpu, CC_A);
  const b = load<i64>(cpu, CC_B);
  const res = load<i64>(cpu, CC_RES);
  if (kind == CC_PARTS) return (b & 1) != 0;
  if (kind == CC_MUL64) return productOverflows(a, b, res);
  if (kind == CC_ADD || kind == CC_INC) return ((a ^ res) & (b ^ res)) < 0;
  return ((a ^ b) & (a ^ res)) < 0;
}

export function zeroFlag(cpu: usize): bool {
  if (load<u32>(cpu, CC_OP) == CC_EXPLICIT) return (load<u32>(cpu, FLAGS) & ZF) != 0;
  return load<i64>(cpu, CC_RES) == 0;
}

export function signFlag(cpu: usize): bool {
  if (load<u32>(cpu, CC_OP) == CC_EXPLICIT) return (load<u32>(cpu, FLAGS) & SF) != 0;
  return load<i64>(cpu, CC_RES) < 0;
}

export function parityFlag(cpu: usize): bool {
  if (load<u32>(cpu, CC_OP) == CC_EXPLICIT) return (load<u32>(cpu, FLAGS) & PF) != 0;
  return (popcnt<u32>(load<u32>(cpu, CC_RES) & 0xff) & 1) == 0;
}

/** CF PF AF ZF SF OF as they are now. */
export function arithmetic(cpu: usize): u32 {
  const kind = load<u32>(cpu, CC_OP);
  if (kind == CC_EXPLICIT) return load<u32>(cpu, FLAGS) & ARITHMETIC;
  const res = load<i64>(cpu, CC_RES);
  let flags = zspOf(res);
  if (kind == CC_LOGIC) return flags;
  if (carryFlag(cpu)) flags |= CF;
  if (overflowFlag(cpu)) flags |= OF;
  if (kind == CC_MUL64) return flags;
  if (kind == CC_PARTS) return flags | (load<u32>(cpu, CC_A) & AF);
  return flags | ((load<u32>(cpu, CC_A) ^ load<u32>(cpu, CC_B) ^ (res as u32)) & AF);
}

/** RFLAGS whole; bit 1 is always 1. */
export function getFlags(cpu: usize): u32 {
  return (load<u32>(cpu, FLAGS) & ~ARITHMETIC) | arithmetic(cpu) | 2;
}

/** The condition of Jcc, SETcc and CMOVcc by its 4-bit code (SDM vol. 2, appendix B.1.4.7). */
export function condition(cpu: usize, code: u32): bool {
  let value: bool;
  switch (code >> 1) {
    case 0: value = overflowFlag(cpu); break;
    case 1: value = carryFlag(cpu); break;
    case 2: value = zeroFlag(cpu); break;
    case 3: value = carryFlag(cpu) || zeroFlag(cpu); break;
    case 4: value = signFlag(cpu); break;
    case 5: value = parityFlag(cpu); break;
    case 6: value = signFlag(cpu) != overflowFlag(cpu); break;
    default: value = zeroFlag(cpu) || signFlag(cpu) != overflowFlag(cpu); break;
  }
  return value != ((code & 1) != 0);
}
