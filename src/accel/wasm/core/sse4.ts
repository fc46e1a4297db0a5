/**
 * SSE3, SSSE3, SSE4.1, SSE4.2, AES-NI and PCLMULQDQ (Intel SDM vol. 2; vol. 1, chapter 12): the entry, and the packed
 * integer operations. Each reads memory before it changes state.
 */
import { REC_B, REC_IMM, REC_R, SIMD_SCRATCH, ST_FAULT, ST_NEXT, TLB_SET, XMM } from "../layout";
import { execCipher } from "./aes";
import { CF, setArithmetic, ZF } from "./flags";
import { readPtr } from "./mmu";
import { addressOf, isMemory } from "./operand";
import {
  ADDSUBPS, AESIMC, BLENDPD, BLENDPS, BLENDVPD, BLENDVPS, MOVSHDUP, MOVSLDUP, MPSADBW, PABSB_X, PABSD_X, PABSW_X, PACKUSDW,
  PALIGNR_P, PALIGNR_X, PBLENDVB, PBLENDW, PCMPEQQ, PCMPESTRM, PCMPGTQ, PHADDD_X, PHADDSW_X, PHADDW_X, PHMINPOSUW,
  PHSUBD_X, PHSUBSW_X, PHSUBSW_P, PHSUBW_X, PHADDW_P, PMADDUBSW_X, PMAXSB, PMAXSD, PMAXUD, PMAXUW, PMINSB,
  PMINSD, PMINUD, PMINUW, PMOVSXBD, PMOVSXBQ, PMOVSXBW, PMOVSXDQ, PMOVSXWD, PMOVSXWQ, PMOVZXBD, PMOVZXBQ, PMOVZXBW,
  PMOVZXDQ, PMOVZXWD, PMOVZXWQ, PMULDQ, PMULHRSW_X, PMULLD, PSHUFB_P, PSHUFB_X, PSIGNB_X, PSIGND_X, PSIGNW_X, PTEST,
} from "./ops";
import { execSse4Float } from "./sse4-float";
import { execSse4Move } from "./sse4-move";
import { execCompareStrings } from "./sse4-string";
import { mmxAvailable, mmxOf, setMmx, source16, sourceMmx, sseAvailable, xmmReg } from "./sse-operand";
import { mmxEnter } from "./x87-state";

/** Executes an operation of the unit `sse4`. */
export function execSse4(cpu: usize, rec: usize, op: u32): u32 {
  if (op >= PSHUFB_P) return execMmxPair(cpu, rec, op);
  if (!sseAvailable(cpu)) return ST_FAULT;
  if (op <= PTEST) return execPacked(cpu, rec, op);
  if (op <= PMOVZXDQ) return extend(cpu, rec, op);
  if (op >= PCMPESTRM) return execCompareStrings(cpu, rec, op);
  return op >= ADDSUBPS ? execSse4Float(cpu, rec, op) : execSse4Move(cpu, rec, op);
}

/** PSHUFB_X … PTEST. */
// @ts-ignore: decorator
@inline
function execPacked(cpu: usize, rec: usize, op: u32): u32 {
  const from = source16(cpu, rec);
  if (!from) return ST_FAULT;
  const to = xmmReg(cpu, rec);
  if (op >= AESIMC && op != PTEST) {
    execCipher(op, to + XMM, from, load<u8>(rec, REC_IMM));
    return ST_NEXT;
  }
  const a = load<v128>(to, XMM);
  const b = load<v128>(from);
  if (op < PALIGNR_X) store<v128>(to, paired(op, a, b), XMM);
  else if (op == PALIGNR_X) store<v128>(to, aligned(cpu, a, b, load<u8>(rec, REC_IMM)), XMM);
  else if (op == PTEST) {
    setArithmetic(
      cpu,
      (v128.any_true(v128.and(a, b)) ? 0 : ZF) | (v128.any_true(v128.andnot(b, a)) ? 0 : CF),
    );
  } else store<v128>(to, packed(cpu, op, a, b, load<u8>(rec, REC_IMM)), XMM);
  return ST_NEXT;
}

