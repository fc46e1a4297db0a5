/**
 * Arithmetic of 128 bits for the transcendental functions: fixed-point fractions for the series, and
 * pairs of words as floating-point significands. A function leaves its result in `wHi` and `wLo`.
 *
 * A fraction has its binary point before bit 127: it is below 1. A factor has it after bit 127: it is
 * below 2. Results are truncated; the error of a series of n terms is below n units of the last place,
 * 2^-120 at most, against the 2^-64 that is asked for.
 */
import { multiplyWide, productLow } from "./softfloat-arithmetic";
import { setWide } from "./softfloat-core";

export let wHi: u64 = 0;
export let wLo: u64 = 0;

export function setW(hi: u64, lo: u64): void {
  wHi = hi;
  wLo = lo;
}

/** W = the upper half of the product of two 128-bit integers. */
export function multiply128(aHi: u64, aLo: u64, bHi: u64, bLo: u64): void {
  const carryHigh = multiplyWide(aLo, bLo);
  const firstHigh = multiplyWide(aHi, bLo);
  const firstLow = productLow;
  const secondHigh = multiplyWide(aLo, bHi);
  const secondLow = productLow;
  const high = multiplyWide(aHi, bHi);
  const low = productLow;
  const middle = firstLow + secondLow;
  let carry: u64 = middle < firstLow ? 1 : 0;
  if (middle + carryHigh < middle) carry++;
  const sum = firstHigh + secondHigh;
  let top: u64 = sum < firstHigh ? 1 : 0;
  const withCarry = sum + carry;
  if (withCarry < sum) top++;
  wLo = low + withCarry;
  if (wLo < low) top++;
  wHi = high + top;
}

/** W /= a number below 2^31. */
export function divideSmall(divisor: u64): void {
  const first = wHi >> 32;
  const q3 = first / divisor;
  const second = ((first - q3 * divisor) << 32) | (wHi & 0xffffffff);
  const q2 = second / divisor;
  const third = ((second - q2 * divisor) << 32) | (wLo >> 32);
  const q1 = third / divisor;
  const fourth = ((third - q1 * divisor) << 32) | (wLo & 0xffffffff);
  wHi = (q3 << 32) | q2;
  wLo = (q1 << 32) | (fourth / divisor);
}

export function shiftLeftW(count: u32): void {
  if (count >= 64) {
    wHi = wLo << (count - 64);
    wLo = 0;
  } else if (count > 0) {
    wHi = (wHi << count) | (wLo >> (64 - count));
    wLo <<= count;
  }
}

export function shiftRightW(count: u32): void {
  if (count >= 128) {
    wHi = 0;
    wLo = 0;
  } else if (count >= 64) {
    wLo = wHi >> (count - 64);
    wHi = 0;
  } else if (count > 0) {
    wLo = (wLo >> count) | (wHi << (64 - count));
    wHi >>= count;
  }
}

export function addW(hi: u64, lo: u64): void {
  const low = wLo + lo;
  wHi += hi + (low < lo ? 1 : 0);
  wLo = low;
}

/** W = hi:lo - W. */
export function subtractFrom(hi: u64, lo: u64): void {
  const borrow: u64 = lo < wLo ? 1 : 0;
  wLo = lo - wLo;
  wHi = hi - wHi - borrow;
}

/** W = `numerator` × 2^127 / `denominator`, both with bit 127 set or the numerator smaller: below 2. */
export function divide128(hi: u64, lo: u64, divisorHi: u64, divisorLo: u64): void {
  let quotientHi: u64 = 0;
  let quotientLo: u64 = 0;
  let carry: u64 = 0;
  for (let i = 0; i < 128; i++) {
    quotientHi = (quotientHi << 1) | (quotientLo >> 63);
    quotientLo <<= 1;
    if (carry || hi > divisorHi || (hi == divisorHi && lo >= divisorLo)) {
      hi -= divisorHi + (lo < divisorLo ? 1 : 0);
      lo -= divisorLo;
      quotientLo |= 1;
    }
    carry = hi >> 63;
    hi = (hi << 1) | (lo >> 63);
    lo <<= 1;
  }
  wHi = quotientHi;
  wLo = quotientLo;
}

/* ---- W as a floating-point number: wHi:wLo × 2^(wExp - 127), bit 127 set ------------------------ */

export let wExp: i32 = 0;

