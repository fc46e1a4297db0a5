/**
 * Bit tests, bit scans and byte order (Intel SDM vol. 2, "BT", "BTS", "BTR", "BTC", "BSF", "BSR",
 * "POPCNT", "BSWAP").
 */
import {
  EA_SCALE, GPR, REC_B, REC_DISP, REC_EA, REC_IMM, REC_R, REC_X, ST_FAULT, ST_NEXT, TLB_SET,
} from "../layout";
import { faulted } from "./fault";
import { setArithmetic, setLogic, setParts, ZF, zeroFlag } from "./flags";
import { modifyPtr } from "./mmu";
import {
  finishRm, isMemory, loadSized, modifyRm, readMem, readReg, readRm, segmented, signed, sizeOf, writeReg,
} from "./operand";

export const BIT_TEST: u32 = 0;
export const BIT_SET: u32 = 1;
export const BIT_RESET: u32 = 2;
export const BIT_COMPLEMENT: u32 = 3;

function modifyAt(cpu: usize, va: u64, size: u32): usize {
  const set = load<u32>(cpu, TLB_SET);
  if (size == 1) return modifyPtr<u16>(cpu, set, va);
  if (size == 2) return modifyPtr<u32>(cpu, set, va);
  return modifyPtr<u64>(cpu, set, va);
}

/** Address of the word of a bit string in memory that holds bit `offset` (signed). */
function bitAddress(cpu: usize, rec: usize, size: u32, offset: i64): u64 {
  const ea = load<u8>(rec, REC_EA);
  const address = load<u64>(cpu + load<u8>(rec, REC_B), GPR)
    + (load<u64>(cpu + load<u8>(rec, REC_X), GPR) << (ea & EA_SCALE))
    + (load<i32>(rec, REC_DISP) as i64 as u64)
    + (((offset >> (3 + size)) << size) as u64);
  return segmented(cpu, ea, address);
}

function changed(value: u64, bit: u64, action: u32): u64 {
  if (action == BIT_SET) return value | bit;
  if (action == BIT_RESET) return value & ~bit;
  return value ^ bit;
}

/** CF is the bit and ZF stays; the others are undefined, and here those of a result with that ZF. */
function setCarry(cpu: usize, carry: bool): void {
  setParts(cpu, zeroFlag(cpu) ? 0 : 1, carry ? 1 : 0, 0);
}

/** BT and its kin with the bit number in a register. */
export function bitRegister(cpu: usize, rec: usize, action: u32): u32 {
  const size = sizeOf(rec);
  const offset = signed(readReg(cpu, load<u8>(rec, REC_R), size), size);
  const bit: u64 = 1 << ((offset as u64) & ((8 << size) - 1));
  if (!isMemory(rec)) return bitInRegister(cpu, rec, size, bit, action);
  const va = bitAddress(cpu, rec, size, offset);
  if (action == BIT_TEST) {
    const value = readMem(cpu, va, size);
    if (faulted(cpu)) return ST_FAULT;
    setCarry(cpu, (value & bit) != 0);
    return ST_NEXT;
  }
  const ptr = modifyAt(cpu, va, size);
  return ptr ? bitAt(cpu, rec, ptr, size, bit, action) : ST_FAULT;
}

/** BT and its kin with an immediate bit number: it never leaves the operand. */
export function bitImmediate(cpu: usize, rec: usize, action: u32): u32 {
  const size = sizeOf(rec);
  const bit: u64 = 1 << ((load<i32>(rec, REC_IMM) as u64) & ((8 << size) - 1));
  if (!isMemory(rec) || action == BIT_TEST) return bitInRegister(cpu, rec, size, bit, action);
  const ptr = modifyRm(cpu, rec, size);
  return ptr ? bitAt(cpu, rec, ptr, size, bit, action) : ST_FAULT;
}

function bitInRegister(cpu: usize, rec: usize, size: u32, bit: u64, action: u32): u32 {
  const value = readRm(cpu, rec, size);
  if (faulted(cpu)) return ST_FAULT;
  if (action != BIT_TEST) writeReg(cpu, load<u8>(rec, REC_B), size, changed(value, bit, action));
  setCarry(cpu, (value & bit) != 0);
  return ST_NEXT;
}

function bitAt(cpu: usize, rec: usize, ptr: usize, size: u32, bit: u64, action: u32): u32 {
  const value = loadSized(ptr, size);
  finishRm(cpu, rec, ptr, size, changed(value, bit, action));
  setCarry(cpu, (value & bit) != 0);
  return ST_NEXT;
}

/**
 * BSF (`reverse` false) and BSR. A zero source leaves the destination as it was. The flags besides ZF,
 * undefined by the manual, are those of a logical operation on the source.
 */
export function bitScan(cpu: usize, rec: usize, reverse: bool): u32 {
  const size = sizeOf(rec);
  const value = readRm(cpu, rec, size);
  if (faulted(cpu)) return ST_FAULT;
  setLogic(cpu, signed(value, size));
  if (value == 0) return ST_NEXT;
  writeReg(cpu, load<u8>(rec, REC_R), size, reverse ? 63 - clz<u64>(value) : ctz<u64>(value));
  return ST_NEXT;
}

export function populationCount(cpu: usize, rec: usize): u32 {
  const size = sizeOf(rec);
  const value = readRm(cpu, rec, size);
  if (faulted(cpu)) return ST_FAULT;
  writeReg(cpu, load<u8>(rec, REC_R), size, popcnt<u64>(value));
  setArithmetic(cpu, value == 0 ? ZF : 0);
  return ST_NEXT;
}

export function byteSwap(cpu: usize, rec: usize): u32 {
  const size = sizeOf(rec);
  const slot: u32 = load<u8>(rec, REC_B);
  const value = readReg(cpu, slot, size);
  // A 16-bit operand is undefined; processors store zero.
  if (size == 3) writeReg(cpu, slot, size, bswap<u64>(value));
  else writeReg(cpu, slot, size, size == 2 ? (bswap<u32>(value as u32) as u64) : 0);
  return ST_NEXT;
}
