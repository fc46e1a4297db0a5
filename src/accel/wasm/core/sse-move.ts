/** Shuffles, byte shifts, insertions and the rarer moves of SSE and SSE2 (Intel SDM vol. 2). */
import {
  GPR, RDI, REC_B, REC_EA, REC_IMM, REC_R, ST_FAULT, ST_NEXT, TLB_SET, XMM,
} from "../layout";
import { faulted } from "./fault";
import { probeWrite, storeTo } from "./mmu";
import { readRm, segmented } from "./operand";
import {
  MASKMOVDQU, MOVDQ2Q, MOVMSKPD, MOVMSKPS, MOVQ2DQ, PEXTRW_X, PINSRW_X, PSHUFD, PSHUFHW, PSHUFLW, PSLLDQ, PSRLDQ,
  PUNPCKHQDQ, PUNPCKLQDQ, SHUFPD, SHUFPS,
} from "./ops";
import { mmxAvailable, mmxOf, setMmx, source16, xmmReg } from "./sse-operand";
import { mmxEnter } from "./x87-state";

/** Four words of `value`, each chosen by two bits of `order`. */
export function shuffleWords(value: u64, order: u32): u64 {
  let result: u64 = 0;
  for (let word: u32 = 0; word < 4; word++) {
    const from = (order >> (word * 2)) & 3;
    result |= ((value >> (from * 16)) & 0xffff) << (word * 16);
  }
  return result;
}

export function execMove(cpu: usize, rec: usize, op: u32): u32 {
  const reg = xmmReg(cpu, rec);
  const rm = cpu + load<u8>(rec, REC_B);
  const imm: u32 = load<u8>(rec, REC_IMM);
  switch (op) {
    case PUNPCKLQDQ: {
      const from = source16(cpu, rec);
      if (!from) return ST_FAULT;
      store<u64>(reg, load<u64>(from), XMM + 8);
      return ST_NEXT;
    }
    case PUNPCKHQDQ: {
      const from = source16(cpu, rec);
      if (!from) return ST_FAULT;
      const high = load<u64>(from, 8);
      store<u64>(reg, load<u64>(reg, XMM + 8), XMM);
      store<u64>(reg, high, XMM + 8);
      return ST_NEXT;
    }
    case PSHUFD: {
      const from = source16(cpu, rec);
      if (!from) return ST_FAULT;
      return storeWords(reg, dword(from, imm), dword(from, imm >> 2), dword(from, imm >> 4), dword(from, imm >> 6));
    }
    case SHUFPS: {
      const from = source16(cpu, rec);
      if (!from) return ST_FAULT;
      const to = reg + XMM;
      return storeWords(reg, dword(to, imm), dword(to, imm >> 2), dword(from, imm >> 4), dword(from, imm >> 6));
    }
    case SHUFPD: {
      const from = source16(cpu, rec);
      if (!from) return ST_FAULT;
      const low = load<u64>(reg + ((imm & 1) << 3), XMM);
      const high = load<u64>(from + ((imm & 2) << 2));
      store<u64>(reg, low, XMM);
      store<u64>(reg, high, XMM + 8);
      return ST_NEXT;
    }
    case PSHUFLW: {
      const from = source16(cpu, rec);
      if (!from) return ST_FAULT;
      const high = load<u64>(from, 8);
      store<u64>(reg, shuffleWords(load<u64>(from), imm), XMM);
      store<u64>(reg, high, XMM + 8);
      return ST_NEXT;
    }
    case PSHUFHW: {
      const from = source16(cpu, rec);
      if (!from) return ST_FAULT;
      const low = load<u64>(from);
      store<u64>(reg, shuffleWords(load<u64>(from, 8), imm), XMM + 8);
      store<u64>(reg, low, XMM);
      return ST_NEXT;
    }
    case PSRLDQ: {
      const low = load<u64>(rm, XMM);
      const high = load<u64>(rm, XMM + 8);
      const bits: u64 = (imm & 7) * 8;
      if (imm > 15) {
        store<u64>(rm, 0, XMM);
        store<u64>(rm, 0, XMM + 8);
      } else if (imm > 7) {
        store<u64>(rm, high >> bits, XMM);
        store<u64>(rm, 0, XMM + 8);
      } else if (bits) {
        store<u64>(rm, (low >> bits) | (high << (64 - bits)), XMM);
        store<u64>(rm, high >> bits, XMM + 8);
      }
      return ST_NEXT;
    }
    case PSLLDQ: {
      const low = load<u64>(rm, XMM);
      const high = load<u64>(rm, XMM + 8);
      const bits: u64 = (imm & 7) * 8;
      if (imm > 15) {
        store<u64>(rm, 0, XMM);
        store<u64>(rm, 0, XMM + 8);
      } else if (imm > 7) {
        store<u64>(rm, 0, XMM);
        store<u64>(rm, low << bits, XMM + 8);
      } else if (bits) {
        store<u64>(rm, low << bits, XMM);
        store<u64>(rm, (high << bits) | (low >> (64 - bits)), XMM + 8);
      }
      return ST_NEXT;
    }
    case MOVMSKPS:
      store<u64>(cpu + load<u8>(rec, REC_R), i32x4.bitmask(load<v128>(rm, XMM)) as u32 as u64, GPR);
      return ST_NEXT;
    case MOVMSKPD:
      store<u64>(cpu + load<u8>(rec, REC_R), i64x2.bitmask(load<v128>(rm, XMM)) as u32 as u64, GPR);
      return ST_NEXT;
    case PINSRW_X: {
      const value = readRm(cpu, rec, 1);
      if (faulted(cpu)) return ST_FAULT;
      store<u16>(reg + ((imm & 7) << 1), value as u16, XMM);
      return ST_NEXT;
    }
    case PEXTRW_X:
      store<u64>(cpu + load<u8>(rec, REC_R), load<u16>(rm + ((imm & 7) << 1), XMM) as u64, GPR);
      return ST_NEXT;
    case MASKMOVDQU:
      return storeMasked(cpu, rec, reg + XMM, i8x16.bitmask(load<v128>(rm, XMM)));
    case MOVQ2DQ: {
      if (!mmxAvailable(cpu)) return ST_FAULT;
      const value = mmxOf(cpu, load<u8>(rec, REC_B));
      mmxEnter(cpu);
      store<u64>(reg, value, XMM);
      store<u64>(reg, 0, XMM + 8);
      return ST_NEXT;
    }
    case MOVDQ2Q: {
      if (!mmxAvailable(cpu)) return ST_FAULT;
      mmxEnter(cpu);
      setMmx(cpu, load<u8>(rec, REC_R), load<u64>(rm, XMM));
      return ST_NEXT;
    }
    default:
      return unreachable();
  }
}

