/**
 * x87 FSIN, FCOS, FSINCOS, FPTAN, FPATAN (Intel SDM vol. 1, 8.3.8 and 8.3.10; vol. 2).
 * Results are computed with 120 bits or more and then rounded once, so they are within one unit in the
 * last place. As the manual says,
 * arguments are reduced with a π of 66 bits.
 */
import {
  aDenormal, aExp, aKind, aSig, aSign, bDenormal, bExp, bKind, bSig, bSign, FP_DE, fpRaise, KIND_FINITE, KIND_INF,
  KIND_ZERO, roundR, setExact, setInvalid,
} from "./softfloat-core";
import {
  addW, arctangentSeries, belowOne, cosineSeries, divide128, divideByW, multiplyW, setFloat, setFromW, setW, shiftLeftW,
  shiftRightW, sineSeries, squareFraction, subtractFrom, wExp, wHi, wLo,
} from "./softfloat-wide";
import { deliver, nanOfA, nanOfAB, underflow } from "./x87-arithmetic";
import { isEmpty, loadA, loadB, push, putIndefinite, putR, setStatus, settle, stackFault, SW_C2 } from "./x87-state";

const TOP: u64 = 0x8000000000000000;
/** π in 66 bits, times 2^64. */
const PI66_HI: u64 = 3;
const PI66_LO: u64 = 0x243f6a8885a308d3;
/** π/4 as a fraction of 128 bits. */
const PI4_HI: u64 = 0xc90fdaa22168c234;
const PI4_LO: u64 = 0xc4c6628b80dc1cd1;

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
  if (isEmpty(cpu, 0) || isEmpty(cpu, 1)) {
    underflow(cpu, 1, 1);
    return;
  }
  loadA(cpu, 0);
  loadB(cpu, 1);
  if (!nanOfAB()) {
    arctangentAB();
    roundR(64, 16383);
  }
  deliver(cpu, 1, 1);
}

