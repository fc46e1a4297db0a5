/**
 * MMX, SSE and SSE2 (Intel SDM vol. 2; vol. 1, chapters 9–11): the entry, and the operations that
 * kernels and compiled code execute most. Each case checks and reads memory before it changes state.
 */
import { GPR, MXCSR, REC_B, REC_R, ST_FAULT, ST_NEXT, TLB_SET, XMM } from "../layout";
import { faulted } from "./fault";
import { execFxState } from "./fxsave";
import { execMmx } from "./mmx";
import { readPtr, storeTo } from "./mmu";
import { addressOf, readRm, sizeOf, writeRm } from "./operand";
import {
  ADDPS, ADDSD, COMISD, COMISS, CVTSI2SD, CVTTSD2SI, DIVSD, FXSAVE, MOV_XX, MOVA_MX, MOVA_XM, MOVD_EX, MOVD_XE,
  MOVH_MX, MOVH_XM, MOVHLPS, MOVL_XM, MOVLHPS, MOVQ_MX, MOVQ_XM, MOVQ_XX, MOVSD_XX, MOVSS_MX, MOVSS_XM, MOVSS_XX,
  MOVU_MX, MOVU_XM, MULSD, PADDD_X, PAND_X, PCMPEQB_X, PMOVMSKB_X, POR_X, PSLLQ_XI, PSRLW_XI, PUNPCKLBW_P,
  PUNPCKLBW_X, PXOR_X, RCPSS, SUBSD, UCOMISD, UCOMISS,
} from "./ops";
import { convertFromInteger64, convertToInteger64, execConvert } from "./sse-convert";
import { execCompareFlags, execFloat, FAST_MXCSR, FAST_MXCSR_MASK, ordinary64, safe64 } from "./sse-float";
import { execPackedXmm, execShiftXmm } from "./sse-integer";
import { execMove } from "./sse-move";
import { alignedMemory, misaligned, source16, sourceLow, sseAvailable, store16, xmmReg } from "./sse-operand";

/** Whether an operation on two doubles can be left to the host's arithmetic, if the result is safe. */
// @ts-ignore: decorator
@inline
function fast64(cpu: usize, a: u64, b: u64): bool {
  return (load<u32>(cpu, MXCSR) & FAST_MXCSR_MASK) == FAST_MXCSR && ordinary64(a) && ordinary64(b);
}

