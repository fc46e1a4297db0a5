/**
 * Integer operations outside the run loop (Intel SDM vol. 2), by operation number.
 */
import {
  EA_ADDR16, EA_ADDR32, GPR, NEXT_RIP, RAX, RBX, RCX, RDX, REC_B, REC_DISP, REC_EA, REC_IMM, REC_R, FLAGS,
  ST_FAULT, ST_JUMP, ST_NEXT, TLB_SET,
} from "../layout";
import {
  BIT_COMPLEMENT, BIT_RESET, BIT_SET, BIT_TEST, bitImmediate, bitRegister, bitScan, byteSwap, populationCount,
} from "./bits";
import { crc32 } from "./crc32";
import { adjustDivide, adjustMultiply, adjustPacked, adjustUnpacked, bound } from "./decimal";
import { div, idiv, imul, mul } from "./divide";
import { faulted, raise, raiseError, VEC_GP, VEC_UD } from "./fault";
import { AF, arithmetic, carryFlag, CF, DF, OF, PF, setAdd, setSome, setSub, SF, ZF, zeroFlag } from "./flags";
import {
  COUNT_CL, COUNT_IMMEDIATE, COUNT_ONE, ROTATE_CARRY_LEFT, ROTATE_CARRY_RIGHT, ROTATE_LEFT, ROTATE_RIGHT, shift,
  SHIFT_ARITHMETIC, SHIFT_LEFT, SHIFT_RIGHT, shiftDouble,
} from "./integer-shift";
import {
  callTo, enter, indirect, jumpTo, leave, popAll, popRegister, popRm, pushAll, pushImmediate, pushMemory,
  pushRegister, relativeTarget, returnNear,
} from "./integer-stack";
import { finish, modifyPtr } from "./mmu";
import {
  addressOf, finishRm, isMemory, loadSized, modifyRm, nextRipOf, readMem, readReg, segmented, signed, sizeOf, writeMem,
  writeReg,
} from "./operand";
import { ordered } from "./order";
import { addWithFlag, loadReversed, storeReversed } from "./integer-extensions";
import * as OP from "./ops";

const AH: u32 = 1;

function not(cpu: usize, rec: usize): u32 {
  const size = sizeOf(rec);
  const ptr = modifyRm(cpu, rec, size);
  if (!ptr) return ST_FAULT;
  finishRm(cpu, rec, ptr, size, ~loadSized(ptr, size));
  return ST_NEXT;
}

function negate(cpu: usize, rec: usize): u32 {
  const size = sizeOf(rec);
  const ptr = modifyRm(cpu, rec, size);
  if (!ptr) return ST_FAULT;
  const value = signed(loadSized(ptr, size), size);
  const result = signed((0 - value) as u64, size);
  finishRm(cpu, rec, ptr, size, result as u64);
  setSub(cpu, 0, value, result);
  return ST_NEXT;
}

function exchange(cpu: usize, rec: usize): u32 {
  const size = sizeOf(rec);
  const slot: u32 = load<u8>(rec, REC_R);
  const ptr = modifyRm(cpu, rec, size);
  if (!ptr) return ST_FAULT;
  const value = loadSized(ptr, size);
  finishRm(cpu, rec, ptr, size, readReg(cpu, slot, size));
  writeReg(cpu, slot, size, value);
  return ST_NEXT;
}

function exchangeAccumulator(cpu: usize, rec: usize): u32 {
  const size = sizeOf(rec);
  const slot: u32 = load<u8>(rec, REC_B);
  const value = readReg(cpu, RAX, size);
  writeReg(cpu, RAX, size, readReg(cpu, slot, size));
  writeReg(cpu, slot, size, value);
  return ST_NEXT;
}

function exchangeAdd(cpu: usize, rec: usize): u32 {
  const size = sizeOf(rec);
  const slot: u32 = load<u8>(rec, REC_R);
  const ptr = modifyRm(cpu, rec, size);
  if (!ptr) return ST_FAULT;
  const a = signed(loadSized(ptr, size), size);
  const b = signed(readReg(cpu, slot, size), size);
  const sum = signed((a + b) as u64, size);
  // The destination is written last: XADD of a register with itself leaves the sum.
  writeReg(cpu, slot, size, a as u64);
  finishRm(cpu, rec, ptr, size, sum as u64);
  setAdd(cpu, a, b, sum);
  return ST_NEXT;
}

