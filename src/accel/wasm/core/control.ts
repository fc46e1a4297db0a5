/**
 * Control registers (Intel SDM vol. 3, 2.5; mode changes 9.8 and 9.9; TLB invalidation 4.10.4) and the
 * processor's state after reset (9.1.1).
 */
import {
  CR0, CR2, CR3, CR4, DR6, DR7, EFER, EXC_VECTOR, FPU_CW, FPU_TAG, GDT_BASE, GDT_LIMIT, GPR, GUEST_BASE, IDT_LIMIT,
  MSR_KVM_SYSTEM_TIME, MSR_MISC_ENABLE, MSR_PAT, MSR_STAR, MXCSR, NEXT_RIP, RAM_PAGES, RDX, REC_B, REC_R, RIP, SEG_CS,
  SEG_ES, SEG_GS, SEG_LDTR, SEG_TR, SHADOW, SIMD_SCRATCH, SLOT_4G, TSC_OFFSET, XMM,
} from "../layout";
import { cpuidRow } from "./cpuid";
import { setHidden } from "./descriptor";
import { raise, VEC_UD } from "./fault";
import { hostReadCr8, hostWriteCr8 } from "./host";
import { flushTlb } from "./mmu";
import { readReg, writeReg } from "./operand";
import {
  ATTR_L, attrOf, CR0_ET, CR0_PE, CR0_PG, CR4_PAE, CR4_PGE, CR4_VME, EFER_LMA, EFER_LME, isCode64, isLong, MTRR_FIXED,
  MTRR_FIXED_COUNT, privileged, protection, STEP_STATE, updateMode, writeFlags,
} from "./system-state";
import { charge, COST_DEVICE } from "./work";

const CR0_NW: u64 = 0x20000000;
const CR0_CD: u64 = 0x40000000;
const CR0_WP: u64 = 0x10000;
const CR0_AM: u64 = 0x40000;
/** PE MP EM TS ET NE WP AM NW CD PG */
const CR0_DEFINED: u64 = 0xe005003f;
const CR4_PVI: u64 = 0x2;
const CR4_PSE: u64 = 0x10;
/** TSD DE PSE PAE MCE PGE PCE OSFXSR OSXMMEXCPT */
const CR4_DEFINED: u64 = 0x7fc;
/** MAXPHYADDR as in walk.ts. */
const PHYSICAL_RESERVED: u64 = 0xffffff0000000000;
const CPUID_1_EDX_VME: u32 = 2;

/** MOV r, CR. False after a fault. */
export function readControl(cpu: usize, rec: usize): bool {
  const number: u32 = load<u8>(rec, REC_R);
  if (number == 1 || (number > 4 && number != 8)) {
    raise(cpu, VEC_UD);
    return false;
  }
  if (!privileged(cpu)) return false;
  let value: u64;
  switch (number) {
    case 0: value = load<u64>(cpu, CR0); break;
    case 2: value = load<u64>(cpu, CR2); break;
    case 3: value = load<u64>(cpu, CR3); break;
    case 4: value = load<u64>(cpu, CR4); break;
    default:
      charge(cpu, COST_DEVICE);
      value = hostReadCr8();
      break;
  }
  writeReg(cpu, load<u8>(rec, REC_B), isCode64(cpu) ? 3 : 2, value);
  return true;
}

/** MOV CR, r. False after a fault. */
export function writeControl(cpu: usize, rec: usize): bool {
  const number: u32 = load<u8>(rec, REC_R);
  if (number == 1 || (number > 4 && number != 8)) {
    raise(cpu, VEC_UD);
    return false;
  }
  if (!privileged(cpu)) return false;
  const value = readReg(cpu, load<u8>(rec, REC_B), isCode64(cpu) ? 3 : 2);
  switch (number) {
    case 0: return writeCr0(cpu, value);
    case 2:
      store<u64>(cpu, value, CR2);
      return true;
    case 3: return writeCr3(cpu, value);
    case 4: return writeCr4(cpu, value);
    default:
      if (value > 15) return protection(cpu);
      charge(cpu, COST_DEVICE);
      hostWriteCr8(value as u32);
      return true;
  }
}

/** Whether the four page-directory pointers at `cr3` are valid, when PAE paging uses them (SDM vol. 3, 4.4.1). */
export function checkPointers(cpu: usize, cr3: u64): bool {
  const table = cr3 & 0xffffffe0;
  for (let index: u64 = 0; index < 4; index++) {
    const at = table + index * 8;
    if (at >> 12 >= (load<u32>(cpu, RAM_PAGES) as u64)) continue;
    const entry = load<u64>(GUEST_BASE + (at as usize));
    if (entry & 1 && entry & (PHYSICAL_RESERVED | 0x1e6)) return protection(cpu);
  }
  return true;
}

