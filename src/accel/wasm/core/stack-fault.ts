/**
 * Which exception an address that is not canonical gives (Intel SDM vol. 1, 3.3.7.1; vol. 3, 6.15, interrupts 12 and
 * 13): #SS(0) through the stack pointer or with RSP or RBP as the base, else #GP(0). Accesses do not know what they
 * are part of, so they record #GP and the address, and the instruction is looked at once more before delivery.
 */
import {
  EA_SEG_SHIFT, EXC_ADDRESS, FAULT_RECORD, LEN_MEM, RBP, REC_B, REC_EA, REC_LEN, REC_OP, RSP,
} from "../layout";
import { decodeFaulting } from "./decode";
import { raiseError, VEC_SS } from "./fault";
import { addressOf } from "./operand";
import * as OP from "./ops";

/** No operand is longer (FXSAVE). */
const LONGEST_OPERAND: u64 = 512;

/** Whether the operation uses the stack besides a memory operand, and does not check it itself. */
function usesStack(op: u32): bool {
  switch (op) {
    case OP.PUSH_R_16: case OP.PUSH_R_64: case OP.PUSH_I_16: case OP.PUSH_I_64: case OP.PUSH_M_16: case OP.PUSH_M_64:
    case OP.POP_R_16: case OP.POP_R_64: case OP.POP_RM: case OP.ENTER: case OP.LEAVE_16: case OP.LEAVE_64:
    case OP.CALL_64: case OP.CALL_R_64: case OP.CALL_M_64: case OP.RET_64: case OP.RET_I_64:
      return true;
    default:
      return false;
  }
}

/** To be called in 64-bit code when EXC_ADDRESS is not 0, with RIP at the instruction that met #GP(0) there. */
export function blameStack(cpu: usize): void {
  const address = load<u64>(cpu, EXC_ADDRESS);
  store<u64>(cpu, 0, EXC_ADDRESS);
  const rec = cpu + FAULT_RECORD;
  if (!decodeFaulting(cpu, rec)) return;
  const op: u32 = load<u16>(rec, REC_OP);
  const stack = usesStack(op);
  let blamed = stack;
  if (load<u8>(rec, REC_LEN) & LEN_MEM) {
    const base: u32 = load<u8>(rec, REC_B);
    const own = address - addressOf(cpu, rec) < LONGEST_OPERAND;
    const based = (base == RSP || base == RBP) && ((load<u8>(rec, REC_EA) >> EA_SEG_SHIFT) & 7) == 0;
    // System operations read descriptors, too, and those that use the stack do so in two places.
    const system = op >= OP.FIRST_SYSTEM && op < OP.FIRST_X87;
    if (own || (!stack && !system)) blamed = based;
  }
  if (blamed) raiseError(cpu, VEC_SS, 0);
}