/** The doubleword at `from` that the low two bits of `select` name. */
// @ts-ignore: decorator
@inline
function dword(from: usize, select: u32): u32 {
  return load<u32>(from + ((select & 3) << 2));
}

// @ts-ignore: decorator
@inline
function storeWords(reg: usize, a: u32, b: u32, c: u32, d: u32): u32 {
  store<u32>(reg, a, XMM);
  store<u32>(reg, b, XMM + 4);
  store<u32>(reg, c, XMM + 8);
  store<u32>(reg, d, XMM + 12);
  return ST_NEXT;
}

/**
 * MASKMOVDQU and MASKMOVQ: stores the bytes at `from` whose bit is set in `mask` to DS:rDI. Bytes that
 * are not selected are neither read nor written, and cause no fault.
 */
export function storeMasked(cpu: usize, rec: usize, from: usize, mask: u32): u32 {
  if (!mask) return ST_NEXT;
  const set = load<u32>(cpu, TLB_SET);
  const ea: u32 = load<u8>(rec, REC_EA);
  const va = segmented(cpu, ea, load<u64>(cpu, GPR + RDI));
  const first = ctz(mask);
  if (!probeWrite(cpu, set, va + first, 32 - clz(mask) - first)) return ST_FAULT;
  for (let at = first; at < 16; at++) {
    if ((mask >> at) & 1) storeTo<u8>(cpu, set, va + at, load<u8>(from + at));
  }
  return ST_NEXT;
}
