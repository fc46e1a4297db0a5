/**
 * Operands of a decoded operation, for routines outside the run loop (record layout: ../layout.ts).
 */
import {
  BOUNCE, EA_ADDR16, EA_ADDR32, EA_SCALE, EA_SEG_SHIFT, GPR, LEN_MASK, LEN_MEM, LEN_SIZE_SHIFT, MODE,
  MODE_CODE64, MODE_CODE_MASK, REC_B, REC_DISP, REC_EA, REC_IMM, REC_LEN, REC_OFF, REC_R, REC_X, RIP,
  SEG_BASE, SEG_MARK, TLB_SET, XMM,
} from "../layout";
import { commit, modifyPtr, modifySlow, readPtr, storeTo, readSlow, storeSlow } from "./mmu";
import { ordered } from "./order";
import { marked } from "./segment-check";

/** RIP of the operation. */
export function ripOf(cpu: usize, rec: usize): u64 {
  return load<u64>(cpu, RIP) + load<u8>(rec, REC_OFF);
}

/** RIP of the operation after it. */
export function nextRipOf(cpu: usize, rec: usize): u64 {
  return load<u64>(cpu, RIP) + load<u8>(rec, REC_OFF) + (load<u8>(rec, REC_LEN) & LEN_MASK);
}

/** Operand size: 0 = 8, 1 = 16, 2 = 32, 3 = 64 bits. */
// @ts-ignore: decorator
@inline
export function sizeOf(rec: usize): u32 {
  return (load<u8>(rec, REC_LEN) >> LEN_SIZE_SHIFT) & 3;
}

/** Whether the r/m operand is in memory. */
// @ts-ignore: decorator
@inline
export function isMemory(rec: usize): bool {
  return (load<u8>(rec, REC_LEN) & LEN_MEM) != 0;
}

/** Sign-extended 32-bit immediate. */
// @ts-ignore: decorator
@inline
export function immOf(rec: usize): i64 {
  return load<i32>(rec, REC_IMM) as i64;
}

/** Linear address of the memory operand. */
// @ts-ignore: decorator
@inline
export function addressOf(cpu: usize, rec: usize): u64 {
  const ea = load<u8>(rec, REC_EA);
  const address = load<u64>(cpu + load<u8>(rec, REC_B), GPR)
    + (load<u64>(cpu + load<u8>(rec, REC_X), GPR) << (ea & EA_SCALE))
    + (load<i32>(rec, REC_DISP) as i64 as u64);
  return (ea as i32) <= EA_SCALE ? address : segmented(cpu, ea, address);
}

/** The offset part of the memory operand's address, cut to the address size (for LEA). */
export function offsetOf(cpu: usize, rec: usize): u64 {
  const ea = load<u8>(rec, REC_EA);
  const address = load<u64>(cpu + load<u8>(rec, REC_B), GPR)
    + (load<u64>(cpu + load<u8>(rec, REC_X), GPR) << (ea & EA_SCALE))
    + (load<i32>(rec, REC_DISP) as i64 as u64);
  return ea & EA_ADDR16 ? address & 0xffff : ea & EA_ADDR32 ? address & 0xffffffff : address;
}

/** Applies address size and segment base. */
export function segmented(cpu: usize, ea: u32, offset: u64): u64 {
  if (ea & EA_ADDR32) offset &= 0xffffffff;
  else if (ea & EA_ADDR16) offset &= 0xffff;
  return linear(cpu, (ea >> EA_SEG_SHIFT) & 7, offset);
}

/** Linear address of `offset` in the segment of slot `seg`; outside 64-bit code wraps at 4 GiB, and has the segment's mark. */
export function linear(cpu: usize, seg: u32, offset: u64): u64 {
  const address = load<u64>(cpu + seg * 8, SEG_BASE) + offset;
  if ((load<u32>(cpu, MODE) & MODE_CODE_MASK) == MODE_CODE64) return address;
  return load<u64>(cpu + seg * 8, SEG_MARK) == 0
    ? address & 0xffffffff
    : marked(cpu, seg, offset, address & 0xffffffff);
}

/** Reads the general register in `slot` with operand size `size`, zero-extended. */
export function readReg(cpu: usize, slot: u32, size: u32): u64 {
  const at = cpu + slot;
  switch (size) {
    case 0: return load<u8>(at, GPR) as u64;
    case 1: return load<u16>(at, GPR) as u64;
    case 2: return load<u32>(at, GPR) as u64;
    default: return load<u64>(at, GPR);
  }
}

/** Writes it: 8 and 16 bits merge, 32 bits zero-extend. */
export function writeReg(cpu: usize, slot: u32, size: u32, value: u64): void {
  const at = cpu + slot;
  switch (size) {
    case 0: store<u8>(at, value as u8, GPR); break;
    case 1: store<u16>(at, value as u16, GPR); break;
    case 2: store<u64>(at, value & 0xffffffff, GPR); break;
    default: store<u64>(at, value, GPR); break;
  }
}

