/**
 * FXSAVE, FXRSTOR, LDMXCSR, STMXCSR, CLFLUSH and the fences (Intel SDM vol. 1, 10.5 "FXSAVE and FXRSTOR
 * instructions"; vol. 2, tables 3-43 to 3-46 for the 512-byte image).
 */
import {
  CR4, FPR, FPU_CW, FPU_FCS, FPU_FDP, FPU_FDS, FPU_FIP, FPU_FOP, FPU_SW, FPU_TAG, FPU_TOP, MODE, MODE_CODE64,
  MODE_CODE_MASK, MXCSR, SIMD_SCRATCH, ST_FAULT, ST_NEXT, TLB_SET, XMM,
} from "../layout";
import { faulted, raiseError, VEC_GP } from "./fault";
import { probeWrite, readPtr, storeTo } from "./mmu";
import { addressOf, readMem, sizeOf } from "./operand";
import { barrier } from "./order";
import { CLFLUSH, FXRSTOR, FXSAVE, LDMXCSR, STMXCSR } from "./ops";
import { CR4_OSFXSR, misaligned, sseAvailable, store16 } from "./sse-operand";
import { fpuAvailable, fpuSummary } from "./x87-state";

/** Bits of MXCSR that exist: DAZ among them (SDM vol. 1, 11.6.6). */
const MXCSR_MASK: u32 = 0xffff;
const IMAGE_BYTES: u32 = 512;
const IMAGE_MXCSR: u32 = 24;
const IMAGE_FPR: u32 = 32;
const IMAGE_XMM: u32 = 160;
const TOP_SHIFT: u32 = 11;
const TOP_MASK: u32 = 0x3800;
const REX_W_SIZE: u32 = 3;

/** Tags as x87-state.ts keeps them. */
const TAG_VALID: u32 = 0;
const TAG_EMPTY: u32 = 3;

/** Operations from FXSAVE on. */
export function execFxState(cpu: usize, rec: usize, op: u32): u32 {
  switch (op) {
    case FXSAVE: return save(cpu, rec);
    case FXRSTOR: return restore(cpu, rec);
    case LDMXCSR: {
      if (!sseAvailable(cpu)) return ST_FAULT;
      const value = readMem(cpu, addressOf(cpu, rec), 2) as u32;
      if (faulted(cpu)) return ST_FAULT;
      if (!legalMxcsr(cpu, value)) return ST_FAULT;
      store<u32>(cpu, value, MXCSR);
      return ST_NEXT;
    }
    case STMXCSR:
      if (!sseAvailable(cpu)) return ST_FAULT;
      return storeTo<u32>(cpu, load<u32>(cpu, TLB_SET), addressOf(cpu, rec), load<u32>(cpu, MXCSR))
        ? ST_NEXT
        : ST_FAULT;
    case CLFLUSH:
      // It faults as a load of one byte does; there is no cache to flush.
      readMem(cpu, addressOf(cpu, rec), 0);
      return faulted(cpu) ? ST_FAULT : ST_NEXT;
    default:
      // The fences, LFENCE and SFENCE too.
      barrier(cpu);
      return ST_NEXT;
  }
}

function legalMxcsr(cpu: usize, value: u32): bool {
  if (!(value & ~MXCSR_MASK)) return true;
  raiseError(cpu, VEC_GP, 0);
  return false;
}

/** XMM registers that the image holds: eight outside 64-bit code. */
// @ts-ignore: decorator
@inline
function registersOf(cpu: usize): usize {
  return (load<u32>(cpu, MODE) & MODE_CODE_MASK) == MODE_CODE64 ? 16 : 8;
}

/** Abridged tag byte: a bit for each register that is not empty, in physical order. */
function abridgedTags(tags: u32): u32 {
  let abridged: u32 = 0;
  for (let i: u32 = 0; i < 8; i++) {
    if (((tags >> (i * 2)) & 3) != TAG_EMPTY) abridged |= 1 << i;
  }
  return abridged;
}

