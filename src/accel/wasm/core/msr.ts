/**
 * Model-specific registers (Intel SDM vol. 4, table 2-2), the time-stamp counter (vol. 3, 17.17), the
 * MTRRs (vol. 3, 11.11), the PAT (11.12). What is not here is asked of the host side: the local APIC's.
 */
import {
  CR0, CR4, EFER, GPR, HOST_VALUE, MSR_CSTAR, MSR_KERNEL_GS_BASE, MSR_KVM_SYSTEM_TIME, MSR_KVM_WALL_CLOCK, MSR_LSTAR,
  MSR_MISC_ENABLE, MSR_MTRR_DEF_TYPE, MSR_PAT, MSR_SFMASK, MSR_STAR, MSR_SYSENTER_CS, MSR_SYSENTER_EIP,
  MSR_SYSENTER_ESP, MSR_TSC_AUX, RAX, RCX, RDX, SEG_BASE, SEG_FS, SEG_GS, TSC_OFFSET,
} from "../layout";
import { hostClock, hostReadMsr, hostWriteMsr } from "./host";
import { flushTlb } from "./mmu";
import { writeKvmSystemTime, writeKvmWallClock, updateKvmClock } from "./msr-kvm";
import {
  CR0_PE, CR0_PG, CR4_TSD, cplOf, EFER_LMA, EFER_LME, EFER_NXE, EFER_SCE, isCanonical, MSR_DEBUGCTL, MSR_MCG_STATUS,
  MTRR_FIXED, MTRR_VARIABLE, privileged, protection, updateMode,
} from "./system-state";
import { charge, COST_CLOCK, COST_MSR } from "./work";

const IA32_TIME_STAMP_COUNTER: u32 = 0x10;
const MSR_KVM_WALL_CLOCK_OLD: u32 = 0x11;
const MSR_KVM_SYSTEM_TIME_OLD: u32 = 0x12;
const IA32_PLATFORM_ID: u32 = 0x17;
const MSR_SMI_COUNT: u32 = 0x34;
const IA32_FEATURE_CONTROL: u32 = 0x3a;
const IA32_TSC_ADJUST: u32 = 0x3b;
const IA32_BIOS_UPDT_TRIG: u32 = 0x79;
const IA32_BIOS_SIGN_ID: u32 = 0x8b;
const MSR_PLATFORM_INFO: u32 = 0xce;
const IA32_MTRRCAP: u32 = 0xfe;
const IA32_SYSENTER_CS: u32 = 0x174;
const IA32_SYSENTER_ESP: u32 = 0x175;
const IA32_SYSENTER_EIP: u32 = 0x176;
const IA32_MCG_CAP: u32 = 0x179;
const IA32_MCG_STATUS: u32 = 0x17a;
const IA32_MISC_ENABLE: u32 = 0x1a0;
const IA32_DEBUGCTL: u32 = 0x1d9;
const IA32_MTRR_PHYSBASE0: u32 = 0x200;
const IA32_MTRR_PHYSMASK7: u32 = 0x20f;
const IA32_MTRR_FIX64K: u32 = 0x250;
const IA32_MTRR_FIX16K_80000: u32 = 0x258;
const IA32_MTRR_FIX16K_A0000: u32 = 0x259;
const IA32_MTRR_FIX4K_C0000: u32 = 0x268;
const IA32_MTRR_FIX4K_F8000: u32 = 0x26f;
const IA32_PAT: u32 = 0x277;
const IA32_MTRR_DEF_TYPE: u32 = 0x2ff;
const KVM_WALL_CLOCK_NEW: u32 = 0x4b564d00;
const KVM_SYSTEM_TIME_NEW: u32 = 0x4b564d01;
const IA32_EFER: u32 = 0xc0000080;
const IA32_STAR: u32 = 0xc0000081;
const IA32_LSTAR: u32 = 0xc0000082;
const IA32_CSTAR: u32 = 0xc0000083;
const IA32_FMASK: u32 = 0xc0000084;
const IA32_FS_BASE: u32 = 0xc0000100;
const IA32_GS_BASE: u32 = 0xc0000101;
const IA32_KERNEL_GS_BASE: u32 = 0xc0000102;
const IA32_TSC_AUX: u32 = 0xc0000103;