// @ts-ignore: decorator
@inline
function evenWords(a: v128, b: v128): v128 {
  return v128.shuffle<i16>(a, b, 0, 2, 4, 6, 8, 10, 12, 14);
}

// @ts-ignore: decorator
@inline
function oddWords(a: v128, b: v128): v128 {
  return v128.shuffle<i16>(a, b, 1, 3, 5, 7, 9, 11, 13, 15);
}

/** The result of PSHUFB_X … PABSD_X; `a` is the destination. */
function paired(op: u32, a: v128, b: v128): v128 {
  switch (op) {
    // A selector whose bit 7 is set gives 0, as one beyond the vector does here.
    case PSHUFB_X: return i8x16.swizzle(a, v128.and(b, i8x16.splat(-113)));
    case PHADDW_X: return i16x8.add(evenWords(a, b), oddWords(a, b));
    case PHADDSW_X: return i16x8.add_sat_s(evenWords(a, b), oddWords(a, b));
    case PHSUBW_X: return i16x8.sub(evenWords(a, b), oddWords(a, b));
    case PHSUBSW_X: return i16x8.sub_sat_s(evenWords(a, b), oddWords(a, b));
    case PHADDD_X: return i32x4.add(v128.shuffle<i32>(a, b, 0, 2, 4, 6), v128.shuffle<i32>(a, b, 1, 3, 5, 7));
    case PHSUBD_X: return i32x4.sub(v128.shuffle<i32>(a, b, 0, 2, 4, 6), v128.shuffle<i32>(a, b, 1, 3, 5, 7));
    case PMADDUBSW_X: {
      const low = i16x8.mul(i16x8.extend_low_i8x16_u(a), i16x8.extend_low_i8x16_s(b));
      const high = i16x8.mul(i16x8.extend_high_i8x16_u(a), i16x8.extend_high_i8x16_s(b));
      return i16x8.add_sat_s(evenWords(low, high), oddWords(low, high));
    }
    case PSIGNB_X: {
      const negative = i8x16.shr_s(b, 7);
      return v128.andnot(i8x16.sub(v128.xor(a, negative), negative), i8x16.eq(b, i64x2.splat(0)));
    }
    case PSIGNW_X: {
      const negative = i16x8.shr_s(b, 15);
      return v128.andnot(i16x8.sub(v128.xor(a, negative), negative), i16x8.eq(b, i64x2.splat(0)));
    }
    case PSIGND_X: {
      const negative = i32x4.shr_s(b, 31);
      return v128.andnot(i32x4.sub(v128.xor(a, negative), negative), i32x4.eq(b, i64x2.splat(0)));
    }
    case PMULHRSW_X: {
      // -1 times -1 stays -1 here, where WebAssembly's saturates.
      const lowest = i16x8.splat(i16.MIN_VALUE);
      const both = v128.and(i16x8.eq(a, lowest), i16x8.eq(b, lowest));
      return v128.xor(i16x8.q15mulr_sat_s(a, b), both);
    }
    case PABSB_X: return i8x16.abs(b);
    case PABSW_X: return i16x8.abs(b);
    default: return i32x4.abs(b);
  }
}

/** Sixteen bytes of `high`:`low`, from byte `count` on. */
function aligned(cpu: usize, high: v128, low: v128, count: u32): v128 {
  const scratch = cpu + SIMD_SCRATCH;
  store<v128>(scratch, low);
  store<v128>(scratch, high, 16);
  store<v128>(scratch, i64x2.splat(0), 32);
  return load<v128>(scratch + (count < 32 ? count : 32));
}

/** Bits of a blend's immediate as a mask of lanes. */
// @ts-ignore: decorator
@inline
function lanes16(imm: u32): v128 {
  const bits = i16x8(1, 2, 4, 8, 16, 32, 64, 128);
  return i16x8.eq(v128.and(i16x8.splat(imm as i16), bits), bits);
}

// @ts-ignore: decorator
@inline
function lanes32(imm: u32): v128 {
  const bits = i32x4(1, 2, 4, 8);
  return i32x4.eq(v128.and(i32x4.splat(imm), bits), bits);
}

