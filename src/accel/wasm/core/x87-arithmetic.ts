/**
 * x87 arithmetic and comparison (Intel SDM vol. 1, 8.3.4–8.3.6; vol. 2, FADD … FXAM): operands are A
 * and B of softfloat-core.ts, NaNs follow table 4-7 of vol. 1 for the x87 FPU.
 */
import { FPU_SW } from "../layout";
import { CF, AF, OF, PF, SF, setSome, ZF } from "./flags";
import {
  compareOrdered, FP_ADD, FP_DIV, FP_MUL, FP_SUB, normalizeR, operate, squareRoot,
} from "./softfloat-arithmetic";
import {
  aDenormal, aExp, aKind, aSig, aSign, bDenormal, bExp, bKind, bSig, bSign, CMP_EQUAL, CMP_LESS, CMP_UNORDERED, FP_DE,
  FP_IE, FP_PE, FP_ZE, fpRaise, fpRounding, fractionLost, KIND_FINITE, KIND_INF, KIND_QNAN, KIND_SNAN, KIND_UNSUPPORTED,
  KIND_ZERO, roundR, roundToMagnitude, setB, setExact, setInvalid, setR, setWide, swapAB, uExp, uKind, unpack80,
  unpackInteger, unpackMagnitude, uSig,
} from "./softfloat-core";
import {
  isEmpty, loadA, loadB, popTimes, precisionOf, push, putIndefinite, putR, setStatus, settle, stackFault, stAt, SW_C0,
  SW_C1, SW_C2, SW_C3, SW_CC,
} from "./x87-state";

const TOP: u64 = 0x8000000000000000;

/** R = the NaN that A and B give together, when one of them is no number; whether it was so. */
export function nanOfAB(): bool {
  if (aKind < KIND_QNAN && bKind < KIND_QNAN) return false;
  if (aKind == KIND_UNSUPPORTED || bKind == KIND_UNSUPPORTED) {
    setInvalid();
    return true;
  }
  if (aKind == KIND_SNAN || bKind == KIND_SNAN) fpRaise(FP_IE);
  let first: bool;
  if (aKind < KIND_QNAN || bKind < KIND_QNAN) first = aKind >= KIND_QNAN;
  else if (aKind != bKind) first = aKind == KIND_QNAN;
  else first = aSig > bSig || (aSig == bSig && aSign <= bSign);
  if (first) setExact(KIND_QNAN, aSign, 0, aSig);
  else setExact(KIND_QNAN, bSign, 0, bSig);
  return true;
}

/** R = A when it is no number, quieted; whether it was so. */
export function nanOfA(): bool {
  if (aKind < KIND_QNAN) return false;
  if (aKind == KIND_UNSUPPORTED) {
    setInvalid();
    return true;
  }
  if (aKind == KIND_SNAN) fpRaise(FP_IE);
  setExact(KIND_QNAN, aSign, 0, aSig);
  return true;
}

/** Settles the exceptions, writes R to ST(i) and pops. */
export function deliver(cpu: usize, i: u32, pops: u32): void {
  if (!settle(cpu)) return;
  putR(cpu, i);
  popTimes(cpu, pops);
}

/** The response to an empty operand register, where the result would have gone to ST(i). */
export function underflow(cpu: usize, i: u32, pops: u32): void {
  if (!stackFault(cpu, false)) return;
  putIndefinite(cpu, i);
  popTimes(cpu, pops);
}

/**
 * ST(target) = A op B and pops; `digit` is the three bits that choose FADD, FMUL, FSUB, FSUBR, FDIV,
 * FDIVR in all arithmetic opcodes.
 */
export function arithmeticAB(cpu: usize, digit: u32, target: u32, pops: u32): void {
  if (!nanOfAB()) {
    if (digit == 5 || digit == 7) swapAB();
    operate(digit == 0 ? FP_ADD : digit == 1 ? FP_MUL : digit < 6 ? FP_SUB : FP_DIV);
    roundR(precisionOf(cpu), 16383);
  }
  deliver(cpu, target, pops);
}

/** ST(0) op ST(i), to ST(target). */
export function registerArithmetic(cpu: usize, digit: u32, i: u32, target: u32, pops: u32): void {
  if (isEmpty(cpu, 0) || isEmpty(cpu, i)) {
    underflow(cpu, target, pops);
    return;
  }
  loadA(cpu, 0);
  loadB(cpu, i);
  arithmeticAB(cpu, digit, target, pops);
}

/* ---- comparisons ------------------------------------------------------------------------------- */

/** Compares A with B; `quiet`: a QNaN is no invalid operation. */
function compareAB(quiet: bool): u32 {
  if (aKind < KIND_QNAN && bKind < KIND_QNAN) return compareOrdered();
  if (!quiet || aKind > KIND_QNAN || bKind > KIND_QNAN) fpRaise(FP_IE);
  return CMP_UNORDERED;
}

function setCondition(cpu: usize, result: u32): void {
  const bits: u32 = result == CMP_UNORDERED ? SW_CC : result == CMP_LESS ? SW_C0 : result == CMP_EQUAL ? SW_C3 : 0;
  setStatus(cpu, SW_CC, bits);
}