/** Eight variable ranges, fixed ranges, write-combining. */
const MTRR_CAP: u64 = 0x508;
/** Feature control: locked, with nothing enabled. */
const FEATURE_LOCKED: u64 = 1;
/** Maximum non-turbo ratio 10 × 100 MHz: the 1 GHz of the time-stamp counter. */
const PLATFORM_RATIO: u64 = 10 << 8;
const PHYSICAL_RESERVED: u64 = 0xffffff0000000000;
/** IA32_DEBUGCTL: LBR and BTF are accepted, and do nothing. */
const DEBUGCTL_ACCEPTED: u64 = 3;

/** The time-stamp counter: nanoseconds of guest time plus IA32_TSC_ADJUST. */
export function timeStamp(cpu: usize): u64 {
  charge(cpu, COST_CLOCK);
  return (hostClock() as u64) + load<u64>(cpu, TSC_OFFSET);
}

/** RDTSC, and RDTSCP before it loads ECX. */
export function readTimeStamp(cpu: usize): bool {
  if (load<u64>(cpu, CR4) & CR4_TSD && load<u64>(cpu, CR0) & CR0_PE && cplOf(cpu) > 0) return protection(cpu);
  setPair(cpu, timeStamp(cpu));
  return true;
}

export function readTimeStampAux(cpu: usize): bool {
  if (!readTimeStamp(cpu)) return false;
  store<u64>(cpu, load<u32>(cpu, MSR_TSC_AUX), GPR + RCX);
  return true;
}

function setPair(cpu: usize, value: u64): void {
  store<u64>(cpu, value & 0xffffffff, GPR + RAX);
  store<u64>(cpu, value >> 32, GPR + RDX);
}

export function rdmsr(cpu: usize): bool {
  if (!privileged(cpu)) return false;
  const index = load<u32>(cpu, GPR + RCX);
  if (!known(cpu, index)) {
    charge(cpu, COST_MSR);
    if (!hostReadMsr(index)) return protection(cpu);
    setPair(cpu, load<u64>(cpu, HOST_VALUE));
    return true;
  }
  setPair(cpu, msrValue);
  return true;
}

/** Result of `known`. */
let msrValue: u64 = 0;

/** Offset in the vCPU block of an MSR that is plain storage, or 0. */
function storage(index: u32): usize {
  if (index >= IA32_MTRR_PHYSBASE0 && index <= IA32_MTRR_PHYSMASK7) return MTRR_VARIABLE + (index & 15) * 8;
  if (index == IA32_MTRR_FIX64K) return MTRR_FIXED;
  if (index == IA32_MTRR_FIX16K_80000 || index == IA32_MTRR_FIX16K_A0000) return MTRR_FIXED + (index & 1) * 8 + 8;
  if (index >= IA32_MTRR_FIX4K_C0000 && index <= IA32_MTRR_FIX4K_F8000) return MTRR_FIXED + (index & 7) * 8 + 24;
  switch (index) {
    case MSR_KVM_WALL_CLOCK_OLD:
    case KVM_WALL_CLOCK_NEW: return MSR_KVM_WALL_CLOCK;
    case MSR_KVM_SYSTEM_TIME_OLD:
    case KVM_SYSTEM_TIME_NEW: return MSR_KVM_SYSTEM_TIME;
    case IA32_TSC_ADJUST: return TSC_OFFSET;
    case IA32_SYSENTER_CS: return MSR_SYSENTER_CS;
    case IA32_SYSENTER_ESP: return MSR_SYSENTER_ESP;
    case IA32_SYSENTER_EIP: return MSR_SYSENTER_EIP;
    case IA32_MCG_STATUS: return MSR_MCG_STATUS;
    case IA32_MISC_ENABLE: return MSR_MISC_ENABLE;
    case IA32_DEBUGCTL: return MSR_DEBUGCTL;
    case IA32_PAT: return MSR_PAT;
    case IA32_MTRR_DEF_TYPE: return MSR_MTRR_DEF_TYPE;
    case IA32_EFER: return EFER;
    case IA32_STAR: return MSR_STAR;
    case IA32_LSTAR: return MSR_LSTAR;
    case IA32_CSTAR: return MSR_CSTAR;
    case IA32_FMASK: return MSR_SFMASK;
    case IA32_FS_BASE: return SEG_BASE + SEG_FS * 8;
    case IA32_GS_BASE: return SEG_BASE + SEG_GS * 8;
    case IA32_KERNEL_GS_BASE: return MSR_KERNEL_GS_BASE;
    case IA32_TSC_AUX: return MSR_TSC_AUX;
    default: return 0;
  }
}

