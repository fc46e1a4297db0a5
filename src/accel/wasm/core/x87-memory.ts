/**
 * x87 loads and stores (Intel SDM vol. 2, FLD FST FILD FIST FBLD FBSTP). An operation returns false
 * after a page fault, before it has changed anything.
 */
import { MODE, MODE_CODE64, MODE_CODE_MASK, SIMD_SCRATCH, TLB_SET } from "../layout";
import { faulted } from "./fault";
import { probeWrite, storeBytes } from "./mmu";
import { readBytes, readMem, writeMem } from "./operand";
import {
  FP_DE, FP_IE, FP_OE, FP_PE, FP_UE, fpFlags, fpRaise, fpRounding, fpUnmasked, fpUnrounded, fractionLost, KIND_FINITE,
  KIND_QNAN, KIND_SNAN, KIND_UNSUPPORTED, KIND_ZERO, pack32, pack64, roundR, roundToInteger, roundToMagnitude, setExact,
  setInvalid, setR, uDenormal, uExp, uKind, unpack32, unpack64, unpackInteger, unpackMagnitude, uSig, uSign,
} from "./softfloat-core";
import { fastDouble, fastPushFloat, fastPushInteger, fastStored } from "./x87-fast";
import {
  isEmpty, loadA, popTimes, push, pushFaults, putR, setStatus, settle, stackFault, stAt, stopped, SW_C1,
  x87Begin,
} from "./x87-state";

export const FORMAT_F32: u32 = 0;
export const FORMAT_F64: u32 = 1;
export const FORMAT_I16: u32 = 2;
export const FORMAT_I32: u32 = 3;
export const FORMAT_I64: u32 = 4;

/** Size index of operand.ts. */
// @ts-ignore: decorator
@inline
function sizeIndex(format: u32): u32 {
  return format == FORMAT_I16 ? 1 : format == FORMAT_F32 || format == FORMAT_I32 ? 2 : 3;
}

/** The bits of the number at `va`. Check `faulted` after it. */
// @ts-ignore: decorator
@inline
export function readNumber(cpu: usize, va: u64, format: u32): u64 {
  return readMem(cpu, va, sizeIndex(format));
}

/** Value of an integer format. */
// @ts-ignore: decorator
@inline
export function integerOf(bits: u64, format: u32): i64 {
  return format == FORMAT_I16 ? ((bits as i16) as i64) : format == FORMAT_I32 ? ((bits as i32) as i64) : (bits as i64);
}

/** Unpacks a number. */
export function unpackNumber(bits: u64, format: u32): void {
  switch (format) {
    case FORMAT_F32: unpack32(bits as u32); break;
    case FORMAT_F64: unpack64(bits); break;
    default: unpackInteger(integerOf(bits, format)); break;
  }
}

/** FLD m32, FLD m64, FILD. */
export function loadNumber(cpu: usize, va: u64, format: u32): bool {
  const bits = readNumber(cpu, va, format);
  if (faulted(cpu)) return false;
  if (format <= FORMAT_F64 ? fastPushFloat(cpu, bits, format == FORMAT_F64) : fastPushInteger(cpu, integerOf(bits, format))) {
    return true;
  }
  x87Begin(cpu);
  unpackNumber(bits, format);
  if (pushFaults(cpu)) return true;
  if (uDenormal) fpRaise(FP_DE);
  if (uKind == KIND_SNAN) {
    fpRaise(FP_IE);
    setExact(KIND_QNAN, uSign, 0, uSig);
  } else {
    setR();
  }
  /* The value is pushed even when the denormal-operand exception is unmasked. */
  if (!settle(cpu) && fpFlags & FP_IE) return true;
  push(cpu);
  putR(cpu, 0);
  return true;
}

/** The address `offset` bytes after `va`. */
// @ts-ignore: decorator
@inline
export function after(cpu: usize, va: u64, offset: u32): u64 {
  const next = va + offset;
  return (load<u32>(cpu, MODE) & MODE_CODE_MASK) == MODE_CODE64 ? next : (va & ~0xffffffff) | (next & 0xffffffff);
}

