/**
 * x87 transcendental instructions (Intel SDM vol. 1, 8.3.7–8.3.10; vol. 2, F2XM1 FYL2X FYL2XP1 FSIN
 * FCOS FSINCOS FPTAN FPATAN). Results are computed with 120 bits or more and then rounded once, so they
 * are within one unit in the last place. As the manual says, trigonometric arguments are reduced
 * with a π of 66 bits.
 */
import {
  aDenormal, addFinite, setBFromR, aExp, aKind, aSig, aSign, bDenormal, bExp, bKind, bSig, bSign, FP_DE, FP_PE, FP_UE, FP_ZE, fpRaise,
  KIND_FINITE, KIND_INF, KIND_ZERO, multiplyFinite, rExp, rKind, rLo, roundR, rSig, setA, setB, setExact, setInvalid, setWide,
  unpackInteger,
} from "./softfloat-core";
import {
  addW, arctangentSeries, cosineSeries, divide128, divideByW, exponentialSeries, logarithmSeries, multiplyW, setFloat,
  setW, shiftLeftW, shiftRightW, sineSeries, squareFraction, subtractFrom, toFraction, wExp, wHi, wLo,
} from "./softfloat-wide";
import { deliver, nanOfA, nanOfAB, underflow } from "./x87-arithmetic";
import { isEmpty, loadA, loadB, push, putIndefinite, putR, setStatus, settle, stackFault, SW_C2 } from "./x87-state";

const TOP: u64 = 0x8000000000000000;
/** π in 66 bits, times 2^64. */
const PI66_HI: u64 = 3;
const PI66_LO: u64 = 0x243f6a8885a308d3;
/** π/4, ln 2 and 1/(2 ln 2) as fractions of 128 bits. */
const PI4_HI: u64 = 0xc90fdaa22168c234;
const PI4_LO: u64 = 0xc4c6628b80dc1cd1;
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

/** R = ±W, known to be inexact. */
function setFromW(sign: u32): void {
  setWide(sign, wExp, wHi, wLo | 1);
}

/* ---- sine, cosine, tangent -------------------------------------------------------------------------- */

let quadrant: u32 = 0;
let reducedSign: u32 = 0;
let reducedExp: i32 = 0;
let reducedHi: u64 = 0;
let reducedLo: u64 = 0;

/** |A| = quadrant × π/2 + r with |r| ≤ π/4; A is finite and below 2^63. */
function reduce(): void {
  quadrant = 0;
  reducedSign = 0;
  if (aExp < -1) {
    setFloat(aSig, 0, aExp);
  } else {
    /* In units of 2^-65: |A| is aSig × 2^(aExp + 2), π/2 is PI66. */
    let hi: u64 = 0;
    let lo = aSig;
    for (let i = aExp + 2; i > 0; i--) {
      hi = (hi << 1) | (lo >> 63);
      lo <<= 1;
      quadrant <<= 1;
      if (hi > PI66_HI || (hi == PI66_HI && lo >= PI66_LO)) {
        hi -= PI66_HI + (lo < PI66_LO ? 1 : 0);
        lo -= PI66_LO;
        quadrant |= 1;
      }
    }
    const twiceHi = (hi << 1) | (lo >> 63);
    if (twiceHi > PI66_HI || (twiceHi == PI66_HI && lo << 1 > PI66_LO)) {
      quadrant++;
      reducedSign = 1;
      const borrow: u64 = PI66_LO < lo ? 1 : 0;
      lo = PI66_LO - lo;
      hi = PI66_HI - hi - borrow;
    }
    setFloat(hi, lo, 127 - 65);
  }
  reducedExp = wExp;
  reducedHi = wHi;
  reducedLo = wLo;
}

/** A factor of exactly 1 came from an argument whose square was too small to count. */
function belowOne(): void {
  if (wHi == TOP && wLo == 0) setW(u64.MAX_VALUE >> 1, u64.MAX_VALUE);
}

/** W = sin |r|. */
function sineOfReduced(): void {
  squareFraction(reducedHi, reducedLo, reducedExp);
  sineSeries(wHi, wLo);
  belowOne();
  setFloat(wHi, wLo, 0);
  multiplyW(reducedHi, reducedLo, reducedExp);
}

/** W = cos r. */
function cosineOfReduced(): void {
  squareFraction(reducedHi, reducedLo, reducedExp);
  cosineSeries(wHi, wLo);
  belowOne();
  setFloat(wHi, wLo, 0);
}

