/**
 * x87 FYL2X, FYL2XP1 and F2XM1 (Intel SDM vol. 1, 8.3.9 and 8.3.10; vol. 2).
 * Results are computed with 120 bits or more and then rounded once, so they are within one unit in the
 * last place.
 */
import { addFinite, multiplyFinite } from "./softfloat-arithmetic";
import {
  aDenormal, aExp, aKind, aSig, aSign, bDenormal, bExp, bKind, bSig, bSign, FP_DE, FP_PE, FP_UE, FP_ZE, fpRaise,
  KIND_FINITE, KIND_INF, KIND_ZERO, rExp, rKind, rLo, roundR, rSig, setA, setB, setBFromR, setExact, setInvalid,
  unpackInteger,
} from "./softfloat-core";
import {
  addW, belowOne, divideByW, exponentialSeries, logarithmSeries, multiplyW, setFloat, setFromW, setW, shiftRightW,
  squareFraction, subtractFrom, toFraction, wExp, wHi, wLo,
} from "./softfloat-wide";
import { deliver, nanOfA, nanOfAB, underflow } from "./x87-arithmetic";
import { isEmpty, loadA, loadB } from "./x87-state";

const TOP: u64 = 0x8000000000000000;
/** ln 2 and 1/(2 ln 2) as fractions of 128 bits. */
const LN2_HI: u64 = 0xb17217f7d1cf79ab;
const LN2_LO: u64 = 0xc9e3b39803f2f6af;
const LOG2E_HI: u64 = 0xb8aa3b295c17f0bb;
const LOG2E_LO: u64 = 0xbe87fed0691d3e88;
/** Significand of √2: at most this, the logarithm takes the number itself, above it the half. */
const SQRT2: u64 = 0xb504f333f9de6484;

/**
 * Rounds R where it happens to be exact: processors report these functions' results as inexact whenever
 * they went through the computation.
 */
function roundAsInexact(): void {
  roundR(64, 16383);
  fpRaise(rKind == KIND_FINITE && !(rSig & TOP) ? FP_PE | FP_UE : FP_PE);
}

/* ---- logarithm --------------------------------------------------------------------------------------- */

/** W = log2 of (1 + s) / (1 - s) = 2 artanh s / ln 2 for W = |s|, below 0.18. */
function logarithmOfRatio(): void {
  const hi = wHi;
  const lo = wLo;
  const exp = wExp;
  squareFraction(hi, lo, exp);
  logarithmSeries(wHi, wLo);
  setFloat(wHi, wLo, 0);
  multiplyW(hi, lo, exp);
  multiplyW(LOG2E_HI, LOG2E_LO, 1);
}

/** R = B × ±W. */
function timesB(negative: bool): void {
  multiplyW(bSig, 0, bExp);
  setFromW(bSign ^ (negative ? 1 : 0));
}

/** R = B × log2 of the number of significand hi:lo and exponent `exp`, positive, not 1. */
function logarithmTimesB(hi: u64, lo: u64, exp: i32): void {
  let whole = exp;
  let below = false;
  if (hi > SQRT2) {
    below = true;
    whole++;
    setW(hi, lo);
    subtractFrom(0, 0);
  } else {
    setW(hi, lo);
    addW(TOP, 0);
  }
  if ((wHi | wLo) == 0) {
    unpackInteger(whole as i64);
    setA();
    multiplyFinite();
    roundAsInexact();
    return;
  }
  /* s = (m - 1) / (m + 1); m + 1 in the units of hi:lo, halved. */
  setFloat(wHi, wLo, -1);
  const differenceHi = wHi;
  const differenceLo = wLo;
  const differenceExp = wExp;
  setW(hi, lo);
  shiftRightW(1);
  addW(below ? TOP : TOP >> 1, 0);
  setFloat(wHi, wLo, 0);
  divideByW(differenceHi, differenceLo, differenceExp);
  logarithmOfRatio();
  if (whole == 0) {
    timesB(below);
    return;
  }
  /* Fixed point with 2^112 for 1. */
  shiftRightW(15 - wExp);
  const negative = whole < 0;
  const wholeHi = ((negative ? -whole : whole) as u64) << 48;
  if (negative == below) addW(wholeHi, 0);
  else subtractFrom(wholeHi, 0);
  setFloat(wHi, wLo, 15);
  timesB(negative);
}

