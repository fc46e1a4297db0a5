/**
 * Shifts and rotates (Intel SDM vol. 2, "SAL/SAR/SHL/SHR", "RCL/RCR/ROL/ROR", "SHLD", "SHRD").
 * Operands are zero-extended to 64 bits. OF, undefined for counts above 1, follows the formula of a
 * count of 1 on the result.
 */
import { RCX, REC_IMM, REC_R, ST_FAULT, ST_NEXT } from "../layout";
import { CF, carryFlag, OF, setArithmetic, setSome, zspOf } from "./flags";
import { finishRm, loadSized, modifyRm, readReg, signed, sizeOf } from "./operand";

export const ROTATE_LEFT: u32 = 0;
export const ROTATE_RIGHT: u32 = 1;
export const ROTATE_CARRY_LEFT: u32 = 2;
export const ROTATE_CARRY_RIGHT: u32 = 3;
export const SHIFT_LEFT: u32 = 4;
export const SHIFT_RIGHT: u32 = 5;
export const SHIFT_ARITHMETIC: u32 = 7;

/** Where the count comes from. */
export const COUNT_ONE: u32 = 0;
export const COUNT_CL: u32 = 1;
export const COUNT_IMMEDIATE: u32 = 2;

// @ts-ignore: decorator
@inline
function countOf(cpu: usize, rec: usize, size: u32, source: u32): u32 {
  const count: u32 =
    source == COUNT_ONE ? 1 : source == COUNT_CL ? (readReg(cpu, RCX, 0) as u32) : load<u32>(rec, REC_IMM);
  return count & (size == 3 ? 63 : 31);
}

// @ts-ignore: decorator
@inline
function topBit(value: u64, bits: u32): u32 {
  return ((value >> (bits - 1)) & 1) as u32;
}

/** ROL … SAR by its ModRM.reg digit. */
export function shift(cpu: usize, rec: usize, size: u32, kind: u32, source: u32): u32 {
  const ptr = modifyRm(cpu, rec, size);
  if (!ptr) return ST_FAULT;
  const value = loadSized(ptr, size);
  const count = countOf(cpu, rec, size, source);
  if (count == 0) {
    // The destination is written all the same: a 32-bit register loses its upper half.
    finishRm(cpu, rec, ptr, size, value);
    return ST_NEXT;
  }
  if (kind < SHIFT_LEFT) rotate(cpu, rec, ptr, size, kind, value, count);
  else shiftBy(cpu, rec, ptr, size, kind, value, count);
  return ST_NEXT;
}

function shiftBy(cpu: usize, rec: usize, ptr: usize, size: u32, kind: u32, value: u64, count: u32): void {
  const bits: u32 = 8 << size;
  let result: u64;
  let carry: u32;
  let overflow: u32;
  if (kind == SHIFT_LEFT) {
    result = value << count;
    carry = count > bits ? 0 : ((value >> (bits - count)) & 1) as u32;
    overflow = carry ^ topBit(result, bits);
  } else if (kind == SHIFT_RIGHT) {
    result = value >> count;
    carry = ((value >> (count - 1)) & 1) as u32;
    overflow = topBit(result, bits) ^ topBit(result, bits - 1);
  } else {
    const wide = signed(value, size);
    result = (wide >> count) as u64;
    carry = ((wide >> (count - 1)) & 1) as u32;
    overflow = 0;
  }
  finishRm(cpu, rec, ptr, size, result);
  setArithmetic(cpu, zspOf(signed(result, size)) | (carry ? CF : 0) | (overflow ? OF : 0));
}

function rotate(cpu: usize, rec: usize, ptr: usize, size: u32, kind: u32, value: u64, count: u32): void {
  const bits: u32 = 8 << size;
  let result = value;
  let carry: u32;
  let overflow: u32;
  if (kind == ROTATE_LEFT || kind == ROTATE_RIGHT) {
    let left = count & (bits - 1);
    if (kind == ROTATE_RIGHT) left = (bits - left) & (bits - 1);
    if (left) result = (value << left) | (value >> (bits - left));
    if (kind == ROTATE_LEFT) {
      carry = (result & 1) as u32;
      overflow = carry ^ topBit(result, bits);
    } else {
      carry = topBit(result, bits);
      overflow = carry ^ topBit(result, bits - 1);
    }
  } else {
    const steps = size < 2 ? count % (bits + 1) : count;
    carry = carryFlag(cpu) ? 1 : 0;
    if (steps == 0) {
      result = value;
    } else if (kind == ROTATE_CARRY_LEFT) {
      const incoming = ((carry as u64) << (steps - 1)) | (steps > 1 ? value >> (bits + 1 - steps) : 0);
      result = (value << steps) | incoming;
      carry = ((value >> (bits - steps)) & 1) as u32;
    } else {
      const incoming = ((carry as u64) << (bits - steps)) | (steps > 1 ? value << (bits + 1 - steps) : 0);
      result = (value >> steps) | incoming;
      carry = ((value >> (steps - 1)) & 1) as u32;
    }
    overflow =
      kind == ROTATE_CARRY_LEFT ? carry ^ topBit(result, bits) : topBit(result, bits) ^ topBit(result, bits - 1);
  }
  finishRm(cpu, rec, ptr, size, result);
  setSome(cpu, CF | OF, (carry ? CF : 0) | (overflow ? OF : 0));
}

/** SHLD (`left`) and SHRD. */
export function shiftDouble(cpu: usize, rec: usize, left: bool, source: u32): u32 {
  const size = sizeOf(rec);
  const filler = readReg(cpu, load<u8>(rec, REC_R), size);
  const ptr = modifyRm(cpu, rec, size);
  if (!ptr) return ST_FAULT;
  const value = loadSized(ptr, size);
  const count = countOf(cpu, rec, size, source);
  if (count == 0) {
    finishRm(cpu, rec, ptr, size, value);
    return ST_NEXT;
  }
  const bits: u32 = 8 << size;
  let result: u64;
  let carry: u32;
  if (size == 1) {
    // Counts above 16 are undefined: here the destination comes in again behind the source.
    const wide = (value << 32) | (filler << 16) | value;
    result = left ? wide >> (32 - count) : wide >> count;
    carry = ((left ? wide >> (48 - count) : wide >> (count - 1)) & 1) as u32;
  } else if (left) {
    result = (value << count) | (filler >> (bits - count));
    carry = ((value >> (bits - count)) & 1) as u32;
  } else {
    result = (value >> count) | (filler << (bits - count));
    carry = ((value >> (count - 1)) & 1) as u32;
  }
  finishRm(cpu, rec, ptr, size, result);
  const overflow = topBit(result, bits) ^ (left ? carry : topBit(result, bits - 1));
  setArithmetic(cpu, zspOf(signed(result, size)) | (carry ? CF : 0) | (overflow ? OF : 0));
  return ST_NEXT;
}