/** R = sin A. */
function sineR(): void {
  const sign = aSign ^ ((quadrant >> 1) & 1);
  if (quadrant & 1) {
    cosineOfReduced();
    setFromW(sign);
  } else {
    sineOfReduced();
    setFromW(sign ^ reducedSign);
  }
  roundR(64, 16383);
}

/** R = cos A. */
function cosineR(): void {
  const sign = (quadrant >> 1) & 1;
  if (quadrant & 1) {
    sineOfReduced();
    setFromW(sign ^ 1 ^ reducedSign);
  } else {
    cosineOfReduced();
    setFromW(sign);
  }
  roundR(64, 16383);
}

/** R = tan A. */
function tangentR(): void {
  sineOfReduced();
  const hi = wHi;
  const lo = wLo;
  const exp = wExp;
  cosineOfReduced();
  if (quadrant & 1) {
    const cosineHi = wHi;
    const cosineLo = wLo;
    const cosineExp = wExp;
    setFloat(hi, lo, exp);
    divideByW(cosineHi, cosineLo, cosineExp);
  } else {
    divideByW(hi, lo, exp);
  }
  setFromW(aSign ^ reducedSign ^ (quadrant & 1));
  roundR(64, 16383);
}

export const TRIG_SIN: u32 = 0;
export const TRIG_COS: u32 = 1;
export const TRIG_SINCOS: u32 = 2;
export const TRIG_TAN: u32 = 3;

/** FSIN, FCOS, FSINCOS, FPTAN. C2 tells that the argument is not below 2^63; nothing else changes then. */
export function trigonometric(cpu: usize, kind: u32): void {
  const pushes = kind >= TRIG_SINCOS;
  setStatus(cpu, SW_C2, 0);
  if (isEmpty(cpu, 0) || (pushes && !isEmpty(cpu, 7))) {
    if (!stackFault(cpu, !isEmpty(cpu, 0))) return;
    putIndefinite(cpu, 0);
    if (pushes) {
      push(cpu);
      putIndefinite(cpu, 0);
    }
    return;
  }
  loadA(cpu, 0);
  if (aKind == KIND_FINITE && aExp >= 63) {
    settle(cpu);
    setStatus(cpu, SW_C2, SW_C2);
    return;
  }
  if (nanOfA() || aKind == KIND_INF) {
    if (aKind == KIND_INF) setInvalid();
    if (!settle(cpu)) return;
    putR(cpu, 0);
    if (pushes) {
      push(cpu);
      putR(cpu, 0);
    }
    return;
  }
  if (aDenormal) fpRaise(FP_DE);
  if (aKind == KIND_FINITE) reduce();
  if (kind == TRIG_COS) firstOrOne();
  else firstOrZero(kind);
  if (!settle(cpu)) return;
  putR(cpu, 0);
  if (!pushes) return;
  push(cpu);
  if (kind == TRIG_TAN) {
    setExact(KIND_FINITE, 0, 0, TOP);
  } else {
    firstOrOne();
    settle(cpu);
  }
  putR(cpu, 0);
}

/** R = cos A, also of zero. */
function firstOrOne(): void {
  if (aKind == KIND_ZERO) setExact(KIND_FINITE, 0, 0, TOP);
  else cosineR();
}

/** R = sin A or tan A, also of zero. */
function firstOrZero(kind: u32): void {
  if (aKind == KIND_ZERO) setExact(KIND_ZERO, aSign, 0, 0);
  else if (kind == TRIG_TAN) tangentR();
  else sineR();
}

/* ---- arctangent ------------------------------------------------------------------------------------ */

/** R = `count` × π/4 ± W, of sign `sign`; W is below 1/2 when `count` is not 0. */
function setAngle(sign: u32, count: u32, minus: bool): void {
  if (count == 0) {
    setFromW(sign);
    return;
  }
  /* Fixed point with 2^125 for 1. */
  if ((wHi | wLo) != 0) shiftRightW(2 - wExp);
  const smallHi = wHi;
  const smallLo = wLo;
  setW(PI4_HI, PI4_LO);
  shiftRightW(3);
  const unitHi = wHi;
  const unitLo = wLo;
  for (let i: u32 = 1; i < count; i++) addW(unitHi, unitLo);
  if (minus) {
    const hi = wHi;
    const lo = wLo;
    setW(smallHi, smallLo);
    subtractFrom(hi, lo);
  } else {
    addW(smallHi, smallLo);
  }
  setFloat(wHi, wLo, 2);
  setFromW(sign);
}