/** Reads memory of operand size `size` at `va`, zero-extended. Check `faulted` after it. */
export function readMem(cpu: usize, va: u64, size: u32): u64 {
  return readMemAs(cpu, load<u32>(cpu, TLB_SET), va, size);
}

/** As readMem, with the privilege of TLB set `set`. */
export function readMemAs(cpu: usize, set: u32, va: u64, size: u32): u64 {
  let ptr: usize;
  switch (size) {
    case 0: ptr = readPtr<u8>(cpu, set, va); return ptr ? load<u8>(ptr) as u64 : 0;
    case 1: ptr = readPtr<u16>(cpu, set, va); return ptr ? load<u16>(ptr) as u64 : 0;
    case 2: ptr = readPtr<u32>(cpu, set, va); return ptr ? load<u32>(ptr) as u64 : 0;
    default: ptr = readPtr<u64>(cpu, set, va); return ptr ? load<u64>(ptr) : 0;
  }
}

/** Writes memory of operand size `size` at `va`; false after a fault, with nothing written. */
export function writeMem(cpu: usize, va: u64, size: u32, value: u64): bool {
  return writeMemAs(cpu, load<u32>(cpu, TLB_SET), va, size, value);
}

/** As writeMem, with the privilege of TLB set `set`. */
export function writeMemAs(cpu: usize, set: u32, va: u64, size: u32, value: u64): bool {
  switch (size) {
    case 0: return storeTo<u8>(cpu, set, va, value as u8);
    case 1: return storeTo<u16>(cpu, set, va, value as u16);
    case 2: return storeTo<u32>(cpu, set, va, value as u32);
    default: return storeTo<u64>(cpu, set, va, value);
  }
}

/**
 * Where the r/m operand of a read-modify-write operation can be read and written: a register or
 * memory; 0 after a fault. After writing call `finishRm`. 32-bit registers: write through `writeRm`.
 */
export function modifyRm(cpu: usize, rec: usize, size: u32): usize {
  if (!isMemory(rec)) return cpu + load<u8>(rec, REC_B) + GPR;
  return modifySized(cpu, addressOf(cpu, rec), size);
}

function modifySized(cpu: usize, va: u64, size: u32): usize {
  const set = load<u32>(cpu, TLB_SET);
  switch (size) {
    case 0: return modifyPtr<u8>(cpu, set, va);
    case 1: return modifyPtr<u16>(cpu, set, va);
    case 2: return modifyPtr<u32>(cpu, set, va);
    default: return modifyPtr<u64>(cpu, set, va);
  }
}

/** Value at a pointer of `modifyRm`, zero-extended. */
export function loadSized(ptr: usize, size: u32): u64 {
  switch (size) {
    case 0: return load<u8>(ptr) as u64;
    case 1: return load<u16>(ptr) as u64;
    case 2: return load<u32>(ptr) as u64;
    default: return load<u64>(ptr);
  }
}

/** Writes the result of a read-modify-write operation whose pointer `modifyRm` gave. */
export function finishRm(cpu: usize, rec: usize, ptr: usize, size: u32, value: u64): void {
  if (!isMemory(rec)) {
    writeReg(cpu, load<u8>(rec, REC_B), size, value);
    return;
  }
  switch (size) {
    case 0: store<u8>(ptr, value as u8); break;
    case 1: store<u16>(ptr, value as u16); break;
    case 2: store<u32>(ptr, value as u32); break;
    default: store<u64>(ptr, value); break;
  }
  ordered(cpu, rec);
  if (ptr == cpu + BOUNCE) commit(cpu);
}

/** Reads the r/m operand, zero-extended. Check `faulted` after it. */
export function readRm(cpu: usize, rec: usize, size: u32): u64 {
  if (!isMemory(rec)) return readReg(cpu, load<u8>(rec, REC_B), size);
  return readMem(cpu, addressOf(cpu, rec), size);
}

/** Writes the r/m operand; false after a fault. */
export function writeRm(cpu: usize, rec: usize, size: u32, value: u64): bool {
  if (isMemory(rec)) return writeMem(cpu, addressOf(cpu, rec), size, value);
  writeReg(cpu, load<u8>(rec, REC_B), size, value);
  return true;
}

/** Sign-extends a value of operand size `size`. */
export function signed(value: u64, size: u32): i64 {
  const shift: i64 = 64 - (8 << size);
  return ((value as i64) << shift) >> shift;
}

/** Pointer to `size` (at most 16) readable bytes at `va`; 0 after a fault. */
export function readBytes(cpu: usize, va: u64, size: u32): usize {
  if (size == 16) return readPtr<v128>(cpu, load<u32>(cpu, TLB_SET), va);
  return readSlow(cpu, load<u32>(cpu, TLB_SET), va, size);
}
