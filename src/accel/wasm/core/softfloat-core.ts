/**
 * Floating-point arithmetic on unpacked values, after IEEE 754-2008 and Intel SDM vol. 1, 4.8–4.9:
 * the one place that rounds, for binary32, binary64 and the x87 FPU's double extended format.
 *
 * A finite value is `sig × 2^(exp - 63)` with bit 63 of `sig` set. A NaN keeps its payload at the top
 * of `sig`: bit 63 set, bit 62 the quiet bit. Operands are A and B, the result is R with 64 more bits
 * (`rLo`, the last of them sticky) until `roundR` has cut it.
 */

export const FP_IE: u32 = 1;
export const FP_DE: u32 = 2;
export const FP_ZE: u32 = 4;
export const FP_OE: u32 = 8;
export const FP_UE: u32 = 16;
export const FP_PE: u32 = 32;

/** Rounding modes as in MXCSR.RC and the x87 control word. */
export const RC_NEAREST: u32 = 0;
export const RC_DOWN: u32 = 1;
export const RC_UP: u32 = 2;
export const RC_ZERO: u32 = 3;

export const KIND_ZERO: u32 = 0;
export const KIND_FINITE: u32 = 1;
export const KIND_INF: u32 = 2;
/** From here on: not a number. */
export const KIND_QNAN: u32 = 3;
export const KIND_SNAN: u32 = 4;
/** x87 encodings that are no number of the format (SDM vol. 1, 8.2.2). */
export const KIND_UNSUPPORTED: u32 = 5;

/** Results of a comparison: CF and ZF of COMISS. */
export const CMP_GREATER: u32 = 0;
export const CMP_LESS: u32 = 1;
export const CMP_EQUAL: u32 = 2;
export const CMP_UNORDERED: u32 = 3;

const TOP: u64 = 0x8000000000000000;
const QUIET: u64 = 0x4000000000000000;
/** SDM vol. 1, 8.5.4: what an unmasked overflow or underflow moves an x87 result's exponent by. */
export const EXPONENT_WRAP: i32 = 24576;

/** Exceptions met since the caller cleared it. */
export let fpFlags: u32 = 0;
/** RC_*. */
export let fpRounding: u32 = RC_NEAREST;
/** Denormal operands are zeros. */
export let fpDaz: bool = false;
/** Tiny results become zeros. */
export let fpFtz: bool = false;
/** Overflow and underflow exceptions that are not masked: FP_OE, FP_UE. */
export let fpUnmasked: u32 = 0;
/** The last rounding made the magnitude larger. */
export let fpRoundedUp: bool = false;

export let uKind: u32 = 0;
export let uSign: u32 = 0;
export let uExp: i32 = 0;
export let uSig: u64 = 0;
export let uDenormal: bool = false;

export let aKind: u32 = 0;
export let aSign: u32 = 0;
export let aExp: i32 = 0;
export let aSig: u64 = 0;
export let aDenormal: bool = false;

export let bKind: u32 = 0;
export let bSign: u32 = 0;
export let bExp: i32 = 0;
export let bSig: u64 = 0;
export let bDenormal: bool = false;

export let rKind: u32 = 0;
export let rSign: u32 = 0;
export let rExp: i32 = 0;
export let rSig: u64 = 0;
export let rLo: u64 = 0;

/** Adds exception flags. */
// @ts-ignore: decorator
@inline
export function fpRaise(flags: u32): void {
  fpFlags |= flags;
}

/** Takes back that a result was rounded, because it goes nowhere. */
export function fpUnrounded(): void {
  fpFlags &= ~FP_PE;
  fpRoundedUp = false;
}

export function fpClear(): void {
  fpFlags = 0;
  fpRoundedUp = false;
}

/** Chooses how to round; `unmasked` is a subset of FP_OE and FP_UE. */
export function fpMode(rounding: u32, daz: bool, ftz: bool, unmasked: u32): void {
  fpRounding = rounding;
  fpDaz = daz;
  fpFtz = ftz;
  fpUnmasked = unmasked;
}

