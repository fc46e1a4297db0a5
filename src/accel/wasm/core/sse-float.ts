/**
 * SSE and SSE2 arithmetic and comparisons (Intel SDM vol. 2; vol. 1, 4.8, 10.2.3 and 11.5).
 *
 * Where MXCSR rounds to nearest and masks all exceptions, PE is already set, the operands are zeros or
 * normal numbers and the result is well inside the normal range, the host's arithmetic gives the same
 * result and there is no flag to set. Everything else goes through softfloat.ts.
 */
import { MXCSR, REC_IMM, SIMD_SCRATCH, ST_FAULT, ST_NEXT, XMM } from "../layout";
import { CF, PF, setArithmetic, ZF } from "./flags";
import { ADDPS, COMISS, RCPPS, RCPSS, RSQRTPS, RSQRTSS, UCOMISD, UCOMISS } from "./ops";
import {
  CMP_EQUAL, CMP_GREATER, CMP_LESS, CMP_UNORDERED, f32Add, f32Compare, f32Div, f32Max, f32Min, f32Mul, f32Sqrt, f32Sub,
  f64Add, f64Compare, f64Div, f64Max, f64Min, f64Mul, f64Sqrt, f64Sub, fpBegin, fpReported, fpTraps,
} from "./softfloat";
import { report, source16, sourceLow, xmmReg } from "./sse-operand";

/**
 * Rounding to nearest, all exceptions masked, PE set. DAZ and FTZ are not asked for: neither an ordinary
 * operand nor a safe result is denormal.
 */
export const FAST_MXCSR_MASK: u32 = 0x7fa0;
export const FAST_MXCSR: u32 = 0x1fa0;
const PE: u32 = 0x20;
const DAZ: u32 = 0x40;

/** The order of the operations' rows in isa/sse.ts. */
const ADD: u32 = 0;
const SUB: u32 = 1;
const MUL: u32 = 2;
const DIV: u32 = 3;
const MIN: u32 = 4;
const MAX: u32 = 5;
const SQRT: u32 = 6;

/** Zero or a normal number. */
// @ts-ignore: decorator
@inline
export function ordinary64(bits: u64): bool {
  const magnitude = bits << 1;
  return magnitude - 0x0020000000000000 < 0xffc0000000000000 || magnitude == 0;
}

// @ts-ignore: decorator
@inline
export function ordinary32(bits: u32): bool {
  const magnitude = bits << 1;
  return magnitude - 0x01000000 < 0xfe000000 || magnitude == 0;
}

/** A normal number that is not in the lowest binade: rounding has not lifted it out of the denormals. */
// @ts-ignore: decorator
@inline
export function safe64(bits: u64): bool {
  return (bits << 1) - 0x0040000000000000 < 0xffa0000000000000;
}

// @ts-ignore: decorator
@inline
export function safe32(bits: u32): bool {
  return (bits << 1) - 0x02000000 < 0xfd000000;
}

// @ts-ignore: decorator
@inline
function ordinary32x4(value: v128): bool {
  const magnitude = v128.and(value, i32x4.splat(0x7fffffff));
  const normal = v128.and(
    i32x4.gt_s(magnitude, i32x4.splat(0x007fffff)),
    i32x4.lt_s(magnitude, i32x4.splat(0x7f800000)),
  );
  return i32x4.all_true(v128.or(normal, i32x4.eq(magnitude, i32x4.splat(0))));
}

// @ts-ignore: decorator
@inline
function ordinary64x2(value: v128): bool {
  return ordinary64(i64x2.extract_lane(value, 0)) && ordinary64(i64x2.extract_lane(value, 1));
}

// @ts-ignore: decorator
@inline
function safe32x4(value: v128): bool {
  const magnitude = v128.and(value, i32x4.splat(0x7fffffff));
  return i32x4.all_true(
    v128.and(
      i32x4.gt_s(magnitude, i32x4.splat(0x00ffffff)),
      i32x4.lt_s(magnitude, i32x4.splat(0x7f800000)),
    ),
  );
}

// @ts-ignore: decorator
@inline
function safe64x2(value: v128): bool {
  return safe64(i64x2.extract_lane(value, 0)) && safe64(i64x2.extract_lane(value, 1));
}

/** ADDPS … CMPSD, RSQRTPS … RCPSS. */
export function execFloat(cpu: usize, rec: usize, op: u32): u32 {
  if (op >= RSQRTPS) return approximate(cpu, rec, op);
  const index = op - ADDPS;
  switch (index & 3) {
    case 0: return packed32(cpu, rec, index >> 2);
    case 1: return packed64(cpu, rec, index >> 2);
    case 2: return scalar<f32>(cpu, rec, index >> 2);
    default: return scalar<f64>(cpu, rec, index >> 2);
  }
}