// @ts-ignore: decorator
@inline
function lanes64(imm: u32): v128 {
  const bits = i64x2(1, 2);
  return i64x2.eq(v128.and(i64x2.splat(imm), bits), bits);
}

/** The result of PBLENDVB … MPSADBW; `a` is the destination. */
function packed(cpu: usize, op: u32, a: v128, b: v128, imm: u32): v128 {
  switch (op) {
    case PBLENDVB: return v128.bitselect(b, a, i8x16.shr_s(load<v128>(cpu, XMM), 7));
    case BLENDVPS: return v128.bitselect(b, a, i32x4.shr_s(load<v128>(cpu, XMM), 31));
    case BLENDVPD: return v128.bitselect(b, a, i64x2.shr_s(load<v128>(cpu, XMM), 63));
    case PMULDQ: {
      const evenA = v128.shuffle<i32>(a, a, 0, 2, 0, 2);
      return i64x2.extmul_low_i32x4_s(evenA, v128.shuffle<i32>(b, b, 0, 2, 0, 2));
    }
    case PCMPEQQ: return i64x2.eq(a, b);
    case PACKUSDW: return i16x8.narrow_i32x4_u(a, b);
    case PCMPGTQ: return i64x2.gt_s(a, b);
    case PMINSB: return i8x16.min_s(a, b);
    case PMINSD: return i32x4.min_s(a, b);
    case PMINUW: return i16x8.min_u(a, b);
    case PMINUD: return i32x4.min_u(a, b);
    case PMAXSB: return i8x16.max_s(a, b);
    case PMAXSD: return i32x4.max_s(a, b);
    case PMAXUW: return i16x8.max_u(a, b);
    case PMAXUD: return i32x4.max_u(a, b);
    case PMULLD: return i32x4.mul(a, b);
    case PHMINPOSUW: return smallestWord(cpu, b);
    case MOVSHDUP: return v128.shuffle<i32>(b, b, 1, 1, 3, 3);
    case MOVSLDUP: return v128.shuffle<i32>(b, b, 0, 0, 2, 2);
    case BLENDPS: return v128.bitselect(b, a, lanes32(imm));
    case BLENDPD: return v128.bitselect(b, a, lanes64(imm));
    case PBLENDW: return v128.bitselect(b, a, lanes16(imm));
    case MPSADBW: return sumsOfDifferences(cpu, a, b, imm);
    default: return unreachable();
  }
}

/** PHMINPOSUW: the smallest word and its place. */
function smallestWord(cpu: usize, b: v128): v128 {
  const scratch = cpu + SIMD_SCRATCH;
  store<v128>(scratch, b);
  let least: u32 = load<u16>(scratch);
  let place: u32 = 0;
  for (let word: u32 = 1; word < 8; word++) {
    const value: u32 = load<u16>(scratch + (word << 1));
    if (value < least) {
      least = value;
      place = word;
    }
  }
  return i32x4.replace_lane(i64x2.splat(0), 0, least | (place << 16));
}

/** MPSADBW: four bytes of `b` against those of `a` at eight places. */
function sumsOfDifferences(cpu: usize, a: v128, b: v128, imm: u32): v128 {
  const scratch = cpu + SIMD_SCRATCH;
  store<v128>(scratch, a);
  store<v128>(scratch, b, 16);
  const first = scratch + (imm & 4);
  const second = scratch + 16 + ((imm & 3) << 2);
  let low: u64 = 0;
  let high: u64 = 0;
  for (let place: u32 = 0; place < 8; place++) {
    let sum: i32 = 0;
    for (let at: u32 = 0; at < 4; at++) {
      sum += abs<i32>((load<u8>(first + place + at) as i32) - (load<u8>(second + at) as i32));
    }
    if (place < 4) low |= (sum as u64) << (place * 16);
    else high |= (sum as u64) << ((place - 4) * 16);
  }
  return i64x2.replace_lane(i64x2.splat(low), 1, high);
}

/** Bytes of the source that PMOVSX and PMOVZX read, in the low bytes of a vector; `faultedRead` tells of a fault. */
let extended: v128 = i64x2.splat(0);