/* ---- unpacking ------------------------------------------------------------------------------- */

/** `biased` is the exponent field, `fraction` its fraction at bit 62 and below, `emax` the bias. */
function unpack(sign: u32, biased: i32, fraction: u64, emax: i32): void {
  uSign = sign;
  uDenormal = false;
  if (biased == 0) {
    if (fraction == 0 || fpDaz) {
      uKind = KIND_ZERO;
      uSig = 0;
      uExp = 0;
      return;
    }
    const shift = clz<u64>(fraction) as i32;
    uKind = KIND_FINITE;
    uSig = fraction << shift;
    uExp = 1 - emax - shift;
    uDenormal = true;
    return;
  }
  uSig = fraction | TOP;
  uExp = biased - emax;
  uKind = uExp <= emax ? KIND_FINITE : fraction == 0 ? KIND_INF : fraction & QUIET ? KIND_QNAN : KIND_SNAN;
}

export function unpack32(bits: u32): void {
  unpack(bits >> 31, (bits >> 23) & 0xff, ((bits & 0x7fffff) as u64) << 40, 127);
}

export function unpack64(bits: u64): void {
  unpack((bits >> 63) as u32, ((bits >> 52) & 0x7ff) as i32, (bits & 0xfffffffffffff) << 11, 1023);
}

/** Double extended: `se` is sign and exponent. Pseudo-denormals are denormals of exponent 1. */
export function unpack80(se: u32, sig: u64): void {
  const biased = (se & 0x7fff) as i32;
  uSign = (se >> 15) & 1;
  uDenormal = false;
  uSig = sig;
  if (biased == 0) {
    if (sig == 0) {
      uKind = KIND_ZERO;
      uExp = 0;
      return;
    }
    const shift = clz<u64>(sig) as i32;
    uKind = KIND_FINITE;
    uSig = sig << shift;
    uExp = -16382 - shift;
    uDenormal = true;
    return;
  }
  uExp = biased - 16383;
  if (!(sig & TOP)) uKind = KIND_UNSUPPORTED;
  else if (biased != 0x7fff) uKind = KIND_FINITE;
  else uKind = sig == TOP ? KIND_INF : sig & QUIET ? KIND_QNAN : KIND_SNAN;
}

export function unpackInteger(value: i64): void {
  unpackMagnitude((value < 0 ? 0 - value : value) as u64);
  uSign = value < 0 ? 1 : 0;
}

export function unpackMagnitude(value: u64): void {
  const shift = clz<u64>(value) as i32;
  uSign = 0;
  uDenormal = false;
  uKind = value == 0 ? KIND_ZERO : KIND_FINITE;
  uSig = value == 0 ? 0 : value << shift;
  uExp = value == 0 ? 0 : 63 - shift;
}

export function setA(): void {
  aKind = uKind;
  aSign = uSign;
  aExp = uExp;
  aSig = uSig;
  aDenormal = uDenormal;
}

export function setB(): void {
  bKind = uKind;
  bSign = uSign;
  bExp = uExp;
  bSig = uSig;
  bDenormal = uDenormal;
}

/** B = R, which is exact. */
export function setBFromR(): void {
  bKind = rKind;
  bSign = rSign;
  bExp = rExp;
  bSig = rSig;
  bDenormal = false;
}

export function swapAB(): void {
  const kind = aKind;
  const sign = aSign;
  const exp = aExp;
  const sig = aSig;
  const denormal = aDenormal;
  aKind = bKind;
  aSign = bSign;
  aExp = bExp;
  aSig = bSig;
  aDenormal = bDenormal;
  bKind = kind;
  bSign = sign;
  bExp = exp;
  bSig = sig;
  bDenormal = denormal;
}

/** R = the value last unpacked, exactly. */
export function setR(): void {
  setExact(uKind, uSign, uExp, uSig);
}