export function writeCr0(cpu: usize, value: u64): bool {
  if (value >> 32) return protection(cpu);
  value = (value & CR0_DEFINED) | CR0_ET;
  if (value & CR0_PG && !(value & CR0_PE)) return protection(cpu);
  if (value & CR0_NW && !(value & CR0_CD)) return protection(cpu);
  const old = load<u64>(cpu, CR0);
  const changed = value ^ old;
  let efer = load<u64>(cpu, EFER);
  if (changed & CR0_PG) {
    const pae = (load<u64>(cpu, CR4) & CR4_PAE) != 0;
    if (value & CR0_PG) {
      if (efer & EFER_LME) {
        // A 16-bit TSS or a 64-bit code segment forbid the change (SDM vol. 3, 9.8.5).
        if (!pae || attrOf(cpu, SEG_CS) & ATTR_L || !(attrOf(cpu, SEG_TR) & 8)) return protection(cpu);
        efer |= EFER_LMA;
      } else if (pae && !checkPointers(cpu, load<u64>(cpu, CR3))) {
        return false;
      }
    } else {
      if (isCode64(cpu)) return protection(cpu);
      efer &= ~EFER_LMA;
    }
  }
  store<u64>(cpu, efer, EFER);
  store<u64>(cpu, value, CR0);
  if (changed & (CR0_PG | CR0_PE | CR0_WP | CR0_AM)) flushTlb(cpu, false);
  updateMode(cpu);
  return true;
}

function writeCr3(cpu: usize, value: u64): bool {
  if (isLong(cpu)) {
    if (value & PHYSICAL_RESERVED) return protection(cpu);
  } else {
    value &= 0xffffffff;
    const pae = load<u64>(cpu, CR0) & CR0_PG && load<u64>(cpu, CR4) & CR4_PAE;
    if (pae && !checkPointers(cpu, value)) return false;
  }
  store<u64>(cpu, value, CR3);
  flushTlb(cpu, true);
  return true;
}

function writeCr4(cpu: usize, value: u64): bool {
  const row = cpuidRow(cpu, 1, 0);
  const virtual = row != 0 && (load<u32>(row, 24) & CPUID_1_EDX_VME) != 0;
  if (value & ~(CR4_DEFINED | (virtual ? CR4_VME | CR4_PVI : 0))) return protection(cpu);
  const changed = value ^ load<u64>(cpu, CR4);
  if (changed & CR4_PAE && isLong(cpu)) return protection(cpu);
  if (changed & (CR4_PAE | CR4_PSE | CR4_PGE) && value & CR4_PAE && load<u64>(cpu, CR0) & CR0_PG && !isLong(cpu)) {
    if (!checkPointers(cpu, load<u64>(cpu, CR3))) return false;
  }
  store<u64>(cpu, value, CR4);
  if (changed & (CR4_PAE | CR4_PSE | CR4_PGE)) flushTlb(cpu, false);
  return true;
}

/** Puts the processor into the state after a hardware reset. What the host set up (RAM, CPUID, number) stays. */
export function resetVcpu(cpu: usize): void {
  memory.fill(cpu + GPR, 0, SLOT_4G - GPR);
  store<u64>(cpu, 1 << 32, SLOT_4G);
  const row = cpuidRow(cpu, 1, 0);
  store<u64>(cpu, row ? load<u32>(row, 12) : 0, GPR + RDX);
  store<u64>(cpu, 0xfff0, RIP);
  store<u64>(cpu, 0xfff0, NEXT_RIP);
  for (let slot = SEG_ES; slot <= SEG_GS; slot++) setHidden(cpu, slot, 0, 0, 0xffff, 0x93);
  setHidden(cpu, SEG_CS, 0xf000, 0xffff0000, 0xffff, 0x9b);
  setHidden(cpu, SEG_LDTR, 0, 0, 0xffff, 0x82);
  setHidden(cpu, SEG_TR, 0, 0, 0xffff, 0x8b);
  memory.fill(cpu + GDT_BASE, 0, GDT_LIMIT - GDT_BASE);
  store<u32>(cpu, 0xffff, GDT_LIMIT);
  store<u32>(cpu, 0xffff, IDT_LIMIT);
  memory.fill(cpu + CR0, 0, DR6 - CR0);
  store<u64>(cpu, 0x60000010, CR0);
  store<u64>(cpu, 0xffff0ff0, DR6);
  store<u64>(cpu, 0x400, DR7);
  store<u32>(cpu, 0, SHADOW);
  store<u32>(cpu, 0, EXC_VECTOR);
  store<u64>(cpu, 0, TSC_OFFSET);
  memory.fill(cpu + MSR_STAR, 0, MSR_KVM_SYSTEM_TIME + 8 - MSR_STAR);
  store<u64>(cpu, 0x0007040600070406, MSR_PAT);
  store<u64>(cpu, 1, MSR_MISC_ENABLE);
  memory.fill(cpu + STEP_STATE, 0, MTRR_FIXED + 8 * MTRR_FIXED_COUNT - STEP_STATE);
  memory.fill(cpu + XMM, 0, SIMD_SCRATCH - XMM);
  store<u32>(cpu, 0x40, FPU_CW);
  store<u32>(cpu, 0x5555, FPU_TAG);
  store<u32>(cpu, 0x1f80, MXCSR);
  writeFlags(cpu, 2);
  updateMode(cpu);
  flushTlb(cpu, false);
}
