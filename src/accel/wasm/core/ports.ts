/** IN and OUT with their privilege checks (Intel SDM vol. 1, 19.5; vol. 3, 7.2.1 for the I/O permission bitmap). */
import { CR0, RAX, SEG_BASE, SEG_LIMIT, SEG_TR, TLB_SUPERVISOR } from "../layout";
import { watchPort } from "./debug";
import { faulted } from "./fault";
import { hostPortIn, hostPortOut } from "./host";
import { readMemAs, readReg, writeReg } from "./operand";
import { attrOf, CR0_PE, cplOf, iopl, isVm, protection } from "./system-state";
import { charge, COST_DEVICE } from "./work";

const IO_MAP_BASE: u32 = 0x66;

/** Whether the program may use `size` (1, 2, 4) ports from `port`; raises #GP(0) when not. */
export function portAllowed(cpu: usize, port: u32, size: u32): bool {
  if (!(load<u64>(cpu, CR0) & CR0_PE) || (cplOf(cpu) <= iopl(cpu) && !isVm(cpu))) return true;
  const limit = load<u32>(cpu, SEG_LIMIT + SEG_TR * 4);
  // Only a 32- or 64-bit TSS (types 9 and 11) has a bitmap.
  if ((attrOf(cpu, SEG_TR) & 0x9d) != 0x89 || limit < IO_MAP_BASE + 1) return protection(cpu);
  const base = load<u64>(cpu, SEG_BASE + SEG_TR * 8);
  const map = readMemAs(cpu, TLB_SUPERVISOR, base + IO_MAP_BASE, 1) as u32;
  if (faulted(cpu)) return false;
  const at = map + (port >> 3);
  if (at + 1 > limit) return protection(cpu);
  const bits = readMemAs(cpu, TLB_SUPERVISOR, base + at, 1) as u32;
  if (faulted(cpu)) return false;
  return ((bits >> (port & 7)) & ((1 << size) - 1)) == 0 || protection(cpu);
}

/** IN; `size` is the operand size index, 64 bits count as 32. */
export function portIn(cpu: usize, port: u32, size: u32): bool {
  if (size == 3) size = 2;
  if (!portAllowed(cpu, port, 1 << size)) return false;
  watchPort(cpu, port, 1 << size);
  charge(cpu, COST_DEVICE);
  writeReg(cpu, RAX, size, hostPortIn(port, 1 << size) as u64);
  return true;
}

/** OUT; `size` as for `portIn`. */
export function portOut(cpu: usize, port: u32, size: u32): bool {
  if (size == 3) size = 2;
  if (!portAllowed(cpu, port, 1 << size)) return false;
  watchPort(cpu, port, 1 << size);
  charge(cpu, COST_DEVICE);
  hostPortOut(port, 1 << size, readReg(cpu, RAX, size) as u32);
  return true;
}
