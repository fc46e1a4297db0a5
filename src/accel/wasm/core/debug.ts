/**
 * Debug registers, breakpoints and single step (Intel SDM vol. 3, 17.2 and 17.3).
 *
 * Accesses record their matches in DEBUG_PENDING; `stepCheck` turns them into #DB at the next
 * instruction boundary, where it also looks at RFLAGS.TF and at instruction breakpoints.
 */
import { CR4, DR0, DR6, DR7, FLAGS, POLL, POLL_STEP, REC_B, REC_R, RIP, SEG_BASE, SEG_CS } from "../layout";
import { raise, VEC_DB, VEC_UD } from "./fault";
import { RF, TF } from "./flags";
import { flushTlb } from "./mmu";
import { readReg, writeReg } from "./operand";
import {
  CR4_DE, DEBUG_PENDING, isCode64, privileged, protection, STEP_ARMED, STEP_HELD, STEP_ONCE, STEP_REPEATING,
  STEP_RESUMED, STEP_STATE, updateMode,
} from "./system-state";

const DR6_BREAKPOINTS: u64 = 0xf;
const DR6_BD: u64 = 0x2000;
const DR6_BS: u64 = 0x4000;
/** Bits of DR6 that can be 0: B0–B3, BD, BS, BT. The others that exist read as 1. */
const DR6_WRITABLE: u64 = 0xe00f;
const DR6_ONES: u64 = 0xffff0ff0;
/** L0–G3, LE, GE, GD, and the four R/W and LEN fields. Bit 10 reads as 1. */
const DR7_WRITABLE: u64 = 0xffff23ff;
const DR7_ONES: u64 = 0x400;
const DR7_GD: u64 = 0x2000;

/** R/W fields. */
const ON_EXECUTE: u32 = 0;
const ON_WRITE: u32 = 1;
const ON_PORT: u32 = 2;

/** DR6 bits of the breakpoints of kinds `kinds` (a mask of 1 << R/W) that touch `size` bytes at `address`. */
function matches(cpu: usize, address: u64, size: u32, kinds: u32): u32 {
  const control = load<u32>(cpu, DR7);
  let hits: u32 = 0;
  for (let index: u32 = 0; index < 4; index++) {
    if (!(control & (3 << (index * 2)))) continue;
    const field = control >> (16 + index * 4);
    if (!(kinds & (1 << (field & 3)))) continue;
    const code = (field >> 2) & 3;
    const length: u64 = code == 2 ? 8 : code + 1;
    const first = load<u64>(cpu + index * 8, DR0) & ~(length - 1);
    if (address < first + length && first < address + size) hits |= 1 << index;
  }
  return hits;
}

/** Checks a data access against DR0–DR3; a match is reported as a trap after the instruction. */
export function watchData(cpu: usize, va: u64, size: u32, write: bool): void {
  if (!(load<u32>(cpu, DR7) & 0xff)) return;
  const hits = matches(cpu, va, size, write ? (1 << ON_WRITE) | 8 : 8);
  if (hits) store<u32>(cpu, load<u32>(cpu, DEBUG_PENDING) | hits, DEBUG_PENDING);
}

/** As watchData for ports (CR4.DE). */
export function watchPort(cpu: usize, port: u32, size: u32): void {
  if (!(load<u32>(cpu, DR7) & 0xff) || !(load<u64>(cpu, CR4) & CR4_DE)) return;
  const hits = matches(cpu, port, size, 1 << ON_PORT);
  if (hits) store<u32>(cpu, load<u32>(cpu, DEBUG_PENDING) | hits, DEBUG_PENDING);
}

/** Whether a trap of the last instruction is to be taken before any interrupt (SDM vol. 3, table 6-2). */
export function trapsPending(cpu: usize): bool {
  const state = load<u32>(cpu, STEP_STATE);
  return !(state & STEP_HELD) && ((state & STEP_ARMED) != 0 || load<u32>(cpu, DEBUG_PENDING) != 0);
}

/**
 * To be called at each instruction boundary while POLL_STEP is set, before anything is delivered; more than once does no
 * harm. RF lasts for one instruction, and through all iterations of a repeated string operation (SDM vol. 3, 17.3.1.1).
 */
export function retire(cpu: usize): void {
  const state = load<u32>(cpu, STEP_STATE);
  if (!(state & (STEP_RESUMED | STEP_REPEATING)) || state & STEP_HELD) return;
  const flags = load<u32>(cpu, FLAGS);
  store<u32>(cpu, state & STEP_REPEATING ? flags | RF : flags & ~RF, FLAGS);
  store<u32>(cpu, state & ~(STEP_RESUMED | STEP_REPEATING), STEP_STATE);
}

