/** Conversions of SSE and SSE2 between integers, binary32 and binary64 (Intel SDM vol. 2, CVT*). */
import { MXCSR, REC_R, ST_FAULT, ST_NEXT, XMM } from "../layout";
import { faulted } from "./fault";
import { isMemory, readRm, sizeOf, writeReg } from "./operand";
import {
  CVTDQ2PD, CVTDQ2PS, CVTPD2DQ, CVTPD2PS, CVTPI2PD, CVTPI2PS, CVTPS2DQ, CVTPS2PD, CVTPS2PI, CVTSD2SI, CVTSD2SS,
  CVTSI2SS, CVTSS2SD, CVTSS2SI, CVTTPD2DQ, CVTTPD2PI, CVTTPS2DQ, CVTTPS2PI, CVTTSS2SI,
} from "./ops";
import {
  f32ToF64, f32ToI32, f32ToI64, f64ToF32, f64ToI32, f64ToI64, fpBegin, fpReported, fpTraps, i32ToF32, i64ToF32,
  i64ToF64,
} from "./softfloat";
import { FAST_MXCSR, FAST_MXCSR_MASK, ordinary32, ordinary64, safe32 } from "./sse-float";
import { mmxAvailable, report, setMmx, source16, sourceLow, sourceMmx, xmmReg } from "./sse-operand";
import { mmxEnter } from "./x87-state";

/** PE and PM of MXCSR: an inexact result changes nothing when both are set. */
const INEXACT_QUIET: u32 = 0x1020;
/** Integers up to this magnitude are doubles. */
const EXACT_LIMIT: i64 = 1 << 53;

// @ts-ignore: decorator
@inline
function finish(cpu: usize): bool {
  return report(cpu, fpReported(), fpTraps());
}

// @ts-ignore: decorator
@inline
function begin(cpu: usize): void {
  fpBegin(load<u32>(cpu, MXCSR));
}

/** CVTSI2SD. */
export function convertFromInteger64(cpu: usize, rec: usize): u32 {
  const size = sizeOf(rec);
  const raw = readRm(cpu, rec, size);
  if (faulted(cpu)) return ST_FAULT;
  const value: i64 = size == 3 ? (raw as i64) : ((raw as i32) as i64);
  if (value >= -EXACT_LIMIT && value <= EXACT_LIMIT) {
    store<f64>(xmmReg(cpu, rec), value as f64, XMM);
    return ST_NEXT;
  }
  begin(cpu);
  const result = i64ToF64(value);
  if (!finish(cpu)) return ST_FAULT;
  store<u64>(xmmReg(cpu, rec), result, XMM);
  return ST_NEXT;
}

/** CVTTSD2SI. */
export function convertToInteger64(cpu: usize, rec: usize): u32 {
  const from = sourceLow<u64>(cpu, rec);
  if (!from) return ST_FAULT;
  const size = sizeOf(rec);
  const value = load<f64>(from);
  if (value > -2147483649.0 && value < 2147483648.0) {
    const whole = value as i32;
    if ((whole as f64) == value || (load<u32>(cpu, MXCSR) & INEXACT_QUIET) == INEXACT_QUIET) {
      writeReg(cpu, load<u8>(rec, REC_R), size, whole as i64 as u64);
      return ST_NEXT;
    }
  }
  return doubleToRegister(cpu, rec, reinterpret<u64>(value), true);
}

function doubleToRegister(cpu: usize, rec: usize, bits: u64, truncate: bool): u32 {
  const size = sizeOf(rec);
  begin(cpu);
  const result: i64 = size == 3 ? f64ToI64(bits, truncate) : (f64ToI32(bits, truncate) as i64);
  if (!finish(cpu)) return ST_FAULT;
  writeReg(cpu, load<u8>(rec, REC_R), size, result as u64);
  return ST_NEXT;
}

