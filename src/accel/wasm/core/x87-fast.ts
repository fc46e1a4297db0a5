/**
 * The common case of x87 arithmetic: both operands are normal numbers, all exceptions are masked,
 * results have 64 bits and are rounded to nearest (Intel SDM vol. 1, 8.1.5), and the result is a normal
 * number too. Nothing but C1 and PE can come of it. Everything else is left to x87-arithmetic.ts, with
 * nothing changed; bit for bit the results are the same.
 */
import { FPU_CW, FPU_SW } from "../layout";
import { divideWide, multiplyWide, productLow, remainder } from "./softfloat-arithmetic";
import { FP_PE } from "./softfloat-core";
import { isEmpty, popTimes, push, SW_C1, stAt } from "./x87-state";

const TOP: u64 = 0x8000000000000000;
const BIAS: i32 = 16383;
/** Masks, precision control and rounding control of the control word. */
const CONTROL_FIELDS: u32 = 0xf3f;
const CONTROL_PLAIN: u32 = 0x33f;

/** Sign and exponent, and significand, of an operand from memory; the significand is 0 when it is no normal number. */
let operandSe: u32 = 0;
let operandSig: u64 = 0;

// @ts-ignore: decorator
@inline
function isPlain(cpu: usize): bool {
  return (load<u32>(cpu, FPU_CW) & CONTROL_FIELDS) == CONTROL_PLAIN;
}

// @ts-ignore: decorator
@inline
function isNormal(se: u32, sig: u64): bool {
  return (se & 0x7fff) - 1 < 0x7ffe && (sig & TOP) != 0;
}

// @ts-ignore: decorator
@inline
function setInexact(cpu: usize, inexact: bool, up: bool): void {
  const status = load<u32>(cpu, FPU_SW) & ~SW_C1;
  store<u32>(cpu, status | (inexact ? FP_PE : 0) | (up ? SW_C1 : 0), FPU_SW);
}

/**
 * Writes A op B to the register at `to`; `digit` as in `arithmeticAB`. False when the case is not the
 * common one.
 */
function compute(cpu: usize, digit: u32, aSe: u32, aSig: u64, bSe: u32, bSig: u64, to: usize): bool {
  if (!isNormal(aSe, aSig) || !isNormal(bSe, bSig)) return false;
  if (digit == 5 || digit == 7) {
    const se = aSe;
    const sig = aSig;
    aSe = bSe;
    aSig = bSig;
    bSe = se;
    bSig = sig;
  }
  let sign = (aSe ^ bSe) & 0x8000;
  let exp = (aSe & 0x7fff) as i32;
  const bExp = (bSe & 0x7fff) as i32;
  let high: u64;
  let low: u64;
  if (digit == 1) {
    high = multiplyWide(aSig, bSig);
    low = productLow;
    exp += bExp - BIAS + 1;
    if (!(high & TOP)) {
      high = (high << 1) | (low >> 63);
      low <<= 1;
      exp--;
    }
  } else if (digit >= 6) {
    exp += BIAS - bExp;
    high = aSig;
    low = 0;
    if (high >= bSig) {
      low = high << 63;
      high >>= 1;
    } else exp--;
    high = divideWide(high, low, bSig);
    const rest = remainder;
    const twice = rest << 1;
    low = (rest & TOP) != 0 || twice >= bSig ? TOP : 0;
    if (rest != 0 && twice != bSig) low |= 1;
  } else {
    let bSign = bSe & 0x8000;
    if (digit != 0) bSign ^= 0x8000;
    sign = aSe & 0x8000;
    const differ = sign != bSign;
    let distance = exp - bExp;
    let small = bSig;
    high = aSig;
    if (distance < 0 || (distance == 0 && aSig < bSig)) {
      sign = bSign;
      exp = bExp;
      high = bSig;
      small = aSig;
      distance = -distance;
    }
    if (distance == 0) low = 0;
    else if (distance < 64) {
      low = small << (64 - distance);
      small >>= distance;
    } else {
      if (distance == 64) low = small;
      else if (distance >= 128) low = 1;
      else low = (small >> (distance - 64)) | (small << (128 - distance) != 0 ? 1 : 0);
      small = 0;
    }
    if (!differ) {
      high += small;
      if (high < small) {
        low = (low >> 1) | (low & 1) | (high << 63);
        high = (high >> 1) | TOP;
        exp++;
      }
    } else {
      high -= small + (low != 0 ? (1 as u64) : 0);
      low = 0 - low;
      if (high == 0) {
        if (low == 0) return false;
        high = low;
        low = 0;
        exp -= 64;
      }
      const shift = clz<u64>(high);
      if (shift) {
        high = (high << shift) | (low >> (64 - shift));
        low <<= shift;
        exp -= shift as i32;
      }
    }
  }
  const up = low > TOP || (low == TOP && (high & 1) != 0);
  if (up && ++high == 0) {
    high = TOP;
    exp++;
  }
  if (((exp - 1) as u32) >= 0x7ffe) return false;
  store<u64>(to, high);
  store<u16>(to, (sign | (exp as u32)) as u16, 8);
  setInexact(cpu, low != 0, up);
  return true;
}

