/**
 * The run loop of tier 0: an interpreter over decoded, linked blocks.
 *
 * The hot operations are arms of one switch and never leave it; all others are called, unit by unit
 * (execInteger …). An arm goes on with the next record (`continue`), or leaves the switch (`break`)
 * with either `rip` and `link` set, to go to another block, or `status` not ST_NEXT.
 */
import {
  BLK_COUNT, BLK_FALL, BLK_HEADER, BLK_LENGTH, BLK_PHYS, BLK_TAKEN, CURRENT_BLOCK, EXIT_BUDGET, EXIT_HALT,
  EXC_ADDRESS, EXIT_POLL, EXIT_REASON, EXIT_SHUTDOWN, GPR, ICOUNT, INTERRUPT_WINDOW, LEN_MASK, MODE, MODE_CODE16, MODE_CODE64, MODE_CODE_MASK, MODE_FLAT,
  BLK_CODE, BLK_MODE, HOT_THRESHOLD, JIT_DEPTH,
  JIT_LINK, JIT_RIP, JIT_STATUS, MODE_STEP, NEXT_RIP, POLL, POLL_SHADOW, POLL_STEP, POLL_WINDOW, RAX, RBP, RDX, REC_B, REC_DISP,
  REC_IMM, REC_LEN, REC_OFF, REC_OP,
  REC_R, REC_SIZE, RIP, RSP, SEG_BASE, SEG_CS, SEG_LIMIT, SHADOW, START_BLOCK, ST_AGAIN, ST_EXIT, ST_FAULT, ST_HALT, ST_JUMP,
  ST_AWAY, ST_NEXT, TLB_SET, ARENA_FLUSHES, VCPU_BLOCKS, DEAD_BLOCK,
} from "../layout";
import { findBlock, heatOf } from "./blocks";
import { cachedBlock, follow, knownPhys, linkedBlock, rememberBlock, setLink } from "./chain";
import { decodeBlock, knownCrossing } from "./decode";
import { haltTrapped, retire, stepCheck, trapsPending } from "./debug";
import { CC_DEC, CC_INC } from "./flags";
import * as hot from "./hot";
import { noteHot } from "./hot-list";
import { execInteger, execLegacy } from "./integer";
import { deliver } from "./interrupt";
import { fetchPhys, readPtr, storeTo } from "./mmu";
import { addressOf, offsetOf, readReg, readRm, sizeOf, writeReg } from "./operand";
import { faulted, raiseError, VEC_GP } from "./fault";
import * as OP from "./ops";
import { execSse } from "./sse";
import { execSse4 } from "./sse4";
import { blameStack } from "./stack-fault";
import { execString } from "./string";
import { execSystem } from "./system";
import { STEP_REPEATING, STEP_STATE } from "./system-state";
import { WALK_FAULT } from "./walk";
import { execX87 } from "./x87";

function cmovRR(cpu: usize, rec: usize, taken: bool): void {
  const size = sizeOf(rec);
  const from = load<u8>(rec, REC_B);
  const to = load<u8>(rec, REC_R);
  // A 32-bit destination loses its upper half even when the condition is false (SDM vol. 2 "CMOVcc").
  writeReg(cpu, to, size, readReg(cpu, taken ? from : to, size));
}

function cmovRM(cpu: usize, rec: usize, taken: bool): bool {
  const size = sizeOf(rec);
  const value = readRm(cpu, rec, size);
  if (faulted(cpu)) return false;
  const to = load<u8>(rec, REC_R);
  writeReg(cpu, to, size, taken ? value : readReg(cpu, to, size));
  return true;
}

/** Runs the operation outside the loop; returns ST_*. */
export function execute(cpu: usize, rec: usize, op: u32): u32 {
  if (op >= OP.FIRST_SSE4) return execSse4(cpu, rec, op);
  if (op >= OP.FIRST_SSE) return execSse(cpu, rec, op);
  if (op >= OP.FIRST_X87) return execX87(cpu, rec, op);
  if (op >= OP.FIRST_SYSTEM) return execSystem(cpu, rec, op);
  if (op >= OP.FIRST_STRING) return execString(cpu, rec, op);
  if (op >= OP.FIRST_INTEGER) return execInteger(cpu, rec, op);
  return execLegacy(cpu, rec, op);
}

/** The instruction that STI or MOV SS shields comes next; whatever waits is looked at behind it. */
function endShadow(cpu: usize): void {
  atomic.and<u32>(cpu + POLL, ~POLL_SHADOW);
  store<u32>(cpu, 0, SHADOW);
  if (load<u32>(cpu, INTERRUPT_WINDOW)) atomic.or<u32>(cpu + POLL, POLL_WINDOW);
}

/** So close to the end of a code segment a block has one instruction, so that each is compared with the limit. */
const NEAR_LIMIT: u64 = 512;

/** Raises #GP(0) for code beyond the segment's limit. */
function beyondLimit(cpu: usize): usize {
  raiseError(cpu, VEC_GP, 0);
  return 0;
}

/** Finds or decodes the block at `rip` and remembers it in `link`; 0 when the fetch faults. */
function resolve(cpu: usize, rip: u64, link: usize): usize {
  let mode = load<u32>(cpu, MODE);
  let end: u64 = u64.MAX_VALUE;
  if ((mode & MODE_CODE_MASK) != MODE_CODE64 && !(mode & MODE_FLAT)) {
    end = load<u32>(cpu, SEG_LIMIT + SEG_CS * 4) as u64;
    if (rip > end) return beyondLimit(cpu);
    if (rip + NEAR_LIMIT > end) mode |= MODE_STEP;
  }
  const linear = (mode & MODE_CODE_MASK) == MODE_CODE64
    ? rip
    : (load<u64>(cpu, SEG_BASE + SEG_CS * 8) + rip) & 0xffffffff;
  const phys = fetchPhys(cpu, linear);
  if (phys == WALK_FAULT) return 0;
  let block = findBlock(phys as u32, mode);
  if (!block) block = knownCrossing(cpu, linear, phys as u32, mode);
  if (!block) {
    const flushes = load<u32>(VCPU_BLOCKS, ARENA_FLUSHES);
    block = decodeBlock(cpu, linear, phys, mode);
    if (!block || flushes != load<u32>(VCPU_BLOCKS, ARENA_FLUSHES)) return block;
  }
  if (end != u64.MAX_VALUE && rip + load<u16>(block, BLK_LENGTH) > end + 1) return beyondLimit(cpu);
  if (load<u32>(block, BLK_PHYS) != DEAD_BLOCK) {
    if (link) setLink(link, block);
    rememberBlock(cpu, rip, block);
  }
  return block;
}

/** Near branches to an address that is not canonical fault at the branch (SDM vol. 2, "JMP", "CALL", "RET"). */
export function wild(cpu: usize): u32 {
  raiseError(cpu, VEC_GP, 0);
  return ST_FAULT;
}

// @ts-ignore: decorator
@inline
function canonical(rip: u64): bool {
  return (((rip as i64) << 16) >> 16) == (rip as i64);
}

/** Instruction pointer width outside 64-bit code. */
function ripMask(mode: u32): u64 {
  return (mode & MODE_CODE_MASK) == MODE_CODE16 ? 0xffff : 0xffffffff;
}

/**
 * Runs the vCPU for about `budget` instructions; returns EXIT_*. All state is in memory when it
 * returns, so any thread may go on from there.
 */