function setFlagsOf(cpu: usize, result: u32): void {
  const bits = result == CMP_UNORDERED ? ZF | PF | CF : result == CMP_LESS ? CF : result == CMP_EQUAL ? ZF : 0;
  setSome(cpu, CF | PF | AF | ZF | SF | OF, bits);
}

/** FCOM with B as second operand: condition codes, then pops. */
export function compareCodes(cpu: usize, quiet: bool, pops: u32): void {
  const result = compareAB(quiet);
  if (!settle(cpu)) return;
  setCondition(cpu, result);
  popTimes(cpu, pops);
}

/** The response of comparisons to an empty register. */
export function compareUnderflow(cpu: usize, pops: u32): void {
  if (!stackFault(cpu, false)) return;
  setCondition(cpu, CMP_UNORDERED);
  popTimes(cpu, pops);
}

/** FCOM, FUCOM: ST(0) with ST(i). */
export function compareRegisters(cpu: usize, i: u32, quiet: bool, pops: u32): void {
  if (isEmpty(cpu, 0) || isEmpty(cpu, i)) {
    compareUnderflow(cpu, pops);
    return;
  }
  loadA(cpu, 0);
  loadB(cpu, i);
  compareCodes(cpu, quiet, pops);
}

/** FCOMI, FUCOMI: ST(0) with ST(i), to ZF PF CF. */
export function compareToFlags(cpu: usize, i: u32, quiet: bool, pops: u32): void {
  let result = CMP_UNORDERED;
  if (isEmpty(cpu, 0) || isEmpty(cpu, i)) {
    if (!stackFault(cpu, false)) return;
  } else {
    loadA(cpu, 0);
    loadB(cpu, i);
    result = compareAB(quiet);
    if (!settle(cpu)) return;
  }
  setFlagsOf(cpu, result);
  popTimes(cpu, pops);
}

/** FTST: ST(0) with +0.0. */
export function test(cpu: usize): void {
  if (isEmpty(cpu, 0)) {
    compareUnderflow(cpu, 0);
    return;
  }
  loadA(cpu, 0);
  unpackInteger(0);
  setB();
  compareCodes(cpu, false, 0);
}

/** FXAM: the class of ST(0) in C3 C2 C0, its sign in C1; no exceptions. */
export function examine(cpu: usize): void {
  const at = stAt(cpu, 0);
  const se = load<u16>(at, 8) as u32;
  let bits: u32 = se & 0x8000 ? SW_C1 : 0;
  unpack80(se, load<u64>(at));
  if (isEmpty(cpu, 0)) bits |= SW_C3 | SW_C0;
  else if (uKind == KIND_ZERO) bits |= SW_C3;
  else if (uKind == KIND_INF) bits |= SW_C2 | SW_C0;
  else if (uKind == KIND_FINITE) bits |= se & 0x7fff ? SW_C2 : SW_C3 | SW_C2;
  else if (uKind != KIND_UNSUPPORTED) bits |= SW_C0;
  setStatus(cpu, SW_CC | SW_C1, bits);
}

/* ---- one operand ---------------------------------------------------------------------------------- */

/** FSQRT. */
export function rootOfTop(cpu: usize): void {
  if (isEmpty(cpu, 0)) {
    underflow(cpu, 0, 0);
    return;
  }
  loadA(cpu, 0);
  if (!nanOfA()) {
    squareRoot();
    roundR(precisionOf(cpu), 16383);
  }
  deliver(cpu, 0, 0);
}

/** FABS and FCHS: the sign bit becomes `(sign & keep) ^ flip`. */
export function changeSign(cpu: usize, keep: u32, flip: u32): void {
  if (isEmpty(cpu, 0)) {
    underflow(cpu, 0, 0);
    return;
  }
  const at = stAt(cpu, 0);
  const se = load<u16>(at, 8) as u32;
  store<u16>(at, ((se & (0x7fff | keep)) ^ flip) as u16, 8);
  setStatus(cpu, SW_C1, 0);
}

/** FRNDINT. */
export function roundTop(cpu: usize): void {
  if (isEmpty(cpu, 0)) {
    underflow(cpu, 0, 0);
    return;
  }
  loadA(cpu, 0);
  if (!nanOfA()) {
    if (aDenormal) fpRaise(FP_DE);
    setR();
    if (aKind == KIND_FINITE && aExp < 63) {
      unpackMagnitude(roundToMagnitude(fpRounding));
      if (fractionLost) fpRaise(FP_PE);
      setExact(uKind, aSign, uExp, uSig);
    }
  }
  deliver(cpu, 0, 0);
}

/** FSCALE: ST(0) × 2^ST(1), ST(1) cut to an integer. */
export function scale(cpu: usize): void {
  if (isEmpty(cpu, 0) || isEmpty(cpu, 1)) {
    underflow(cpu, 0, 0);
    return;
  }
  loadA(cpu, 0);
  loadB(cpu, 1);
  if (!nanOfAB()) {
    scaleAB();
    roundR(64, 16383);
  }
  deliver(cpu, 0, 0);
}

