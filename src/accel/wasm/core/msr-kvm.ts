/**
 * The KVM clock (Linux, Documentation/virt/kvm/x86/msr.rst: MSR_KVM_WALL_CLOCK_NEW and
 * MSR_KVM_SYSTEM_TIME_NEW): structures in guest memory from which the guest computes its time.
 */
import {
  GUEST_BASE, MSR_KVM_SYSTEM_TIME, MSR_KVM_WALL_CLOCK, PAGE_CODE, PAGE_CODE_ENTRY, RAM_PAGES, TSC_OFFSET,
} from "../layout";
import { codeWritten } from "./blocks";
import { hostBootTime, hostClock } from "./host";
import { KVM_CLOCK_VERSION } from "./system-state";

const ENABLED: u64 = 1;
/** The counter runs at 1 GHz: (ticks << 1) × 2^31 / 2^32 = ticks nanoseconds. */
const TSC_SHIFT: u32 = 1;
const TSC_TO_SYSTEM_MUL: u32 = 0x80000000;
/** PVCLOCK_TSC_STABLE_BIT */
const TSC_STABLE: u32 = 1;
const SYSTEM_TIME_SIZE: u32 = 32;
const WALL_CLOCK_SIZE: u32 = 12;

/** Pointer to `size` bytes of guest RAM at physical `pa`, or 0. */
function guest(cpu: usize, pa: u64, size: u32): usize {
  const ram = (load<u32>(cpu, RAM_PAGES) as u64) << 12;
  return pa < ram && size <= ram - pa ? GUEST_BASE + (pa as usize) : 0;
}

/** Code in the `size` bytes at `pa`, which may lie in two pages, is old. */
function written(cpu: usize, pa: u64, size: u32): void {
  const room: u32 = 0x1000 - ((pa as u32) & 0xfff);
  const first = room < size ? room : size;
  pageWritten(cpu, pa as u32, first);
  if (first < size) pageWritten(cpu, (pa as u32) + first, size - first);
}

function pageWritten(cpu: usize, pa: u32, size: u32): void {
  if (load<u32>(PAGE_CODE + ((pa >> 12) as usize) * PAGE_CODE_ENTRY)) codeWritten(cpu, pa, size);
}

/** Bit 0 enables, the rest is the physical address. False: the value is refused. */
export function writeKvmSystemTime(cpu: usize, value: u64): bool {
  if (value & ENABLED && (value & 2 || !guest(cpu, value & ~ENABLED, SYSTEM_TIME_SIZE))) return false;
  store<u64>(cpu, value, MSR_KVM_SYSTEM_TIME);
  updateKvmClock(cpu);
  return true;
}

/** Writes the system time structure anew when the guest has enabled it: after a jump of the TSC or of guest time. */
export function updateKvmClock(cpu: usize): void {
  const value = load<u64>(cpu, MSR_KVM_SYSTEM_TIME);
  if (!(value & ENABLED)) return;
  const pa = value & ~ENABLED;
  const at = guest(cpu, pa, SYSTEM_TIME_SIZE);
  const version = (load<u32>(cpu, KVM_CLOCK_VERSION) + 2) & ~1;
  store<u32>(cpu, version, KVM_CLOCK_VERSION);
  // An odd version tells another vCPU that reads that the structure is being changed.
  atomic.store<u32>(at, version - 1);
  store<u32>(at, 0, 4);
  const now = hostClock() as u64;
  store<u64>(at, now + load<u64>(cpu, TSC_OFFSET), 8);
  store<u64>(at, now, 16);
  store<u32>(at, TSC_TO_SYSTEM_MUL, 24);
  store<u32>(at, TSC_SHIFT | (TSC_STABLE << 8), 28);
  atomic.store<u32>(at, version);
  written(cpu, pa, SYSTEM_TIME_SIZE);
}

/** Writes version, seconds and nanoseconds of the boot at the physical address `value`. */
export function writeKvmWallClock(cpu: usize, value: u64): bool {
  const at = guest(cpu, value, WALL_CLOCK_SIZE);
  if (!at || value & 3) return false;
  store<u64>(cpu, value, MSR_KVM_WALL_CLOCK);
  const boot = hostBootTime();
  const seconds = Math.floor(boot / 1000);
  const version = (load<u32>(at) + 2) & ~1;
  atomic.store<u32>(at, version - 1);
  store<u32>(at, seconds as u32, 4);
  store<u32>(at, ((boot - seconds * 1000) * 1000000) as u32, 8);
  atomic.store<u32>(at, version);
  written(cpu, value, WALL_CLOCK_SIZE);
  return true;
}
