/**
 * Multiplication and division with double-width operands (Intel SDM vol. 2, "MUL", "IMUL", "DIV",
 * "IDIV"). The double-width value is AX for bytes, else the pair (E/R)DX:(E/R)AX.
 */
import { GPR, RAX, RDX, ST_FAULT, ST_NEXT } from "../layout";
import { faulted, raise, VEC_DE } from "./fault";
import { setParts } from "./flags";
import { readReg, readRm, signed, sizeOf, writeReg } from "./operand";

const AH: u32 = 1;

/** High 64 bits of the unsigned product. */
export function mulHigh(a: u64, b: u64): u64 {
  const aLow = a & 0xffffffff;
  const aHigh = a >> 32;
  const bLow = b & 0xffffffff;
  const bHigh = b >> 32;
  const middle = aHigh * bLow + ((aLow * bLow) >> 32);
  const cross = aLow * bHigh + (middle & 0xffffffff);
  return aHigh * bHigh + (middle >> 32) + (cross >> 32);
}

/** High 64 bits of the signed product. */
export function mulHighSigned(a: i64, b: i64): i64 {
  return (mulHigh(a as u64, b as u64) as i64) - ((a >> 63) & b) - ((b >> 63) & a);
}

/** Of the last `divide128`: the remainder. */
let remainder: u64 = 0;

/**
 * Quotient of high:low by `divisor`, with high < divisor, by two digits of 32 bits (Knuth, The Art of
 * Computer Programming vol. 2, 4.3.1, algorithm D). The remainder is left in `remainder`.
 */
function divide128(high: u64, low: u64, divisor: u64): u64 {
  if (high == 0) {
    remainder = low % divisor;
    return low / divisor;
  }
  const shift = clz<u64>(divisor);
  const d = divisor << shift;
  let top = shift == 0 ? high : (high << shift) | (low >> (64 - shift));
  const rest = low << shift;
  const digitHigh = divideDigit(top, rest >> 32, d);
  top = ((top << 32) | (rest >> 32)) - digitHigh * d;
  const digitLow = divideDigit(top, rest & 0xffffffff, d);
  remainder = (((top << 32) | (rest & 0xffffffff)) - digitLow * d) >> shift;
  return (digitHigh << 32) | digitLow;
}

/** One 32-bit digit of the quotient of top:next by the normalised divisor `d`. */
function divideDigit(top: u64, next: u64, d: u64): u64 {
  const dHigh = d >> 32;
  const dLow = d & 0xffffffff;
  let digit = top / dHigh;
  let rest = top - digit * dHigh;
  while (digit >> 32 || digit * dLow > ((rest << 32) | next)) {
    digit--;
    rest += dHigh;
    if (rest >> 32) break;
  }
  return digit;
}

// @ts-ignore: decorator
@inline
function divideError(cpu: usize): u32 {
  raise(cpu, VEC_DE);
  return ST_FAULT;
}

/** CF = OF = `cut`; the other flags, undefined by the manual, as the low half leaves them. */
function productFlags(cpu: usize, low: u64, size: u32, cut: bool): u32 {
  setParts(cpu, signed(low, size), cut ? 1 : 0, cut ? 1 : 0);
  return ST_NEXT;
}

export function mul(cpu: usize, rec: usize): u32 {
  const size = sizeOf(rec);
  const b = readRm(cpu, rec, size);
  if (faulted(cpu)) return ST_FAULT;
  const a = readReg(cpu, RAX, size);
  if (size == 3) {
    const high = mulHigh(a, b);
    store<u64>(cpu, a * b, GPR + RAX);
    store<u64>(cpu, high, GPR + RDX);
    return productFlags(cpu, a * b, size, high != 0);
  }
  const product = a * b;
  const high = product >> (8 << size);
  if (size == 0) {
    store<u16>(cpu, product as u16, GPR + RAX);
  } else {
    writeReg(cpu, RAX, size, product);
    writeReg(cpu, RDX, size, high);
  }
  return productFlags(cpu, product, size, high != 0);
}