export function setExact(kind: u32, sign: u32, exp: i32, sig: u64): void {
  rKind = kind;
  rSign = sign;
  rExp = exp;
  rSig = sig;
  rLo = 0;
}

/** R = a finite value of 128 bits, bit 63 of `hi` set. */
export function setWide(sign: u32, exp: i32, hi: u64, lo: u64): void {
  rKind = KIND_FINITE;
  rSign = sign;
  rExp = exp;
  rSig = hi;
  rLo = lo;
}

/** R = the default NaN (QNaN floating-point indefinite); the invalid-operation exception. */
export function setInvalid(): void {
  fpFlags |= FP_IE;
  setExact(KIND_QNAN, 1, 0, TOP | QUIET);
}

/* ---- packing ---------------------------------------------------------------------------------- */

/** The bits of R, which `roundR` has rounded or which is exact. */
export function pack32(): u32 {
  const sign = rSign << 31;
  if (rKind == KIND_ZERO) return sign;
  if (rKind == KIND_FINITE) {
    const biased = rSig & TOP ? rExp + 127 : 0;
    return sign | ((biased as u32) << 23) | (((rSig >> 40) as u32) & 0x7fffff);
  }
  const payload: u32 = rKind == KIND_INF ? 0 : 0x400000 | (((rSig >> 40) as u32) & 0x7fffff);
  return sign | 0x7f800000 | payload;
}

export function pack64(): u64 {
  const sign = (rSign as u64) << 63;
  if (rKind == KIND_ZERO) return sign;
  if (rKind == KIND_FINITE) {
    const biased = rSig & TOP ? rExp + 1023 : 0;
    return sign | ((biased as u64) << 52) | ((rSig >> 11) & 0xfffffffffffff);
  }
  const payload: u64 = rKind == KIND_INF ? 0 : 0x8000000000000 | ((rSig >> 11) & 0xfffffffffffff);
  return sign | 0x7ff0000000000000 | payload;
}

/* ---- rounding --------------------------------------------------------------------------------- */

let carried: bool = false;
let inexact: bool = false;

/** Whether to add one unit, where `dropped` is the fraction of a unit that is lost. */
// @ts-ignore: decorator
@inline
function roundsUp(sign: u32, odd: bool, dropped: u64): bool {
  if (fpRounding == RC_NEAREST) return dropped > TOP || (dropped == TOP && odd);
  if (fpRounding == RC_DOWN) return sign != 0 && dropped != 0;
  return fpRounding == RC_UP && sign == 0 && dropped != 0;
}

/** The top `precision` bits of `hi`:`lo`, rounded; `carried` when that went beyond bit 63. */
function roundBits(sign: u32, hi: u64, lo: u64, precision: u32): u64 {
  let kept = hi;
  let dropped = lo;
  let unit: u64 = 1;
  if (precision < 64) {
    unit = (1 as u64) << (64 - precision);
    kept = hi & ~(unit - 1);
    dropped = (hi << precision) | (lo != 0 ? 1 : 0);
  }
  inexact = dropped != 0;
  fpRoundedUp = roundsUp(sign, (kept & unit) != 0, dropped);
  carried = false;
  if (fpRoundedUp) {
    kept += unit;
    if (kept == 0) {
      carried = true;
      kept = TOP;
    }
  }
  return kept;
}

/** Shifts R right by `count`, keeping what falls out in the sticky bit. */
export function shiftRightR(count: u32): void {
  if (count >= 128) {
    rLo = 1;
    rSig = 0;
  } else if (count >= 64) {
    const rest: u64 = rLo | (count > 64 ? rSig << (128 - count) : 0);
    rLo = (rSig >> (count - 64)) | (rest != 0 ? 1 : 0);
    rSig = 0;
  } else if (count > 0) {
    const rest: u64 = rLo << (64 - count);
    rLo = (rSig << (64 - count)) | (rLo >> count) | (rest != 0 ? 1 : 0);
    rSig >>= count;
  }
}

