/**
 * PCMPESTRI, PCMPESTRM, PCMPISTRI and PCMPISTRM (Intel SDM vol. 1, 12.13; vol. 2, 4.1 "Imm8 control byte
 * operation"). The elements of both strings are compared as vectors, and what holds of each is a bit.
 */
import { GPR, RAX, RCX, RDX, REC_IMM, ST_FAULT, ST_NEXT, TLB_SET, XMM } from "../layout";
import { CF, OF, setArithmetic, SF, ZF } from "./flags";
import { readPtr } from "./mmu";
import { addressOf, isMemory, sizeOf } from "./operand";
import { PCMPESTRI, PCMPESTRM, PCMPISTRI } from "./ops";
import { sourceLow, xmmReg } from "./sse-operand";

const WORDS: u32 = 1;
const SIGNED: u32 = 2;
const AGGREGATION: u32 = 0x0c;
const EQUAL_ANY: u32 = 0x00;
const RANGES: u32 = 0x04;
const EQUAL_EACH: u32 = 0x08;
const NEGATIVE: u32 = 0x10;
const MASKED: u32 = 0x20;
/** Of an index: the highest one; of a mask: as wide as the elements. */
const LAST_OR_WIDE: u32 = 0x40;

/** A bit for each of the low `count` elements. */
// @ts-ignore: decorator
@inline
function low(count: u32): u32 {
  return ((1 as u32) << count) - 1;
}

/** Elements of an explicit string: |RAX| or |RDX|, at most `most`. */
function explicitLength(cpu: usize, rec: usize, register: usize, most: u32): u32 {
  const raw = load<u64>(cpu + register, GPR);
  const value: i64 = sizeOf(rec) == 3 ? (raw as i64) : ((raw as i32) as i64);
  const magnitude: u64 = value < 0 ? ((0 - value) as u64) : (value as u64);
  return magnitude < most ? (magnitude as u32) : most;
}

/** Elements before the first zero. */
// @ts-ignore: decorator
@inline
function implicitLength(value: v128, words: bool): u32 {
  const zero = i64x2.splat(0);
  return words
    ? ctz<u32>((i16x8.bitmask(i16x8.eq(value, zero)) as u32) | 0x100)
    : ctz<u32>((i8x16.bitmask(i8x16.eq(value, zero)) as u32) | 0x10000);
}

/** Element `index` of the string at `from` in every place. */
// @ts-ignore: decorator
@inline
function spread(from: usize, index: u32, words: bool): v128 {
  return words ? i16x8.splat(load<i16>(from + (index << 1))) : i8x16.splat(load<i8>(from + index));
}

// @ts-ignore: decorator
@inline
function bits(value: v128, words: bool): u32 {
  return words ? i16x8.bitmask(value) : i8x16.bitmask(value);
}

// @ts-ignore: decorator
@inline
function equal(a: v128, b: v128, words: bool): u32 {
  return bits(words ? i16x8.eq(a, b) : i8x16.eq(a, b), words);
}

/** Where a <= b. */
// @ts-ignore: decorator
@inline
function ordered(a: v128, b: v128, mode: u32): u32 {
  switch (mode & (WORDS | SIGNED)) {
    case 0: return i8x16.bitmask(i8x16.le_u(a, b));
    case WORDS: return i16x8.bitmask(i16x8.le_u(a, b));
    case SIGNED: return i8x16.bitmask(i8x16.le_s(a, b));
    default: return i16x8.bitmask(i16x8.le_s(a, b));
  }
}

/** IntRes1: what the comparison says of each element of the second string, at `b`. */
function aggregated(mode: u32, a: usize, lengthA: u32, b: v128, lengthB: u32, all: u32): u32 {
  const words = (mode & WORDS) != 0;
  const valid = low(lengthB);
  let result: u32 = 0;
  switch (mode & AGGREGATION) {
    case EQUAL_ANY:
      for (let index: u32 = 0; index < lengthA; index++) result |= equal(spread(a, index, words), b, words);
      return result & valid;
    case RANGES:
      for (let index: u32 = 0; index + 1 < lengthA; index += 2) {
        result |= ordered(spread(a, index, words), b, mode) & ordered(b, spread(a, index + 1, words), mode);
      }
      return result & valid;
    case EQUAL_EACH: {
      // Beyond the end of both strings elements are equal, beyond that of one they are not.
      const both = valid & low(lengthA);
      return (equal(load<v128>(a), b, words) & both) | (all & ~(valid | low(lengthA)));
    }
    default:
      // The first string anywhere in the second one, as far as that goes in the register.
      result = all;
      for (let index: u32 = 0; index < lengthA; index++) {
        const here = equal(spread(a, index, words), b, words) & valid;
        result &= (here >> index) | (all & ~(all >> index));
      }
      return result;
  }
}

/** Elements of IntRes2 as XMM0 takes them. */
function storeMask(cpu: usize, result: u32, mode: u32): void {
  if (!(mode & LAST_OR_WIDE)) {
    store<u64>(cpu, result, XMM);
    store<u64>(cpu, 0, XMM + 8);
    return;
  }
  if (mode & WORDS) {
    const places = i16x8(1, 2, 4, 8, 16, 32, 64, 128);
    store<v128>(cpu, i16x8.eq(v128.and(i16x8.splat(result as i16), places), places), XMM);
    return;
  }
  const places = i8x16(1, 2, 4, 8, 16, 32, 64, -128, 1, 2, 4, 8, 16, 32, 64, -128);
  const halves = i64x2.replace_lane(i8x16.splat(result as i8), 1, 0x0101010101010101 * ((result >> 8) as u64));
  store<v128>(cpu, i8x16.eq(v128.and(halves, places), places), XMM);
}

export function execCompareStrings(cpu: usize, rec: usize, op: u32): u32 {
  // The one SSE operand in memory that need not be aligned, besides those of moves.
  const from = isMemory(rec)
    ? readPtr<v128>(cpu, load<u32>(cpu, TLB_SET), addressOf(cpu, rec))
    : sourceLow<u64>(cpu, rec);
  if (!from) return ST_FAULT;
  const a = xmmReg(cpu, rec) + XMM;
  const b = load<v128>(from);
  const mode: u32 = load<u8>(rec, REC_IMM);
  const words = (mode & WORDS) != 0;
  const most: u32 = words ? 8 : 16;
  const all = low(most);
  const explicit = op == PCMPESTRI || op == PCMPESTRM;
  const lengthA = explicit ? explicitLength(cpu, rec, RAX, most) : implicitLength(load<v128>(a), words);
  const lengthB = explicit ? explicitLength(cpu, rec, RDX, most) : implicitLength(b, words);
  let result = aggregated(mode, a, lengthA, b, lengthB, all);
  if (mode & NEGATIVE) result ^= mode & MASKED ? low(lengthB) : all;
  if (op == PCMPESTRI || op == PCMPISTRI) {
    const index = result == 0 ? most : mode & LAST_OR_WIDE ? 31 - clz<u32>(result) : ctz<u32>(result);
    store<u64>(cpu, index, GPR + RCX);
  } else storeMask(cpu, result, mode);
  setArithmetic(
    cpu,
    (result ? CF : 0) | (lengthB < most ? ZF : 0) | (lengthA < most ? SF : 0) | (result & 1 ? OF : 0),
  );
  return ST_NEXT;
}