function packed32(cpu: usize, rec: usize, kind: u32): u32 {
  const from = source16(cpu, rec);
  if (!from) return ST_FAULT;
  const to = xmmReg(cpu, rec) + XMM;
  const mxcsr = load<u32>(cpu, MXCSR);
  if ((mxcsr & FAST_MXCSR_MASK) == FAST_MXCSR && kind <= SQRT) {
    const b = load<v128>(from);
    const a = kind == SQRT ? b : load<v128>(to);
    if (ordinary32x4(a) && ordinary32x4(b)) {
      const result = host32x4(kind, a, b);
      if (kind == MIN || kind == MAX || safe32x4(result)) {
        store<v128>(to, result);
        return ST_NEXT;
      }
    }
  }
  fpBegin(mxcsr);
  const scratch = cpu + SIMD_SCRATCH;
  for (let lane: usize = 0; lane < 16; lane += 4) {
    store<u32>(scratch + lane, operate32(cpu, kind, rec, load<u32>(to + lane), load<u32>(from + lane)));
  }
  if (!report(cpu, fpReported(), fpTraps())) return ST_FAULT;
  store<v128>(to, load<v128>(scratch));
  return ST_NEXT;
}

function packed64(cpu: usize, rec: usize, kind: u32): u32 {
  const from = source16(cpu, rec);
  if (!from) return ST_FAULT;
  const to = xmmReg(cpu, rec) + XMM;
  const mxcsr = load<u32>(cpu, MXCSR);
  if ((mxcsr & FAST_MXCSR_MASK) == FAST_MXCSR && kind <= SQRT) {
    const b = load<v128>(from);
    const a = kind == SQRT ? b : load<v128>(to);
    if (ordinary64x2(a) && ordinary64x2(b)) {
      const result = host64x2(kind, a, b);
      if (kind == MIN || kind == MAX || safe64x2(result)) {
        store<v128>(to, result);
        return ST_NEXT;
      }
    }
  }
  fpBegin(mxcsr);
  const low = operate64(cpu, kind, rec, load<u64>(to), load<u64>(from));
  const high = operate64(cpu, kind, rec, load<u64>(to, 8), load<u64>(from, 8));
  if (!report(cpu, fpReported(), fpTraps())) return ST_FAULT;
  store<u64>(to, low);
  store<u64>(to, high, 8);
  return ST_NEXT;
}

/** ADDSS … CMPSS and ADDSD … CMPSD; F: f32 or f64. */
function scalar<F>(cpu: usize, rec: usize, kind: u32): u32 {
  const from = sourceLow<F>(cpu, rec);
  if (!from) return ST_FAULT;
  const to = xmmReg(cpu, rec) + XMM;
  const mxcsr = load<u32>(cpu, MXCSR);
  const first = kind == SQRT ? from : to;
  if ((mxcsr & (FAST_MXCSR_MASK & ~PE)) == (FAST_MXCSR & ~PE) && kind <= SQRT) {
    const a = load<F>(first);
    const b = load<F>(from);
    if (ordinary<F>(a) && ordinary<F>(b)) {
      const result = host<F>(kind, a, b);
      if (kind == MIN || kind == MAX || (safe<F>(result) && (mxcsr & PE || exact<F>(kind, a, b, result)))) {
        store<F>(to, result);
        return ST_NEXT;
      }
    }
  }
  fpBegin(mxcsr);
  if (sizeof<F>() == 4) {
    const result = operate32(cpu, kind, rec, load<u32>(first), load<u32>(from));
    if (!report(cpu, fpReported(), fpTraps())) return ST_FAULT;
    store<u32>(to, result);
  } else {
    const result = operate64(cpu, kind, rec, load<u64>(first), load<u64>(from));
    if (!report(cpu, fpReported(), fpTraps())) return ST_FAULT;
    store<u64>(to, result);
  }
  return ST_NEXT;
}

// @ts-ignore: decorator
@inline
function ordinary<F>(value: F): bool {
  return sizeof<F>() == 4 ? ordinary32(reinterpret<u32>(value as f32)) : ordinary64(reinterpret<u64>(value as f64));
}

// @ts-ignore: decorator
@inline
function safe<F>(value: F): bool {
  return sizeof<F>() == 4 ? safe32(reinterpret<u32>(value as f32)) : safe64(reinterpret<u64>(value as f64));
}

