/**
 * Packed integer operations of SSE2 and MMX (Intel SDM vol. 2). An MMX register is computed as the low
 * half of a vector; the two runs of operation numbers, `_X` and `_P`, have the same order (isa/sse.ts).
 */
import { REC_B, REC_IMM, REC_R, ST_FAULT, ST_NEXT, XMM } from "../layout";
import {
  PACKSSDW_P, PACKSSDW_X, PACKSSWB_P, PACKSSWB_X, PACKUSWB_X, PADDB_X, PADDD_X, PADDQ_X, PADDSB_X, PADDSW_X,
  PADDUSB_X, PADDUSW_X, PADDW_X, PANDN_X, PAND_X, PAVGB_X, PAVGW_X, PCMPEQB_X, PCMPEQD_X, PCMPEQW_X, PCMPGTB_X,
  PCMPGTD_X, PCMPGTW_X, PMADDWD_X, PMAXSW_X, PMAXUB_X, PMINSW_X, PMINUB_X, PMULHUW_X, PMULHW_X, PMULLW_X, PMULUDQ_X,
  POR_X, PSADBW_X, PSLLD_X, PSLLW_X, PSRAD_X, PSRAW_X, PSRLD_X, PSRLQ_X, PSRLW_PI, PSRLW_X, PSRLW_XI, PSUBB_X,
  PSUBD_X, PSUBQ_X, PSUBSB_X, PSUBSW_X, PSUBUSB_X, PSUBUSW_X, PSUBW_X, PUNPCKHBW_P, PUNPCKHBW_X, PUNPCKHDQ_P,
  PUNPCKHDQ_X, PUNPCKHWD_X, PUNPCKLBW_P, PUNPCKLBW_X, PUNPCKLDQ_P, PUNPCKLDQ_X, PUNPCKLWD_X, PXOR_X,
} from "./ops";
import { mmxAvailable, mmxOf, setMmx, source16, sourceMmx, xmmReg } from "./sse-operand";
import { mmxEnter } from "./x87-state";

/** Upper 16 bits of each of eight 32-bit products. */
// @ts-ignore: decorator
@inline
function highHalves(low: v128, high: v128): v128 {
  return v128.shuffle<i16>(low, high, 1, 3, 5, 7, 9, 11, 13, 15);
}

/** PSADBW: for each half, the sum of the absolute differences of its eight bytes. */
// @ts-ignore: decorator
@inline
function sumOfDifferences(a: v128, b: v128): v128 {
  const difference = v128.or(i8x16.sub_sat_u(a, b), i8x16.sub_sat_u(b, a));
  const quarters = i32x4.extadd_pairwise_i16x8_u(i16x8.extadd_pairwise_i8x16_u(difference));
  return v128.and(i64x2.add(quarters, i64x2.shr_u(quarters, 32)), i64x2.splat(0xffffffff));
}

/** `a` shifted by `count`; `op` is a PSRLW_X … PSLLQ_X. A count beyond the lane gives 0, or its sign. */
function shifted(op: u32, a: v128, count: u64): v128 {
  const n: i32 = count > 64 ? 64 : (count as i32);
  switch (op) {
    case PSRLW_X: return n > 15 ? i64x2.splat(0) : i16x8.shr_u(a, n);
    case PSRLD_X: return n > 31 ? i64x2.splat(0) : i32x4.shr_u(a, n);
    case PSRLQ_X: return n > 63 ? i64x2.splat(0) : i64x2.shr_u(a, n);
    case PSRAW_X: return i16x8.shr_s(a, n > 15 ? 15 : n);
    case PSRAD_X: return i32x4.shr_s(a, n > 31 ? 31 : n);
    case PSLLW_X: return n > 15 ? i64x2.splat(0) : i16x8.shl(a, n);
    case PSLLD_X: return n > 31 ? i64x2.splat(0) : i32x4.shl(a, n);
    default: return n > 63 ? i64x2.splat(0) : i64x2.shl(a, n);
  }
}

