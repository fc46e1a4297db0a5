/**
 * x87 control instructions and the images that FNSTENV and FNSAVE write (Intel SDM vol. 1, 8.1.10 and
 * figures 8-9 to 8-12): 14 bytes with 16-bit, 28 with 32-bit operand size, laid out differently in
 * real-address mode.
 */
import {
  FPR, FPU_CW, FPU_FCS, FPU_FDP, FPU_FDS, FPU_FIP, FPU_FOP, FPU_SW, FPU_TAG, FPU_TOP, MODE, MODE_REAL, TLB_SET,
} from "../layout";
import { faulted } from "./fault";
import { probeWrite } from "./mmu";
import { readMem, writeMem } from "./operand";
import { KIND_FINITE, KIND_ZERO, uDenormal, uKind, unpack80 } from "./softfloat-core";
import { after } from "./x87-memory";
import { fpuSummary } from "./x87-state";

const CONTROL_DEFAULT: u32 = 0x37f;
/** Bit 6 always reads as 1; bits 7 and 13–15 do not exist. */
const CONTROL_BITS: u32 = 0x1f3f;
const CONTROL_ONES: u32 = 0x40;
const TOP_SHIFT: u32 = 11;
const STATUS_BITS: u32 = 0xffff & ~(7 << TOP_SHIFT);

export function initialize(cpu: usize): void {
  store<u32>(cpu, CONTROL_DEFAULT, FPU_CW);
  store<u32>(cpu, 0, FPU_SW);
  store<u32>(cpu, 0, FPU_TOP);
  store<u32>(cpu, 0xffff, FPU_TAG);
  store<u64>(cpu, 0, FPU_FIP);
  store<u64>(cpu, 0, FPU_FDP);
  store<u32>(cpu, 0, FPU_FOP);
  store<u32>(cpu, 0, FPU_FCS);
  store<u32>(cpu, 0, FPU_FDS);
}

/** FNCLEX. */
export function clearExceptions(cpu: usize): void {
  store<u32>(cpu, load<u32>(cpu, FPU_SW) & ~0x80ff, FPU_SW);
}

export function setControl(cpu: usize, value: u32): void {
  store<u32>(cpu, (value & CONTROL_BITS) | CONTROL_ONES, FPU_CW);
  fpuSummary(cpu);
}

/** The status word with TOP, as FNSTSW gives it. */
export function statusWord(cpu: usize): u32 {
  return load<u32>(cpu, FPU_SW) | (load<u32>(cpu, FPU_TOP) << TOP_SHIFT);
}

/** Sets status word and TOP; ES and B follow from flags and masks. */
export function setStatusWord(cpu: usize, value: u32): void {
  store<u32>(cpu, value & STATUS_BITS, FPU_SW);
  store<u32>(cpu, (value >> TOP_SHIFT) & 7, FPU_TOP);
  fpuSummary(cpu);
}

/** The tag word with all four values, made from the registers' contents. */
export function tagWord(cpu: usize): u32 {
  const tags = load<u32>(cpu, FPU_TAG);
  let word: u32 = 0;
  for (let i: u32 = 0; i < 8; i++) {
    let tag: u32 = (tags >> (i << 1)) & 3;
    if (tag != 3) {
      const at = cpu + FPR + (i << 4);
      unpack80(load<u16>(at, 8), load<u64>(at));
      tag = uKind == KIND_ZERO ? 1 : uKind == KIND_FINITE && !uDenormal ? 0 : 2;
    }
    word |= tag << (i << 1);
  }
  return word;
}

/** Takes from a tag word which registers are empty. */
export function setTagWord(cpu: usize, word: u32): void {
  const empty = word & (word >> 1) & 0x5555;
  store<u32>(cpu, empty | (empty << 1), FPU_TAG);
}

// @ts-ignore: decorator
@inline
export function environmentSize(wide: bool): u32 {
  return wide ? 28 : 14;
}

/** Writes the environment at `va`, where it has been probed. */
function putEnvironment(cpu: usize, va: u64, wide: bool): void {
  const ip = load<u64>(cpu, FPU_FIP) as u32;
  const dp = load<u64>(cpu, FPU_FDP) as u32;
  const opcode = load<u32>(cpu, FPU_FOP) & 0x7ff;
  const real = (load<u32>(cpu, MODE) & MODE_REAL) != 0;
  const step: u32 = wide ? 4 : 2;
  /* The upper halves that the 32-bit image does not use are all ones. */
  const fill: u32 = wide ? 0xffff0000 : 0;
  putField(cpu, va, 0, step, load<u32>(cpu, FPU_CW) | fill);
  putField(cpu, va, 1, step, statusWord(cpu) | fill);
  putField(cpu, va, 2, step, tagWord(cpu) | fill);
  if (real) {
    const linearIp = ip + (load<u32>(cpu, FPU_FCS) << 4);
    const linearDp = dp + (load<u32>(cpu, FPU_FDS) << 4);
    putField(cpu, va, 3, step, wide ? (linearIp & 0xffff) | fill : linearIp);
    putField(cpu, va, 5, step, wide ? (linearDp & 0xffff) | fill : linearDp);
    if (wide) {
      putField(cpu, va, 4, step, ((linearIp >> 16) << 12) | opcode);
      putField(cpu, va, 6, step, (linearDp >> 16) << 12);
    } else {
      putField(cpu, va, 4, step, (((linearIp >> 16) & 15) << 12) | opcode);
      putField(cpu, va, 6, step, ((linearDp >> 16) & 15) << 12);
    }
    return;
  }
  putField(cpu, va, 3, step, ip);
  putField(cpu, va, 4, step, load<u32>(cpu, FPU_FCS) | (wide ? opcode << 16 : 0));
  putField(cpu, va, 5, step, dp);
  putField(cpu, va, 6, step, load<u32>(cpu, FPU_FDS) | fill);
}