// @ts-ignore: decorator
@inline
function exact<F>(kind: u32, a: F, b: F, result: F): bool {
  return sizeof<F>() == 4
    ? exact32(kind, a as f64, b as f64, result as f64)
    : exact64(kind, a as f64, b as f64, result as f64);
}

// @ts-ignore: decorator
@inline
function host32x4(kind: u32, a: v128, b: v128): v128 {
  switch (kind) {
    case ADD: return f32x4.add(a, b);
    case SUB: return f32x4.sub(a, b);
    case MUL: return f32x4.mul(a, b);
    case DIV: return f32x4.div(a, b);
    // pmin(b, a) is a < b ? a : b, as MINPS; likewise pmax.
    case MIN: return f32x4.pmin(b, a);
    case MAX: return f32x4.pmax(b, a);
    default: return f32x4.sqrt(b);
  }
}

// @ts-ignore: decorator
@inline
function host64x2(kind: u32, a: v128, b: v128): v128 {
  switch (kind) {
    case ADD: return f64x2.add(a, b);
    case SUB: return f64x2.sub(a, b);
    case MUL: return f64x2.mul(a, b);
    case DIV: return f64x2.div(a, b);
    case MIN: return f64x2.pmin(b, a);
    case MAX: return f64x2.pmax(b, a);
    default: return f64x2.sqrt(b);
  }
}

// @ts-ignore: decorator
@inline
function host<F>(kind: u32, a: F, b: F): F {
  switch (kind) {
    case ADD: return (a + b) as F;
    case SUB: return (a - b) as F;
    case MUL: return (a * b) as F;
    case DIV: return (a / b) as F;
    case MIN: return a < b ? a : b;
    case MAX: return a > b ? a : b;
    default: return sqrt<F>(b);
  }
}

/** As exact64; doubles hold every product of two singles. */
function exact32(kind: u32, a: f64, b: f64, result: f64): bool {
  if (kind == MUL) return a * b == result;
  if (kind == DIV) return result * b == a;
  if (kind == SQRT) return result * result == b;
  const addend = kind == ADD ? b : -b;
  return result - a == addend && result - addend == a;
}

/** Significant bits of a normal number. */
// @ts-ignore: decorator
@inline
function precisionOf(value: f64): u64 {
  return 53 - ctz<u64>(reinterpret<u64>(value) | 0x0010000000000000);
}

/** Whether the rounded `result` is certainly exact. All are normal numbers, or zeros as operands. */
function exact64(kind: u32, a: f64, b: f64, result: f64): bool {
  if (kind == ADD || kind == SUB) {
    // The rounding error of a sum is itself a double, computed without error (Knuth's two-sum).
    const addend = kind == ADD ? b : -b;
    const part = result - a;
    return (a - (result - part)) + (addend - part) == 0;
  }
  if (kind == MUL) return precisionOf(a) + precisionOf(b) <= 53;
  if (kind == DIV) return precisionOf(result) + precisionOf(b) <= 53 && result * b == a;
  return precisionOf(result) <= 26 && result * result == b;
}

/** With DAZ, a denormal becomes a zero of its sign: MIN and MAX hand on what they compared. */
// @ts-ignore: decorator
@inline
function flushed32(cpu: usize, bits: u32): u32 {
  return bits & 0x7f800000 || !(load<u32>(cpu, MXCSR) & DAZ) ? bits : bits & 0x80000000;
}

// @ts-ignore: decorator
@inline
function flushed64(cpu: usize, bits: u64): u64 {
  return bits & 0x7ff0000000000000 || !(load<u32>(cpu, MXCSR) & DAZ) ? bits : bits & 0x8000000000000000;
}

function operate32(cpu: usize, kind: u32, rec: usize, a: u32, b: u32): u32 {
  switch (kind) {
    case ADD: return f32Add(a, b);
    case SUB: return f32Sub(a, b);
    case MUL: return f32Mul(a, b);
    case DIV: return f32Div(a, b);
    case MIN: return f32Min(flushed32(cpu, a), flushed32(cpu, b));
    case MAX: return f32Max(flushed32(cpu, a), flushed32(cpu, b));
    case SQRT: return f32Sqrt(b);
    default: {
      const predicate: u32 = load<u8>(rec, REC_IMM);
      return holds(predicate, f32Compare(a, b, signals(predicate))) ? 0xffffffff : 0;
    }
  }
}