/** ST(target) = ST(0) op ST(i), and pops. */
export function fastRegisters(cpu: usize, digit: u32, i: u32, target: u32, pops: u32): bool {
  if (!isPlain(cpu) || isEmpty(cpu, 0) || isEmpty(cpu, i)) return false;
  const a = stAt(cpu, 0);
  const b = stAt(cpu, i);
  const to = target ? b : a;
  if (!compute(cpu, digit, load<u16>(a, 8), load<u64>(a), load<u16>(b, 8), load<u64>(b), to)) return false;
  popTimes(cpu, pops);
  return true;
}

function unpackReal(bits: u64, width: u32, bias: i32): void {
  const biased = ((bits >> width) as i32) & (2 * bias + 1);
  operandSig = 0;
  if (((biased - 1) as u32) >= ((2 * bias) as u32)) return;
  operandSe = (biased + (BIAS - bias)) as u32;
  operandSig = TOP | (bits << (63 - width));
}

/** A normal binary32 (`wide`: binary64) number. */
function unpackFloat(bits: u64, wide: bool): void {
  if (wide) {
    unpackReal(bits, 52, 1023);
    operandSe |= ((bits >> 48) as u32) & 0x8000;
  } else {
    unpackReal(bits, 23, 127);
    operandSe |= ((bits >> 16) as u32) & 0x8000;
  }
}

function unpackWhole(value: i64): void {
  const magnitude = (value < 0 ? 0 - value : value) as u64;
  const shift = clz<u64>(magnitude);
  operandSig = magnitude << shift;
  operandSe = ((BIAS + 63 - (shift as i32)) as u32) | (value < 0 ? 0x8000 : 0);
}

// @ts-ignore: decorator
@inline
function arithmeticWithOperand(cpu: usize, digit: u32): bool {
  if (!isPlain(cpu) || isEmpty(cpu, 0)) return false;
  const at = stAt(cpu, 0);
  return compute(cpu, digit, load<u16>(at, 8), load<u64>(at), operandSe, operandSig, at);
}

/** ST(0) = ST(0) op the number of these bits. */
export function fastWithFloat(cpu: usize, digit: u32, bits: u64, wide: bool): bool {
  unpackFloat(bits, wide);
  return arithmeticWithOperand(cpu, digit);
}

export function fastWithInteger(cpu: usize, digit: u32, value: i64): bool {
  unpackWhole(value);
  return arithmeticWithOperand(cpu, digit);
}

function pushOperand(cpu: usize): bool {
  if (!operandSig || !isEmpty(cpu, 7)) return false;
  push(cpu);
  const at = stAt(cpu, 0);
  store<u64>(at, operandSig);
  store<u16>(at, operandSe as u16, 8);
  store<u32>(cpu, load<u32>(cpu, FPU_SW) & ~SW_C1, FPU_SW);
  return true;
}

/** Pushes the number of these bits, which is exact. */
export function fastPushFloat(cpu: usize, bits: u64, wide: bool): bool {
  unpackFloat(bits, wide);
  return pushOperand(cpu);
}

export function fastPushInteger(cpu: usize, value: i64): bool {
  unpackWhole(value);
  return pushOperand(cpu);
}

/** What `fastDouble` has found: whether the rounding lost something, and whether it went up. */
let lost: bool = false;
let roundedUp: bool = false;

/** ST(0) as binary64, 0 when the case is not the common one. `fastStored` is to follow once it is stored. */
export function fastDouble(cpu: usize): u64 {
  const at = stAt(cpu, 0);
  const se = load<u16>(at, 8) as u32;
  const sig = load<u64>(at);
  if (!isPlain(cpu) || !isNormal(se, sig)) return 0;
  let exp = ((se & 0x7fff) as i32) - (BIAS - 1023);
  let kept = sig >> 11;
  const dropped = sig << 53;
  lost = dropped != 0;
  roundedUp = dropped > TOP || (dropped == TOP && (kept & 1) != 0);
  if (roundedUp && (++kept >> 53) != 0) {
    kept >>= 1;
    exp++;
  }
  if (((exp - 1) as u32) >= 2046) return 0;
  return (((se >> 15) as u64) << 63) | (((exp as u32) as u64) << 52) | (kept & 0xfffffffffffff);
}

export function fastStored(cpu: usize, pops: u32): void {
  setInexact(cpu, lost, roundedUp);
  popTimes(cpu, pops);
}
