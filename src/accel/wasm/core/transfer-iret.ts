/** IRET (Intel SDM vol. 2, "IRET/IRETD/IRETQ"; vol. 3, 20.2.5 for virtual-8086 mode). */
import {
  DR7, FLAGS, GPR, NEXT_RIP, POLL, POLL_HOST, RSP, SEG_CS, SEG_DS, SEG_ES, SEG_FS, SEG_GS, SEG_SS, SEG_TR, TLB_SUPERVISOR, SEG_BASE,
} from "../layout";
import { descriptor, descriptorAddress, markDescriptor, setReal, setSegment } from "./descriptor";
import { faulted } from "./fault";
import { getFlags, IF, IOPL, NT, RF, TF, VIF, VIP, VM } from "./flags";
import { readMemAs } from "./operand";
import { commitStack, popValue, useStack } from "./system-stack";
import {
  ATTR_ACCESSED, cplOf, iopl, isCode64, isLong, isRealOrVm, isVm, NMI_BLOCKED, protection, STEP_RESUMED, STEP_STATE,
  updateMode, writeFlags,
} from "./system-state";
import { switchTask, TASK_RETURN } from "./task";
import { dropPrivileged, loadReturnStack, returnSegment, setReturnStack, targetAllowed } from "./transfer";

/** Sets NEXT_RIP and gives true, or raises. `next`: RIP of the following instruction. */
export function interruptReturn(cpu: usize, size: u32, next: u64): bool {
  // Also when it faults (SDM vol. 3, 6.7.1); one that waits comes at once.
  if (load<u32>(cpu, NMI_BLOCKED)) {
    store<u32>(cpu, 0, NMI_BLOCKED);
    atomic.or<u32>(cpu + POLL, POLL_HOST);
  }
  if (!perform(cpu, size, next)) return false;
  store<u32>(cpu, load<u32>(cpu, STEP_STATE) & ~STEP_RESUMED, STEP_STATE);
  return true;
}

function perform(cpu: usize, size: u32, next: u64): bool {
  const real = isRealOrVm(cpu);
  if (isVm(cpu) && iopl(cpu) < 3) return protection(cpu);
  if (!real && load<u32>(cpu, FLAGS) & NT) {
    if (isLong(cpu)) return protection(cpu);
    const link = readMemAs(cpu, TLB_SUPERVISOR, load<u64>(cpu, SEG_BASE + SEG_TR * 8), 1) as u32;
    return !faulted(cpu) && switchTask(cpu, link, TASK_RETURN, next, getFlags(cpu) & ~NT, false, 0);
  }
  useStack(cpu);
  const target = popValue(cpu, size);
  if (faulted(cpu)) return false;
  const selector = popValue(cpu, size) as u32 & 0xffff;
  if (faulted(cpu)) return false;
  const flags = popValue(cpu, size) as u32;
  if (faulted(cpu)) return false;
  if (real) {
    commitStack(cpu);
    setReal(cpu, SEG_CS, selector);
    restoreFlags(cpu, flags, size, isVm(cpu) ? IOPL | VM | VIF | VIP : VM | VIF | VIP);
    updateMode(cpu);
    store<u64>(cpu, target, NEXT_RIP);
    return true;
  }
  const cpl = cplOf(cpu);
  if (size == 2 && flags & VM && cpl == 0 && !isLong(cpu)) return toVirtual(cpu, target, selector, flags);
  if (!returnSegment(cpu, selector)) return false;
  const raw = descriptor;
  const address = descriptorAddress;
  const level = selector & 3;
  if (!targetAllowed(cpu, raw, target)) return false;
  const outer = level > cpl;
  if (outer || isCode64(cpu)) {
    const sp = popValue(cpu, size);
    if (faulted(cpu)) return false;
    const ss = popValue(cpu, size) as u32 & 0xffff;
    if (faulted(cpu) || !markDescriptor(cpu, address, raw, ATTR_ACCESSED)) return false;
    if (!loadReturnStack(cpu, ss, level, raw)) return false;
    setReturnStack(cpu, sp, raw, size, 0);
  } else {
    if (!markDescriptor(cpu, address, raw, ATTR_ACCESSED)) return false;
    commitStack(cpu);
  }
  setSegment(cpu, SEG_CS, selector, raw);
  // CPL and IOPL of before the return decide which flags may change.
  let kept: u32 = VM;
  if (cpl > 0) kept |= IOPL | VIF | VIP;
  if (cpl > iopl(cpu)) kept |= IF;
  restoreFlags(cpu, flags, size, kept);
  updateMode(cpu);
  if (outer) dropPrivileged(cpu);
  store<u64>(cpu, target, NEXT_RIP);
  return true;
}

/** Writes the flags except those of `kept`; a 16-bit image holds only the low half. */
function restoreFlags(cpu: usize, image: u32, size: u32, kept: u32): void {
  if (size == 1) kept |= 0xffff0000;
  let flags = (getFlags(cpu) & kept) | (image & ~kept);
  // RF lasts for one instruction, and only stepping or breakpoints can tell.
  if (!(flags & TF) && !(load<u32>(cpu, DR7) & 0xff)) flags &= ~RF;
  writeFlags(cpu, flags);
}

/** Return from protected mode to virtual-8086 mode. */
function toVirtual(cpu: usize, target: u64, selector: u32, flags: u32): bool {
  const sp = popValue(cpu, 2);
  if (faulted(cpu)) return false;
  const ss = popValue(cpu, 2) as u32;
  if (faulted(cpu)) return false;
  const es = popValue(cpu, 2) as u32;
  if (faulted(cpu)) return false;
  const ds = popValue(cpu, 2) as u32;
  if (faulted(cpu)) return false;
  const fs = popValue(cpu, 2) as u32;
  if (faulted(cpu)) return false;
  const gs = popValue(cpu, 2) as u32;
  if (faulted(cpu)) return false;
  if (target > 0xffff) return protection(cpu);
  writeFlags(cpu, flags);
  setReal(cpu, SEG_CS, selector);
  setReal(cpu, SEG_SS, ss);
  setReal(cpu, SEG_ES, es);
  setReal(cpu, SEG_DS, ds);
  setReal(cpu, SEG_FS, fs);
  setReal(cpu, SEG_GS, gs);
  store<u64>(cpu, sp & 0xffffffff, GPR + RSP);
  updateMode(cpu);
  store<u64>(cpu, target & 0xffff, NEXT_RIP);
  return true;
}