/** Executes an operation of the unit `sse`. */
export function execSse(cpu: usize, rec: usize, op: u32): u32 {
  if (op >= PUNPCKLBW_P) return op >= FXSAVE ? execFxState(cpu, rec, op) : execMmx(cpu, rec, op);
  if (!sseAvailable(cpu)) return ST_FAULT;
  const reg = xmmReg(cpu, rec);
  switch (op) {
    case MOV_XX:
      store<v128>(reg, load<v128>(cpu + load<u8>(rec, REC_B), XMM), XMM);
      return ST_NEXT;
    case MOVA_XM: {
      const from = alignedMemory(cpu, rec);
      if (!from) return ST_FAULT;
      store<v128>(reg, load<v128>(from), XMM);
      return ST_NEXT;
    }
    case MOVU_XM: {
      const from = readPtr<v128>(cpu, load<u32>(cpu, TLB_SET), addressOf(cpu, rec));
      if (!from) return ST_FAULT;
      store<v128>(reg, load<v128>(from), XMM);
      return ST_NEXT;
    }
    case MOVA_MX: {
      const va = addressOf(cpu, rec);
      if (va & 15) {
        misaligned(cpu);
        return ST_FAULT;
      }
      return store16(cpu, va, reg + XMM) ? ST_NEXT : ST_FAULT;
    }
    case MOVU_MX:
      return store16(cpu, addressOf(cpu, rec), reg + XMM) ? ST_NEXT : ST_FAULT;
    case MOVQ_XX:
      store<v128>(reg, v128.load64_zero(cpu + load<u8>(rec, REC_B), XMM), XMM);
      return ST_NEXT;
    case MOVQ_XM: {
      const from = readPtr<u64>(cpu, load<u32>(cpu, TLB_SET), addressOf(cpu, rec));
      if (!from) return ST_FAULT;
      store<v128>(reg, v128.load64_zero(from), XMM);
      return ST_NEXT;
    }
    case MOVQ_MX:
      return storeTo<u64>(cpu, load<u32>(cpu, TLB_SET), addressOf(cpu, rec), load<u64>(reg, XMM)) ? ST_NEXT : ST_FAULT;
    case MOVSD_XX:
      store<u64>(reg, load<u64>(cpu + load<u8>(rec, REC_B), XMM), XMM);
      return ST_NEXT;
    case MOVSS_XX:
      store<u32>(reg, load<u32>(cpu + load<u8>(rec, REC_B), XMM), XMM);
      return ST_NEXT;
    case MOVSS_XM: {
      const from = readPtr<u32>(cpu, load<u32>(cpu, TLB_SET), addressOf(cpu, rec));
      if (!from) return ST_FAULT;
      store<v128>(reg, v128.load32_zero(from), XMM);
      return ST_NEXT;
    }
    case MOVSS_MX:
      return storeTo<u32>(cpu, load<u32>(cpu, TLB_SET), addressOf(cpu, rec), load<u32>(reg, XMM)) ? ST_NEXT : ST_FAULT;
    case MOVL_XM: {
      const from = readPtr<u64>(cpu, load<u32>(cpu, TLB_SET), addressOf(cpu, rec));
      if (!from) return ST_FAULT;
      store<u64>(reg, load<u64>(from), XMM);
      return ST_NEXT;
    }
    case MOVH_XM: {
      const from = readPtr<u64>(cpu, load<u32>(cpu, TLB_SET), addressOf(cpu, rec));
      if (!from) return ST_FAULT;
      store<u64>(reg, load<u64>(from), XMM + 8);
      return ST_NEXT;
    }
    case MOVH_MX:
      return storeTo<u64>(cpu, load<u32>(cpu, TLB_SET), addressOf(cpu, rec), load<u64>(reg, XMM + 8))
        ? ST_NEXT
        : ST_FAULT;
    case MOVHLPS:
      store<u64>(reg, load<u64>(cpu + load<u8>(rec, REC_B), XMM + 8), XMM);
      return ST_NEXT;
    case MOVLHPS:
      store<u64>(reg, load<u64>(cpu + load<u8>(rec, REC_B), XMM), XMM + 8);
      return ST_NEXT;
    case MOVD_XE: {
      const value = readRm(cpu, rec, sizeOf(rec));
      if (faulted(cpu)) return ST_FAULT;
      store<u64>(reg, value, XMM);
      store<u64>(reg, 0, XMM + 8);
      return ST_NEXT;
    }
    case MOVD_EX:
      return writeRm(cpu, rec, sizeOf(rec), load<u64>(reg, XMM)) ? ST_NEXT : ST_FAULT;
    case PMOVMSKB_X:
      store<u64>(
        cpu + load<u8>(rec, REC_R),
        i8x16.bitmask(load<v128>(cpu + load<u8>(rec, REC_B), XMM)) as u32 as u64,
        GPR,
      );
      return ST_NEXT;
    case PXOR_X: {
      const from = source16(cpu, rec);
      if (!from) return ST_FAULT;
      store<v128>(reg, v128.xor(load<v128>(reg, XMM), load<v128>(from)), XMM);
      return ST_NEXT;
    }
    case POR_X: {
      const from = source16(cpu, rec);
      if (!from) return ST_FAULT;
      store<v128>(reg, v128.or(load<v128>(reg, XMM), load<v128>(from)), XMM);
      return ST_NEXT;
    }
    case PAND_X: {
      const from = source16(cpu, rec);
      if (!from) return ST_FAULT;
      store<v128>(reg, v128.and(load<v128>(reg, XMM), load<v128>(from)), XMM);
      return ST_NEXT;
    }
    case PCMPEQB_X: {
      const from = source16(cpu, rec);
      if (!from) return ST_FAULT;
      store<v128>(reg, i8x16.eq(load<v128>(reg, XMM), load<v128>(from)), XMM);
      return ST_NEXT;
    }
    case ADDSD: {
      const from = sourceLow<u64>(cpu, rec);
      if (!from) return ST_FAULT;
      if (fast64(cpu, load<u64>(reg, XMM), load<u64>(from))) {
        const result = load<f64>(reg, XMM) + load<f64>(from);
        if (safe64(reinterpret<u64>(result))) {
          store<f64>(reg, result, XMM);
          return ST_NEXT;
        }
      }
      return execFloat(cpu, rec, op);
    }
    case SUBSD: {
      const from = sourceLow<u64>(cpu, rec);
      if (!from) return ST_FAULT;
      if (fast64(cpu, load<u64>(reg, XMM), load<u64>(from))) {
        const result = load<f64>(reg, XMM) - load<f64>(from);
        if (safe64(reinterpret<u64>(result))) {
          store<f64>(reg, result, XMM);
          return ST_NEXT;
        }
      }
      return execFloat(cpu, rec, op);
    }
    case MULSD: {
      const from = sourceLow<u64>(cpu, rec);
      if (!from) return ST_FAULT;
      if (fast64(cpu, load<u64>(reg, XMM), load<u64>(from))) {
        const result = load<f64>(reg, XMM) * load<f64>(from);
        if (safe64(reinterpret<u64>(result))) {
          store<f64>(reg, result, XMM);
          return ST_NEXT;
        }
      }
      return execFloat(cpu, rec, op);
    }
    case DIVSD: {
      const from = sourceLow<u64>(cpu, rec);
      if (!from) return ST_FAULT;
      if (fast64(cpu, load<u64>(reg, XMM), load<u64>(from))) {
        const result = load<f64>(reg, XMM) / load<f64>(from);
        if (safe64(reinterpret<u64>(result))) {
          store<f64>(reg, result, XMM);
          return ST_NEXT;
        }
      }
      return execFloat(cpu, rec, op);
    }
    case CVTSI2SD: return convertFromInteger64(cpu, rec);
    case CVTTSD2SI: return convertToInteger64(cpu, rec);
    case UCOMISD: case UCOMISS: case COMISD: case COMISS: return execCompareFlags(cpu, rec, op);
    default:
      return execOther(cpu, rec, op);
  }
}

// @ts-ignore: decorator
@inline
function execOther(cpu: usize, rec: usize, op: u32): u32 {
  if (op >= PUNPCKLBW_X && op <= PADDD_X) return execPackedXmm(cpu, rec, op);
  if (op >= ADDPS && op <= RCPSS) return execFloat(cpu, rec, op);
  if (op > RCPSS) return execConvert(cpu, rec, op);
  if (op >= PSRLW_XI && op <= PSLLQ_XI) return execShiftXmm(cpu, rec, op);
  return execMove(cpu, rec, op);
}
