/**
 * Add, subtract, multiply, divide, square root and compare on the unpacked values of softfloat-core.ts
 * (IEEE 754-2008, 5.4 and 6; exceptions in the order of Intel SDM vol. 1, 4.9.2). Results keep 64 more
 * bits than a significand, the last of them sticky, and are rounded by `roundR`.
 */
import {
  aDenormal, aExp, aKind, aSig, aSign, bDenormal, bExp, bKind, bSig, bSign, CMP_EQUAL, CMP_GREATER, CMP_LESS, FP_DE,
  FP_ZE, fpFlags, fpRounding, KIND_FINITE, KIND_INF, KIND_ZERO, RC_DOWN, rExp, rKind, rLo, rSig, rSign, setExact,
  setInvalid, setWide, shiftRightR,
} from "./softfloat-core";

const TOP: u64 = 0x8000000000000000;

/* ---- arithmetic on finite values --------------------------------------------------------------- */

/** R = ±(A + B) or A - B by magnitudes; both finite. The sign of B is `sign`. */
export function addFinite(sign: u32): void {
  let highExp = aExp;
  let high = aSig;
  let low = bSig;
  let distance = aExp - bExp;
  rKind = KIND_FINITE;
  rSign = aSign;
  if (distance < 0 || (distance == 0 && aSig < bSig)) {
    highExp = bExp;
    high = bSig;
    low = aSig;
    distance = -distance;
    rSign = sign;
  }
  rSig = low;
  rLo = 0;
  shiftRightR(distance);
  if (aSign == sign) {
    const sum = high + rSig;
    rSig = sum;
    if (sum < high) {
      rLo = (rLo >> 1) | (rLo & 1) | (sum << 63);
      rSig = (sum >> 1) | TOP;
      highExp++;
    }
    rExp = highExp;
    return;
  }
  const borrow: u64 = rLo != 0 ? 1 : 0;
  rLo = 0 - rLo;
  rSig = high - rSig - borrow;
  if ((rSig | rLo) == 0) {
    setExact(KIND_ZERO, fpRounding == RC_DOWN ? 1 : 0, 0, 0);
    return;
  }
  rExp = highExp;
  normalizeR();
}

/** Moves the first set bit of R to bit 63; R is not zero. */
export function normalizeR(): void {
  if (rSig == 0) {
    rSig = rLo;
    rLo = 0;
    rExp -= 64;
  }
  const shift = clz<u64>(rSig) as u32;
  if (shift == 0) return;
  rSig = (rSig << shift) | (rLo >> (64 - shift));
  rLo <<= shift;
  rExp -= shift;
}

export let productLow: u64 = 0;

/** High half of the 128-bit product; the low half is in `productLow`. */
export function multiplyWide(a: u64, b: u64): u64 {
  const aLow = a & 0xffffffff;
  const aHigh = a >> 32;
  const bLow = b & 0xffffffff;
  const bHigh = b >> 32;
  const low = aLow * bLow;
  const middle = aHigh * bLow + (low >> 32);
  const other = aLow * bHigh + (middle & 0xffffffff);
  productLow = (other << 32) | (low & 0xffffffff);
  return aHigh * bHigh + (middle >> 32) + (other >> 32);
}

/** R = A × B, both finite. */
export function multiplyFinite(): void {
  const high = multiplyWide(aSig, bSig);
  setWide(aSign ^ bSign, aExp + bExp + 1, high, productLow);
  normalizeR();
}

export let remainder: u64 = 0;

/** Quotient of `high`:`low` by `divisor` (bit 63 set, above `high`); the remainder is in `remainder`. */
export function divideWide(high: u64, low: u64, divisor: u64): u64 {
  // Twice 2^32 / divisor.
  const reciprocal: f64 = 4294967296.0 / ((divisor >> 1) as i64 as f64);
  const upper = divideStep(high, low >> 32, divisor, reciprocal);
  const lower = divideStep(remainder, low & 0xffffffff, divisor, reciprocal);
  return (upper << 32) | lower;
}

/**
 * 32 bits of a quotient: (`rest` × 2^32 + `digit`) / `divisor`. The estimate in floating point is wrong by
 * less than 2^-18, so its integer part is right unless it is very near to an integer; then the remainder,
 * which is near to 0 or to the divisor, tells by its distance, modulo 2^64, on which side of it.
 */
// @ts-ignore: decorator
@inline
function divideStep(rest: u64, digit: u64, divisor: u64, reciprocal: f64): u64 {
  const estimate: f64 = ((rest >> 1) as i64 as f64) * reciprocal;
  let quotient = (estimate as i64) as u64;
  const fraction: f64 = estimate - ((quotient as i64) as f64);
  remainder = ((rest << 32) | digit) - quotient * divisor;
  if (fraction < 0.01) {
    if (remainder > divisor >> 1) {
      quotient--;
      remainder += divisor;
    }
  } else if (fraction > 0.99 && (remainder >= divisor || remainder < divisor >> 1)) {
    quotient++;
    remainder -= divisor;
  }
  return quotient;
}

/** R = A / B, both finite. */
export function divideFinite(): void {
  let exp = aExp - bExp;
  let high = aSig;
  let low: u64 = 0;
  if (high >= bSig) {
    low = high << 63;
    high >>= 1;
  } else {
    exp--;
  }
  const quotient = divideWide(high, low, bSig);
  const rest = remainder;
  const twice = rest << 1;
  const aboveHalf = rest & TOP || twice >= bSig;
  setWide(aSign ^ bSign, exp, quotient, (aboveHalf ? TOP : 0) | (rest != 0 && twice != bSig ? 1 : 0));
}