let tenHigh: u32 = 0;

/** Reads 10 bytes: the low eight are returned, the rest is in `tenHigh`. Check `faulted`. */
function readTen(cpu: usize, va: u64): u64 {
  if (((va as u32) & 0xfff) > 0xff6) {
    const at = readBytes(cpu, va, 10);
    if (!at) return 0;
    tenHigh = load<u16>(at, 8) as u32;
    return load<u64>(at);
  }
  const low = readMem(cpu, va, 3);
  if (faulted(cpu)) return 0;
  tenHigh = readMem(cpu, va + 8, 1) as u32;
  return low;
}

/** Writes 10 bytes; false after a fault, with nothing written. */
function writeTen(cpu: usize, va: u64, low: u64, high: u32): bool {
  if (((va as u32) & 0xfff) > 0xff6) {
    store<u64>(cpu, low, SIMD_SCRATCH);
    store<u16>(cpu, high as u16, SIMD_SCRATCH + 8);
    return storeBytes(cpu, load<u32>(cpu, TLB_SET), va, cpu + SIMD_SCRATCH, 10);
  }
  return writeMem(cpu, va, 3, low) && writeMem(cpu, va + 8, 1, high as u64);
}

/** FLD m80: no exception but the stack's. */
export function loadExtended(cpu: usize, va: u64): bool {
  const sig = readTen(cpu, va);
  if (faulted(cpu)) return false;
  if (pushFaults(cpu)) return true;
  push(cpu);
  const at = stAt(cpu, 0);
  store<u64>(at, sig);
  store<u16>(at, tenHigh as u16, 8);
  setStatus(cpu, SW_C1, 0);
  return true;
}

/** FSTP m80. */
export function storeExtended(cpu: usize, va: u64): bool {
  let sig: u64 = 0xc000000000000000;
  let se: u32 = 0xffff;
  emptySource = false;
  if (!isEmpty(cpu, 0)) {
    const at = stAt(cpu, 0);
    sig = load<u64>(at);
    se = load<u16>(at, 8) as u32;
  } else if (emptyStops(cpu)) {
    return stopStore(cpu, va, 10);
  }
  if (!writeTen(cpu, va, sig, se)) return false;
  return finishStore(cpu, 1);
}

/* A store may meet a page fault after the arithmetic has found exceptions, so it keeps them aside. */
let emptySource: bool = false;

/** An empty ST(0) is to be stored: whether that stops the instruction. */
function emptyStops(cpu: usize): bool {
  fpRaise(FP_IE);
  emptySource = true;
  return stopped(cpu);
}

/** Nothing is stored at `va` because of an unmasked exception; a page fault there comes first. */
function stopStore(cpu: usize, va: u64, bytes: u32): bool {
  return probeWrite(cpu, load<u32>(cpu, TLB_SET), va, bytes) && finishStore(cpu, 0);
}

function finishStore(cpu: usize, pops: u32): bool {
  if (emptySource) stackFault(cpu, false);
  else settle(cpu);
  emptySource = false;
  popTimes(cpu, pops);
  return true;
}