/**
 * To be called once at each instruction boundary while POLL_STEP is set, with RIP at the next instruction: after
 * `retire`, and after interrupts unless `trapsPending`. True: #DB is pending in EXC_VECTOR.
 */
export function stepCheck(cpu: usize): bool {
  const state = load<u32>(cpu, STEP_STATE);
  if (state & STEP_HELD) {
    store<u32>(cpu, state & ~STEP_HELD, STEP_STATE);
    return false;
  }
  const flags = load<u32>(cpu, FLAGS);
  const traps = (load<u32>(cpu, DEBUG_PENDING) as u64) | (state & STEP_ARMED ? DR6_BS : 0);
  store<u32>(cpu, 0, DEBUG_PENDING);
  if (!(state & STEP_ONCE) && !(flags & TF) && !(load<u32>(cpu, DR7) & 0xff)) {
    updateMode(cpu);
    atomic.and<u32>(cpu + POLL, ~POLL_STEP);
  }
  store<u32>(cpu, (flags & TF ? STEP_ARMED : 0) | (flags & RF ? STEP_RESUMED : 0), STEP_STATE);
  if (traps) return debugException(cpu, traps);
  if (flags & RF || !(load<u32>(cpu, DR7) & 0xff)) return false;
  const base = isCode64(cpu) ? 0 : load<u64>(cpu, SEG_BASE + SEG_CS * 8);
  const hits = matches(cpu, base + load<u64>(cpu, RIP), 1, 1 << ON_EXECUTE);
  return hits != 0 && debugException(cpu, hits);
}

/** Of the #DB that is pending: whether it is the fault of an access to a debug register. */
let generalDetect: bool = false;

export function takeGeneralDetect(): bool {
  const fault = generalDetect;
  generalDetect = false;
  return fault;
}

/** At the end of HLT, while POLL_STEP is set. True: #DB is pending in EXC_VECTOR, and the processor does not halt. */
export function haltTrapped(cpu: usize): bool {
  retire(cpu);
  return trapsPending(cpu) && stepCheck(cpu);
}

/** Puts `causes` into DR6; B0–B3 of earlier exceptions go, the other bits stay. */
function report(cpu: usize, causes: u64): void {
  store<u64>(cpu, (load<u64>(cpu, DR6) & ~DR6_BREAKPOINTS) | causes, DR6);
}

/** The #DB that has just been delivered is that of the pending breakpoints, too. */
export function mergePending(cpu: usize): void {
  const pending = load<u32>(cpu, DEBUG_PENDING);
  if (pending) report(cpu, pending);
  store<u32>(cpu, 0, DEBUG_PENDING);
}

/** Records #DB with `causes`. */
function debugException(cpu: usize, causes: u64): bool {
  report(cpu, causes);
  generalDetect = (causes & DR6_BD) != 0;
  raise(cpu, VEC_DB);
  return true;
}

/** Number of the register that MOV DR names, 8 when it raises #UD, 9 when #GP or #DB. */
function registerNumber(cpu: usize, rec: usize): u32 {
  let number: u32 = load<u8>(rec, REC_R);
  if (number > 7 || (number >> 1 == 2 && load<u64>(cpu, CR4) & CR4_DE)) {
    raise(cpu, VEC_UD);
    return 8;
  }
  if (!privileged(cpu)) return 9;
  if (load<u64>(cpu, DR7) & DR7_GD) {
    debugException(cpu, DR6_BD);
    return 9;
  }
  if (number == 4 || number == 5) number += 2;
  return number;
}

/** MOV r, DR. */
export function readDebug(cpu: usize, rec: usize): bool {
  const number = registerNumber(cpu, rec);
  if (number > 7) return false;
  const value = load<u64>(cpu + (number < 4 ? DR0 + number * 8 : number == 6 ? DR6 : DR7));
  writeReg(cpu, load<u8>(rec, REC_B), isCode64(cpu) ? 3 : 2, value);
  return true;
}

/** MOV DR, r. */
export function writeDebug(cpu: usize, rec: usize): bool {
  const number = registerNumber(cpu, rec);
  if (number > 7) return false;
  const value = readReg(cpu, load<u8>(rec, REC_B), isCode64(cpu) ? 3 : 2);
  if (number < 4) {
    store<u64>(cpu + number * 8, value, DR0);
    return true;
  }
  if (value >> 32) return protection(cpu);
  if (number == 6) {
    store<u64>(cpu, (value & DR6_WRITABLE) | DR6_ONES, DR6);
    return true;
  }
  store<u64>(cpu, (value & DR7_WRITABLE) | DR7_ONES, DR7);
  // Pages are not entered in the TLBs while a breakpoint is armed, so that each access is seen.
  if (value & 0xff) flushTlb(cpu, false);
  updateMode(cpu);
  return true;
}