function readExtended(cpu: usize, rec: usize, bytes: u32): bool {
  if (!isMemory(rec)) {
    extended = load<v128>(cpu + load<u8>(rec, REC_B), XMM);
    return true;
  }
  const va = addressOf(cpu, rec);
  const set = load<u32>(cpu, TLB_SET);
  const from = bytes == 8 ? readPtr<u64>(cpu, set, va) : bytes == 4 ? readPtr<u32>(cpu, set, va) : readPtr<u16>(cpu, set, va);
  if (!from) return false;
  if (bytes == 8) extended = v128.load64_zero(from);
  else if (bytes == 4) extended = v128.load32_zero(from);
  else extended = i16x8.replace_lane(i64x2.splat(0), 0, load<i16>(from));
  return true;
}

/** PMOVSXBW … PMOVZXDQ. */
function extend(cpu: usize, rec: usize, op: u32): u32 {
  const kind = op >= PMOVZXBW ? op - PMOVZXBW : op - PMOVSXBW;
  const bytes: u32 = kind == 2 ? 2 : kind == 1 || kind == 4 ? 4 : 8;
  if (!readExtended(cpu, rec, bytes)) return ST_FAULT;
  const value = extended;
  let result: v128;
  switch (op) {
    case PMOVSXBW: result = i16x8.extend_low_i8x16_s(value); break;
    case PMOVSXBD: result = i32x4.extend_low_i16x8_s(i16x8.extend_low_i8x16_s(value)); break;
    case PMOVSXBQ:
      result = i64x2.extend_low_i32x4_s(i32x4.extend_low_i16x8_s(i16x8.extend_low_i8x16_s(value)));
      break;
    case PMOVSXWD: result = i32x4.extend_low_i16x8_s(value); break;
    case PMOVSXWQ: result = i64x2.extend_low_i32x4_s(i32x4.extend_low_i16x8_s(value)); break;
    case PMOVSXDQ: result = i64x2.extend_low_i32x4_s(value); break;
    case PMOVZXBW: result = i16x8.extend_low_i8x16_u(value); break;
    case PMOVZXBD: result = i32x4.extend_low_i16x8_u(i16x8.extend_low_i8x16_u(value)); break;
    case PMOVZXBQ:
      result = i64x2.extend_low_i32x4_u(i32x4.extend_low_i16x8_u(i16x8.extend_low_i8x16_u(value)));
      break;
    case PMOVZXWD: result = i32x4.extend_low_i16x8_u(value); break;
    case PMOVZXWQ: result = i64x2.extend_low_i32x4_u(i32x4.extend_low_i16x8_u(value)); break;
    default: result = i64x2.extend_low_i32x4_u(value); break;
  }
  store<v128>(cpu + load<u8>(rec, REC_R), result, XMM);
  return ST_NEXT;
}

// @ts-ignore: decorator
@inline
function pair(low: u64, high: u64): v128 {
  return i64x2.replace_lane(i64x2.splat(low), 1, high);
}

/** PSHUFB_P … PALIGNR_P: computed as the low half of a vector. */
function execMmxPair(cpu: usize, rec: usize, op: u32): u32 {
  if (!mmxAvailable(cpu)) return ST_FAULT;
  const from = sourceMmx<u64>(cpu, rec);
  if (!from) return ST_FAULT;
  const b = load<u64>(from);
  const number: u32 = load<u8>(rec, REC_R);
  const a = mmxOf(cpu, number);
  let result: v128;
  if (op == PALIGNR_P) {
    const count: u32 = load<u8>(rec, REC_IMM);
    result = aligned(cpu, i64x2.splat(0), pair(b, a), count);
  } else {
    const wide = op - (PSHUFB_P - PSHUFB_X);
    // The pairs of both operands lie side by side; a selector of PSHUFB has three bits.
    if (op >= PHADDW_P && op <= PHSUBSW_P) result = paired(wide, pair(a, b), pair(a, b));
    else if (op == PSHUFB_P) result = paired(wide, pair(a, 0), pair(b & 0x8787878787878787, 0));
    else result = paired(wide, pair(a, 0), pair(b, 0));
  }
  mmxEnter(cpu);
  setMmx(cpu, number, i64x2.extract_lane(result, 0));
  return ST_NEXT;
}