function singleToRegister(cpu: usize, rec: usize, truncate: bool): u32 {
  const from = sourceLow<u32>(cpu, rec);
  if (!from) return ST_FAULT;
  const size = sizeOf(rec);
  const value = load<f32>(from);
  // An inexact result that has PE to set goes the long way.
  if (truncate && value >= -2147483648.0 && value < 2147483648.0) {
    const whole = value as i32;
    if ((whole as f32) == value || (load<u32>(cpu, MXCSR) & INEXACT_QUIET) == INEXACT_QUIET) {
      writeReg(cpu, load<u8>(rec, REC_R), size, whole as i64 as u64);
      return ST_NEXT;
    }
  }
  begin(cpu);
  const result: i64 = size == 3 ? f32ToI64(load<u32>(from), truncate) : (f32ToI32(load<u32>(from), truncate) as i64);
  if (!finish(cpu)) return ST_FAULT;
  writeReg(cpu, load<u8>(rec, REC_R), size, result as u64);
  return ST_NEXT;
}

/** Two 32-bit values in one 64-bit word. */
// @ts-ignore: decorator
@inline
function join(low: u32, high: u32): u64 {
  return (low as u64) | ((high as u64) << 32);
}

/** All conversions but CVTSI2SD and CVTTSD2SI. */
export function execConvert(cpu: usize, rec: usize, op: u32): u32 {
  const to = xmmReg(cpu, rec) + XMM;
  switch (op) {
    case CVTSI2SS: {
      const size = sizeOf(rec);
      const raw = readRm(cpu, rec, size);
      if (faulted(cpu)) return ST_FAULT;
      begin(cpu);
      const result = size == 3 ? i64ToF32(raw as i64) : i32ToF32(raw as i32);
      if (!finish(cpu)) return ST_FAULT;
      store<u32>(to, result);
      return ST_NEXT;
    }
    case CVTSD2SI: {
      const from = sourceLow<u64>(cpu, rec);
      return from ? doubleToRegister(cpu, rec, load<u64>(from), false) : ST_FAULT;
    }
    case CVTTSS2SI: return singleToRegister(cpu, rec, true);
    case CVTSS2SI: return singleToRegister(cpu, rec, false);
    case CVTSS2SD: {
      const from = sourceLow<u32>(cpu, rec);
      if (!from) return ST_FAULT;
      const value = load<u32>(from);
      if (ordinary32(value)) {
        store<f64>(to, reinterpret<f32>(value) as f64);
        return ST_NEXT;
      }
      begin(cpu);
      const result = f32ToF64(value);
      if (!finish(cpu)) return ST_FAULT;
      store<u64>(to, result);
      return ST_NEXT;
    }
    case CVTSD2SS: {
      const from = sourceLow<u64>(cpu, rec);
      if (!from) return ST_FAULT;
      const value = load<u64>(from);
      if ((load<u32>(cpu, MXCSR) & FAST_MXCSR_MASK) == FAST_MXCSR && ordinary64(value)) {
        const single = reinterpret<f64>(value) as f32;
        if (safe32(reinterpret<u32>(single))) {
          store<f32>(to, single);
          return ST_NEXT;
        }
      }
      begin(cpu);
      const result = f64ToF32(value);
      if (!finish(cpu)) return ST_FAULT;
      store<u32>(to, result);
      return ST_NEXT;
    }
    case CVTPS2PD: {
      const from = sourceLow<u64>(cpu, rec);
      if (!from) return ST_FAULT;
      const first = load<u32>(from);
      const second = load<u32>(from, 4);
      if (ordinary32(first) && ordinary32(second)) {
        store<f64>(to, reinterpret<f32>(first) as f64);
        store<f64>(to, reinterpret<f32>(second) as f64, 8);
        return ST_NEXT;
      }
      begin(cpu);
      const low = f32ToF64(first);
      const high = f32ToF64(second);
      return storePair(cpu, to, low, high);
    }
    case CVTPD2PS: {
      const from = source16(cpu, rec);
      if (!from) return ST_FAULT;
      begin(cpu);
      const low = f64ToF32(load<u64>(from));
      const high = f64ToF32(load<u64>(from, 8));
      return storePair(cpu, to, join(low, high), 0);
    }
    case CVTDQ2PS: {
      const from = source16(cpu, rec);
      if (!from) return ST_FAULT;
      if ((load<u32>(cpu, MXCSR) & FAST_MXCSR_MASK) == FAST_MXCSR) {
        store<v128>(to, f32x4.convert_i32x4_s(load<v128>(from)));
        return ST_NEXT;
      }
      begin(cpu);
      const low = join(i32ToF32(load<i32>(from)), i32ToF32(load<i32>(from, 4)));
      const high = join(i32ToF32(load<i32>(from, 8)), i32ToF32(load<i32>(from, 12)));
      return storePair(cpu, to, low, high);
    }
    case CVTPS2DQ: case CVTTPS2DQ: {
      const from = source16(cpu, rec);
      if (!from) return ST_FAULT;
      begin(cpu);
      const low = integers32(from, op == CVTTPS2DQ);
      const high = integers32(from + 8, op == CVTTPS2DQ);
      return storePair(cpu, to, low, high);
    }
    case CVTDQ2PD: {
      const from = sourceLow<u64>(cpu, rec);
      if (!from) return ST_FAULT;
      const low = load<i32>(from) as f64;
      const high = load<i32>(from, 4) as f64;
      store<f64>(to, low);
      store<f64>(to, high, 8);
      return ST_NEXT;
    }
    case CVTPD2DQ: case CVTTPD2DQ: {
      const from = source16(cpu, rec);
      if (!from) return ST_FAULT;
      begin(cpu);
      return storePair(cpu, to, integers64(from, op == CVTTPD2DQ), 0);
    }
    case CVTPI2PS: {
      if (!mmxAvailable(cpu)) return ST_FAULT;
      const from = sourceMmx<u64>(cpu, rec);
      if (!from) return ST_FAULT;
      mmxEnter(cpu);
      begin(cpu);
      const result = join(i32ToF32(load<i32>(from)), i32ToF32(load<i32>(from, 4)));
      if (!finish(cpu)) return ST_FAULT;
      store<u64>(to, result);
      return ST_NEXT;
    }
    case CVTPI2PD: {
      // A memory operand causes no transition to MMX (SDM vol. 2, CVTPI2PD).
      const register = !isMemory(rec);
      if (register && !mmxAvailable(cpu)) return ST_FAULT;
      const from = sourceMmx<u64>(cpu, rec);
      if (!from) return ST_FAULT;
      const low = load<i32>(from) as f64;
      const high = load<i32>(from, 4) as f64;
      if (register) mmxEnter(cpu);
      store<f64>(to, low);
      store<f64>(to, high, 8);
      return ST_NEXT;
    }
    case CVTPS2PI: case CVTTPS2PI: {
      if (!mmxAvailable(cpu)) return ST_FAULT;
      const from = sourceLow<u64>(cpu, rec);
      if (!from) return ST_FAULT;
      begin(cpu);
      return storeMmx(cpu, rec, integers32(from, op == CVTTPS2PI));
    }
    default: {
      if (!mmxAvailable(cpu)) return ST_FAULT;
      const from = source16(cpu, rec);
      if (!from) return ST_FAULT;
      begin(cpu);
      return storeMmx(cpu, rec, integers64(from, op == CVTTPD2PI));
    }
  }
}

function integers32(from: usize, truncate: bool): u64 {
  const low = f32ToI32(load<u32>(from), truncate);
  return join(low as u32, f32ToI32(load<u32>(from, 4), truncate) as u32);
}

function integers64(from: usize, truncate: bool): u64 {
  const low = f64ToI32(load<u64>(from), truncate);
  return join(low as u32, f64ToI32(load<u64>(from, 8), truncate) as u32);
}

function storePair(cpu: usize, to: usize, low: u64, high: u64): u32 {
  if (!finish(cpu)) return ST_FAULT;
  store<u64>(to, low);
  store<u64>(to, high, 8);
  return ST_NEXT;
}

/** The transition to MMX comes before the SIMD exception: processors make it even when #XM follows. */
function storeMmx(cpu: usize, rec: usize, value: u64): u32 {
  mmxEnter(cpu);
  if (!finish(cpu)) return ST_FAULT;
  setMmx(cpu, load<u8>(rec, REC_R), value);
  return ST_NEXT;
}
