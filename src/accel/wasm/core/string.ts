/**
 * String operations (Intel SDM vol. 2, "MOVS", "CMPS", "STOS", "LODS", "SCAS", "INS", "OUTS", "REP").
 *
 * RSI, RDI and RCX are brought up to date after each iteration, so a fault leaves them at the
 * iteration that met it. A repeated operation stops with ST_AGAIN between two iterations when POLL is set, and after
 * a slice of work, so interrupts and the host are not held off for long. CMPS and SCAS set the flags when they are done, never at a fault (SDM
 * vol. 2, "REP").
 */
import {
  EA_ADDR16, EA_ADDR32, EA_SEG_SHIFT, FLAGS, GPR, MODE, MODE_CODE64, MODE_CODE_MASK, MODE_STEP, RAX, RCX, RDI, RDX,
  POLL, REC_EA, REC_R, RSI, SEG_ES, ST_AGAIN, ST_FAULT, ST_NEXT, TLB_SET,
} from "../layout";
import { watchPort } from "./debug";
import { faulted, raise, VEC_UD } from "./fault";
import { DF, setSub } from "./flags";
import { hostPortIn, hostPortOut } from "./host";
import { probeWrite } from "./mmu";
import { readMem, readReg, segmented, signed, sizeOf, writeMem, writeReg } from "./operand";
import * as OP from "./ops";
import { bulkCompare, bulkCopy, bulkFill, bulkScan } from "./string-bulk";
import { portAllowed } from "./ports";
import { BULK_SHIFT, charge, COST_DEVICE, COST_ELEMENT } from "./work";

const REPEAT_NONE: u32 = 0;
const REPEAT_EQUAL: u32 = 1;

/** Bytes that one call works on. */
const SLICE: u64 = 0x10000;

/** Operand size index of the address size. */
// @ts-ignore: decorator
@inline
function addressSize(ea: u32): u32 {
  return ea & EA_ADDR32 ? 2 : ea & EA_ADDR16 ? 1 : 3;
}

/** What segmented() takes for the destination: ES, which has no base in 64-bit code. */
function destinationOf(cpu: usize, ea: u32): u32 {
  const seg: u32 = (load<u32>(cpu, MODE) & MODE_CODE_MASK) == MODE_CODE64 ? 0 : SEG_ES;
  return (ea & (EA_ADDR32 | EA_ADDR16)) | (seg << EA_SEG_SHIFT);
}

/** How often one call may iterate. */
function sliceOf(cpu: usize, size: u32): u64 {
  return load<u32>(cpu, MODE) & MODE_STEP ? 1 : SLICE >> size;
}

// @ts-ignore: decorator
@inline
function advance(cpu: usize, slot: u32, width: u32, by: u64): void {
  writeReg(cpu, slot, width, readReg(cpu, slot, width) + by);
}

/** Elements of `bytes` that lie from offset `at` upwards before the address size wraps. */
// @ts-ignore: decorator
@inline
function beforeWrap(at: u64, width: u32, size: u32): u64 {
  if (width == 3) return u64.MAX_VALUE;
  return ((width == 2 ? 0x100000000 : 0x10000) - at) >> size;
}

// @ts-ignore: decorator
@inline
function least(a: u64, b: u64): u64 {
  return a < b ? a : b;
}