function scaleAB(): void {
  if (bKind == KIND_INF && aKind == (bSign ? KIND_INF : KIND_ZERO)) {
    setInvalid();
    return;
  }
  if (aDenormal || bDenormal) fpRaise(FP_DE);
  if (bKind == KIND_INF) {
    setExact(bSign ? KIND_ZERO : KIND_INF, aSign, 0, TOP);
  } else if (aKind != KIND_FINITE || bKind == KIND_ZERO || bExp < 0) {
    setExact(aKind, aSign, aExp, aSig);
  } else {
    /* Anything beyond 2^16 overflows or underflows from every exponent. */
    const by = bExp > 16 ? 0x20000 : (bSig >> (63 - bExp)) as i32;
    setExact(KIND_FINITE, aSign, bSign ? aExp - by : aExp + by, aSig);
  }
}

/** FXTRACT: the exponent replaces ST(0), the significand is pushed. */
export function extract(cpu: usize): void {
  if (isEmpty(cpu, 0) || !isEmpty(cpu, 7)) {
    if (!stackFault(cpu, !isEmpty(cpu, 0))) return;
    putIndefinite(cpu, 0);
    push(cpu);
    putIndefinite(cpu, 0);
    return;
  }
  loadA(cpu, 0);
  const sign = aSign;
  if (nanOfA()) {
    if (!settle(cpu)) return;
    putR(cpu, 0);
    push(cpu);
    putR(cpu, 0);
    return;
  }
  if (aKind == KIND_ZERO) {
    fpRaise(FP_ZE);
    setExact(KIND_INF, 1, 0, TOP);
  } else if (aKind == KIND_INF) {
    setExact(KIND_INF, 0, 0, TOP);
  } else {
    if (aDenormal) fpRaise(FP_DE);
    unpackInteger(aExp as i64);
    setR();
  }
  if (!settle(cpu)) return;
  putR(cpu, 0);
  push(cpu);
  setExact(aKind, sign, 0, aSig);
  putR(cpu, 0);
}

/**
 * FPREM and FPREM1 (`nearest`: the quotient is rounded to the nearest integer). A step takes away less
 * than 64 bits of quotient; C2 tells that the remainder is not there yet.
 */
export function partialRemainder(cpu: usize, nearest: bool): void {
  setStatus(cpu, SW_C2, 0);
  if (isEmpty(cpu, 0) || isEmpty(cpu, 1)) {
    underflow(cpu, 0, 0);
    return;
  }
  loadA(cpu, 0);
  loadB(cpu, 1);
  let codes = load<u32>(cpu, FPU_SW) & (SW_C0 | SW_C3);
  if (!nanOfAB()) {
    codes = remainderAB(nearest, codes);
    roundR(64, 16383);
  }
  if (!settle(cpu)) return;
  setStatus(cpu, SW_CC | SW_C1, codes);
  putR(cpu, 0);
}

/** R = the remainder; returns the condition codes, `codes` when the operation is invalid. */
function remainderAB(nearest: bool, codes: u32): u32 {
  if (aKind == KIND_INF || bKind == KIND_ZERO) {
    setInvalid();
    return codes;
  }
  if (aDenormal || bDenormal) fpRaise(FP_DE);
  setExact(aKind, aSign, aExp, aSig);
  if (aKind == KIND_ZERO || bKind == KIND_INF) return 0;
  const distance = aExp - bExp;
  if (distance < -1 || (distance < 0 && !nearest)) return 0;
  let steps = distance;
  if (distance >= 64) steps = (distance & 31) | 32;
  let rest = aSig;
  let restHigh: u64 = 0;
  let quotient: u64 = 0;
  for (let i = 0; i <= steps; i++) {
    quotient <<= 1;
    if (restHigh || rest >= bSig) {
      rest -= bSig;
      quotient |= 1;
    }
    if (i < steps) {
      restHigh = rest >> 63;
      rest <<= 1;
    } else {
      restHigh = 0;
    }
  }
  const exp = distance < 0 ? aExp : aExp - steps;
  let sign = aSign;
  if (nearest && distance < 64) {
    /* The rest is below B, or A itself with half of B's exponent: compare twice the rest with B. */
    const more = distance < 0 ? rest > bSig : rest >> 63 || rest << 1 > bSig;
    const half = distance < 0 ? rest == bSig : !(rest >> 63) && rest << 1 == bSig;
    if (more || (half && quotient & 1)) {
      quotient++;
      sign ^= 1;
      rest = distance < 0 ? bSig - (rest - bSig) : bSig - rest;
    }
  }
  if (rest == 0) {
    setExact(KIND_ZERO, aSign, 0, 0);
  } else {
    setWide(sign, exp, rest, 0);
    normalizeR();
  }
  if (distance >= 64) return SW_C2;
  return (quotient & 4 ? SW_C0 : 0) | (quotient & 2 ? SW_C3 : 0) | (quotient & 1 ? SW_C1 : 0);
}
