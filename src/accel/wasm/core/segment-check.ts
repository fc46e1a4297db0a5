/**
 * Limits and access rights of segments outside 64-bit code (Intel SDM vol. 3, 5.3 "Limit checking", 5.4.1 and 5.5).
 *
 * A segment whose whole 4 GiB may be read and written needs no check: its SEG_MARK is 0, as all are in flat code. An
 * address in another segment carries its mark, bits that no canonical address has: it hits in no TLB, and the slow
 * paths (mmu.ts), which know size and kind of the access, come here with it. An address far enough below the limit
 * of a plain data segment carries none.
 */
import {
  MODE, MODE_CODE64, MODE_CODE_MASK, MODE_REAL, SEG_BASE, SEG_CS, SEG_ES, SEG_FS, SEG_GS, SEG_LIMIT, SEG_MARK, SEG_SS,
} from "../layout";
import { raiseError, VEC_GP, VEC_SS } from "./fault";
import {
  ATTR_CODE, ATTR_CONFORMING, ATTR_D, ATTR_P, ATTR_RW, ATTR_S, attrOf,
} from "./system-state";

/** Bit 44 takes the carry or borrow of a sum in the low half. */
const MARK: u64 = 0x4000100000000000;
const MARK_SEGMENT_SHIFT: u64 = 48;
/** No access or run of elements that is checked by its first address alone is longer. */
const LONGEST: u64 = 0x1000;
const REAL_LIMIT: u32 = 0xffff;

/** Writable, expand-up and present. */
// @ts-ignore: decorator
@inline
function isPlain(attr: u32): bool {
  return (attr & (ATTR_P | ATTR_S | ATTR_CODE | ATTR_CONFORMING | ATTR_RW)) == (ATTR_P | ATTR_S | ATTR_RW);
}

// @ts-ignore: decorator
@inline
function limitOf(cpu: usize, slot: u32): u32 {
  return load<u32>(cpu + slot * 4, SEG_LIMIT);
}

/** Recomputes SEG_MARK of ES to GS. */
export function updateMarks(cpu: usize): void {
  for (let slot = SEG_ES; slot <= SEG_GS; slot++) {
    const whole = isPlain(attrOf(cpu, slot)) && limitOf(cpu, slot) == 0xffffffff;
    store<u64>(cpu + slot * 8, whole ? 0 : MARK | ((slot as u64) << MARK_SEGMENT_SHIFT), SEG_MARK);
  }
}

/** Whether offsets in ES, CS, SS and DS are linear addresses, and accesses through ES, SS and DS need no check. */
export function isFlat(cpu: usize): bool {
  let bases: u64 = 0;
  let marks: u64 = 0;
  for (let slot = SEG_ES; slot < SEG_FS; slot++) {
    bases |= load<u64>(cpu + slot * 8, SEG_BASE);
    if (slot != SEG_CS) marks |= load<u64>(cpu + slot * 8, SEG_MARK);
  }
  return bases == 0 && marks == 0 && limitOf(cpu, SEG_CS) == 0xffffffff;
}

/** `address` of `offset` in a segment that has a mark: with it, unless the access is surely inside. */
export function marked(cpu: usize, slot: u32, offset: u64, address: u64): u64 {
  const inside = offset + LONGEST <= (limitOf(cpu, slot) as u64);
  if (inside && (isPlain(attrOf(cpu, slot)) || load<u32>(cpu, MODE) & MODE_REAL)) return address;
  return address | load<u64>(cpu + slot * 8, SEG_MARK);
}

/** Whether `address` has a mark. */
// @ts-ignore: decorator
@inline
export function isMarked(cpu: usize, address: u64): bool {
  return address >> 62 == 1 && (load<u32>(cpu, MODE) & MODE_CODE_MASK) != MODE_CODE64;
}

/** Whether `size` bytes at a marked address may be accessed; raises #GP(0), or #SS(0) for the stack, when not. */
export function admitted(cpu: usize, address: u64, size: u32, write: bool): bool {
  const slot = (address >> MARK_SEGMENT_SHIFT) as u32 & 7;
  const base = load<u64>(cpu + slot * 8, SEG_BASE);
  const first = ((address - base) & 0xffffffff) as u64;
  if (permitted(cpu, slot, first, first + (size - 1), write)) return true;
  raiseError(cpu, slot == SEG_SS ? VEC_SS : VEC_GP, 0);
  return false;
}

function permitted(cpu: usize, slot: u32, first: u64, last: u64, write: bool): bool {
  const attr = attrOf(cpu, slot);
  const limit = limitOf(cpu, slot);
  if (load<u32>(cpu, MODE) & MODE_REAL) {
    // Rights do not count there, and a segment that was null before PE was cleared is one of 64 KiB.
    return last <= ((attr & ATTR_P ? limit : REAL_LIMIT) as u64);
  }
  if ((attr & (ATTR_P | ATTR_S)) != (ATTR_P | ATTR_S)) return false;
  if (attr & ATTR_CODE) return !write && (attr & ATTR_RW) != 0 && last <= (limit as u64);
  if (write && !(attr & ATTR_RW)) return false;
  if (!(attr & ATTR_CONFORMING)) return last <= (limit as u64);
  return first > (limit as u64) && last <= (attr & ATTR_D ? 0xffffffff : 0xffff);
}