/** One iteration; false after a fault, with nothing changed but memory-mapped devices read. */
function step(cpu: usize, op: u32, ea: u32, size: u32, width: u32, by: u64): bool {
  switch (op) {
    case OP.MOVS: {
      const value = readMem(cpu, segmented(cpu, ea, load<u64>(cpu, GPR + RSI)), size);
      if (faulted(cpu)) return false;
      if (!writeMem(cpu, segmented(cpu, destinationOf(cpu, ea), load<u64>(cpu, GPR + RDI)), size, value)) return false;
      advance(cpu, RSI, width, by);
      advance(cpu, RDI, width, by);
      return true;
    }
    case OP.STOS: {
      const va = segmented(cpu, destinationOf(cpu, ea), load<u64>(cpu, GPR + RDI));
      if (!writeMem(cpu, va, size, readReg(cpu, RAX, size))) return false;
      advance(cpu, RDI, width, by);
      return true;
    }
    case OP.LODS: {
      const value = readMem(cpu, segmented(cpu, ea, load<u64>(cpu, GPR + RSI)), size);
      if (faulted(cpu)) return false;
      writeReg(cpu, RAX, size, value);
      advance(cpu, RSI, width, by);
      return true;
    }
    case OP.INS: {
      const va = segmented(cpu, destinationOf(cpu, ea), load<u64>(cpu, GPR + RDI));
      // The port is read once the bytes are known to have a place.
      if (!probeWrite(cpu, load<u32>(cpu, TLB_SET), va, 1 << size)) return false;
      watchPort(cpu, load<u16>(cpu, GPR + RDX), 1 << size);
      charge(cpu, COST_DEVICE);
      const value = hostPortIn(load<u16>(cpu, GPR + RDX), 1 << size);
      if (!writeMem(cpu, va, size, value as u64)) return false;
      advance(cpu, RDI, width, by);
      return true;
    }
    default: {
      const value = readMem(cpu, segmented(cpu, ea, load<u64>(cpu, GPR + RSI)), size);
      if (faulted(cpu)) return false;
      watchPort(cpu, load<u16>(cpu, GPR + RDX), 1 << size);
      charge(cpu, COST_DEVICE);
      hostPortOut(load<u16>(cpu, GPR + RDX), 1 << size, value as u32);
      advance(cpu, RSI, width, by);
      return true;
    }
  }
}

/** Elements that MOVS or STOS can do at once from here; they are done and the pointers advanced. */
function bulk(cpu: usize, op: u32, ea: u32, size: u32, width: u32, most: u64): u64 {
  const to = readReg(cpu, RDI, width);
  let count = least(most, beforeWrap(to, width, size));
  const target = segmented(cpu, destinationOf(cpu, ea), to);
  if (op == OP.STOS) {
    count = bulkFill(cpu, target, readReg(cpu, RAX, size), size, count);
  } else {
    const from = readReg(cpu, RSI, width);
    count = least(count, beforeWrap(from, width, size));
    count = bulkCopy(cpu, target, segmented(cpu, ea, from), size, count);
    if (count) writeReg(cpu, RSI, width, from + (count << size));
  }
  if (count) writeReg(cpu, RDI, width, to + (count << size));
  return count;
}

/** MOVS, STOS, LODS, INS, OUTS with or without REP. */
function transfer(cpu: usize, rec: usize, op: u32, size: u32): u32 {
  const ea: u32 = load<u8>(rec, REC_EA);
  const width = addressSize(ea);
  const down = (load<u32>(cpu, FLAGS) & DF) != 0;
  const by: u64 = down ? 0 - ((1 << size) as u64) : 1 << size;
  if (load<u8>(rec, REC_R) == REPEAT_NONE) return step(cpu, op, ea, size, width, by) ? ST_NEXT : ST_FAULT;
  const inBulk = !down && (op == OP.MOVS || op == OP.STOS);
  let slice = sliceOf(cpu, size);
  let count = readReg(cpu, RCX, width);
  while (count != 0) {
    let done: u64 = inBulk ? bulk(cpu, op, ea, size, width, least(count, slice)) : 0;
    if (done == 0) {
      if (!step(cpu, op, ea, size, width, by)) return ST_FAULT;
      charge(cpu, COST_ELEMENT);
      done = 1;
    } else chargeBulk(cpu, done, size);
    slice -= done;
    count -= done;
    writeReg(cpu, RCX, width, count);
    if (count != 0 && (slice == 0 || load<u32>(cpu, POLL) != 0)) return ST_AGAIN;
  }
  return ST_NEXT;
}

// @ts-ignore: decorator
@inline
function chargeBulk(cpu: usize, elements: u64, size: u32): void {
  charge(cpu, (elements >> (BULK_SHIFT - size)) as i32);
}