function compareExchange(cpu: usize, rec: usize): u32 {
  const size = sizeOf(rec);
  const ptr = modifyRm(cpu, rec, size);
  if (!ptr) return ST_FAULT;
  const found = loadSized(ptr, size);
  const expected = readReg(cpu, RAX, size);
  const a = signed(expected, size);
  const b = signed(found, size);
  if (found == expected) {
    finishRm(cpu, rec, ptr, size, readReg(cpu, load<u8>(rec, REC_R), size));
  } else {
    // Memory receives a write cycle with its own value (SDM vol. 2, "CMPXCHG"); a register keeps its upper half.
    if (isMemory(rec)) finishRm(cpu, rec, ptr, size, found);
    writeReg(cpu, RAX, size, found);
  }
  setSub(cpu, a, b, signed((a - b) as u64, size));
  return ST_NEXT;
}

/** CMPXCHG8B, or CMPXCHG16B with a 64-bit operand size. */
function compareExchangePair(cpu: usize, rec: usize): u32 {
  const size = sizeOf(rec);
  const address = addressOf(cpu, rec);
  const set = load<u32>(cpu, TLB_SET);
  const half: u32 = 1 << size;
  let ptr: usize;
  if (size == 3) {
    if (address & 15) {
      raiseError(cpu, VEC_GP, 0);
      return ST_FAULT;
    }
    ptr = modifyPtr<v128>(cpu, set, address);
  } else {
    ptr = modifyPtr<u64>(cpu, set, address);
  }
  if (!ptr) return ST_FAULT;
  const low = loadSized(ptr, size);
  const high = loadSized(ptr + half, size);
  const equal = low == readReg(cpu, RAX, size) && high == readReg(cpu, RDX, size);
  if (equal) {
    if (size == 3) {
      store<u64>(ptr, load<u64>(cpu, GPR + RBX));
      store<u64>(ptr, load<u64>(cpu, GPR + RCX), 8);
    } else {
      store<u32>(ptr, load<u32>(cpu, GPR + RBX));
      store<u32>(ptr, load<u32>(cpu, GPR + RCX), 4);
    }
  } else {
    writeReg(cpu, RAX, size, low);
    writeReg(cpu, RDX, size, high);
  }
  ordered(cpu, rec);
  finish(cpu, ptr);
  setSome(cpu, ZF, equal ? ZF : 0);
  return ST_NEXT;
}

/** Linear address of a MOV whose 64-bit offset stands in the instruction. */
function offsetAddress(cpu: usize, rec: usize): u64 {
  return segmented(cpu, load<u8>(rec, REC_EA), load<u64>(rec, REC_DISP));
}

function loadAccumulator(cpu: usize, rec: usize): u32 {
  const size = sizeOf(rec);
  const value = readMem(cpu, offsetAddress(cpu, rec), size);
  if (faulted(cpu)) return ST_FAULT;
  writeReg(cpu, RAX, size, value);
  return ST_NEXT;
}

function storeAccumulator(cpu: usize, rec: usize): u32 {
  const size = sizeOf(rec);
  return writeMem(cpu, offsetAddress(cpu, rec), size, readReg(cpu, RAX, size)) ? ST_NEXT : ST_FAULT;
}

function translate(cpu: usize, rec: usize): u32 {
  const offset = load<u64>(cpu, GPR + RBX) + load<u8>(cpu, GPR + RAX);
  const value = readMem(cpu, segmented(cpu, load<u8>(rec, REC_EA), offset), 0);
  if (faulted(cpu)) return ST_FAULT;
  writeReg(cpu, RAX, 0, value);
  return ST_NEXT;
}

function loadFlags(cpu: usize): u32 {
  store<u8>(cpu, ((arithmetic(cpu) & (CF | PF | AF | ZF | SF)) | 2) as u8, GPR + RAX + AH);
  return ST_NEXT;
}

