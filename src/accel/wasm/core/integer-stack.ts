/**
 * The stack outside the run loop's fast cases (Intel SDM vol. 1, chapter 6; vol. 2, "PUSH", "POP",
 * "PUSHA", "POPA", "ENTER", "LEAVE", "CALL", "RET", "JMP"): every operand size in every mode.
 *
 * The stack pointer is RSP in 64-bit code, else ESP or SP as SS.B says; outside 64-bit code the upper
 * bits of a 16-bit stack pointer stay.
 */
import {
  GPR, MODE, MODE_CODE64, MODE_CODE_MASK, MODE_STACK32, NEXT_RIP, RAX, RBP, REC_B, REC_IMM, RIP, RSP, SEG_CS,
  SEG_LIMIT, SEG_SS, ST_FAULT, ST_JUMP, ST_NEXT, TLB_SET,
} from "../layout";
import { faulted, raiseError, VEC_GP } from "./fault";
import { probeWrite } from "./mmu";
import {
  addressOf, immOf, isMemory, linear, nextRipOf, readMem, readReg, readRm, sizeOf, writeMem, writeReg,
} from "./operand";

/** Stack pointer size as an operand size index. */
export function stackSize(cpu: usize): u32 {
  const mode = load<u32>(cpu, MODE);
  if ((mode & MODE_CODE_MASK) == MODE_CODE64) return 3;
  return mode & MODE_STACK32 ? 2 : 1;
}

// @ts-ignore: decorator
@inline
function stackMask(width: u32): u64 {
  return width == 3 ? u64.MAX_VALUE : width == 2 ? 0xffffffff : 0xffff;
}

/** Linear address of stack offset `pointer`; in 64-bit code SS has no base. */
// @ts-ignore: decorator
@inline
function slotOf(cpu: usize, width: u32, pointer: u64): u64 {
  return width == 3 ? pointer : linear(cpu, SEG_SS, pointer & stackMask(width));
}

function push(cpu: usize, size: u32, value: u64): bool {
  const width = stackSize(cpu);
  const pointer = readReg(cpu, RSP, width) - (1 << size);
  if (!writeMem(cpu, slotOf(cpu, width, pointer), size, value)) return false;
  writeReg(cpu, RSP, width, pointer);
  return true;
}

/** Reads the top of the stack. Check `faulted`; then `drop`. */
function peek(cpu: usize, size: u32): u64 {
  const width = stackSize(cpu);
  return readMem(cpu, slotOf(cpu, width, readReg(cpu, RSP, width)), size);
}

function drop(cpu: usize, bytes: u32): void {
  const width = stackSize(cpu);
  writeReg(cpu, RSP, width, readReg(cpu, RSP, width) + bytes);
}

export function pushRegister(cpu: usize, rec: usize, size: u32): u32 {
  return push(cpu, size, readReg(cpu, load<u8>(rec, REC_B), size)) ? ST_NEXT : ST_FAULT;
}

export function pushImmediate(cpu: usize, rec: usize, size: u32): u32 {
  return push(cpu, size, immOf(rec) as u64) ? ST_NEXT : ST_FAULT;
}

export function pushMemory(cpu: usize, rec: usize, size: u32): u32 {
  const value = readMem(cpu, addressOf(cpu, rec), size);
  if (faulted(cpu)) return ST_FAULT;
  return push(cpu, size, value) ? ST_NEXT : ST_FAULT;
}

export function popRegister(cpu: usize, rec: usize, size: u32): u32 {
  const value = peek(cpu, size);
  if (faulted(cpu)) return ST_FAULT;
  drop(cpu, 1 << size);
  writeReg(cpu, load<u8>(rec, REC_B), size, value);
  return ST_NEXT;
}

/** POP r/m: an address based on the stack pointer uses its value after the pop. */
export function popRm(cpu: usize, rec: usize): u32 {
  const size = sizeOf(rec);
  if (!isMemory(rec)) return popRegister(cpu, rec, size);
  const value = peek(cpu, size);
  if (faulted(cpu)) return ST_FAULT;
  const before = load<u64>(cpu, GPR + RSP);
  drop(cpu, 1 << size);
  if (writeMem(cpu, addressOf(cpu, rec), size, value)) return ST_NEXT;
  store<u64>(cpu, before, GPR + RSP);
  return ST_FAULT;
}

/** Whether `count` operands below the stack pointer can be written; the fault is raised when not. */
function probePush(cpu: usize, size: u32, count: u32): bool {
  const width = stackSize(cpu);
  const top = readReg(cpu, RSP, width);
  const set = load<u32>(cpu, TLB_SET);
  for (let i: u32 = 1; i <= count; i++) {
    if (!probeWrite(cpu, set, slotOf(cpu, width, top - (i << size)), 1 << size)) return false;
  }
  return true;
}

export function pushAll(cpu: usize, rec: usize): u32 {
  const size = sizeOf(rec);
  if (!probePush(cpu, size, 8)) return ST_FAULT;
  const stack = load<u64>(cpu, GPR + RSP);
  for (let slot: u32 = RAX; slot < 64; slot += 8) {
    push(cpu, size, slot == RSP ? stack : readReg(cpu, slot, size));
  }
  return ST_NEXT;
}