export function setFloat(hi: u64, lo: u64, exp: i32): void {
  wHi = hi;
  wLo = lo;
  wExp = exp;
  normalizeW();
}

/** Moves the first set bit to bit 127; W is not zero. */
export function normalizeW(): void {
  if (wHi == 0) {
    wHi = wLo;
    wLo = 0;
    wExp -= 64;
  }
  const shift = clz<u64>(wHi) as u32;
  shiftLeftW(shift);
  wExp -= shift;
}

/** W = W × the number of significand hi:lo and exponent `exp`. */
export function multiplyW(hi: u64, lo: u64, exp: i32): void {
  multiply128(wHi, wLo, hi, lo);
  wExp += exp + 1;
  normalizeW();
}

/** W = the number of significand hi:lo and exponent `exp` / W. */
export function divideByW(hi: u64, lo: u64, exp: i32): void {
  divide128(hi, lo, wHi, wLo);
  wExp = exp - wExp;
  normalizeW();
}

/** W, a floating-point number below 1, as a fraction. */
export function toFraction(): void {
  shiftRightW(-wExp - 1);
}

/** The square of a floating-point number below 1 as a fraction. */
export function squareFraction(hi: u64, lo: u64, exp: i32): void {
  multiply128(hi, lo, hi, lo);
  shiftRightW(-2 * exp - 2);
}

/* ---- series ---------------------------------------------------------------------------------------- */

const ONE: u64 = 0x8000000000000000;

/** W = the factor Σ (-y)^k / (2k+1)! for a fraction y < 0.62: sin r = r × W with y = r². */
export function sineSeries(hi: u64, lo: u64): void {
  setW(ONE, 0);
  for (let k: u64 = 17; k > 0; k--) {
    multiply128(wHi, wLo, hi, lo);
    divideSmall(2 * k * (2 * k + 1));
    subtractFrom(ONE, 0);
  }
}

/** W = the factor Σ (-y)^k / (2k)!: cos r with y = r². */
export function cosineSeries(hi: u64, lo: u64): void {
  setW(ONE, 0);
  for (let k: u64 = 18; k > 0; k--) {
    multiply128(wHi, wLo, hi, lo);
    divideSmall(2 * k * (2 * k - 1));
    subtractFrom(ONE, 0);
  }
}

/** W = the factor Σ (±z)^k / (k+1)! for a fraction z < 0.7: e^±z - 1 = ±z × W. */
export function exponentialSeries(hi: u64, lo: u64, negative: bool): void {
  setW(ONE, 0);
  for (let k: u64 = 32; k > 0; k--) {
    multiply128(wHi, wLo, hi, lo);
    divideSmall(k + 1);
    if (negative) subtractFrom(ONE, 0);
    else addW(ONE, 0);
  }
}

/** W = the factor Σ y^k / (2k+1) for a fraction y < 0.03: artanh s = s × W with y = s². */
export function logarithmSeries(hi: u64, lo: u64): void {
  setW(0, 0);
  for (let k: u64 = 25; ; k--) {
    multiply128(wHi, wLo, hi, lo);
    const sumHi = wHi;
    const sumLo = wLo;
    setW(ONE, 0);
    divideSmall(2 * k + 1);
    addW(sumHi, sumLo);
    if (k == 0) break;
  }
}

/**
 * W = the factor Σ Π(2j / (2j+1)) y^k for a fraction y < 0.15, Euler's series:
 * arctan t = t / (1 + t²) × W with y = t² / (1 + t²).
 */
export function arctangentSeries(hi: u64, lo: u64): void {
  setW(ONE, 0);
  for (let k: u64 = 46; k > 0; k--) {
    multiply128(wHi, wLo, hi, lo);
    /* 2k / (2k+1) = 1 - 1 / (2k+1) */
    const wholeHi = wHi;
    const wholeLo = wLo;
    divideSmall(2 * k + 1);
    subtractFrom(wholeHi, wholeLo);
    addW(ONE, 0);
  }
}

/** A factor of exactly 1 came from an argument whose square was too small to count. */
export function belowOne(): void {
  if (wHi == ONE && wLo == 0) setW(u64.MAX_VALUE >> 1, u64.MAX_VALUE);
}

/** R = ±W, known to be inexact. */
export function setFromW(sign: u32): void {
  setWide(sign, wExp, wHi, wLo | 1);
}