/** FST m32, FST m64. */
export function storeReal(cpu: usize, va: u64, format: u32, pops: u32): bool {
  const double = format == FORMAT_F64 && !isEmpty(cpu, 0) ? fastDouble(cpu) : 0;
  if (double) {
    if (!writeMem(cpu, va, 3, double)) return false;
    fastStored(cpu, pops);
    return true;
  }
  x87Begin(cpu);
  emptySource = false;
  if (isEmpty(cpu, 0)) {
    if (emptyStops(cpu)) return stopStore(cpu, va, 1 << sizeIndex(format));
    setInvalid();
  } else {
    loadA(cpu, 0);
    if (uKind == KIND_UNSUPPORTED) {
      setInvalid();
    } else if (uKind == KIND_SNAN) {
      fpRaise(FP_IE);
      setExact(KIND_QNAN, uSign, 0, uSig);
    } else {
      setR();
      if (format == FORMAT_F32) roundR(24, 127);
      else roundR(53, 1023);
    }
    if (fpFlags & fpUnmasked & (FP_OE | FP_UE)) {
      /* Nothing is stored, so nothing has been rounded. */
      fpUnrounded();
      return stopStore(cpu, va, 1 << sizeIndex(format));
    }
    if (stopped(cpu)) return stopStore(cpu, va, 1 << sizeIndex(format));
  }
  const bits = format == FORMAT_F32 ? pack32() as u64 : pack64();
  if (!writeMem(cpu, va, sizeIndex(format), bits)) return false;
  return finishStore(cpu, pops);
}

/** FIST, FISTP and FISTTP, which differ in the rounding. */
export function storeInteger(cpu: usize, va: u64, format: u32, pops: u32, rounding: u32): bool {
  const size = sizeIndex(format);
  emptySource = false;
  let value: i64 = (-1 as i64) << ((8 << size) - 1);
  if (isEmpty(cpu, 0)) {
    if (emptyStops(cpu)) return stopStore(cpu, va, 1 << sizeIndex(format));
  } else {
    loadA(cpu, 0);
    value = roundToInteger(rounding, 8 << size);
    if (stopped(cpu)) return stopStore(cpu, va, 1 << sizeIndex(format));
  }
  if (!writeMem(cpu, va, size, value as u64)) return false;
  return finishStore(cpu, pops);
}

/** FBLD: 18 digits, the sign in the last byte. */
export function loadDecimal(cpu: usize, va: u64): bool {
  const digits = readTen(cpu, va);
  if (faulted(cpu)) return false;
  if (pushFaults(cpu)) return true;
  let value: u64 = 0;
  for (let shift: i32 = 4; shift >= 0; shift -= 4) value = value * 10 + ((tenHigh >> shift) & 15);
  for (let shift: i32 = 60; shift >= 0; shift -= 4) value = value * 10 + ((digits >> shift) & 15);
  unpackMagnitude(value);
  setExact(uKind, (tenHigh >> 15) & 1, uExp, uSig);
  push(cpu);
  putR(cpu, 0);
  setStatus(cpu, SW_C1, 0);
  return true;
}

const DECIMAL_LIMIT: u64 = 1000000000000000000;

/** FBSTP. */
export function storeDecimal(cpu: usize, va: u64): bool {
  let low: u64 = 0xc000000000000000;
  let high: u32 = 0xffff;
  emptySource = false;
  if (isEmpty(cpu, 0)) {
    if (emptyStops(cpu)) return stopStore(cpu, va, 10);
  } else {
    loadA(cpu, 0);
    let value: u64 = 0;
    let valid = uKind == KIND_ZERO;
    if (uKind == KIND_FINITE && uExp < 63) {
      value = roundToMagnitude(fpRounding);
      valid = value < DECIMAL_LIMIT;
    }
    if (valid) {
      if (uKind == KIND_FINITE && fractionLost) fpRaise(FP_PE);
      low = decimal(value % 10000000000000000, 16);
      high = (decimal(value / 10000000000000000, 2) as u32) | (uSign << 15);
    } else {
      fpUnrounded();
      fpRaise(FP_IE);
    }
    if (stopped(cpu)) return stopStore(cpu, va, 10);
  }
  if (!writeTen(cpu, va, low, high)) return false;
  return finishStore(cpu, 1);
}

/** Packed decimal digits of `value`. */
function decimal(value: u64, digits: u32): u64 {
  let packed: u64 = 0;
  for (let shift: u64 = 0; digits > 0; digits--, shift += 4) {
    packed |= (value % 10) << shift;
    value /= 10;
  }
  return packed;
}
