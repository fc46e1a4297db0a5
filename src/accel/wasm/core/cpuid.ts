/**
 * CPUID (Intel SDM vol. 2) from the table that the host side puts at CPUID_TABLE: CPUID_ROWS rows of
 * eight u32: leaf, subleaf, flags (bit 0: the subleaf counts), EAX, EBX, ECX, EDX, reserved.
 */
import { CPUID_ROWS, CPUID_TABLE, GPR, HOST_VALUE, RAX, RBX, RCX, RDX, VCPU_ID } from "../layout";
import { hostReadMsr } from "./host";
import { charge, COST_MSR } from "./work";

const ROW_SIZE: usize = 32;
const ROW_SUBLEAF: u32 = 1;
const HYPERVISOR: u32 = 0x40000000;
const EXTENDED: u32 = 0x80000000;
const FEATURE_APIC: u32 = 1 << 9;
const IA32_APIC_BASE: u32 = 0x1b;
const APIC_GLOBAL_ENABLE: u64 = 0x800;

/** Row of a leaf and subleaf, or 0. */
export function cpuidRow(cpu: usize, leaf: u32, subleaf: u32): usize {
  const rows = load<u32>(cpu, CPUID_ROWS);
  for (let index: u32 = 0; index < rows; index++) {
    const row: usize = CPUID_TABLE + index * ROW_SIZE;
    if (load<u32>(row) != leaf) continue;
    if (!(load<u32>(row, 8) & ROW_SUBLEAF) || load<u32>(row, 4) == subleaf) return row;
  }
  return 0;
}

/** EAX of `leaf`: the highest leaf of its range. */
function highest(cpu: usize, leaf: u32): u32 {
  const row = cpuidRow(cpu, leaf, 0);
  return row ? load<u32>(row, 12) : 0;
}

/** The feature flag of the local APIC tells its global enable (SDM vol. 3, 10.4.3). */
function apicDisabled(cpu: usize): bool {
  charge(cpu, COST_MSR);
  return hostReadMsr(IA32_APIC_BASE) != 0 && !(load<u64>(cpu, HOST_VALUE) & APIC_GLOBAL_ENABLE);
}

export function cpuid(cpu: usize): void {
  let leaf = load<u32>(cpu, GPR + RAX);
  const subleaf = load<u32>(cpu, GPR + RCX);
  const hypervisor = leaf >= HYPERVISOR && leaf < HYPERVISOR + 0x10000000;
  // Beyond the highest basic or extended leaf the data of the highest basic leaf is returned.
  if (!hypervisor && leaf > highest(cpu, leaf & EXTENDED)) leaf = highest(cpu, 0);
  const row = cpuidRow(cpu, leaf, subleaf);
  let a: u32 = 0;
  let b: u32 = 0;
  let c: u32 = 0;
  let d: u32 = 0;
  if (row) {
    a = load<u32>(row, 12);
    b = load<u32>(row, 16);
    c = load<u32>(row, 20);
    d = load<u32>(row, 24);
  }
  if (leaf == 1) {
    b |= load<u32>(cpu, VCPU_ID) << 24;
    if (apicDisabled(cpu)) d &= ~FEATURE_APIC;
  } else if ((leaf == 0xb || leaf == 0x1f) && cpuidRow(cpu, leaf, 0)) {
    // ECX repeats the subleaf and EDX gives the x2APIC identifier, also of an invalid level.
    c = (c & ~0xff) | (subleaf & 0xff);
    d = load<u32>(cpu, VCPU_ID);
  }
  store<u64>(cpu, a, GPR + RAX);
  store<u64>(cpu, b, GPR + RBX);
  store<u64>(cpu, c, GPR + RCX);
  store<u64>(cpu, d, GPR + RDX);
}
