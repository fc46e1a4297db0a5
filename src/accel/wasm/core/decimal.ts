/**
 * Decimal adjustment and BOUND, outside 64-bit code (Intel SDM vol. 2, "DAA", "DAS", "AAA", "AAS",
 * "AAM", "AAD", "BOUND").
 */
import { GPR, RAX, REC_IMM, REC_R, ST_FAULT, ST_NEXT } from "../layout";
import { faulted, raise, VEC_BR, VEC_DE } from "./fault";
import { AF, arithmetic, CF, setArithmetic, zspOf } from "./flags";
import { addressOf, readMem, readReg, signed, sizeOf } from "./operand";

const AH: u32 = 1;

// @ts-ignore: decorator
@inline
function resultFlags(al: u32): u32 {
  return zspOf(al as i8 as i64);
}

export function adjustPacked(cpu: usize, subtract: bool): u32 {
  const old: u32 = load<u8>(cpu, GPR + RAX);
  const flags = arithmetic(cpu);
  let al = old;
  let kept: u32 = 0;
  if ((old & 15) > 9 || flags & AF) {
    kept |= AF;
    // The borrow or carry of the low digit counts for DAS only: the test of the high digit follows.
    if (flags & CF || (subtract ? old < 6 : old > 0xf9)) kept |= CF;
    al = subtract ? al - 6 : al + 6;
  }
  if (old > 0x99 || flags & CF) {
    kept |= CF;
    al = subtract ? al - 0x60 : al + 0x60;
  } else if (!subtract) {
    kept &= ~CF;
  }
  store<u8>(cpu, al as u8, GPR + RAX);
  setArithmetic(cpu, resultFlags(al) | kept);
  return ST_NEXT;
}

export function adjustUnpacked(cpu: usize, subtract: bool): u32 {
  let ax: u32 = load<u16>(cpu, GPR + RAX);
  let kept: u32 = 0;
  if ((ax & 15) > 9 || arithmetic(cpu) & AF) {
    ax = subtract ? ax - 0x106 : ax + 0x106;
    kept = AF | CF;
  }
  ax &= 0xff0f;
  store<u16>(cpu, ax as u16, GPR + RAX);
  setArithmetic(cpu, resultFlags(ax) | kept);
  return ST_NEXT;
}

export function adjustMultiply(cpu: usize, rec: usize): u32 {
  const base: u32 = load<u8>(rec, REC_IMM);
  if (base == 0) {
    raise(cpu, VEC_DE);
    return ST_FAULT;
  }
  const al: u32 = load<u8>(cpu, GPR + RAX);
  store<u8>(cpu, (al / base) as u8, GPR + RAX + AH);
  store<u8>(cpu, (al % base) as u8, GPR + RAX);
  setArithmetic(cpu, resultFlags(al % base));
  return ST_NEXT;
}

export function adjustDivide(cpu: usize, rec: usize): u32 {
  const al: u32 = load<u8>(cpu, GPR + RAX) + load<u8>(cpu, GPR + RAX + AH) * load<u8>(rec, REC_IMM);
  store<u16>(cpu, (al & 0xff) as u16, GPR + RAX);
  setArithmetic(cpu, resultFlags(al));
  return ST_NEXT;
}

export function bound(cpu: usize, rec: usize): u32 {
  const size = sizeOf(rec);
  const address = addressOf(cpu, rec);
  const lower = signed(readMem(cpu, address, size), size);
  if (faulted(cpu)) return ST_FAULT;
  const upper = signed(readMem(cpu, address + (1 << size), size), size);
  if (faulted(cpu)) return ST_FAULT;
  const index = signed(readReg(cpu, load<u8>(rec, REC_R), size), size);
  if (index >= lower && index <= upper) return ST_NEXT;
  raise(cpu, VEC_BR);
  return ST_FAULT;
}