export function popAll(cpu: usize, rec: usize): u32 {
  const size = sizeOf(rec);
  const width = stackSize(cpu);
  const top = readReg(cpu, RSP, width);
  for (let i: u32 = 0; i < 8; i++) {
    readMem(cpu, slotOf(cpu, width, top + (i << size)), size);
    if (faulted(cpu)) return ST_FAULT;
  }
  for (let i: u32 = 0; i < 8; i++) {
    const slot = (7 - i) * 8;
    if (slot == RSP) continue;
    writeReg(cpu, slot, size, readMem(cpu, slotOf(cpu, width, top + (i << size)), size));
  }
  drop(cpu, 8 << size);
  return ST_NEXT;
}

/** ENTER: REC_IMM holds the frame's size in its low and the nesting level in its high half. */
export function enter(cpu: usize, rec: usize): u32 {
  const size = sizeOf(rec);
  const width = stackSize(cpu);
  const bytes: u32 = 1 << size;
  const frameSize = (load<u32>(rec, REC_IMM) & 0xffff) as u64;
  const level = (load<u32>(rec, REC_IMM) >> 16) & 31;
  const set = load<u32>(cpu, TLB_SET);
  const base = readReg(cpu, RBP, width);
  const top = readReg(cpu, RSP, width);
  if (!probePush(cpu, size, level + 1)) return ST_FAULT;
  for (let i: u32 = 1; i < level; i++) {
    readMem(cpu, slotOf(cpu, width, base - i * bytes), size);
    if (faulted(cpu)) return ST_FAULT;
  }
  const frame = top - bytes;
  const bottom = frame - level * bytes - frameSize;
  if (!probeWrite(cpu, set, slotOf(cpu, width, bottom), bytes)) return ST_FAULT;
  push(cpu, size, readReg(cpu, RBP, size));
  for (let i: u32 = 1; i < level; i++) push(cpu, size, readMem(cpu, slotOf(cpu, width, base - i * bytes), size));
  if (level > 0) push(cpu, size, frame);
  writeReg(cpu, RBP, size, frame);
  writeReg(cpu, RSP, width, bottom);
  return ST_NEXT;
}

/** LEAVE: the stack pointer from the frame pointer, by the stack's size; then a pop into it. */
export function leave(cpu: usize, size: u32): u32 {
  const width = stackSize(cpu);
  const frame = readReg(cpu, RBP, width);
  const value = readMem(cpu, slotOf(cpu, width, frame), size);
  if (faulted(cpu)) return ST_FAULT;
  writeReg(cpu, RSP, width, frame + (1 << size));
  writeReg(cpu, RBP, size, value);
  return ST_NEXT;
}

/** Checks a near branch's target against the CS limit or for canonical form; #GP(0) when it is outside. */
export function targetAllowed(cpu: usize, target: u64): bool {
  const inside =
    (load<u32>(cpu, MODE) & MODE_CODE_MASK) == MODE_CODE64
      ? (((target as i64) << 16) >> 16) == (target as i64)
      : target <= (load<u32>(cpu + SEG_CS * 4, SEG_LIMIT) as u64);
  if (!inside) raiseError(cpu, VEC_GP, 0);
  return inside;
}

// @ts-ignore: decorator
@inline
function ripMask(size: u32): u64 {
  return size == 3 ? u64.MAX_VALUE : size == 2 ? 0xffffffff : 0xffff;
}

/** Target of a relative branch, cut to the operand size. */
export function relativeTarget(cpu: usize, rec: usize, size: u32): u64 {
  return (load<u64>(cpu, RIP) + (immOf(rec) as u64)) & ripMask(size);
}

/** Near jump to `target`. */
export function jumpTo(cpu: usize, target: u64): u32 {
  if (!targetAllowed(cpu, target)) return ST_FAULT;
  store<u64>(cpu, target, NEXT_RIP);
  return ST_JUMP;
}

/** Near call of `target`. */
export function callTo(cpu: usize, rec: usize, size: u32, target: u64): u32 {
  if (!targetAllowed(cpu, target)) return ST_FAULT;
  if (!push(cpu, size, nextRipOf(cpu, rec))) return ST_FAULT;
  store<u64>(cpu, target, NEXT_RIP);
  return ST_JUMP;
}

/** JMP r/m and CALL r/m. */
export function indirect(cpu: usize, rec: usize, size: u32, call: bool): u32 {
  const target = readRm(cpu, rec, size);
  if (faulted(cpu)) return ST_FAULT;
  return call ? callTo(cpu, rec, size, target) : jumpTo(cpu, target);
}

/** Near return that drops `bytes` of arguments. */
export function returnNear(cpu: usize, size: u32, bytes: u32): u32 {
  const target = peek(cpu, size);
  if (faulted(cpu) || !targetAllowed(cpu, target)) return ST_FAULT;
  drop(cpu, (1 << size) + bytes);
  store<u64>(cpu, target, NEXT_RIP);
  return ST_JUMP;
}