/** CMPS and SCAS with or without REPE or REPNE. */
function compare(cpu: usize, rec: usize, op: u32, size: u32): u32 {
  const ea: u32 = load<u8>(rec, REC_EA);
  const width = addressSize(ea);
  const down = (load<u32>(cpu, FLAGS) & DF) != 0;
  const by: u64 = down ? 0 - ((1 << size) as u64) : 1 << size;
  const repeat: u32 = load<u8>(rec, REC_R);
  const both = op == OP.CMPS;
  let slice = sliceOf(cpu, size);
  let count: u64 = repeat == REPEAT_NONE ? 1 : readReg(cpu, RCX, width);
  if (count == 0) return ST_NEXT;
  while (true) {
    if (!down && repeat != REPEAT_NONE) {
      // The last element always goes the slow way, which sets the flags.
      const done = skip(cpu, ea, size, width, both, repeat == REPEAT_EQUAL, least(count, slice) - 1);
      count -= done;
      slice -= done;
      if (done) {
        writeReg(cpu, RCX, width, count);
        chargeBulk(cpu, done, size);
      }
    }
    const second = segmented(cpu, destinationOf(cpu, ea), load<u64>(cpu, GPR + RDI));
    const first = both ? readMem(cpu, segmented(cpu, ea, load<u64>(cpu, GPR + RSI)), size) : readReg(cpu, RAX, size);
    if (faulted(cpu)) return ST_FAULT;
    const a = signed(first, size);
    const b = signed(readMem(cpu, second, size), size);
    if (faulted(cpu)) return ST_FAULT;
    charge(cpu, COST_ELEMENT);
    if (both) advance(cpu, RSI, width, by);
    advance(cpu, RDI, width, by);
    count--;
    slice--;
    if (repeat != REPEAT_NONE) writeReg(cpu, RCX, width, count);
    if (repeat == REPEAT_NONE || count == 0 || (a == b) != (repeat == REPEAT_EQUAL)) {
      setSub(cpu, a, b, signed((a - b) as u64, size));
      return ST_NEXT;
    }
    if (slice == 0 || load<u32>(cpu, POLL) != 0) return ST_AGAIN;
  }
}

/** Passes over elements, at most `most`, that do not end the repetition. */
function skip(cpu: usize, ea: u32, size: u32, width: u32, both: bool, equal: bool, most: u64): u64 {
  const to = readReg(cpu, RDI, width);
  const target = segmented(cpu, destinationOf(cpu, ea), to);
  let count = least(most, beforeWrap(to, width, size));
  if (both) {
    const from = readReg(cpu, RSI, width);
    count = least(count, beforeWrap(from, width, size));
    count = bulkCompare(cpu, segmented(cpu, ea, from), target, size, count, equal);
    if (count) writeReg(cpu, RSI, width, from + (count << size));
  } else {
    count = bulkScan(cpu, target, readReg(cpu, RAX, size), size, count, equal);
  }
  if (count) writeReg(cpu, RDI, width, to + (count << size));
  return count;
}

/** Executes an operation of the `string` unit. */
export function execString(cpu: usize, rec: usize, op: u32): u32 {
  const size = sizeOf(rec);
  switch (op) {
    case OP.MOVS: case OP.STOS: case OP.LODS: return transfer(cpu, rec, op, size);
    case OP.CMPS: case OP.SCAS: return compare(cpu, rec, op, size);
    case OP.INS: case OP.OUTS: {
      // Ports have at most 32 bits; REX.W makes no difference.
      const portSize: u32 = size == 3 ? 2 : size;
      const counted = load<u8>(rec, REC_R) != REPEAT_NONE;
      if (counted && readReg(cpu, RCX, addressSize(load<u8>(rec, REC_EA))) == 0) return ST_NEXT;
      if (!portAllowed(cpu, load<u16>(cpu, GPR + RDX), 1 << portSize)) return ST_FAULT;
      return transfer(cpu, rec, op, portSize);
    }
    default:
      raise(cpu, VEC_UD);
      return ST_FAULT;
  }
}