function putField(cpu: usize, va: u64, index: u32, step: u32, value: u32): void {
  writeMem(cpu, after(cpu, va, index * step), step == 4 ? 2 : 1, value as u64);
}

function field(cpu: usize, va: u64, index: u32, step: u32): u32 {
  return readMem(cpu, after(cpu, va, index * step), step == 4 ? 2 : 1) as u32;
}

/** Loads the environment from `va`, where it has been probed. */
function takeEnvironment(cpu: usize, va: u64, wide: bool): void {
  const step: u32 = wide ? 4 : 2;
  const control = field(cpu, va, 0, step);
  const status = field(cpu, va, 1, step);
  const tags = field(cpu, va, 2, step);
  const first = field(cpu, va, 3, step);
  const second = field(cpu, va, 4, step);
  const third = field(cpu, va, 5, step);
  const fourth = field(cpu, va, 6, step);
  if (load<u32>(cpu, MODE) & MODE_REAL) {
    const high = second >> 12;
    store<u64>(cpu, ((first & 0xffff) | (high << 16)) as u64, FPU_FIP);
    store<u64>(cpu, ((third & 0xffff) | ((fourth >> 12) << 16)) as u64, FPU_FDP);
    store<u32>(cpu, second & 0x7ff, FPU_FOP);
    store<u32>(cpu, 0, FPU_FCS);
    store<u32>(cpu, 0, FPU_FDS);
  } else {
    store<u64>(cpu, first as u64, FPU_FIP);
    store<u64>(cpu, third as u64, FPU_FDP);
    store<u32>(cpu, wide ? (second >> 16) & 0x7ff : 0, FPU_FOP);
    store<u32>(cpu, second & 0xffff, FPU_FCS);
    store<u32>(cpu, fourth & 0xffff, FPU_FDS);
  }
  store<u32>(cpu, (control & CONTROL_BITS) | CONTROL_ONES, FPU_CW);
  setStatusWord(cpu, status);
  setTagWord(cpu, tags & 0xffff);
}

/** FNSTENV: then all exceptions are masked. False after a fault. */
export function storeEnvironment(cpu: usize, va: u64, wide: bool): bool {
  if (!probeWrite(cpu, load<u32>(cpu, TLB_SET), va, environmentSize(wide))) return false;
  putEnvironment(cpu, va, wide);
  setControl(cpu, load<u32>(cpu, FPU_CW) | 0x3f);
  return true;
}

/** Whether the `size` bytes at `va` can be read. */
function probeRead(cpu: usize, va: u64, size: u32): bool {
  readMem(cpu, va, 0);
  if (faulted(cpu)) return false;
  readMem(cpu, after(cpu, va, size - 1), 0);
  return !faulted(cpu);
}

/** FLDENV. */
export function loadEnvironment(cpu: usize, va: u64, wide: bool): bool {
  if (!probeRead(cpu, va, environmentSize(wide))) return false;
  takeEnvironment(cpu, va, wide);
  return true;
}

/** FNSAVE: environment and registers from ST(0) on, then FNINIT. */
export function save(cpu: usize, va: u64, wide: bool): bool {
  const size = environmentSize(wide);
  if (!probeWrite(cpu, load<u32>(cpu, TLB_SET), va, size + 80)) return false;
  putEnvironment(cpu, va, wide);
  const top = load<u32>(cpu, FPU_TOP);
  for (let i: u32 = 0; i < 8; i++) {
    const at = cpu + FPR + (((top + i) & 7) << 4);
    writeMem(cpu, after(cpu, va, size + i * 10), 3, load<u64>(at));
    writeMem(cpu, after(cpu, va, size + i * 10 + 8), 1, load<u16>(at, 8) as u64);
  }
  initialize(cpu);
  return true;
}

/** FRSTOR. */
export function restore(cpu: usize, va: u64, wide: bool): bool {
  const size = environmentSize(wide);
  if (!probeRead(cpu, va, size + 80)) return false;
  takeEnvironment(cpu, va, wide);
  const top = load<u32>(cpu, FPU_TOP);
  for (let i: u32 = 0; i < 8; i++) {
    const at = cpu + FPR + (((top + i) & 7) << 4);
    store<u64>(at, readMem(cpu, after(cpu, va, size + i * 10), 3));
    store<u16>(at, readMem(cpu, after(cpu, va, size + i * 10 + 8), 1) as u16, 8);
  }
  return true;
}
