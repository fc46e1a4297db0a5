/**
 * Floating-point operations of SSE3 and SSE4.1: sums and differences of neighbours, dot products, rounding
 * (Intel SDM vol. 2; vol. 1, 12.8 and 12.4.6).
 */
import { MXCSR, REC_IMM, SIMD_SCRATCH, ST_FAULT, ST_NEXT, XMM } from "../layout";
import {
  ADDSUBPD, ADDSUBPS, DPPD, DPPS, HADDPD, HADDPS, HSUBPD, HSUBPS, ROUNDPD, ROUNDPS, ROUNDSS,
} from "./ops";
import { f32Add, f32Mul, f32Sub, f64Add, f64Mul, f64Sub, FP_IE, FP_PE, fpBegin, fpReported, fpTraps } from "./softfloat";
import { fpRaise, RC_DOWN, RC_NEAREST, RC_UP } from "./softfloat-core";
import { report, source16, sourceLow, xmmReg } from "./sse-operand";

const DAZ: u32 = 0x40;
/** Immediate of ROUNDPS and its kin: rounding control is MXCSR's; an inexact result sets no PE. */
const ROUND_BY_MXCSR: u32 = 4;
const ROUND_QUIET: u32 = 8;

/** ADDSUBPS … ROUNDSD. */
export function execSse4Float(cpu: usize, rec: usize, op: u32): u32 {
  if (op >= ROUNDPS) return execRound(cpu, rec, op);
  const from = source16(cpu, rec);
  if (!from) return ST_FAULT;
  const to = xmmReg(cpu, rec) + XMM;
  const scratch = cpu + SIMD_SCRATCH;
  fpBegin(load<u32>(cpu, MXCSR));
  switch (op) {
    case ADDSUBPS: case HADDPS: case HSUBPS:
      for (let lane: u32 = 0; lane < 4; lane++) {
        // Neighbours: the low two results are of the destination's, the high two of the source's.
        const pair = (lane < 2 ? to : from) + ((lane & 1) << 3);
        const at = lane << 2;
        store<u32>(
          scratch + at,
          op == ADDSUBPS
            ? (lane & 1
              ? f32Add(load<u32>(to + at), load<u32>(from + at))
              : f32Sub(load<u32>(to + at), load<u32>(from + at)))
            : op == HADDPS
              ? f32Add(load<u32>(pair), load<u32>(pair, 4))
              : f32Sub(load<u32>(pair), load<u32>(pair, 4)),
        );
      }
      break;
    case ADDSUBPD:
      store<u64>(scratch, f64Sub(load<u64>(to), load<u64>(from)));
      store<u64>(scratch, f64Add(load<u64>(to, 8), load<u64>(from, 8)), 8);
      break;
    case HADDPD:
      store<u64>(scratch, f64Add(load<u64>(to), load<u64>(to, 8)));
      store<u64>(scratch, f64Add(load<u64>(from), load<u64>(from, 8)), 8);
      break;
    case HSUBPD:
      store<u64>(scratch, f64Sub(load<u64>(to), load<u64>(to, 8)));
      store<u64>(scratch, f64Sub(load<u64>(from), load<u64>(from, 8)), 8);
      break;
    case DPPS: dotProduct32(to, from, scratch, load<u8>(rec, REC_IMM)); break;
    default: dotProduct64(to, from, scratch, load<u8>(rec, REC_IMM)); break;
  }
  if (!report(cpu, fpReported(), fpTraps())) return ST_FAULT;
  store<v128>(to, load<v128>(scratch));
  return ST_NEXT;
}

// @ts-ignore: decorator
@inline
function product32(to: usize, from: usize, imm: u32, lane: u32): u32 {
  return (imm >> (4 + lane)) & 1 ? f32Mul(load<u32>(to + (lane << 2)), load<u32>(from + (lane << 2))) : 0;
}