/** The result of a two-operand operation `op`, one of the `_X` run; `a` is the destination. */
function packed(op: u32, a: v128, b: v128): v128 {
  switch (op) {
    case PUNPCKLBW_X: return v128.shuffle<i8>(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    case PUNPCKLWD_X: return v128.shuffle<i16>(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
    case PUNPCKLDQ_X: return v128.shuffle<i32>(a, b, 0, 4, 1, 5);
    case PUNPCKHBW_X: return v128.shuffle<i8>(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    case PUNPCKHWD_X: return v128.shuffle<i16>(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
    case PUNPCKHDQ_X: return v128.shuffle<i32>(a, b, 2, 6, 3, 7);
    case PACKSSWB_X: return i8x16.narrow_i16x8_s(a, b);
    case PACKUSWB_X: return i8x16.narrow_i16x8_u(a, b);
    case PACKSSDW_X: return i16x8.narrow_i32x4_s(a, b);
    case PCMPGTB_X: return i8x16.gt_s(a, b);
    case PCMPEQB_X: return i8x16.eq(a, b);
    case PADDB_X: return i8x16.add(a, b);
    case PSUBB_X: return i8x16.sub(a, b);
    case PCMPGTW_X: return i16x8.gt_s(a, b);
    case PCMPEQW_X: return i16x8.eq(a, b);
    case PADDW_X: return i16x8.add(a, b);
    case PSUBW_X: return i16x8.sub(a, b);
    case PCMPGTD_X: return i32x4.gt_s(a, b);
    case PCMPEQD_X: return i32x4.eq(a, b);
    case PADDD_X: return i32x4.add(a, b);
    case PSUBD_X: return i32x4.sub(a, b);
    case PADDQ_X: return i64x2.add(a, b);
    case PSUBQ_X: return i64x2.sub(a, b);
    case PADDUSB_X: return i8x16.add_sat_u(a, b);
    case PSUBUSB_X: return i8x16.sub_sat_u(a, b);
    case PADDSB_X: return i8x16.add_sat_s(a, b);
    case PSUBSB_X: return i8x16.sub_sat_s(a, b);
    case PAVGB_X: return i8x16.avgr_u(a, b);
    case PADDUSW_X: return i16x8.add_sat_u(a, b);
    case PSUBUSW_X: return i16x8.sub_sat_u(a, b);
    case PADDSW_X: return i16x8.add_sat_s(a, b);
    case PSUBSW_X: return i16x8.sub_sat_s(a, b);
    case PAVGW_X: return i16x8.avgr_u(a, b);
    case PMINUB_X: return i8x16.min_u(a, b);
    case PMAXUB_X: return i8x16.max_u(a, b);
    case PMINSW_X: return i16x8.min_s(a, b);
    case PMAXSW_X: return i16x8.max_s(a, b);
    case PAND_X: return v128.and(a, b);
    case PANDN_X: return v128.andnot(b, a);
    case POR_X: return v128.or(a, b);
    case PXOR_X: return v128.xor(a, b);
    case PMULLW_X: return i16x8.mul(a, b);
    case PMULHW_X: return highHalves(i32x4.extmul_low_i16x8_s(a, b), i32x4.extmul_high_i16x8_s(a, b));
    case PMULHUW_X: return highHalves(i32x4.extmul_low_i16x8_u(a, b), i32x4.extmul_high_i16x8_u(a, b));
    case PMULUDQ_X: return i64x2.mul(v128.and(a, i64x2.splat(0xffffffff)), v128.and(b, i64x2.splat(0xffffffff)));
    case PMADDWD_X: return i32x4.dot_i16x8_s(a, b);
    case PSADBW_X: return sumOfDifferences(a, b);
    default: return shifted(op, a, i64x2.extract_lane(b, 0));
  }
}

/** PUNPCKLBW_X … PADDD_X. */
export function execPackedXmm(cpu: usize, rec: usize, op: u32): u32 {
  const from = source16(cpu, rec);
  if (!from) return ST_FAULT;
  const to = xmmReg(cpu, rec);
  store<v128>(to, packed(op, load<v128>(to, XMM), load<v128>(from)), XMM);
  return ST_NEXT;
}

/** PSRLW_XI … PSLLQ_XI: the register is the r/m operand. */
export function execShiftXmm(cpu: usize, rec: usize, op: u32): u32 {
  const to = cpu + load<u8>(rec, REC_B);
  store<v128>(to, shifted(immediateShift(op - PSRLW_XI), load<v128>(to, XMM), load<u8>(rec, REC_IMM)), XMM);
  return ST_NEXT;
}

/** The order of the shifts by an immediate is that of the shifts by a register. */
// @ts-ignore: decorator
@inline
function immediateShift(index: u32): u32 {
  return PSRLW_X + index;
}

/** PUNPCKLBW_P … PADDD_P. */
export function execPackedMmx(cpu: usize, rec: usize, op: u32): u32 {
  if (!mmxAvailable(cpu)) return ST_FAULT;
  let b: u64;
  if (op >= PUNPCKLBW_P && op <= PUNPCKLDQ_P) {
    const from = sourceMmx<u32>(cpu, rec);
    if (!from) return ST_FAULT;
    b = load<u32>(from);
  } else {
    const from = sourceMmx<u64>(cpu, rec);
    if (!from) return ST_FAULT;
    b = load<u64>(from);
  }
  const number: u32 = load<u8>(rec, REC_R);
  const a = mmxOf(cpu, number);
  const wide = op - (PUNPCKLBW_P - PUNPCKLBW_X);
  let result: u64;
  if (op >= PUNPCKHBW_P && op <= PUNPCKHDQ_P) {
    // The high halves of two 64-bit registers are the high half of the two interleaved whole.
    result = i64x2.extract_lane(packed(wide - (PUNPCKHBW_P - PUNPCKLBW_P), pair(a, 0), pair(b, 0)), 1);
  } else if (op >= PACKSSWB_P && op <= PACKSSDW_P) {
    result = i64x2.extract_lane(packed(wide, pair(a, b), pair(0, 0)), 0);
  } else {
    result = i64x2.extract_lane(packed(wide, pair(a, 0), pair(b, 0)), 0);
  }
  mmxEnter(cpu);
  setMmx(cpu, number, result);
  return ST_NEXT;
}

// @ts-ignore: decorator
@inline
function pair(low: u64, high: u64): v128 {
  return i64x2.replace_lane(i64x2.splat(low), 1, high);
}

/** PSRLW_PI … PSLLQ_PI: the register is the r/m operand. */
export function execShiftMmx(cpu: usize, rec: usize, op: u32): u32 {
  if (!mmxAvailable(cpu)) return ST_FAULT;
  const number: u32 = load<u8>(rec, REC_B);
  const value = pair(mmxOf(cpu, number), 0);
  mmxEnter(cpu);
  setMmx(cpu, number, i64x2.extract_lane(shifted(immediateShift(op - PSRLW_PI), value, load<u8>(rec, REC_IMM)), 0));
  return ST_NEXT;
}