function setFlag(cpu: usize, mask: u32, value: u32): u32 {
  setSome(cpu, mask, value);
  return ST_NEXT;
}

function setDirection(cpu: usize, value: u32): u32 {
  store<u32>(cpu, (load<u32>(cpu, FLAGS) & ~DF) | value, FLAGS);
  return ST_NEXT;
}

/** Operand size index of the address size: the count register of LOOP and JrCXZ. */
function countSize(rec: usize): u32 {
  const ea = load<u8>(rec, REC_EA);
  return ea & EA_ADDR32 ? 2 : ea & EA_ADDR16 ? 1 : 3;
}

function branch(cpu: usize, rec: usize, taken: bool): u32 {
  if (taken) return jumpTo(cpu, relativeTarget(cpu, rec, sizeOf(rec)));
  store<u64>(cpu, nextRipOf(cpu, rec), NEXT_RIP);
  return ST_JUMP;
}

/** LOOP, LOOPE and LOOPNE: the last two also need ZF to be `wanted`; -1 for either. */
function loop(cpu: usize, rec: usize, wanted: i32): u32 {
  const size = countSize(rec);
  const before = load<u64>(cpu, GPR + RCX);
  writeReg(cpu, RCX, size, readReg(cpu, RCX, size) - 1);
  const taken = readReg(cpu, RCX, size) != 0 && (wanted < 0 || (zeroFlag(cpu) ? 1 : 0) == wanted);
  const status = branch(cpu, rec, taken);
  if (status == ST_FAULT) store<u64>(cpu, before, GPR + RCX);
  return status;
}