/**
 * Rounds a finite R to `precision` bits and exponents `1 - emax` to `emax`. Tininess is detected after
 * rounding (SDM vol. 1, 4.9.1.5). A denormal result has exponent `1 - emax` and bit 63 clear.
 */
export function roundR(precision: u32, emax: i32): void {
  if (rKind != KIND_FINITE) return;
  const sig = roundBits(rSign, rSig, rLo, precision);
  const exp = rExp + (carried ? 1 : 0);
  const emin = 1 - emax;
  if (exp < emin) {
    if (fpUnmasked & FP_UE) {
      fpFlags |= FP_UE | (inexact ? FP_PE : 0);
      rSig = sig;
      rExp = exp + EXPONENT_WRAP;
      if (rExp < emin) {
        fpFlags |= FP_PE;
        setExact(KIND_ZERO, rSign, 0, 0);
      }
      return;
    }
    if (fpFtz) {
      fpFlags |= FP_UE | FP_PE;
      setExact(KIND_ZERO, rSign, 0, 0);
      return;
    }
    shiftRightR(emin - rExp);
    rSig = roundBits(rSign, rSig, rLo, precision);
    rExp = emin;
    if (inexact) fpFlags |= FP_UE | FP_PE;
    if (rSig == 0) rKind = KIND_ZERO;
    return;
  }
  if (exp > emax) {
    if (fpUnmasked & FP_OE) {
      fpFlags |= FP_OE | (inexact ? FP_PE : 0);
      rSig = sig;
      rExp = exp - EXPONENT_WRAP;
      if (rExp > emax) {
        fpFlags |= FP_PE;
        fpRoundedUp = true;
        setExact(KIND_INF, rSign, 0, TOP);
      }
      return;
    }
    fpFlags |= FP_OE | FP_PE;
    fpRoundedUp = fpRounding == RC_NEAREST || fpRounding == (rSign ? RC_DOWN : RC_UP);
    if (fpRoundedUp) {
      setExact(KIND_INF, rSign, 0, TOP);
    } else {
      rExp = emax;
      rSig = u64.MAX_VALUE << (64 - precision);
    }
    return;
  }
  if (inexact) fpFlags |= FP_PE;
  rSig = sig;
  rExp = exp;
}

/** The value last unpacked had a fraction that `roundToMagnitude` cut. */
export let fractionLost: bool = false;
/** `roundToInteger` had no number to give. */
export let integerInvalid: bool = false;

/** Magnitude of the value last unpacked, finite and below 2^64, as an integer; 0 when it rounds up to 2^64. */
export function roundToMagnitude(rounding: u32): u64 {
  let magnitude: u64 = 0;
  let dropped: u64 = 0;
  if (uExp >= 0) {
    magnitude = uSig >> (63 - uExp);
    dropped = uExp < 63 ? uSig << (uExp + 1) : 0;
  } else {
    dropped = uExp == -1 ? uSig : 1;
  }
  const before = fpRounding;
  fpRounding = rounding;
  fpRoundedUp = roundsUp(uSign, (magnitude & 1) != 0, dropped);
  fpRounding = before;
  fractionLost = dropped != 0;
  return fpRoundedUp ? magnitude + 1 : magnitude;
}

/**
 * The value last unpacked as a signed integer of `bits` bits; the integer indefinite value and the
 * invalid-operation exception when it has none.
 */
export function roundToInteger(rounding: u32, bits: u32): i64 {
  integerInvalid = false;
  if (uKind == KIND_ZERO) return 0;
  if (uKind == KIND_FINITE && uExp < 64) {
    const magnitude = roundToMagnitude(rounding);
    const limit = ((1 as u64) << (bits - 1)) - (uSign ? 0 : 1);
    if (magnitude <= limit && (magnitude != 0 || uExp < 63)) {
      if (fractionLost) fpFlags |= FP_PE;
      return uSign ? (0 - magnitude) as i64 : magnitude as i64;
    }
  }
  fpFlags |= FP_IE;
  fpRoundedUp = false;
  integerInvalid = true;
  return (-1 as i64) << (bits - 1);
}