/** R = `count` × π/4 of sign `sign`. */
function setMultiple(sign: u32, count: u32): void {
  setW(0, 0);
  setAngle(sign, count, false);
}

/** W = arctan of W, which is below √2 - 1. */
function arctangentW(): void {
  const hi = wHi;
  const lo = wLo;
  const exp = wExp;
  squareFraction(hi, lo, exp);
  shiftRightW(1);
  const halfHi = wHi;
  const halfLo = wLo;
  addW(TOP, 0);
  const sumHi = wHi;
  const sumLo = wLo;
  divide128(halfHi, halfLo, sumHi, sumLo);
  shiftLeftW(1);
  arctangentSeries(wHi, wLo);
  setFloat(wHi, wLo, 0);
  multiplyW(hi, lo, exp);
  const productHi = wHi;
  const productLo = wLo;
  const productExp = wExp;
  setFloat(sumHi, sumLo, 0);
  divideByW(productHi, productLo, productExp);
}

/** R = arctan(B / A) in the quadrant that the signs say; both finite. */
function arctangentFinite(): void {
  let near = aSig;
  let far = bSig;
  let distance = aExp - bExp;
  let count: u32 = 0;
  let minus = false;
  const swap = distance < 0 || (distance == 0 && aSig < bSig);
  if (swap) {
    near = bSig;
    far = aSig;
    distance = -distance;
  }
  /* far / near is at most 1; beyond √2 - 1 take (near - far) / (near + far). */
  setFloat(near, 0, 0);
  divideByW(far, 0, -distance);
  if (wExp >= -1 || (wExp == -2 && wHi > 0xd413cccfe7799211)) {
    setW(far, 0);
    shiftRightW(distance + 1);
    const farHi = wHi;
    const farLo = wLo;
    setW(near, 0);
    shiftRightW(1);
    const nearHi = wHi;
    const nearLo = wLo;
    addW(farHi, farLo);
    const sumHi = wHi;
    const sumLo = wLo;
    setW(farHi, farLo);
    subtractFrom(nearHi, nearLo);
    count = 1;
    minus = true;
    if ((wHi | wLo) != 0) {
      setFloat(wHi, wLo, 0);
      const hi = wHi;
      const lo = wLo;
      const exp = wExp;
      setFloat(sumHi, sumLo, 0);
      divideByW(hi, lo, exp);
      arctangentW();
    }
  } else {
    arctangentW();
  }
  if (swap) {
    count = 2 - count;
    minus = !minus;
  }
  if (aSign) {
    count = 4 - count;
    minus = !minus;
  }
  setAngle(bSign, count, minus);
}

function arctangentAB(): void {
  if (aDenormal || bDenormal) fpRaise(FP_DE);
  if (bKind == KIND_INF) setMultiple(bSign, aKind == KIND_INF ? (aSign ? 3 : 1) : 2);
  else if (bKind == KIND_ZERO || aKind == KIND_INF) {
    if (aSign) setMultiple(bSign, 4);
    else setExact(KIND_ZERO, bSign, 0, 0);
  } else if (aKind == KIND_ZERO) setMultiple(bSign, 2);
  else arctangentFinite();
}

/** FPATAN: ST(1) = arctan(ST(1) / ST(0)), pop. */
export function arctangent(cpu: usize): void {
  twoOperands(cpu, 0);
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

/** R for FYL2XP1: B × log2 (1 + A). The manual leaves |A| > 1 - √2/2 undefined: A ≤ -1 is taken as log2 takes it. */
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
  twoOperands(cpu, 1);
}

/** FYL2XP1: ST(1) = ST(1) × log2 (ST(0) + 1), pop. */
export function logarithmPlusOne(cpu: usize): void {
  twoOperands(cpu, 2);
}

function twoOperands(cpu: usize, kind: u32): void {
  if (isEmpty(cpu, 0) || isEmpty(cpu, 1)) {
    underflow(cpu, 1, 1);
    return;
  }
  loadA(cpu, 0);
  loadB(cpu, 1);
  if (!nanOfAB()) {
    if (kind == 0) arctangentAB();
    else if (kind == 1) logarithmAB();
    else logarithmPlusOneAB();
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