function dotProduct32(to: usize, from: usize, result: usize, imm: u32): void {
  const low = f32Add(product32(to, from, imm, 0), product32(to, from, imm, 1));
  const high = f32Add(product32(to, from, imm, 2), product32(to, from, imm, 3));
  const sum = f32Add(low, high);
  for (let lane: u32 = 0; lane < 4; lane++) store<u32>(result + (lane << 2), (imm >> lane) & 1 ? sum : 0);
}

function dotProduct64(to: usize, from: usize, result: usize, imm: u32): void {
  const low = imm & 0x10 ? f64Mul(load<u64>(to), load<u64>(from)) : 0;
  const high = imm & 0x20 ? f64Mul(load<u64>(to, 8), load<u64>(from, 8)) : 0;
  const sum = f64Add(low, high);
  store<u64>(result, imm & 1 ? sum : 0);
  store<u64>(result, imm & 2 ? sum : 0, 8);
}

/** ROUNDPS … ROUNDSD. */
function execRound(cpu: usize, rec: usize, op: u32): u32 {
  const packed = op == ROUNDPS || op == ROUNDPD;
  const single = op == ROUNDPS || op == ROUNDSS;
  const from = packed ? source16(cpu, rec) : single ? sourceLow<u32>(cpu, rec) : sourceLow<u64>(cpu, rec);
  if (!from) return ST_FAULT;
  const to = xmmReg(cpu, rec) + XMM;
  const scratch = cpu + SIMD_SCRATCH;
  const imm: u32 = load<u8>(rec, REC_IMM);
  const mxcsr = load<u32>(cpu, MXCSR);
  const rounding = imm & ROUND_BY_MXCSR ? (mxcsr >> 13) & 3 : imm & 3;
  const quiet = (imm & ROUND_QUIET) != 0;
  fpBegin(mxcsr);
  store<v128>(scratch, load<v128>(to));
  const bytes: u32 = packed ? 16 : 4;
  if (single) {
    for (let at: u32 = 0; at < bytes; at += 4) {
      store<u32>(scratch + at, rounded32(load<u32>(from + at), rounding, quiet, (mxcsr & DAZ) != 0));
    }
  } else {
    for (let at: u32 = 0; at < bytes; at += 8) {
      store<u64>(scratch + at, rounded64(load<u64>(from + at), rounding, quiet, (mxcsr & DAZ) != 0));
    }
  }
  if (!report(cpu, fpReported(), fpTraps())) return ST_FAULT;
  store<v128>(to, load<v128>(scratch));
  return ST_NEXT;
}

function rounded32(bits: u32, rounding: u32, quiet: bool, daz: bool): u32 {
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) {
    if (!(bits & 0x00400000)) fpRaise(FP_IE);
    return bits | 0x00400000;
  }
  if (daz && magnitude < 0x00800000) return bits & 0x80000000;
  const result = reinterpret<u32>(toIntegral(reinterpret<f32>(bits) as f64, rounding) as f32);
  if (result != bits && !quiet) fpRaise(FP_PE);
  return result;
}

function rounded64(bits: u64, rounding: u32, quiet: bool, daz: bool): u64 {
  const magnitude = bits & 0x7fffffffffffffff;
  if (magnitude > 0x7ff0000000000000) {
    if (!(bits & 0x0008000000000000)) fpRaise(FP_IE);
    return bits | 0x0008000000000000;
  }
  if (daz && magnitude < 0x0010000000000000) return bits & 0x8000000000000000;
  const result = reinterpret<u64>(toIntegral(reinterpret<f64>(bits), rounding));
  if (result != bits && !quiet) fpRaise(FP_PE);
  return result;
}

/** Rounded to an integer; a zero has the operand's sign. */
// @ts-ignore: decorator
@inline
function toIntegral(value: f64, rounding: u32): f64 {
  switch (rounding) {
    case RC_NEAREST: return nearest<f64>(value);
    case RC_DOWN: return floor<f64>(value);
    case RC_UP: return ceil<f64>(value);
    default: return trunc<f64>(value);
  }
}
