/** MMX (Intel SDM vol. 1, chapter 9; vol. 2), and SSE's additions that touch MMX registers only. */
import { FPR, FPU_TAG, FPU_TOP, GPR, REC_B, REC_IMM, REC_R, ST_FAULT, ST_NEXT, TLB_SET } from "../layout";
import { faulted } from "./fault";
import { storeTo } from "./mmu";
import { addressOf, readRm, sizeOf, writeRm } from "./operand";
import {
  MASKMOVQ, MOVD_EP, MOVD_PE, MOVQ_MP, MOVQ_PQ, PADDD_P, PEXTRW_P, PINSRW_P, PMOVMSKB_P, PSHUFW, PSLLQ_PI,
} from "./ops";
import { execPackedMmx, execShiftMmx } from "./sse-integer";
import { shuffleWords, storeMasked } from "./sse-move";
import { mmxAvailable, mmxOf, setMmx, sourceMmx } from "./sse-operand";
import { mmxEnter } from "./x87-state";

/** All registers empty, as EMMS leaves them (SDM vol. 3, table 13-1). */
const TAGS_EMPTY: u32 = 0xffff;

/** A bit for each byte of `value`, its sign. */
function signs(value: u64): u32 {
  return i8x16.bitmask(i64x2.replace_lane(i64x2.splat(0), 0, value));
}

export function execMmx(cpu: usize, rec: usize, op: u32): u32 {
  if (op <= PADDD_P) return execPackedMmx(cpu, rec, op);
  if (op <= PSLLQ_PI) return execShiftMmx(cpu, rec, op);
  if (!mmxAvailable(cpu)) return ST_FAULT;
  const reg: u32 = load<u8>(rec, REC_R);
  const rm: u32 = load<u8>(rec, REC_B);
  switch (op) {
    case MOVQ_PQ: {
      const from = sourceMmx<u64>(cpu, rec);
      if (!from) return ST_FAULT;
      const value = load<u64>(from);
      mmxEnter(cpu);
      setMmx(cpu, reg, value);
      return ST_NEXT;
    }
    case MOVQ_MP:
      if (!storeTo<u64>(cpu, load<u32>(cpu, TLB_SET), addressOf(cpu, rec), mmxOf(cpu, reg))) return ST_FAULT;
      mmxEnter(cpu);
      return ST_NEXT;
    case MOVD_PE: {
      const value = readRm(cpu, rec, sizeOf(rec));
      if (faulted(cpu)) return ST_FAULT;
      mmxEnter(cpu);
      setMmx(cpu, reg, value);
      return ST_NEXT;
    }
    case MOVD_EP:
      if (!writeRm(cpu, rec, sizeOf(rec), mmxOf(cpu, reg))) return ST_FAULT;
      mmxEnter(cpu);
      return ST_NEXT;
    case PMOVMSKB_P:
      mmxEnter(cpu);
      store<u64>(cpu + reg, signs(mmxOf(cpu, rm)) as u64, GPR);
      return ST_NEXT;
    case PINSRW_P: {
      const value = readRm(cpu, rec, 1);
      if (faulted(cpu)) return ST_FAULT;
      const shift: u64 = (load<u8>(rec, REC_IMM) & 3) * 16;
      mmxEnter(cpu);
      setMmx(cpu, reg, (mmxOf(cpu, reg) & ~((0xffff as u64) << shift)) | (value << shift));
      return ST_NEXT;
    }
    case PEXTRW_P: {
      const shift: u64 = (load<u8>(rec, REC_IMM) & 3) * 16;
      mmxEnter(cpu);
      store<u64>(cpu + reg, (mmxOf(cpu, rm) >> shift) & 0xffff, GPR);
      return ST_NEXT;
    }
    case MASKMOVQ: {
      const status = storeMasked(cpu, rec, cpu + ((reg as usize) << 4) + FPR, signs(mmxOf(cpu, rm)));
      if (status == ST_NEXT) mmxEnter(cpu);
      return status;
    }
    case PSHUFW: {
      const from = sourceMmx<u64>(cpu, rec);
      if (!from) return ST_FAULT;
      const value = shuffleWords(load<u64>(from), load<u8>(rec, REC_IMM));
      mmxEnter(cpu);
      setMmx(cpu, reg, value);
      return ST_NEXT;
    }
    default:
      store<u32>(cpu, 0, FPU_TOP);
      store<u32>(cpu, TAGS_EMPTY, FPU_TAG);
      return ST_NEXT;
  }
}