export function run(cpu: usize, budget: i32): u32 {
  let left = budget;
  let set = load<u32>(cpu, TLB_SET);
  let mode = load<u32>(cpu, MODE);
  let rip = load<u64>(cpu, RIP);
  let block: usize = cpu + START_BLOCK;
  let rec: usize = block + BLK_HEADER;
  let link: usize = 0;
  let status: u32 = ST_NEXT;
  let result: u32 = EXIT_BUDGET;
  // Whether `status` comes from translated code, which leaves `rip` and `left` as they must be.
  let translated = false;
  const threshold = load<u32>(cpu, HOT_THRESHOLD);
  store<u32>(cpu, 0, JIT_DEPTH);
  store<u16>(rec, OP.BREAK as u16, REC_OP);
  store<u16>(rec, OP.TAIL as u16, REC_OP + REC_SIZE);
  while (true) {
    const op = load<u16>(rec, REC_OP) as u32;
    switch (op) {
      case OP.ADD_RR_8: hot.aluRR<i8>(cpu, rec, hot.ADD); rec += REC_SIZE; continue;
      case OP.ADD_RI_8: hot.aluRI<i8>(cpu, rec, hot.ADD); rec += REC_SIZE; continue;
      case OP.ADD_RM_8: if (hot.aluRM<i8>(cpu, set, rec, hot.ADD)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.ADD_MR_8: if (hot.aluMR<i8>(cpu, set, rec, hot.ADD)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.ADD_MI_8: if (hot.aluMI<i8>(cpu, set, rec, hot.ADD)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.ADD_RR_16: hot.aluRR<i16>(cpu, rec, hot.ADD); rec += REC_SIZE; continue;
      case OP.ADD_RI_16: hot.aluRI<i16>(cpu, rec, hot.ADD); rec += REC_SIZE; continue;
      case OP.ADD_RM_16: if (hot.aluRM<i16>(cpu, set, rec, hot.ADD)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.ADD_MR_16: if (hot.aluMR<i16>(cpu, set, rec, hot.ADD)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.ADD_MI_16: if (hot.aluMI<i16>(cpu, set, rec, hot.ADD)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.ADD_RR_32: hot.aluRR<i32>(cpu, rec, hot.ADD); rec += REC_SIZE; continue;
      case OP.ADD_RI_32: hot.aluRI<i32>(cpu, rec, hot.ADD); rec += REC_SIZE; continue;
      case OP.ADD_RM_32: if (hot.aluRM<i32>(cpu, set, rec, hot.ADD)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.ADD_MR_32: if (hot.aluMR<i32>(cpu, set, rec, hot.ADD)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.ADD_MI_32: if (hot.aluMI<i32>(cpu, set, rec, hot.ADD)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.ADD_RR_64: hot.aluRR<i64>(cpu, rec, hot.ADD); rec += REC_SIZE; continue;
      case OP.ADD_RI_64: hot.aluRI<i64>(cpu, rec, hot.ADD); rec += REC_SIZE; continue;
      case OP.ADD_RM_64: if (hot.aluRM<i64>(cpu, set, rec, hot.ADD)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.ADD_MR_64: if (hot.aluMR<i64>(cpu, set, rec, hot.ADD)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.ADD_MI_64: if (hot.aluMI<i64>(cpu, set, rec, hot.ADD)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.OR_RR_8: hot.aluRR<i8>(cpu, rec, hot.OR); rec += REC_SIZE; continue;
      case OP.OR_RI_8: hot.aluRI<i8>(cpu, rec, hot.OR); rec += REC_SIZE; continue;
      case OP.OR_RM_8: if (hot.aluRM<i8>(cpu, set, rec, hot.OR)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.OR_MR_8: if (hot.aluMR<i8>(cpu, set, rec, hot.OR)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.OR_MI_8: if (hot.aluMI<i8>(cpu, set, rec, hot.OR)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.OR_RR_16: hot.aluRR<i16>(cpu, rec, hot.OR); rec += REC_SIZE; continue;
      case OP.OR_RI_16: hot.aluRI<i16>(cpu, rec, hot.OR); rec += REC_SIZE; continue;
      case OP.OR_RM_16: if (hot.aluRM<i16>(cpu, set, rec, hot.OR)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.OR_MR_16: if (hot.aluMR<i16>(cpu, set, rec, hot.OR)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.OR_MI_16: if (hot.aluMI<i16>(cpu, set, rec, hot.OR)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.OR_RR_32: hot.aluRR<i32>(cpu, rec, hot.OR); rec += REC_SIZE; continue;
      case OP.OR_RI_32: hot.aluRI<i32>(cpu, rec, hot.OR); rec += REC_SIZE; continue;
      case OP.OR_RM_32: if (hot.aluRM<i32>(cpu, set, rec, hot.OR)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.OR_MR_32: if (hot.aluMR<i32>(cpu, set, rec, hot.OR)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.OR_MI_32: if (hot.aluMI<i32>(cpu, set, rec, hot.OR)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.OR_RR_64: hot.aluRR<i64>(cpu, rec, hot.OR); rec += REC_SIZE; continue;
      case OP.OR_RI_64: hot.aluRI<i64>(cpu, rec, hot.OR); rec += REC_SIZE; continue;
      case OP.OR_RM_64: if (hot.aluRM<i64>(cpu, set, rec, hot.OR)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.OR_MR_64: if (hot.aluMR<i64>(cpu, set, rec, hot.OR)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.OR_MI_64: if (hot.aluMI<i64>(cpu, set, rec, hot.OR)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.ADC_RR_8: hot.aluRR<i8>(cpu, rec, hot.ADC); rec += REC_SIZE; continue;
      case OP.ADC_RI_8: hot.aluRI<i8>(cpu, rec, hot.ADC); rec += REC_SIZE; continue;
      case OP.ADC_RM_8: if (hot.aluRM<i8>(cpu, set, rec, hot.ADC)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.ADC_MR_8: if (hot.aluMR<i8>(cpu, set, rec, hot.ADC)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.ADC_MI_8: if (hot.aluMI<i8>(cpu, set, rec, hot.ADC)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.ADC_RR_16: hot.aluRR<i16>(cpu, rec, hot.ADC); rec += REC_SIZE; continue;
      case OP.ADC_RI_16: hot.aluRI<i16>(cpu, rec, hot.ADC); rec += REC_SIZE; continue;
      case OP.ADC_RM_16: if (hot.aluRM<i16>(cpu, set, rec, hot.ADC)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.ADC_MR_16: if (hot.aluMR<i16>(cpu, set, rec, hot.ADC)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.ADC_MI_16: if (hot.aluMI<i16>(cpu, set, rec, hot.ADC)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.ADC_RR_32: hot.aluRR<i32>(cpu, rec, hot.ADC); rec += REC_SIZE; continue;
      case OP.ADC_RI_32: hot.aluRI<i32>(cpu, rec, hot.ADC); rec += REC_SIZE; continue;
      case OP.ADC_RM_32: if (hot.aluRM<i32>(cpu, set, rec, hot.ADC)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.ADC_MR_32: if (hot.aluMR<i32>(cpu, set, rec, hot.ADC)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.ADC_MI_32: if (hot.aluMI<i32>(cpu, set, rec, hot.ADC)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.ADC_RR_64: hot.aluRR<i64>(cpu, rec, hot.ADC); rec += REC_SIZE; continue;
      case OP.ADC_RI_64: hot.aluRI<i64>(cpu, rec, hot.ADC); rec += REC_SIZE; continue;
      case OP.ADC_RM_64: if (hot.aluRM<i64>(cpu, set, rec, hot.ADC)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.ADC_MR_64: if (hot.aluMR<i64>(cpu, set, rec, hot.ADC)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.ADC_MI_64: if (hot.aluMI<i64>(cpu, set, rec, hot.ADC)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.SBB_RR_8: hot.aluRR<i8>(cpu, rec, hot.SBB); rec += REC_SIZE; continue;
      case OP.SBB_RI_8: hot.aluRI<i8>(cpu, rec, hot.SBB); rec += REC_SIZE; continue;
      case OP.SBB_RM_8: if (hot.aluRM<i8>(cpu, set, rec, hot.SBB)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.SBB_MR_8: if (hot.aluMR<i8>(cpu, set, rec, hot.SBB)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.SBB_MI_8: if (hot.aluMI<i8>(cpu, set, rec, hot.SBB)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.SBB_RR_16: hot.aluRR<i16>(cpu, rec, hot.SBB); rec += REC_SIZE; continue;
      case OP.SBB_RI_16: hot.aluRI<i16>(cpu, rec, hot.SBB); rec += REC_SIZE; continue;
      case OP.SBB_RM_16: if (hot.aluRM<i16>(cpu, set, rec, hot.SBB)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.SBB_MR_16: if (hot.aluMR<i16>(cpu, set, rec, hot.SBB)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.SBB_MI_16: if (hot.aluMI<i16>(cpu, set, rec, hot.SBB)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.SBB_RR_32: hot.aluRR<i32>(cpu, rec, hot.SBB); rec += REC_SIZE; continue;
      case OP.SBB_RI_32: hot.aluRI<i32>(cpu, rec, hot.SBB); rec += REC_SIZE; continue;
      case OP.SBB_RM_32: if (hot.aluRM<i32>(cpu, set, rec, hot.SBB)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.SBB_MR_32: if (hot.aluMR<i32>(cpu, set, rec, hot.SBB)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.SBB_MI_32: if (hot.aluMI<i32>(cpu, set, rec, hot.SBB)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.SBB_RR_64: hot.aluRR<i64>(cpu, rec, hot.SBB); rec += REC_SIZE; continue;
      case OP.SBB_RI_64: hot.aluRI<i64>(cpu, rec, hot.SBB); rec += REC_SIZE; continue;
      case OP.SBB_RM_64: if (hot.aluRM<i64>(cpu, set, rec, hot.SBB)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.SBB_MR_64: if (hot.aluMR<i64>(cpu, set, rec, hot.SBB)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.SBB_MI_64: if (hot.aluMI<i64>(cpu, set, rec, hot.SBB)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.AND_RR_8: hot.aluRR<i8>(cpu, rec, hot.AND); rec += REC_SIZE; continue;
      case OP.AND_RI_8: hot.aluRI<i8>(cpu, rec, hot.AND); rec += REC_SIZE; continue;
      case OP.AND_RM_8: if (hot.aluRM<i8>(cpu, set, rec, hot.AND)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.AND_MR_8: if (hot.aluMR<i8>(cpu, set, rec, hot.AND)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.AND_MI_8: if (hot.aluMI<i8>(cpu, set, rec, hot.AND)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.AND_RR_16: hot.aluRR<i16>(cpu, rec, hot.AND); rec += REC_SIZE; continue;
      case OP.AND_RI_16: hot.aluRI<i16>(cpu, rec, hot.AND); rec += REC_SIZE; continue;
      case OP.AND_RM_16: if (hot.aluRM<i16>(cpu, set, rec, hot.AND)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.AND_MR_16: if (hot.aluMR<i16>(cpu, set, rec, hot.AND)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.AND_MI_16: if (hot.aluMI<i16>(cpu, set, rec, hot.AND)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.AND_RR_32: hot.aluRR<i32>(cpu, rec, hot.AND); rec += REC_SIZE; continue;
      case OP.AND_RI_32: hot.aluRI<i32>(cpu, rec, hot.AND); rec += REC_SIZE; continue;
      case OP.AND_RM_32: if (hot.aluRM<i32>(cpu, set, rec, hot.AND)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.AND_MR_32: if (hot.aluMR<i32>(cpu, set, rec, hot.AND)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.AND_MI_32: if (hot.aluMI<i32>(cpu, set, rec, hot.AND)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.AND_RR_64: hot.aluRR<i64>(cpu, rec, hot.AND); rec += REC_SIZE; continue;
      case OP.AND_RI_64: hot.aluRI<i64>(cpu, rec, hot.AND); rec += REC_SIZE; continue;
      case OP.AND_RM_64: if (hot.aluRM<i64>(cpu, set, rec, hot.AND)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.AND_MR_64: if (hot.aluMR<i64>(cpu, set, rec, hot.AND)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.AND_MI_64: if (hot.aluMI<i64>(cpu, set, rec, hot.AND)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.SUB_RR_8: hot.aluRR<i8>(cpu, rec, hot.SUB); rec += REC_SIZE; continue;
      case OP.SUB_RI_8: hot.aluRI<i8>(cpu, rec, hot.SUB); rec += REC_SIZE; continue;
      case OP.SUB_RM_8: if (hot.aluRM<i8>(cpu, set, rec, hot.SUB)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.SUB_MR_8: if (hot.aluMR<i8>(cpu, set, rec, hot.SUB)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.SUB_MI_8: if (hot.aluMI<i8>(cpu, set, rec, hot.SUB)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.SUB_RR_16: hot.aluRR<i16>(cpu, rec, hot.SUB); rec += REC_SIZE; continue;
      case OP.SUB_RI_16: hot.aluRI<i16>(cpu, rec, hot.SUB); rec += REC_SIZE; continue;
      case OP.SUB_RM_16: if (hot.aluRM<i16>(cpu, set, rec, hot.SUB)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.SUB_MR_16: if (hot.aluMR<i16>(cpu, set, rec, hot.SUB)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.SUB_MI_16: if (hot.aluMI<i16>(cpu, set, rec, hot.SUB)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.SUB_RR_32: hot.aluRR<i32>(cpu, rec, hot.SUB); rec += REC_SIZE; continue;
      case OP.SUB_RI_32: hot.aluRI<i32>(cpu, rec, hot.SUB); rec += REC_SIZE; continue;
      case OP.SUB_RM_32: if (hot.aluRM<i32>(cpu, set, rec, hot.SUB)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.SUB_MR_32: if (hot.aluMR<i32>(cpu, set, rec, hot.SUB)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.SUB_MI_32: if (hot.aluMI<i32>(cpu, set, rec, hot.SUB)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.SUB_RR_64: hot.aluRR<i64>(cpu, rec, hot.SUB); rec += REC_SIZE; continue;
      case OP.SUB_RI_64: hot.aluRI<i64>(cpu, rec, hot.SUB); rec += REC_SIZE; continue;
      case OP.SUB_RM_64: if (hot.aluRM<i64>(cpu, set, rec, hot.SUB)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.SUB_MR_64: if (hot.aluMR<i64>(cpu, set, rec, hot.SUB)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.SUB_MI_64: if (hot.aluMI<i64>(cpu, set, rec, hot.SUB)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.XOR_RR_8: hot.aluRR<i8>(cpu, rec, hot.XOR); rec += REC_SIZE; continue;
      case OP.XOR_RI_8: hot.aluRI<i8>(cpu, rec, hot.XOR); rec += REC_SIZE; continue;
      case OP.XOR_RM_8: if (hot.aluRM<i8>(cpu, set, rec, hot.XOR)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.XOR_MR_8: if (hot.aluMR<i8>(cpu, set, rec, hot.XOR)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.XOR_MI_8: if (hot.aluMI<i8>(cpu, set, rec, hot.XOR)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.XOR_RR_16: hot.aluRR<i16>(cpu, rec, hot.XOR); rec += REC_SIZE; continue;
      case OP.XOR_RI_16: hot.aluRI<i16>(cpu, rec, hot.XOR); rec += REC_SIZE; continue;
      case OP.XOR_RM_16: if (hot.aluRM<i16>(cpu, set, rec, hot.XOR)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.XOR_MR_16: if (hot.aluMR<i16>(cpu, set, rec, hot.XOR)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.XOR_MI_16: if (hot.aluMI<i16>(cpu, set, rec, hot.XOR)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.XOR_RR_32: hot.aluRR<i32>(cpu, rec, hot.XOR); rec += REC_SIZE; continue;
      case OP.XOR_RI_32: hot.aluRI<i32>(cpu, rec, hot.XOR); rec += REC_SIZE; continue;
      case OP.XOR_RM_32: if (hot.aluRM<i32>(cpu, set, rec, hot.XOR)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.XOR_MR_32: if (hot.aluMR<i32>(cpu, set, rec, hot.XOR)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.XOR_MI_32: if (hot.aluMI<i32>(cpu, set, rec, hot.XOR)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.XOR_RR_64: hot.aluRR<i64>(cpu, rec, hot.XOR); rec += REC_SIZE; continue;
      case OP.XOR_RI_64: hot.aluRI<i64>(cpu, rec, hot.XOR); rec += REC_SIZE; continue;
      case OP.XOR_RM_64: if (hot.aluRM<i64>(cpu, set, rec, hot.XOR)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.XOR_MR_64: if (hot.aluMR<i64>(cpu, set, rec, hot.XOR)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.XOR_MI_64: if (hot.aluMI<i64>(cpu, set, rec, hot.XOR)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.CMP_RR_8: hot.aluRR<i8>(cpu, rec, hot.CMP); rec += REC_SIZE; continue;
      case OP.CMP_RI_8: hot.aluRI<i8>(cpu, rec, hot.CMP); rec += REC_SIZE; continue;
      case OP.CMP_RM_8: if (hot.aluRM<i8>(cpu, set, rec, hot.CMP)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.CMP_MR_8: if (hot.aluMR<i8>(cpu, set, rec, hot.CMP)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.CMP_MI_8: if (hot.aluMI<i8>(cpu, set, rec, hot.CMP)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.CMP_RR_16: hot.aluRR<i16>(cpu, rec, hot.CMP); rec += REC_SIZE; continue;
      case OP.CMP_RI_16: hot.aluRI<i16>(cpu, rec, hot.CMP); rec += REC_SIZE; continue;
      case OP.CMP_RM_16: if (hot.aluRM<i16>(cpu, set, rec, hot.CMP)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.CMP_MR_16: if (hot.aluMR<i16>(cpu, set, rec, hot.CMP)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.CMP_MI_16: if (hot.aluMI<i16>(cpu, set, rec, hot.CMP)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.CMP_RR_32: hot.aluRR<i32>(cpu, rec, hot.CMP); rec += REC_SIZE; continue;
      case OP.CMP_RI_32: hot.aluRI<i32>(cpu, rec, hot.CMP); rec += REC_SIZE; continue;
      case OP.CMP_RM_32: if (hot.aluRM<i32>(cpu, set, rec, hot.CMP)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.CMP_MR_32: if (hot.aluMR<i32>(cpu, set, rec, hot.CMP)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.CMP_MI_32: if (hot.aluMI<i32>(cpu, set, rec, hot.CMP)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.CMP_RR_64: hot.aluRR<i64>(cpu, rec, hot.CMP); rec += REC_SIZE; continue;
      case OP.CMP_RI_64: hot.aluRI<i64>(cpu, rec, hot.CMP); rec += REC_SIZE; continue;
      case OP.CMP_RM_64: if (hot.aluRM<i64>(cpu, set, rec, hot.CMP)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.CMP_MR_64: if (hot.aluMR<i64>(cpu, set, rec, hot.CMP)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.CMP_MI_64: if (hot.aluMI<i64>(cpu, set, rec, hot.CMP)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.TEST_RR_8: hot.aluRR<i8>(cpu, rec, hot.TEST); rec += REC_SIZE; continue;
      case OP.TEST_RI_8: hot.aluRI<i8>(cpu, rec, hot.TEST); rec += REC_SIZE; continue;
      case OP.TEST_MR_8: if (hot.aluMR<i8>(cpu, set, rec, hot.TEST)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.TEST_MI_8: if (hot.aluMI<i8>(cpu, set, rec, hot.TEST)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.TEST_RR_16: hot.aluRR<i16>(cpu, rec, hot.TEST); rec += REC_SIZE; continue;
      case OP.TEST_RI_16: hot.aluRI<i16>(cpu, rec, hot.TEST); rec += REC_SIZE; continue;
      case OP.TEST_MR_16: if (hot.aluMR<i16>(cpu, set, rec, hot.TEST)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.TEST_MI_16: if (hot.aluMI<i16>(cpu, set, rec, hot.TEST)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.TEST_RR_32: hot.aluRR<i32>(cpu, rec, hot.TEST); rec += REC_SIZE; continue;
      case OP.TEST_RI_32: hot.aluRI<i32>(cpu, rec, hot.TEST); rec += REC_SIZE; continue;
      case OP.TEST_MR_32: if (hot.aluMR<i32>(cpu, set, rec, hot.TEST)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.TEST_MI_32: if (hot.aluMI<i32>(cpu, set, rec, hot.TEST)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.TEST_RR_64: hot.aluRR<i64>(cpu, rec, hot.TEST); rec += REC_SIZE; continue;
      case OP.TEST_RI_64: hot.aluRI<i64>(cpu, rec, hot.TEST); rec += REC_SIZE; continue;
      case OP.TEST_MR_64: if (hot.aluMR<i64>(cpu, set, rec, hot.TEST)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.TEST_MI_64: if (hot.aluMI<i64>(cpu, set, rec, hot.TEST)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.MOV_RR_8: hot.put<u8>(hot.slotB(cpu, rec), load<u8>(hot.slotR(cpu, rec), GPR)); rec += REC_SIZE; continue;
      case OP.MOV_RM_8: if (hot.movRM<u8>(cpu, set, rec)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.MOV_MR_8: if (storeTo<u8>(cpu, set, addressOf(cpu, rec), load<u8>(hot.slotR(cpu, rec), GPR))) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.MOV_RI_8: hot.put<u8>(hot.slotB(cpu, rec), load<u32>(rec, REC_IMM) as u8); rec += REC_SIZE; continue;
      case OP.MOV_MI_8: if (storeTo<u8>(cpu, set, addressOf(cpu, rec), load<i32>(rec, REC_IMM) as u8)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.MOV_RR_16: hot.put<u16>(hot.slotB(cpu, rec), load<u16>(hot.slotR(cpu, rec), GPR)); rec += REC_SIZE; continue;
      case OP.MOV_RM_16: if (hot.movRM<u16>(cpu, set, rec)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.MOV_MR_16: if (storeTo<u16>(cpu, set, addressOf(cpu, rec), load<u16>(hot.slotR(cpu, rec), GPR))) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.MOV_RI_16: hot.put<u16>(hot.slotB(cpu, rec), load<u32>(rec, REC_IMM) as u16); rec += REC_SIZE; continue;
      case OP.MOV_MI_16: if (storeTo<u16>(cpu, set, addressOf(cpu, rec), load<i32>(rec, REC_IMM) as u16)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.MOV_RR_32: hot.put<u32>(hot.slotB(cpu, rec), load<u32>(hot.slotR(cpu, rec), GPR)); rec += REC_SIZE; continue;
      case OP.MOV_RM_32: if (hot.movRM<u32>(cpu, set, rec)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.MOV_MR_32: if (storeTo<u32>(cpu, set, addressOf(cpu, rec), load<u32>(hot.slotR(cpu, rec), GPR))) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.MOV_RI_32: hot.put<u32>(hot.slotB(cpu, rec), load<u32>(rec, REC_IMM) as u32); rec += REC_SIZE; continue;
      case OP.MOV_MI_32: if (storeTo<u32>(cpu, set, addressOf(cpu, rec), load<i32>(rec, REC_IMM) as u32)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.MOV_RR_64: hot.put<u64>(hot.slotB(cpu, rec), load<u64>(hot.slotR(cpu, rec), GPR)); rec += REC_SIZE; continue;
      case OP.MOV_RM_64: if (hot.movRM<u64>(cpu, set, rec)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.MOV_MR_64: if (storeTo<u64>(cpu, set, addressOf(cpu, rec), load<u64>(hot.slotR(cpu, rec), GPR))) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.MOV_RI_64: hot.put<u64>(hot.slotB(cpu, rec), load<i32>(rec, REC_IMM) as u64); rec += REC_SIZE; continue;
      case OP.MOV_MI_64: if (storeTo<u64>(cpu, set, addressOf(cpu, rec), load<i32>(rec, REC_IMM) as u64)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.MOV_RV_16: hot.put<u16>(hot.slotB(cpu, rec), load<u32>(rec, REC_IMM) as u16); rec += REC_SIZE; continue;
      case OP.MOV_RV_32: hot.put<u32>(hot.slotB(cpu, rec), load<u32>(rec, REC_IMM) as u32); rec += REC_SIZE; continue;
      case OP.MOV_RV_64: store<u64>(hot.slotB(cpu, rec), load<u64>(rec, REC_DISP), GPR); rec += REC_SIZE; continue;
      case OP.MOVZX8_RR_16: hot.extendRR<u8, u16>(cpu, rec); rec += REC_SIZE; continue;
      case OP.MOVZX8_RM_16: if (hot.extendRM<u8, u16>(cpu, set, rec)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.MOVZX8_RR_32: hot.extendRR<u8, u32>(cpu, rec); rec += REC_SIZE; continue;
      case OP.MOVZX8_RM_32: if (hot.extendRM<u8, u32>(cpu, set, rec)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.MOVZX8_RR_64: hot.extendRR<u8, u64>(cpu, rec); rec += REC_SIZE; continue;
      case OP.MOVZX8_RM_64: if (hot.extendRM<u8, u64>(cpu, set, rec)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.MOVZX16_RR_16: hot.extendRR<u16, u16>(cpu, rec); rec += REC_SIZE; continue;
      case OP.MOVZX16_RM_16: if (hot.extendRM<u16, u16>(cpu, set, rec)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.MOVZX16_RR_32: hot.extendRR<u16, u32>(cpu, rec); rec += REC_SIZE; continue;
      case OP.MOVZX16_RM_32: if (hot.extendRM<u16, u32>(cpu, set, rec)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.MOVZX16_RR_64: hot.extendRR<u16, u64>(cpu, rec); rec += REC_SIZE; continue;
      case OP.MOVZX16_RM_64: if (hot.extendRM<u16, u64>(cpu, set, rec)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.MOVSX8_RR_16: hot.extendRR<i8, i16>(cpu, rec); rec += REC_SIZE; continue;
      case OP.MOVSX8_RM_16: if (hot.extendRM<i8, i16>(cpu, set, rec)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.MOVSX8_RR_32: hot.extendRR<i8, i32>(cpu, rec); rec += REC_SIZE; continue;
      case OP.MOVSX8_RM_32: if (hot.extendRM<i8, i32>(cpu, set, rec)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.MOVSX8_RR_64: hot.extendRR<i8, i64>(cpu, rec); rec += REC_SIZE; continue;
      case OP.MOVSX8_RM_64: if (hot.extendRM<i8, i64>(cpu, set, rec)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.MOVSX16_RR_16: hot.extendRR<i16, i16>(cpu, rec); rec += REC_SIZE; continue;
      case OP.MOVSX16_RM_16: if (hot.extendRM<i16, i16>(cpu, set, rec)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.MOVSX16_RR_32: hot.extendRR<i16, i32>(cpu, rec); rec += REC_SIZE; continue;
      case OP.MOVSX16_RM_32: if (hot.extendRM<i16, i32>(cpu, set, rec)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.MOVSX16_RR_64: hot.extendRR<i16, i64>(cpu, rec); rec += REC_SIZE; continue;
      case OP.MOVSX16_RM_64: if (hot.extendRM<i16, i64>(cpu, set, rec)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.MOVSX32_RR_16: hot.extendRR<u32, i16>(cpu, rec); rec += REC_SIZE; continue;
      case OP.MOVSX32_RM_16: if (hot.extendRM<u32, i16>(cpu, set, rec)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.MOVSX32_RR_32: hot.extendRR<u32, u32>(cpu, rec); rec += REC_SIZE; continue;
      case OP.MOVSX32_RM_32: if (hot.extendRM<u32, u32>(cpu, set, rec)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.MOVSX32_RR_64: hot.extendRR<i32, i64>(cpu, rec); rec += REC_SIZE; continue;
      case OP.MOVSX32_RM_64: if (hot.extendRM<i32, i64>(cpu, set, rec)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.LEA_16: hot.put<i16>(hot.slotR(cpu, rec), offsetOf(cpu, rec) as i16); rec += REC_SIZE; continue;
      case OP.LEA_32: hot.put<i32>(hot.slotR(cpu, rec), offsetOf(cpu, rec) as i32); rec += REC_SIZE; continue;
      case OP.LEA_64: hot.put<i64>(hot.slotR(cpu, rec), offsetOf(cpu, rec) as i64); rec += REC_SIZE; continue;
      case OP.INC_R_8: hot.incR<i8>(cpu, rec, CC_INC); rec += REC_SIZE; continue;
      case OP.INC_M_8: if (hot.incM<i8>(cpu, set, rec, CC_INC)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.DEC_R_8: hot.incR<i8>(cpu, rec, CC_DEC); rec += REC_SIZE; continue;
      case OP.DEC_M_8: if (hot.incM<i8>(cpu, set, rec, CC_DEC)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.INC_R_16: hot.incR<i16>(cpu, rec, CC_INC); rec += REC_SIZE; continue;
      case OP.INC_M_16: if (hot.incM<i16>(cpu, set, rec, CC_INC)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.DEC_R_16: hot.incR<i16>(cpu, rec, CC_DEC); rec += REC_SIZE; continue;
      case OP.DEC_M_16: if (hot.incM<i16>(cpu, set, rec, CC_DEC)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.INC_R_32: hot.incR<i32>(cpu, rec, CC_INC); rec += REC_SIZE; continue;
      case OP.INC_M_32: if (hot.incM<i32>(cpu, set, rec, CC_INC)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.DEC_R_32: hot.incR<i32>(cpu, rec, CC_DEC); rec += REC_SIZE; continue;
      case OP.DEC_M_32: if (hot.incM<i32>(cpu, set, rec, CC_DEC)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.INC_R_64: hot.incR<i64>(cpu, rec, CC_INC); rec += REC_SIZE; continue;
      case OP.INC_M_64: if (hot.incM<i64>(cpu, set, rec, CC_INC)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.DEC_R_64: hot.incR<i64>(cpu, rec, CC_DEC); rec += REC_SIZE; continue;
      case OP.DEC_M_64: if (hot.incM<i64>(cpu, set, rec, CC_DEC)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.SHL_RI_16: hot.shiftRI<i16>(cpu, rec, hot.SHL); rec += REC_SIZE; continue;
      case OP.SHL_RI_32: hot.shiftRI<i32>(cpu, rec, hot.SHL); rec += REC_SIZE; continue;
      case OP.SHL_RI_64: hot.shiftRI<i64>(cpu, rec, hot.SHL); rec += REC_SIZE; continue;
      case OP.SHR_RI_16: hot.shiftRI<i16>(cpu, rec, hot.SHR); rec += REC_SIZE; continue;
      case OP.SHR_RI_32: hot.shiftRI<i32>(cpu, rec, hot.SHR); rec += REC_SIZE; continue;
      case OP.SHR_RI_64: hot.shiftRI<i64>(cpu, rec, hot.SHR); rec += REC_SIZE; continue;
      case OP.SAR_RI_16: hot.shiftRI<i16>(cpu, rec, hot.SAR); rec += REC_SIZE; continue;
      case OP.SAR_RI_32: hot.shiftRI<i32>(cpu, rec, hot.SAR); rec += REC_SIZE; continue;
      case OP.SAR_RI_64: hot.shiftRI<i64>(cpu, rec, hot.SAR); rec += REC_SIZE; continue;
      case OP.IMUL_RR_16: hot.imul<i16>(cpu, hot.slotR(cpu, rec), load<i16>(hot.slotR(cpu, rec), GPR), load<i16>(hot.slotB(cpu, rec), GPR)); rec += REC_SIZE; continue;
      case OP.IMUL_RM_16: if (hot.imulRM<i16>(cpu, set, rec)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.IMUL_RRI_16: hot.imul<i16>(cpu, hot.slotR(cpu, rec), load<i16>(hot.slotB(cpu, rec), GPR), load<i32>(rec, REC_IMM) as i16); rec += REC_SIZE; continue;
      case OP.IMUL_RMI_16: if (hot.imulRMI<i16>(cpu, set, rec)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.IMUL_RR_32: hot.imul<i32>(cpu, hot.slotR(cpu, rec), load<i32>(hot.slotR(cpu, rec), GPR), load<i32>(hot.slotB(cpu, rec), GPR)); rec += REC_SIZE; continue;
      case OP.IMUL_RM_32: if (hot.imulRM<i32>(cpu, set, rec)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.IMUL_RRI_32: hot.imul<i32>(cpu, hot.slotR(cpu, rec), load<i32>(hot.slotB(cpu, rec), GPR), load<i32>(rec, REC_IMM) as i32); rec += REC_SIZE; continue;
      case OP.IMUL_RMI_32: if (hot.imulRMI<i32>(cpu, set, rec)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.IMUL_RR_64: hot.imul<i64>(cpu, hot.slotR(cpu, rec), load<i64>(hot.slotR(cpu, rec), GPR), load<i64>(hot.slotB(cpu, rec), GPR)); rec += REC_SIZE; continue;
      case OP.IMUL_RM_64: if (hot.imulRM<i64>(cpu, set, rec)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.IMUL_RRI_64: hot.imul<i64>(cpu, hot.slotR(cpu, rec), load<i64>(hot.slotB(cpu, rec), GPR), load<i32>(rec, REC_IMM) as i64); rec += REC_SIZE; continue;
      case OP.IMUL_RMI_64: if (hot.imulRMI<i64>(cpu, set, rec)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.CBW_16: store<i16>(cpu, load<i8>(cpu, RAX) as i16, RAX); rec += REC_SIZE; continue;
      case OP.CBW_32: store<u64>(cpu, (load<i16>(cpu, RAX) as i32) as u32 as u64, RAX); rec += REC_SIZE; continue;
      case OP.CBW_64: store<i64>(cpu, load<i32>(cpu, RAX) as i64, RAX); rec += REC_SIZE; continue;
      case OP.CWD_16: store<i16>(cpu, load<i16>(cpu, RAX) >> 15, RDX); rec += REC_SIZE; continue;
      case OP.CWD_32: store<u64>(cpu, (load<i32>(cpu, RAX) >> 31) as u32 as u64, RDX); rec += REC_SIZE; continue;
      case OP.CWD_64: store<i64>(cpu, load<i64>(cpu, RAX) >> 63, RDX); rec += REC_SIZE; continue;
      case OP.NOP: rec += REC_SIZE; continue;
      case OP.PUSH_R_64: if (hot.push64(cpu, set, load<u64>(hot.slotB(cpu, rec), GPR))) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.PUSH_I_64: if (hot.push64(cpu, set, load<i32>(rec, REC_IMM) as i64)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.JO: if (hot.test(cpu, 0)) { rip += load<i32>(rec, REC_IMM); link = block + BLK_TAKEN; } else { rip += load<u16>(block, BLK_LENGTH); link = block + BLK_FALL; } break;
      case OP.JNO: if (hot.test(cpu, 1)) { rip += load<i32>(rec, REC_IMM); link = block + BLK_TAKEN; } else { rip += load<u16>(block, BLK_LENGTH); link = block + BLK_FALL; } break;
      case OP.JB: if (hot.test(cpu, 2)) { rip += load<i32>(rec, REC_IMM); link = block + BLK_TAKEN; } else { rip += load<u16>(block, BLK_LENGTH); link = block + BLK_FALL; } break;
      case OP.JAE: if (hot.test(cpu, 3)) { rip += load<i32>(rec, REC_IMM); link = block + BLK_TAKEN; } else { rip += load<u16>(block, BLK_LENGTH); link = block + BLK_FALL; } break;
      case OP.JE: if (hot.test(cpu, 4)) { rip += load<i32>(rec, REC_IMM); link = block + BLK_TAKEN; } else { rip += load<u16>(block, BLK_LENGTH); link = block + BLK_FALL; } break;
      case OP.JNE: if (hot.test(cpu, 5)) { rip += load<i32>(rec, REC_IMM); link = block + BLK_TAKEN; } else { rip += load<u16>(block, BLK_LENGTH); link = block + BLK_FALL; } break;
      case OP.JBE: if (hot.test(cpu, 6)) { rip += load<i32>(rec, REC_IMM); link = block + BLK_TAKEN; } else { rip += load<u16>(block, BLK_LENGTH); link = block + BLK_FALL; } break;
      case OP.JA: if (hot.test(cpu, 7)) { rip += load<i32>(rec, REC_IMM); link = block + BLK_TAKEN; } else { rip += load<u16>(block, BLK_LENGTH); link = block + BLK_FALL; } break;
      case OP.JS: if (hot.test(cpu, 8)) { rip += load<i32>(rec, REC_IMM); link = block + BLK_TAKEN; } else { rip += load<u16>(block, BLK_LENGTH); link = block + BLK_FALL; } break;
      case OP.JNS: if (hot.test(cpu, 9)) { rip += load<i32>(rec, REC_IMM); link = block + BLK_TAKEN; } else { rip += load<u16>(block, BLK_LENGTH); link = block + BLK_FALL; } break;
      case OP.JP: if (hot.test(cpu, 10)) { rip += load<i32>(rec, REC_IMM); link = block + BLK_TAKEN; } else { rip += load<u16>(block, BLK_LENGTH); link = block + BLK_FALL; } break;
      case OP.JNP: if (hot.test(cpu, 11)) { rip += load<i32>(rec, REC_IMM); link = block + BLK_TAKEN; } else { rip += load<u16>(block, BLK_LENGTH); link = block + BLK_FALL; } break;
      case OP.JL: if (hot.test(cpu, 12)) { rip += load<i32>(rec, REC_IMM); link = block + BLK_TAKEN; } else { rip += load<u16>(block, BLK_LENGTH); link = block + BLK_FALL; } break;
      case OP.JGE: if (hot.test(cpu, 13)) { rip += load<i32>(rec, REC_IMM); link = block + BLK_TAKEN; } else { rip += load<u16>(block, BLK_LENGTH); link = block + BLK_FALL; } break;
      case OP.JLE: if (hot.test(cpu, 14)) { rip += load<i32>(rec, REC_IMM); link = block + BLK_TAKEN; } else { rip += load<u16>(block, BLK_LENGTH); link = block + BLK_FALL; } break;
      case OP.JG: if (hot.test(cpu, 15)) { rip += load<i32>(rec, REC_IMM); link = block + BLK_TAKEN; } else { rip += load<u16>(block, BLK_LENGTH); link = block + BLK_FALL; } break;
      case OP.SETO_R: hot.setccR(cpu, rec, 0); rec += REC_SIZE; continue;
      case OP.SETO_M: if (hot.setccM(cpu, set, rec, 0)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.SETNO_R: hot.setccR(cpu, rec, 1); rec += REC_SIZE; continue;
      case OP.SETNO_M: if (hot.setccM(cpu, set, rec, 1)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.SETB_R: hot.setccR(cpu, rec, 2); rec += REC_SIZE; continue;
      case OP.SETB_M: if (hot.setccM(cpu, set, rec, 2)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.SETAE_R: hot.setccR(cpu, rec, 3); rec += REC_SIZE; continue;
      case OP.SETAE_M: if (hot.setccM(cpu, set, rec, 3)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.SETE_R: hot.setccR(cpu, rec, 4); rec += REC_SIZE; continue;
      case OP.SETE_M: if (hot.setccM(cpu, set, rec, 4)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.SETNE_R: hot.setccR(cpu, rec, 5); rec += REC_SIZE; continue;
      case OP.SETNE_M: if (hot.setccM(cpu, set, rec, 5)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.SETBE_R: hot.setccR(cpu, rec, 6); rec += REC_SIZE; continue;
      case OP.SETBE_M: if (hot.setccM(cpu, set, rec, 6)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.SETA_R: hot.setccR(cpu, rec, 7); rec += REC_SIZE; continue;
      case OP.SETA_M: if (hot.setccM(cpu, set, rec, 7)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.SETS_R: hot.setccR(cpu, rec, 8); rec += REC_SIZE; continue;
      case OP.SETS_M: if (hot.setccM(cpu, set, rec, 8)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.SETNS_R: hot.setccR(cpu, rec, 9); rec += REC_SIZE; continue;
      case OP.SETNS_M: if (hot.setccM(cpu, set, rec, 9)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.SETP_R: hot.setccR(cpu, rec, 10); rec += REC_SIZE; continue;
      case OP.SETP_M: if (hot.setccM(cpu, set, rec, 10)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.SETNP_R: hot.setccR(cpu, rec, 11); rec += REC_SIZE; continue;
      case OP.SETNP_M: if (hot.setccM(cpu, set, rec, 11)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.SETL_R: hot.setccR(cpu, rec, 12); rec += REC_SIZE; continue;
      case OP.SETL_M: if (hot.setccM(cpu, set, rec, 12)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.SETGE_R: hot.setccR(cpu, rec, 13); rec += REC_SIZE; continue;
      case OP.SETGE_M: if (hot.setccM(cpu, set, rec, 13)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.SETLE_R: hot.setccR(cpu, rec, 14); rec += REC_SIZE; continue;
      case OP.SETLE_M: if (hot.setccM(cpu, set, rec, 14)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.SETG_R: hot.setccR(cpu, rec, 15); rec += REC_SIZE; continue;
      case OP.SETG_M: if (hot.setccM(cpu, set, rec, 15)) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.CMOVO_RR: cmovRR(cpu, rec, hot.test(cpu, 0)); rec += REC_SIZE; continue;
      case OP.CMOVO_RM: if (cmovRM(cpu, rec, hot.test(cpu, 0))) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.CMOVNO_RR: cmovRR(cpu, rec, hot.test(cpu, 1)); rec += REC_SIZE; continue;
      case OP.CMOVNO_RM: if (cmovRM(cpu, rec, hot.test(cpu, 1))) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.CMOVB_RR: cmovRR(cpu, rec, hot.test(cpu, 2)); rec += REC_SIZE; continue;
      case OP.CMOVB_RM: if (cmovRM(cpu, rec, hot.test(cpu, 2))) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.CMOVAE_RR: cmovRR(cpu, rec, hot.test(cpu, 3)); rec += REC_SIZE; continue;
      case OP.CMOVAE_RM: if (cmovRM(cpu, rec, hot.test(cpu, 3))) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.CMOVE_RR: cmovRR(cpu, rec, hot.test(cpu, 4)); rec += REC_SIZE; continue;
      case OP.CMOVE_RM: if (cmovRM(cpu, rec, hot.test(cpu, 4))) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.CMOVNE_RR: cmovRR(cpu, rec, hot.test(cpu, 5)); rec += REC_SIZE; continue;
      case OP.CMOVNE_RM: if (cmovRM(cpu, rec, hot.test(cpu, 5))) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.CMOVBE_RR: cmovRR(cpu, rec, hot.test(cpu, 6)); rec += REC_SIZE; continue;
      case OP.CMOVBE_RM: if (cmovRM(cpu, rec, hot.test(cpu, 6))) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.CMOVA_RR: cmovRR(cpu, rec, hot.test(cpu, 7)); rec += REC_SIZE; continue;
      case OP.CMOVA_RM: if (cmovRM(cpu, rec, hot.test(cpu, 7))) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.CMOVS_RR: cmovRR(cpu, rec, hot.test(cpu, 8)); rec += REC_SIZE; continue;
      case OP.CMOVS_RM: if (cmovRM(cpu, rec, hot.test(cpu, 8))) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.CMOVNS_RR: cmovRR(cpu, rec, hot.test(cpu, 9)); rec += REC_SIZE; continue;
      case OP.CMOVNS_RM: if (cmovRM(cpu, rec, hot.test(cpu, 9))) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.CMOVP_RR: cmovRR(cpu, rec, hot.test(cpu, 10)); rec += REC_SIZE; continue;
      case OP.CMOVP_RM: if (cmovRM(cpu, rec, hot.test(cpu, 10))) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.CMOVNP_RR: cmovRR(cpu, rec, hot.test(cpu, 11)); rec += REC_SIZE; continue;
      case OP.CMOVNP_RM: if (cmovRM(cpu, rec, hot.test(cpu, 11))) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.CMOVL_RR: cmovRR(cpu, rec, hot.test(cpu, 12)); rec += REC_SIZE; continue;
      case OP.CMOVL_RM: if (cmovRM(cpu, rec, hot.test(cpu, 12))) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.CMOVGE_RR: cmovRR(cpu, rec, hot.test(cpu, 13)); rec += REC_SIZE; continue;
      case OP.CMOVGE_RM: if (cmovRM(cpu, rec, hot.test(cpu, 13))) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.CMOVLE_RR: cmovRR(cpu, rec, hot.test(cpu, 14)); rec += REC_SIZE; continue;
      case OP.CMOVLE_RM: if (cmovRM(cpu, rec, hot.test(cpu, 14))) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.CMOVG_RR: cmovRR(cpu, rec, hot.test(cpu, 15)); rec += REC_SIZE; continue;
      case OP.CMOVG_RM: if (cmovRM(cpu, rec, hot.test(cpu, 15))) { rec += REC_SIZE; continue; } status = ST_FAULT; break;
      case OP.POP_R_64: {
        const ptr = readPtr<u64>(cpu, set, load<u64>(cpu, RSP));
        if (!ptr) { status = ST_FAULT; break; }
        const value = load<u64>(ptr);
        store<u64>(cpu, load<u64>(cpu, RSP) + 8, RSP);
        store<u64>(hot.slotB(cpu, rec), value, GPR);
        rec += REC_SIZE;
        continue;
      }
      case OP.PUSH_M_64: {
        const ptr = readPtr<u64>(cpu, set, addressOf(cpu, rec));
        if (ptr && hot.push64(cpu, set, load<u64>(ptr))) { rec += REC_SIZE; continue; }
        status = ST_FAULT;
        break;
      }
      case OP.LEAVE_64: {
        const frame = load<u64>(cpu, RBP);
        const ptr = readPtr<u64>(cpu, set, frame);
        if (!ptr) { status = ST_FAULT; break; }
        store<u64>(cpu, load<u64>(ptr), RBP);
        store<u64>(cpu, frame + 8, RSP);
        rec += REC_SIZE;
        continue;
      }
      case OP.JMP:
        rip += load<i32>(rec, REC_IMM);
        link = block + BLK_TAKEN;
        break;
      case OP.CALL_64:
        if (!hot.push64(cpu, set, rip + load<u16>(block, BLK_LENGTH))) { status = ST_FAULT; break; }
        rip += load<i32>(rec, REC_IMM);
        link = block + BLK_TAKEN;
        break;
      case OP.CALL_R_64: {
        const target = load<u64>(hot.slotB(cpu, rec), GPR);
        if (!canonical(target)) { status = wild(cpu); break; }
        if (!hot.push64(cpu, set, rip + load<u16>(block, BLK_LENGTH))) { status = ST_FAULT; break; }
        rip = target;
        link = block + BLK_TAKEN;
        break;
      }
      case OP.CALL_M_64: {
        const ptr = readPtr<u64>(cpu, set, addressOf(cpu, rec));
        if (!ptr) { status = ST_FAULT; break; }
        const target = load<u64>(ptr);
        if (!canonical(target)) { status = wild(cpu); break; }
        if (!hot.push64(cpu, set, rip + load<u16>(block, BLK_LENGTH))) { status = ST_FAULT; break; }
        rip = target;
        link = block + BLK_TAKEN;
        break;
      }
      case OP.JMP_R_64: {
        const target = load<u64>(hot.slotB(cpu, rec), GPR);
        if (!canonical(target)) { status = wild(cpu); break; }
        rip = target;
        link = block + BLK_TAKEN;
        break;
      }
      case OP.JMP_M_64: {
        const ptr = readPtr<u64>(cpu, set, addressOf(cpu, rec));
        if (!ptr) { status = ST_FAULT; break; }
        const target = load<u64>(ptr);
        if (!canonical(target)) { status = wild(cpu); break; }
        rip = target;
        link = block + BLK_TAKEN;
        break;
      }
      case OP.RET_64:
      case OP.RET_I_64: {
        const rsp = load<u64>(cpu, RSP);
        const ptr = readPtr<u64>(cpu, set, rsp);
        if (!ptr) { status = ST_FAULT; break; }
        const target = load<u64>(ptr);
        if (!canonical(target)) { status = wild(cpu); break; }
        rip = target;
        // RET has no immediate: its field is 0.
        store<u64>(cpu, rsp + 8 + (load<u32>(rec, REC_IMM) as u64), RSP);
        link = block + BLK_TAKEN;
        break;
      }
      case OP.FALL:
        rip += load<u8>(rec, REC_OFF);
        link = block + BLK_FALL;
        break;
      case OP.BREAK:
        left += (load<u16>(block, BLK_COUNT) as i32) - (((rec - block - BLK_HEADER) >> 4) as i32);
        rip += load<u8>(rec, REC_OFF);
        link = 0;
        break;
      case OP.TAIL:
        break;
      default:
        store<u32>(cpu, block as u32, CURRENT_BLOCK);
        status = execute(cpu, rec, op);
        if (status == ST_NEXT) { rec += REC_SIZE; continue; }
        break;
    }

    if (status != ST_NEXT) {
      if (!translated) {
        // Operations of this block that have not run are given back; this one too unless it has retired.
        const retired: i32 = status == ST_JUMP || status == ST_HALT ? 1 : 0;
        left += (load<u16>(block, BLK_COUNT) as i32) - (((rec - block - BLK_HEADER) >> 4) as i32) - retired;
        rip += load<u8>(rec, REC_OFF);
      }
      if (status == ST_FAULT) {
        store<u64>(cpu, rip, RIP);
        if (load<u64>(cpu, EXC_ADDRESS) != 0) blameStack(cpu);
        if (!deliver(cpu)) { result = EXIT_SHUTDOWN; break; }
        rip = load<u64>(cpu, RIP);
      } else if (status == ST_JUMP) rip = load<u64>(cpu, NEXT_RIP);
      else if (status == ST_HALT) {
        rip = load<u64>(cpu, NEXT_RIP);
        store<u64>(cpu, rip, RIP);
        // A debug trap of HLT, or one that MOV SS has held back, ends the halt before it begins.
        if (!(load<u32>(cpu, POLL) & POLL_STEP && haltTrapped(cpu))) {
          result = EXIT_HALT;
          break;
        }
        if (!deliver(cpu)) { result = EXIT_SHUTDOWN; break; }
        rip = load<u64>(cpu, RIP);
      } else if (status == ST_EXIT) {
        result = load<u32>(cpu, EXIT_REASON);
        break;
      } else {
        left--;
        if (load<u32>(cpu, POLL) & POLL_STEP) store<u32>(cpu, load<u32>(cpu, STEP_STATE) | STEP_REPEATING, STEP_STATE);
      }
      status = ST_NEXT;
      link = 0;
      set = load<u32>(cpu, TLB_SET);
      mode = load<u32>(cpu, MODE);
      if (load<u32>(cpu, SHADOW)) atomic.or<u32>(cpu + POLL, POLL_SHADOW);
    }
    if ((mode & MODE_CODE_MASK) != MODE_CODE64) {
      rip &= ripMask(mode);
      if (!(mode & MODE_FLAT)) link = 0;
    }

    if (load<u32>(cpu, POLL) != 0 || left <= 0) {
      store<u64>(cpu, rip, RIP);
      const poll = load<u32>(cpu, POLL);
      // First the budget: a shadow that is not used up stays for the next call.
      if (left <= 0) { result = EXIT_BUDGET; break; }
      if (poll & POLL_STEP) retire(cpu);
      if (poll & POLL_SHADOW) endShadow(cpu);
      else if (poll & ~POLL_STEP && !trapsPending(cpu)) { result = EXIT_POLL; break; }
      if (poll & POLL_STEP && stepCheck(cpu)) {
        if (!deliver(cpu)) { result = EXIT_SHUTDOWN; break; }
        rip = load<u64>(cpu, RIP);
        // What waits comes at the handler's first instruction.
        if (load<u32>(cpu, POLL) & ~POLL_STEP) { result = EXIT_POLL; break; }
        set = load<u32>(cpu, TLB_SET);
        mode = load<u32>(cpu, MODE);
        link = 0;
      }
    }

    // A link holds where control went once: right if that block is the one at `rip`.
    let next: usize = 0;
    if (link) next = linkedBlock(cpu, set, mode, rip, link);
    else if ((mode & MODE_CODE_MASK) == MODE_CODE64 || mode & MODE_FLAT) next = cachedBlock(cpu, rip, knownPhys(cpu, set, rip), mode);
    if (!next) {
      next = resolve(cpu, rip, link);
      if (!next) {
        store<u64>(cpu, rip, RIP);
        if (!deliver(cpu)) { result = EXIT_SHUTDOWN; break; }
        // The handler's first block is found from an empty one.
        rip = load<u64>(cpu, RIP);
        set = load<u32>(cpu, TLB_SET);
        mode = load<u32>(cpu, MODE);
        next = cpu + START_BLOCK;
      }
    }
    block = next;
    store<u64>(cpu, rip, RIP);
    const context = load<u32>(block, BLK_CODE) as usize;
    if (context) {
      left = follow(cpu, left, context, rip);
      rip = load<u64>(cpu, JIT_RIP);
      link = load<u32>(cpu, JIT_LINK);
      status = load<u32>(cpu, JIT_STATUS);
      if (status == ST_AWAY) status = ST_NEXT;
      translated = true;
      rec = cpu + START_BLOCK + BLK_HEADER + REC_SIZE;
      continue;
    }
    if (threshold) {
      const heatAt = heatOf(block);
      const heat = load<u32>(heatAt) + 1;
      store<u32>(heatAt, heat);
      // Blocks of stepped code are not translated, and their boundaries must not be passed twice.
      if (heat == threshold && !(load<u32>(block, BLK_MODE) & MODE_STEP)) {
        // When the list is full, the block tries again later.
        if (!noteHot(cpu, block, set, rip)) store<u32>(heatAt, 0);
        if (threshold == 1) break;
      }
    }
    translated = false;
    left -= load<u16>(block, BLK_COUNT);
    rec = block + BLK_HEADER;
  }
  store<u64>(cpu, rip, RIP);
  store<u64>(cpu, load<u64>(cpu, ICOUNT) + (((budget - left) as i64) as u64), ICOUNT);
  return result;
}