export function imul(cpu: usize, rec: usize): u32 {
  const size = sizeOf(rec);
  const b = signed(readRm(cpu, rec, size), size);
  if (faulted(cpu)) return ST_FAULT;
  const a = signed(readReg(cpu, RAX, size), size);
  const product = a * b;
  if (size == 3) {
    const high = mulHighSigned(a, b);
    store<u64>(cpu, product as u64, GPR + RAX);
    store<u64>(cpu, high as u64, GPR + RDX);
    return productFlags(cpu, product as u64, size, high != product >> 63);
  }
  if (size == 0) {
    store<u16>(cpu, product as u16, GPR + RAX);
  } else {
    writeReg(cpu, RAX, size, product as u64);
    writeReg(cpu, RDX, size, (product >> (8 << size)) as u64);
  }
  return productFlags(cpu, product as u64, size, signed(product as u64, size) != product);
}

export function div(cpu: usize, rec: usize): u32 {
  const size = sizeOf(rec);
  const divisor = readRm(cpu, rec, size);
  if (faulted(cpu)) return ST_FAULT;
  if (divisor == 0) return divideError(cpu);
  if (size == 3) {
    const high = load<u64>(cpu, GPR + RDX);
    if (high >= divisor) return divideError(cpu);
    const quotient = divide128(high, load<u64>(cpu, GPR + RAX), divisor);
    store<u64>(cpu, quotient, GPR + RAX);
    store<u64>(cpu, remainder, GPR + RDX);
    return ST_NEXT;
  }
  const dividend = dividendOf(cpu, size);
  const quotient = dividend / divisor;
  if (quotient >> (8 << size)) return divideError(cpu);
  storeQuotient(cpu, size, quotient, dividend % divisor);
  return ST_NEXT;
}

/** The double-width dividend of sizes below 64 bits, zero-extended. */
function dividendOf(cpu: usize, size: u32): u64 {
  if (size == 0) return load<u16>(cpu, GPR + RAX) as u64;
  return (readReg(cpu, RDX, size) << (8 << size)) | readReg(cpu, RAX, size);
}

function storeQuotient(cpu: usize, size: u32, quotient: u64, rest: u64): void {
  writeReg(cpu, RAX, size, quotient);
  writeReg(cpu, size == 0 ? AH : RDX, size, rest);
}

export function idiv(cpu: usize, rec: usize): u32 {
  const size = sizeOf(rec);
  const divisor = signed(readRm(cpu, rec, size), size);
  if (faulted(cpu)) return ST_FAULT;
  if (divisor == 0) return divideError(cpu);
  if (size == 3) return idiv64(cpu, divisor);
  const dividend = signed(dividendOf(cpu, size), size + 1);
  // The one quotient that does not fit 64 bits would trap in WebAssembly.
  if (divisor == -1 && dividend == i64.MIN_VALUE) return divideError(cpu);
  const quotient = dividend / divisor;
  if (signed(quotient as u64, size) != quotient) return divideError(cpu);
  storeQuotient(cpu, size, quotient as u64, (dividend % divisor) as u64);
  return ST_NEXT;
}

function idiv64(cpu: usize, divisor: i64): u32 {
  let high = load<u64>(cpu, GPR + RDX);
  let low = load<u64>(cpu, GPR + RAX);
  const negative = (high as i64) < 0;
  if (negative) {
    low = 0 - low;
    high = ~high + (low == 0 ? 1 : 0);
  }
  const magnitude: u64 = divisor < 0 ? 0 - (divisor as u64) : (divisor as u64);
  if (high >= magnitude) return divideError(cpu);
  const quotient = divide128(high, low, magnitude);
  const negativeQuotient = negative != (divisor < 0);
  const limit: u64 = negativeQuotient ? 0x8000000000000000 : 0x7fffffffffffffff;
  if (quotient > limit) return divideError(cpu);
  store<u64>(cpu, negativeQuotient ? 0 - quotient : quotient, GPR + RAX);
  store<u64>(cpu, negative ? 0 - remainder : remainder, GPR + RDX);
  return ST_NEXT;
}