function save(cpu: usize, rec: usize): u32 {
  if (!fpuAvailable(cpu)) return ST_FAULT;
  const va = addressOf(cpu, rec);
  if (va & 15) {
    misaligned(cpu);
    return ST_FAULT;
  }
  if (!probeWrite(cpu, load<u32>(cpu, TLB_SET), va, IMAGE_BYTES)) return ST_FAULT;
  const wide = sizeOf(rec) == REX_W_SIZE;
  const top = load<u32>(cpu, FPU_TOP);
  const scratch = cpu + SIMD_SCRATCH;
  store<u16>(scratch, load<u16>(cpu, FPU_CW));
  store<u16>(scratch, ((load<u32>(cpu, FPU_SW) & ~TOP_MASK) | (top << TOP_SHIFT)) as u16, 2);
  store<u16>(scratch, abridgedTags(load<u32>(cpu, FPU_TAG)) as u16, 4);
  store<u16>(scratch, load<u16>(cpu, FPU_FOP), 6);
  store<u64>(scratch, pointer(wide, load<u64>(cpu, FPU_FIP), load<u16>(cpu, FPU_FCS)), 8);
  store16(cpu, va, scratch);
  store<u64>(scratch, pointer(wide, load<u64>(cpu, FPU_FDP), load<u16>(cpu, FPU_FDS)));
  store<u32>(scratch, load<u32>(cpu, MXCSR), 8);
  store<u32>(scratch, MXCSR_MASK, 12);
  store16(cpu, va + 16, scratch);
  for (let i: u32 = 0; i < 8; i++) {
    const register = cpu + (((top + i) & 7) << 4);
    store<u64>(scratch, load<u64>(register, FPR));
    store<u64>(scratch, load<u16>(register, FPR + 8) as u64, 8);
    store16(cpu, va + IMAGE_FPR + i * 16, scratch);
  }
  if (!(load<u32>(cpu, CR4) & CR4_OSFXSR)) return ST_NEXT;
  for (let i: usize = 0, count = registersOf(cpu); i < count; i++) {
    store16(cpu, va + IMAGE_XMM + i * 16, cpu + i * 16 + XMM);
  }
  return ST_NEXT;
}

/** An instruction or data pointer as the image holds it: 64 bits, or 32 and the selector. */
// @ts-ignore: decorator
@inline
function pointer(wide: bool, offset: u64, selector: u16): u64 {
  return wide ? offset : (offset & 0xffffffff) | ((selector as u64) << 32);
}

function restore(cpu: usize, rec: usize): u32 {
  if (!fpuAvailable(cpu)) return ST_FAULT;
  const va = addressOf(cpu, rec);
  if (va & 15) {
    misaligned(cpu);
    return ST_FAULT;
  }
  const set = load<u32>(cpu, TLB_SET);
  // Both ends first: 512 bytes lie in at most two pages, so no read after these two can fault.
  if (!readPtr<u8>(cpu, set, va + (IMAGE_BYTES - 1))) return ST_FAULT;
  let from = readPtr<u32>(cpu, set, va + IMAGE_MXCSR);
  if (!from) return ST_FAULT;
  const mxcsr = load<u32>(from);
  const simd = (load<u32>(cpu, CR4) & CR4_OSFXSR) != 0;
  if (simd && !legalMxcsr(cpu, mxcsr)) return ST_FAULT;
  const wide = sizeOf(rec) == REX_W_SIZE;
  from = readPtr<v128>(cpu, set, va);
  if (!from) return ST_FAULT;
  const status: u32 = load<u16>(from, 2);
  const abridged: u32 = load<u8>(from, 4);
  const top = (status & TOP_MASK) >> TOP_SHIFT;
  store<u32>(cpu, load<u16>(from), FPU_CW);
  store<u32>(cpu, status & ~TOP_MASK, FPU_SW);
  fpuSummary(cpu);
  store<u32>(cpu, top, FPU_TOP);
  store<u32>(cpu, load<u16>(from, 6) & 0x7ff, FPU_FOP);
  store<u64>(cpu, wide ? load<u64>(from, 8) : (load<u32>(from, 8) as u64), FPU_FIP);
  store<u32>(cpu, wide ? 0 : (load<u16>(from, 12) as u32), FPU_FCS);
  from = readPtr<v128>(cpu, set, va + 16);
  store<u64>(cpu, wide ? load<u64>(from) : (load<u32>(from) as u64), FPU_FDP);
  store<u32>(cpu, wide ? 0 : (load<u16>(from, 4) as u32), FPU_FDS);
  let tags: u32 = 0;
  for (let i: u32 = 0; i < 8; i++) {
    const number = (top + i) & 7;
    from = readPtr<v128>(cpu, set, va + IMAGE_FPR + i * 16);
    const significand = load<u64>(from);
    const exponent = load<u16>(from, 8);
    store<u64>(cpu + (number << 4), significand, FPR);
    store<u16>(cpu + (number << 4), exponent, FPR + 8);
    tags |= ((abridged >> number) & 1 ? TAG_VALID : TAG_EMPTY) << (number * 2);
  }
  store<u32>(cpu, tags, FPU_TAG);
  if (!simd) return ST_NEXT;
  store<u32>(cpu, mxcsr, MXCSR);
  for (let i: usize = 0, count = registersOf(cpu); i < count; i++) {
    from = readPtr<v128>(cpu, set, va + IMAGE_XMM + i * 16);
    store<v128>(cpu + i * 16, load<v128>(from), XMM);
  }
  return ST_NEXT;
}
