/** Moves, insertions and extractions of SSE3 and SSE4.1 (Intel SDM vol. 2). */
import { GPR, REC_B, REC_IMM, ST_FAULT, ST_NEXT, TLB_SET, XMM } from "../layout";
import { faulted } from "./fault";
import { readPtr } from "./mmu";
import { addressOf, isMemory, readRm, sizeOf, writeMem, writeRm } from "./operand";
import { EXTRACTPS, INSERTPS, MOVDDUP, PEXTRB, PEXTRD, PEXTRW, PINSRB, PINSRD } from "./ops";
import { sourceLow, xmmReg } from "./sse-operand";

/** PEXTRB and PEXTRW: memory takes the element, a register is cleared around it. */
// @ts-ignore: decorator
@inline
function extract(cpu: usize, rec: usize, size: u32, value: u64): u32 {
  if (isMemory(rec)) return writeMem(cpu, addressOf(cpu, rec), size, value) ? ST_NEXT : ST_FAULT;
  store<u64>(cpu + load<u8>(rec, REC_B), value, GPR);
  return ST_NEXT;
}

/** MOVDDUP … PINSRD. */
export function execSse4Move(cpu: usize, rec: usize, op: u32): u32 {
  const reg = xmmReg(cpu, rec);
  const imm: u32 = load<u8>(rec, REC_IMM);
  switch (op) {
    case MOVDDUP: {
      const from = sourceLow<u64>(cpu, rec);
      if (!from) return ST_FAULT;
      store<v128>(reg, i64x2.splat(load<u64>(from)), XMM);
      return ST_NEXT;
    }
    case PEXTRB: return extract(cpu, rec, 0, load<u8>(reg + (imm & 15), XMM));
    case PEXTRW: return extract(cpu, rec, 1, load<u16>(reg + ((imm & 7) << 1), XMM));
    case PEXTRD: {
      const size = sizeOf(rec);
      const value = size == 3 ? load<u64>(reg + ((imm & 1) << 3), XMM) : load<u32>(reg + ((imm & 3) << 2), XMM);
      return writeRm(cpu, rec, size, value) ? ST_NEXT : ST_FAULT;
    }
    case EXTRACTPS: return writeRm(cpu, rec, 2, load<u32>(reg + ((imm & 3) << 2), XMM)) ? ST_NEXT : ST_FAULT;
    case PINSRB: {
      const value = readRm(cpu, rec, 0);
      if (faulted(cpu)) return ST_FAULT;
      store<u8>(reg + (imm & 15), value as u8, XMM);
      return ST_NEXT;
    }
    case PINSRD: {
      const size = sizeOf(rec);
      const value = readRm(cpu, rec, size);
      if (faulted(cpu)) return ST_FAULT;
      if (size == 3) store<u64>(reg + ((imm & 1) << 3), value, XMM);
      else store<u32>(reg + ((imm & 3) << 2), value as u32, XMM);
      return ST_NEXT;
    }
    case INSERTPS: {
      let value: u32;
      if (isMemory(rec)) {
        const from = readPtr<u32>(cpu, load<u32>(cpu, TLB_SET), addressOf(cpu, rec));
        if (!from) return ST_FAULT;
        value = load<u32>(from);
      } else value = load<u32>(cpu + load<u8>(rec, REC_B) + ((imm >> 6) << 2), XMM);
      store<u32>(reg + (((imm >> 4) & 3) << 2), value, XMM);
      for (let lane: u32 = 0; lane < 4; lane++) {
        if ((imm >> lane) & 1) store<u32>(reg + (lane << 2), 0, XMM);
      }
      return ST_NEXT;
    }
    default:
      return unreachable();
  }
}