function operate64(cpu: usize, kind: u32, rec: usize, a: u64, b: u64): u64 {
  switch (kind) {
    case ADD: return f64Add(a, b);
    case SUB: return f64Sub(a, b);
    case MUL: return f64Mul(a, b);
    case DIV: return f64Div(a, b);
    case MIN: return f64Min(flushed64(cpu, a), flushed64(cpu, b));
    case MAX: return f64Max(flushed64(cpu, a), flushed64(cpu, b));
    case SQRT: return f64Sqrt(b);
    default: {
      const predicate: u32 = load<u8>(rec, REC_IMM);
      return holds(predicate, f64Compare(a, b, signals(predicate))) ? 0xffffffffffffffff : 0;
    }
  }
}

/** Whether the predicate of CMPPS is invalid on a quiet NaN: LT, LE, NLT, NLE (SDM vol. 2, table 3-1). */
// @ts-ignore: decorator
@inline
function signals(predicate: u32): bool {
  return (predicate & 3) == 1 || (predicate & 3) == 2;
}

/** Whether a relation (CMP_*) satisfies predicate EQ LT LE UNORD NEQ NLT NLE ORD. */
// @ts-ignore: decorator
@inline
function holds(predicate: u32, relation: u32): bool {
  let value: bool;
  switch (predicate & 3) {
    case 0: value = relation == CMP_EQUAL; break;
    case 1: value = relation == CMP_LESS; break;
    case 2: value = relation == CMP_LESS || relation == CMP_EQUAL; break;
    default: value = relation == CMP_UNORDERED; break;
  }
  return value != ((predicate & 4) != 0);
}

/** UCOMISS, UCOMISD, COMISS, COMISD. */
export function execCompareFlags(cpu: usize, rec: usize, op: u32): u32 {
  let relation: u32;
  if (op == UCOMISS || op == COMISS) {
    const from = sourceLow<u32>(cpu, rec);
    if (!from) return ST_FAULT;
    const a = load<u32>(xmmReg(cpu, rec), XMM);
    const b = load<u32>(from);
    if (ordinary32(a) && ordinary32(b)) {
      relation = orderOf(reinterpret<f32>(a), reinterpret<f32>(b));
    } else {
      fpBegin(load<u32>(cpu, MXCSR));
      relation = f32Compare(a, b, op == COMISS);
      if (!report(cpu, fpReported(), fpTraps())) return ST_FAULT;
    }
  } else {
    const from = sourceLow<u64>(cpu, rec);
    if (!from) return ST_FAULT;
    const a = load<u64>(xmmReg(cpu, rec), XMM);
    const b = load<u64>(from);
    if (ordinary64(a) && ordinary64(b)) {
      relation = orderOf(reinterpret<f64>(a), reinterpret<f64>(b));
    } else {
      fpBegin(load<u32>(cpu, MXCSR));
      relation = f64Compare(a, b, op != UCOMISD);
      if (!report(cpu, fpReported(), fpTraps())) return ST_FAULT;
    }
  }
  setArithmetic(
    cpu,
    relation == CMP_UNORDERED ? ZF | PF | CF : relation == CMP_EQUAL ? ZF : relation == CMP_LESS ? CF : 0,
  );
  return ST_NEXT;
}

// @ts-ignore: decorator
@inline
function orderOf(a: f64, b: f64): u32 {
  return a < b ? CMP_LESS : a == b ? CMP_EQUAL : CMP_GREATER;
}

/** RSQRTPS, RSQRTSS, RCPPS, RCPSS: no exceptions, MXCSR has no part (SDM vol. 2). */
function approximate(cpu: usize, rec: usize, op: u32): u32 {
  const to = xmmReg(cpu, rec) + XMM;
  const reciprocal = op == RCPPS || op == RCPSS;
  if (op == RSQRTSS || op == RCPSS) {
    const from = sourceLow<u32>(cpu, rec);
    if (!from) return ST_FAULT;
    store<u32>(to, approximated(load<u32>(from), reciprocal));
    return ST_NEXT;
  }
  const from = source16(cpu, rec);
  if (!from) return ST_FAULT;
  for (let lane: usize = 0; lane < 16; lane += 4) {
    store<u32>(to + lane, approximated(load<u32>(from + lane), reciprocal));
  }
  return ST_NEXT;
}

/** Denormal operands count as zeros, and tiny results are zeros, whatever DAZ and FTZ say. */
function approximated(bits: u32, reciprocal: bool): u32 {
  const sign = bits & 0x80000000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return bits | 0x00400000;
  if (magnitude < 0x00800000) return sign | 0x7f800000;
  if (!reciprocal) {
    if (sign) return 0xffc00000;
    return reinterpret<u32>((1.0 / sqrt<f64>(reinterpret<f32>(bits))) as f32);
  }
  const result = reinterpret<u32>((1.0 / (reinterpret<f32>(bits) as f64)) as f32);
  return (result & 0x7fffffff) < 0x00800000 ? sign : result;
}