/** R = √A, A finite and not negative. Digit by digit, one bit of the root a step. */
export function squareRootFinite(): void {
  const odd = aExp & 1;
  /* The radicand is top:next × 2^(even); the root's first bit comes from its first two bits. */
  let top: u64 = odd ? aSig : aSig >> 1;
  let next: u64 = odd ? 0 : aSig << 63;
  let root: u64 = 0;
  let restHigh: u64 = 0;
  let rest: u64 = 0;
  for (let i = 0; i < 64; i++) {
    restHigh = (restHigh << 2) | (rest >> 62);
    rest = (rest << 2) | (top >> 62);
    top = (top << 2) | (next >> 62);
    next <<= 2;
    const trial = (root << 2) | 1;
    const trialHigh = root >> 62;
    root <<= 1;
    if (restHigh > trialHigh || (restHigh == trialHigh && rest >= trial)) {
      restHigh -= trialHigh + (rest < trial ? 1 : 0);
      rest -= trial;
      root |= 1;
    }
  }
  /* The remainder is at most 2 × root: the next bit is set exactly when it exceeds the root. */
  const half = restHigh != 0 || rest > root;
  setWide(0, aExp >> 1, root, (half ? TOP : 0) | ((restHigh | rest) != 0 ? 1 : 0));
}

/* ---- arithmetic on any operands, except NaNs ------------------------------------------------------ */

export const FP_ADD: u32 = 0;
export const FP_SUB: u32 = 1;
export const FP_MUL: u32 = 2;
export const FP_DIV: u32 = 3;

function denormals(): void {
  if (aDenormal || bDenormal) fpFlags |= FP_DE;
}

/** R = A op B unrounded; neither is a NaN. Sets FP_IE, FP_ZE and FP_DE. */
export function operate(op: u32): void {
  if (op <= FP_SUB) addAny(bSign ^ op);
  else if (op == FP_MUL) multiplyAny();
  else divideAny();
}

function addAny(sign: u32): void {
  if (aKind == KIND_INF) {
    if (bKind == KIND_INF && aSign != sign) {
      setInvalid();
      return;
    }
    denormals();
    setExact(KIND_INF, aSign, 0, TOP);
    return;
  }
  denormals();
  if (bKind == KIND_INF) {
    setExact(KIND_INF, sign, 0, TOP);
  } else if (bKind == KIND_ZERO) {
    if (aKind == KIND_ZERO) setExact(KIND_ZERO, aSign == sign ? sign : fpRounding == RC_DOWN ? 1 : 0, 0, 0);
    else setExact(KIND_FINITE, aSign, aExp, aSig);
  } else if (aKind == KIND_ZERO) {
    setExact(KIND_FINITE, sign, bExp, bSig);
  } else {
    addFinite(sign);
  }
}

function multiplyAny(): void {
  const sign = aSign ^ bSign;
  if (aKind == KIND_INF || bKind == KIND_INF) {
    if (aKind == KIND_ZERO || bKind == KIND_ZERO) {
      setInvalid();
      return;
    }
    denormals();
    setExact(KIND_INF, sign, 0, TOP);
    return;
  }
  denormals();
  if (aKind == KIND_ZERO || bKind == KIND_ZERO) setExact(KIND_ZERO, sign, 0, 0);
  else multiplyFinite();
}

function divideAny(): void {
  const sign = aSign ^ bSign;
  if (aKind == bKind && aKind != KIND_FINITE) {
    setInvalid();
    return;
  }
  if (bKind == KIND_ZERO && aKind == KIND_FINITE) {
    fpFlags |= FP_ZE;
    setExact(KIND_INF, sign, 0, TOP);
    return;
  }
  denormals();
  if (aKind == KIND_INF || bKind == KIND_ZERO) setExact(KIND_INF, sign, 0, TOP);
  else if (bKind == KIND_INF || aKind == KIND_ZERO) setExact(KIND_ZERO, sign, 0, 0);
  else divideFinite();
}

/** R = √A unrounded; A is no NaN. */
export function squareRoot(): void {
  if (aKind == KIND_ZERO) {
    setExact(KIND_ZERO, aSign, 0, 0);
    return;
  }
  if (aSign) {
    setInvalid();
    return;
  }
  if (aDenormal) fpFlags |= FP_DE;
  if (aKind == KIND_INF) setExact(KIND_INF, 0, 0, TOP);
  else squareRootFinite();
}

/** Compares A with B; neither is a NaN. */
export function compareOrdered(): u32 {
  denormals();
  if (aKind == KIND_ZERO && bKind == KIND_ZERO) return CMP_EQUAL;
  if (aKind == KIND_ZERO) return bSign ? CMP_GREATER : CMP_LESS;
  if (bKind == KIND_ZERO) return aSign ? CMP_LESS : CMP_GREATER;
  if (aSign != bSign) return aSign ? CMP_LESS : CMP_GREATER;
  if (aKind == KIND_INF || bKind == KIND_INF) {
    if (aKind == bKind) return CMP_EQUAL;
    return (aKind == KIND_INF) == (aSign != 0) ? CMP_LESS : CMP_GREATER;
  }
  if (aExp == bExp && aSig == bSig) return CMP_EQUAL;
  const larger = aExp > bExp || (aExp == bExp && aSig > bSig);
  return larger == (aSign != 0) ? CMP_LESS : CMP_GREATER;
}