function known(cpu: usize, index: u32): bool {
  const at = storage(index);
  if (at) {
    msrValue = load<u64>(cpu + at);
    return true;
  }
  switch (index) {
    case IA32_TIME_STAMP_COUNTER: msrValue = timeStamp(cpu); return true;
    case IA32_FEATURE_CONTROL: msrValue = FEATURE_LOCKED; return true;
    case MSR_PLATFORM_INFO: msrValue = PLATFORM_RATIO; return true;
    case IA32_MTRRCAP: msrValue = MTRR_CAP; return true;
    // No microcode update is loaded, no machine-check bank and no SMI exists.
    case IA32_PLATFORM_ID:
    case MSR_SMI_COUNT:
    case IA32_BIOS_SIGN_ID:
    case IA32_MCG_CAP: msrValue = 0; return true;
    default: return false;
  }
}

export function wrmsr(cpu: usize): bool {
  if (!privileged(cpu)) return false;
  const index = load<u32>(cpu, GPR + RCX);
  const value = (load<u32>(cpu, GPR + RAX) as u64) | (load<u32>(cpu, GPR + RDX) as u64) << 32;
  if (index == IA32_TIME_STAMP_COUNTER || index == IA32_TSC_ADJUST) {
    store<u64>(cpu, index == IA32_TSC_ADJUST ? value : value - (hostClock() as u64), TSC_OFFSET);
    updateKvmClock(cpu);
    return true;
  }
  // Writing 0 before CPUID asks for the revision; there is no update to trigger.
  if (index == IA32_BIOS_SIGN_ID || index == IA32_BIOS_UPDT_TRIG) return true;
  if (index == IA32_EFER) return writeEfer(cpu, value);
  const at = storage(index);
  if (!at) {
    store<u64>(cpu, value, HOST_VALUE);
    charge(cpu, COST_MSR);
    return hostWriteMsr(index) != 0 || protection(cpu);
  }
  if (!valid(index, value)) return protection(cpu);
  if (at == MSR_KVM_SYSTEM_TIME) return writeKvmSystemTime(cpu, value) || protection(cpu);
  if (at == MSR_KVM_WALL_CLOCK) return writeKvmWallClock(cpu, value) || protection(cpu);
  store<u64>(cpu + at, value);
  return true;
}

/** Whether `value` has no reserved bit or type set in MSR `index`. */
function valid(index: u32, value: u64): bool {
  if (index >= IA32_MTRR_PHYSBASE0 && index <= IA32_MTRR_PHYSMASK7) {
    if (index & 1) return (value & (PHYSICAL_RESERVED | 0x7ff)) == 0;
    return (value & (PHYSICAL_RESERVED | 0xf00)) == 0 && memoryType(value as u32 & 0xff, false);
  }
  if (index >= IA32_MTRR_FIX64K && index <= IA32_MTRR_FIX4K_F8000) return memoryTypes(value, false);
  switch (index) {
    case IA32_PAT: return memoryTypes(value, true);
    case IA32_MTRR_DEF_TYPE: return (value & ~0xcff) == 0 && memoryType(value as u32 & 0xff, false);
    case IA32_SYSENTER_ESP:
    case IA32_SYSENTER_EIP:
    case IA32_LSTAR:
    case IA32_CSTAR:
    case IA32_FS_BASE:
    case IA32_GS_BASE:
    case IA32_KERNEL_GS_BASE: return isCanonical(value);
    case IA32_TSC_AUX:
    case IA32_FMASK: return value >> 32 == 0;
    case IA32_MCG_STATUS: return value == 0;
    case IA32_DEBUGCTL: return (value & ~DEBUGCTL_ACCEPTED) == 0;
    default: return true;
  }
}

/** UC, WC, WT, WP, WB; in the PAT also UC- (SDM vol. 3, tables 11-2 and 11-10). */
function memoryType(type: u32, pat: bool): bool {
  return type == 0 || type == 1 || (type >= 4 && type <= 6) || (pat && type == 7);
}

function memoryTypes(value: u64, pat: bool): bool {
  for (let shift: u64 = 0; shift < 64; shift += 8) if (!memoryType((value >> shift) as u32 & 0xff, pat)) return false;
  return true;
}

function writeEfer(cpu: usize, value: u64): bool {
  const old = load<u64>(cpu, EFER);
  if (value & ~(EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE)) return protection(cpu);
  if ((value ^ old) & EFER_LME && load<u64>(cpu, CR0) & CR0_PG) return protection(cpu);
  store<u64>(cpu, (value & ~EFER_LMA) | (old & EFER_LMA), EFER);
  if ((value ^ old) & EFER_NXE) flushTlb(cpu, false);
  updateMode(cpu);
  return true;
}