/** R for FYL2X: B × log2 A. */
function logarithmAB(): void {
  if (aSign && aKind != KIND_ZERO) {
    setInvalid();
    return;
  }
  const one = aKind == KIND_FINITE && aExp == 0 && aSig == TOP;
  if (bKind == KIND_ZERO ? aKind != KIND_FINITE : bKind == KIND_INF && one) {
    setInvalid();
    return;
  }
  if (aKind == KIND_ZERO) {
    if (bKind == KIND_FINITE) fpRaise(FP_ZE);
    else if (bDenormal) fpRaise(FP_DE);
    setExact(KIND_INF, bSign ^ 1, 0, TOP);
    return;
  }
  if (aDenormal || bDenormal) fpRaise(FP_DE);
  if (aKind == KIND_INF) {
    setExact(KIND_INF, bSign, 0, TOP);
  } else if (one) {
    setExact(KIND_ZERO, bSign, 0, 0);
  } else if (bKind != KIND_FINITE) {
    setExact(bKind, bSign ^ (aExp < 0 ? 1 : 0), 0, TOP);
  } else {
    logarithmTimesB(aSig, 0, aExp);
  }
}

/**
 * R for FYL2XP1: B × log2 (1 + A). The manual leaves |A| > 1 - √2/2 undefined: here it is computed as long
 * as there is a logarithm, else it is an invalid operation.
 */
function logarithmPlusOneAB(): void {
  const reachesMinusOne = aSign != 0 && aKind != KIND_ZERO && (aKind == KIND_INF || aExp >= 0);
  if (reachesMinusOne || (aKind == KIND_ZERO && bKind == KIND_INF) || (aKind == KIND_INF && bKind == KIND_ZERO)) {
    setInvalid();
    return;
  }
  if (aDenormal || bDenormal) fpRaise(FP_DE);
  const sign = aSign ^ bSign;
  if (aKind != KIND_FINITE || bKind != KIND_FINITE) {
    setExact(aKind == KIND_ZERO ? KIND_ZERO : aKind == KIND_INF ? KIND_INF : bKind, sign, 0, TOP);
    return;
  }
  if (aExp >= -2) {
    const exp = bExp;
    const sig = bSig;
    const signB = bSign;
    unpackInteger(1);
    setB();
    addFinite(0);
    const sumHi = rSig;
    const sumLo = rLo;
    const sumExp = rExp;
    setExact(KIND_FINITE, signB, exp, sig);
    setBFromR();
    logarithmTimesB(sumHi, sumLo, sumExp);
    return;
  }
  /* s = A / (2 + A) */
  setW(aSig, 0);
  shiftRightW(1 - aExp);
  if (aSign) subtractFrom(TOP, 0);
  else addW(TOP, 0);
  setFloat(wHi, wLo, 1);
  divideByW(aSig, 0, aExp);
  logarithmOfRatio();
  timesB(aSign != 0);
}

/** FYL2X: ST(1) = ST(1) × log2 ST(0), pop. */
export function logarithm(cpu: usize): void {
  twoOperands(cpu, false);
}

/** FYL2XP1: ST(1) = ST(1) × log2 (ST(0) + 1), pop. */
export function logarithmPlusOne(cpu: usize): void {
  twoOperands(cpu, true);
}

function twoOperands(cpu: usize, plusOne: bool): void {
  if (isEmpty(cpu, 0) || isEmpty(cpu, 1)) {
    underflow(cpu, 1, 1);
    return;
  }
  loadA(cpu, 0);
  loadB(cpu, 1);
  if (!nanOfAB()) {
    if (plusOne) logarithmPlusOneAB();
    else logarithmAB();
    roundR(64, 16383);
  }
  deliver(cpu, 1, 1);
}

/* ---- exponential ------------------------------------------------------------------------------------- */

/**
 * F2XM1: ST(0) = 2^ST(0) - 1 for -1 ≤ ST(0) ≤ 1. The manual leaves other values undefined: a finite one
 * stays as it is, an infinity gives the limit.
 */
export function exponential(cpu: usize): void {
  if (isEmpty(cpu, 0)) {
    underflow(cpu, 0, 0);
    return;
  }
  loadA(cpu, 0);
  if (!nanOfA()) {
    if (aDenormal) fpRaise(FP_DE);
    exponentialA();
    roundR(64, 16383);
  }
  deliver(cpu, 0, 0);
}

function exponentialA(): void {
  if (aKind == KIND_INF && aSign) {
    setExact(KIND_FINITE, 1, 0, TOP);
    return;
  }
  setExact(aKind, aSign, aExp, aSig);
  if (aKind != KIND_FINITE) return;
  if (aExp >= 0) {
    if (aExp == 0 && aSig == TOP && aSign) setExact(KIND_FINITE, 1, -1, TOP);
    roundAsInexact();
    return;
  }
  setFloat(aSig, 0, aExp);
  multiplyW(LN2_HI, LN2_LO, -1);
  const hi = wHi;
  const lo = wLo;
  const exp = wExp;
  toFraction();
  exponentialSeries(wHi, wLo, aSign != 0);
  if (aSign) belowOne();
  setFloat(wHi, wLo, 0);
  multiplyW(hi, lo, exp);
  setFromW(aSign);
}
