/** Fast system calls (Intel SDM vol. 2, SYSCALL, SYSRET, SYSENTER, SYSEXIT, SWAPGS; vol. 3, 5.8.7 and 5.8.8). */
import {
  CR0, EFER, GPR, MSR_KERNEL_GS_BASE, MSR_LSTAR, MSR_SFMASK, MSR_STAR, MSR_SYSENTER_CS, MSR_SYSENTER_EIP,
  MSR_SYSENTER_ESP, NEXT_RIP, R11, RCX, RDX, RSP, SEG_BASE, SEG_CS, SEG_GS, SEG_SS,
} from "../layout";
import { setFlat } from "./descriptor";
import { raise, VEC_UD } from "./fault";
import { getFlags, IF, RF, TF, VM } from "./flags";
import {
  ATTR_D, ATTR_L, CR0_PE, EFER_SCE, isCanonical, isCode64, isLong, privileged, protection, STEP_ARMED, STEP_STATE,
  updateMode, writeFlags,
} from "./system-state";

/** Type bits: execute/read, accessed; read/write, accessed. */
const CODE: u32 = 0xb;
const DATA: u32 = 0x3;

function enterKernel(cpu: usize, cs: u32, long: bool): void {
  setFlat(cpu, SEG_CS, cs, CODE | (long ? ATTR_L : ATTR_D), 0);
  setFlat(cpu, SEG_SS, cs + 8, DATA | ATTR_D, 0);
  updateMode(cpu);
}

function enterUser(cpu: usize, cs: u32, ss: u32, long: bool): void {
  setFlat(cpu, SEG_CS, cs | 3, CODE | (long ? ATTR_L : ATTR_D), 3);
  setFlat(cpu, SEG_SS, ss | 3, DATA | ATTR_D, 3);
  updateMode(cpu);
}

function undefinedOpcode(cpu: usize): bool {
  raise(cpu, VEC_UD);
  return false;
}

/** `next`: RIP of the following instruction. Sets NEXT_RIP and gives true, or raises. */
export function syscall(cpu: usize, next: u64): bool {
  if (!isCode64(cpu) || !(load<u64>(cpu, EFER) & EFER_SCE)) return undefinedOpcode(cpu);
  const flags = getFlags(cpu);
  store<u64>(cpu, next, GPR + RCX);
  store<u64>(cpu, flags, GPR + R11);
  store<u64>(cpu, load<u64>(cpu, MSR_LSTAR), NEXT_RIP);
  const kept = flags & ~(load<u32>(cpu, MSR_SFMASK) | RF);
  writeFlags(cpu, kept);
  // SYSCALL itself is stepped by the TF that it leaves, not by the one that it met.
  if (!(kept & TF)) store<u32>(cpu, load<u32>(cpu, STEP_STATE) & ~STEP_ARMED, STEP_STATE);
  enterKernel(cpu, load<u32>(cpu, MSR_STAR + 4) & 0xfffc, true);
  return true;
}

/** `wide`: to 64-bit code. */
export function sysret(cpu: usize, wide: bool): bool {
  if (!isCode64(cpu) || !(load<u64>(cpu, EFER) & EFER_SCE)) return undefinedOpcode(cpu);
  if (!privileged(cpu)) return false;
  const target = load<u64>(cpu, GPR + RCX);
  if (wide && !isCanonical(target)) return protection(cpu);
  const selector = load<u32>(cpu, MSR_STAR + 4) >> 16;
  writeFlags(cpu, load<u32>(cpu, GPR + R11) & 0x3c7fd7);
  enterUser(cpu, (wide ? selector + 16 : selector) & 0xffff, (selector + 8) & 0xffff, wide);
  store<u64>(cpu, wide ? target : target & 0xffffffff, NEXT_RIP);
  return true;
}

export function sysenter(cpu: usize): bool {
  const cs = load<u32>(cpu, MSR_SYSENTER_CS) & 0xfffc;
  if (!(load<u64>(cpu, CR0) & CR0_PE) || cs == 0) return protection(cpu);
  const long = isLong(cpu);
  const mask: u64 = long ? u64.MAX_VALUE : 0xffffffff;
  store<u64>(cpu, load<u64>(cpu, MSR_SYSENTER_ESP) & mask, GPR + RSP);
  store<u64>(cpu, load<u64>(cpu, MSR_SYSENTER_EIP) & mask, NEXT_RIP);
  writeFlags(cpu, getFlags(cpu) & ~(VM | IF | RF));
  enterKernel(cpu, cs, long);
  return true;
}

/** `wide`: to 64-bit code. */
export function sysexit(cpu: usize, wide: bool): bool {
  const cs = load<u32>(cpu, MSR_SYSENTER_CS) & 0xfffc;
  if (!(load<u64>(cpu, CR0) & CR0_PE) || cs == 0) return protection(cpu);
  if (!privileged(cpu)) return false;
  const sp = load<u64>(cpu, GPR + RCX);
  const target = load<u64>(cpu, GPR + RDX);
  if (wide && (!isCanonical(sp) || !isCanonical(target))) return protection(cpu);
  store<u64>(cpu, wide ? sp : sp & 0xffffffff, GPR + RSP);
  store<u64>(cpu, wide ? target : target & 0xffffffff, NEXT_RIP);
  enterUser(cpu, cs + (wide ? 32 : 16), cs + (wide ? 40 : 24), wide);
  return true;
}

export function swapgs(cpu: usize): bool {
  if (!isCode64(cpu)) return undefinedOpcode(cpu);
  if (!privileged(cpu)) return false;
  const base = load<u64>(cpu, SEG_BASE + SEG_GS * 8);
  store<u64>(cpu, load<u64>(cpu, MSR_KERNEL_GS_BASE), SEG_BASE + SEG_GS * 8);
  store<u64>(cpu, base, MSR_KERNEL_GS_BASE);
  return true;
}