/** Executes an operation of the `integer` unit. */
export function execInteger(cpu: usize, rec: usize, op: u32): u32 {
  switch (op) {
    case OP.NOT: return not(cpu, rec);
    case OP.NEG: return negate(cpu, rec);
    case OP.MUL: return mul(cpu, rec);
    case OP.IMUL1: return imul(cpu, rec);
    case OP.DIV: return div(cpu, rec);
    case OP.IDIV: return idiv(cpu, rec);
    case OP.MOV_AO: return loadAccumulator(cpu, rec);
    case OP.MOV_OA: return storeAccumulator(cpu, rec);
    case OP.POP_RM: return popRm(cpu, rec);
    case OP.PUSHA: return pushAll(cpu, rec);
    case OP.POPA: return popAll(cpu, rec);
    case OP.ENTER: return enter(cpu, rec);
    case OP.XCHG: return exchange(cpu, rec);
    case OP.XCHG_A: return exchangeAccumulator(cpu, rec);
    case OP.SAHF: return setFlag(cpu, CF | PF | AF | ZF | SF, load<u8>(cpu, GPR + RAX + AH));
    case OP.LAHF: return loadFlags(cpu);
    case OP.SALC:
      store<u8>(cpu, carryFlag(cpu) ? 0xff : 0, GPR + RAX);
      return ST_NEXT;
    case OP.XLAT: return translate(cpu, rec);
    case OP.BSWAP: return byteSwap(cpu, rec);
    case OP.ROL_IMM: return shift(cpu, rec, sizeOf(rec), ROTATE_LEFT, COUNT_IMMEDIATE);
    case OP.ROR_IMM: return shift(cpu, rec, sizeOf(rec), ROTATE_RIGHT, COUNT_IMMEDIATE);
    case OP.RCL_IMM: return shift(cpu, rec, sizeOf(rec), ROTATE_CARRY_LEFT, COUNT_IMMEDIATE);
    case OP.RCR_IMM: return shift(cpu, rec, sizeOf(rec), ROTATE_CARRY_RIGHT, COUNT_IMMEDIATE);
    case OP.SHL_IMM: return shift(cpu, rec, sizeOf(rec), SHIFT_LEFT, COUNT_IMMEDIATE);
    case OP.SHR_IMM: return shift(cpu, rec, sizeOf(rec), SHIFT_RIGHT, COUNT_IMMEDIATE);
    case OP.SAR_IMM: return shift(cpu, rec, sizeOf(rec), SHIFT_ARITHMETIC, COUNT_IMMEDIATE);
    case OP.ROL_ONE: return shift(cpu, rec, sizeOf(rec), ROTATE_LEFT, COUNT_ONE);
    case OP.ROR_ONE: return shift(cpu, rec, sizeOf(rec), ROTATE_RIGHT, COUNT_ONE);
    case OP.RCL_ONE: return shift(cpu, rec, sizeOf(rec), ROTATE_CARRY_LEFT, COUNT_ONE);
    case OP.RCR_ONE: return shift(cpu, rec, sizeOf(rec), ROTATE_CARRY_RIGHT, COUNT_ONE);
    case OP.SHL_ONE: return shift(cpu, rec, sizeOf(rec), SHIFT_LEFT, COUNT_ONE);
    case OP.SHR_ONE: return shift(cpu, rec, sizeOf(rec), SHIFT_RIGHT, COUNT_ONE);
    case OP.SAR_ONE: return shift(cpu, rec, sizeOf(rec), SHIFT_ARITHMETIC, COUNT_ONE);
    case OP.ROL_CL: return shift(cpu, rec, sizeOf(rec), ROTATE_LEFT, COUNT_CL);
    case OP.ROR_CL: return shift(cpu, rec, sizeOf(rec), ROTATE_RIGHT, COUNT_CL);
    case OP.RCL_CL: return shift(cpu, rec, sizeOf(rec), ROTATE_CARRY_LEFT, COUNT_CL);
    case OP.RCR_CL: return shift(cpu, rec, sizeOf(rec), ROTATE_CARRY_RIGHT, COUNT_CL);
    case OP.SHL_CL: return shift(cpu, rec, sizeOf(rec), SHIFT_LEFT, COUNT_CL);
    case OP.SHR_CL: return shift(cpu, rec, sizeOf(rec), SHIFT_RIGHT, COUNT_CL);
    case OP.SAR_CL: return shift(cpu, rec, sizeOf(rec), SHIFT_ARITHMETIC, COUNT_CL);
    case OP.SHLD_IMM: return shiftDouble(cpu, rec, true, COUNT_IMMEDIATE);
    case OP.SHLD_CL: return shiftDouble(cpu, rec, true, COUNT_CL);
    case OP.SHRD_IMM: return shiftDouble(cpu, rec, false, COUNT_IMMEDIATE);
    case OP.SHRD_CL: return shiftDouble(cpu, rec, false, COUNT_CL);
    case OP.BT_R: return bitRegister(cpu, rec, BIT_TEST);
    case OP.BTS_R: return bitRegister(cpu, rec, BIT_SET);
    case OP.BTR_R: return bitRegister(cpu, rec, BIT_RESET);
    case OP.BTC_R: return bitRegister(cpu, rec, BIT_COMPLEMENT);
    case OP.BT_I: return bitImmediate(cpu, rec, BIT_TEST);
    case OP.BTS_I: return bitImmediate(cpu, rec, BIT_SET);
    case OP.BTR_I: return bitImmediate(cpu, rec, BIT_RESET);
    case OP.BTC_I: return bitImmediate(cpu, rec, BIT_COMPLEMENT);
    case OP.BSF: return bitScan(cpu, rec, false);
    case OP.BSR: return bitScan(cpu, rec, true);
    case OP.MOVBE: return loadReversed(cpu, rec);
    case OP.MOVBE_STORE: return storeReversed(cpu, rec);
    case OP.ADCX: return addWithFlag(cpu, rec, CF);
    case OP.ADOX: return addWithFlag(cpu, rec, OF);
    case OP.CRC32_B: return crc32(cpu, rec, 0);
    case OP.CRC32: return crc32(cpu, rec, sizeOf(rec));
    case OP.POPCNT: return populationCount(cpu, rec);
    case OP.CMPXCHG: return compareExchange(cpu, rec);
    case OP.XADD: return exchangeAdd(cpu, rec);
    case OP.CMPXCHG8B: return compareExchangePair(cpu, rec);
    case OP.LOOPNE: return loop(cpu, rec, 0);
    case OP.LOOPE: return loop(cpu, rec, 1);
    case OP.LOOP: return loop(cpu, rec, -1);
    case OP.JRCXZ: return branch(cpu, rec, readReg(cpu, RCX, countSize(rec)) == 0);
    case OP.CMC: return setFlag(cpu, CF, arithmetic(cpu) ^ CF);
    case OP.CLC: return setFlag(cpu, CF, 0);
    case OP.STC: return setFlag(cpu, CF, CF);
    case OP.CLD: return setDirection(cpu, 0);
    case OP.STD: return setDirection(cpu, DF);
    case OP.DAA: return adjustPacked(cpu, false);
    case OP.DAS: return adjustPacked(cpu, true);
    case OP.AAA: return adjustUnpacked(cpu, false);
    case OP.AAS: return adjustUnpacked(cpu, true);
    case OP.AAM: return adjustMultiply(cpu, rec);
    case OP.AAD: return adjustDivide(cpu, rec);
    case OP.BOUND: return bound(cpu, rec);
    default:
      raise(cpu, VEC_UD);
      return ST_FAULT;
  }
}

/**
 * Executes what the run loop leaves of the `hot` unit: stack and near branches of every operand size,
 * shifts of memory by an immediate.
 */
export function execLegacy(cpu: usize, rec: usize, op: u32): u32 {
  switch (op) {
    case OP.PUSH_R_16: case OP.PUSH_R_32: case OP.PUSH_R_64: return pushRegister(cpu, rec, op - OP.PUSH_R_8);
    case OP.POP_R_16: case OP.POP_R_32: case OP.POP_R_64: return popRegister(cpu, rec, op - OP.POP_R_8);
    case OP.PUSH_I_16: case OP.PUSH_I_32: case OP.PUSH_I_64: return pushImmediate(cpu, rec, op - OP.PUSH_I_8);
    case OP.PUSH_M_16: case OP.PUSH_M_32: case OP.PUSH_M_64: return pushMemory(cpu, rec, op - OP.PUSH_M_8);
    case OP.LEAVE_16: case OP.LEAVE_32: case OP.LEAVE_64: return leave(cpu, op - OP.LEAVE_8);
    case OP.SHL_IMM_16: case OP.SHL_IMM_32: case OP.SHL_IMM_64:
      return shift(cpu, rec, op - OP.SHL_IMM_8, SHIFT_LEFT, COUNT_IMMEDIATE);
    case OP.SHR_IMM_16: case OP.SHR_IMM_32: case OP.SHR_IMM_64:
      return shift(cpu, rec, op - OP.SHR_IMM_8, SHIFT_RIGHT, COUNT_IMMEDIATE);
    case OP.SAR_IMM_16: case OP.SAR_IMM_32: case OP.SAR_IMM_64:
      return shift(cpu, rec, op - OP.SAR_IMM_8, SHIFT_ARITHMETIC, COUNT_IMMEDIATE);
    case OP.CALL_16: case OP.CALL_32: case OP.CALL_64:
      return callTo(cpu, rec, op - OP.CALL_8, relativeTarget(cpu, rec, op - OP.CALL_8));
    case OP.CALL_R_16: case OP.CALL_R_32: case OP.CALL_R_64: return indirect(cpu, rec, op - OP.CALL_R_8, true);
    case OP.CALL_M_16: case OP.CALL_M_32: case OP.CALL_M_64: return indirect(cpu, rec, op - OP.CALL_M_8, true);
    case OP.JMP_R_16: case OP.JMP_R_32: case OP.JMP_R_64: return indirect(cpu, rec, op - OP.JMP_R_8, false);
    case OP.JMP_M_16: case OP.JMP_M_32: case OP.JMP_M_64: return indirect(cpu, rec, op - OP.JMP_M_8, false);
    case OP.RET_16: case OP.RET_32: case OP.RET_64: return returnNear(cpu, op - OP.RET_8, 0);
    case OP.RET_I_16: case OP.RET_I_32: case OP.RET_I_64:
      return returnNear(cpu, op - OP.RET_I_8, load<u32>(rec, REC_IMM) & 0xffff);
    default:
      raise(cpu, VEC_UD);
      return ST_FAULT;
  }
}
