/**
 * Delivery of exceptions and interrupts (Intel SDM vol. 3, chapter 6; vol. 2, "INT n/INTO/INT3/INT1"):
 * real-address IVT, protected-mode IDT, virtual-8086 mode, 64-bit IDT with IST.
 */
import {
  CR0, EXC_ADDRESS, EXC_ERROR, EXC_HAS_ERROR, EXC_VECTOR, IDT_BASE, IDT_LIMIT, DR7, FLAGS, GPR, NEXT_RIP, RIP, RSP, SEG_CS, SEG_DS,
  SEG_ES, SEG_FS, SEG_GS, SEG_SEL, SEG_SS, SHADOW, TLB_SUPERVISOR,
} from "../layout";
import {
  attrFrom, baseFrom, checkStack, descriptor, descriptorAddress, dplOf, isNull, limitFrom, markDescriptor,
  readDescriptor, selectorFault, setExternalEvent, externalEvent, setNull, setReal, setSegment,
} from "./descriptor";
import { mergePending, takeGeneralDetect, trapsPending } from "./debug";
import {
  faulted, raiseError, VEC_BP, VEC_DB, VEC_DE, VEC_DF, VEC_GP, VEC_NMI, VEC_NP, VEC_OF, VEC_PF, VEC_TS,
} from "./fault";
import { AC, getFlags, IF, NT, RF, TF, VM } from "./flags";
import { readMemAs } from "./operand";
import {
  commitStack, pushValue, readTaskStack, readTaskStack64, stackPointer, taskStackPointer, taskStackSelector, useStack,
  useStack64, useStackOf,
} from "./system-stack";
import {
  ATTR_ACCESSED, ATTR_CODE, ATTR_CONFORMING, ATTR_D, ATTR_L, ATTR_P, ATTR_S, CR0_PE, cplOf, DEBUG_PENDING, iopl,
  isCanonical, isLong, isVm, NMI_BLOCKED, protection, STEP_STATE, updateMode, writeFlags,
} from "./system-state";
import { switchTask, TASK_INTERRUPT } from "./task";
import { charge, COST_DELIVERY } from "./work";

/** An exception, external interrupt, NMI or INT1: no check of the gate's DPL. */
const EVENT_HARDWARE: u32 = 0;
/** INT n, INT3, INTO. */
const EVENT_SOFTWARE: u32 = 1;

const GENERAL_DETECT: u64 = 0x2000;

/**
 * Delivers the pending exception at RIP and clears it. True: RIP is at the handler. False: triple
 * fault, the processor shuts down (SDM vol. 3, table 6-5).
 */
export function deliver(cpu: usize): bool {
  let vector = load<u32>(cpu, EXC_VECTOR) - 1;
  let error = load<u32>(cpu, EXC_ERROR);
  let hasError = load<u32>(cpu, EXC_HAS_ERROR) != 0;
  store<u32>(cpu, 0, DEBUG_PENDING);
  store<u64>(cpu, 0, EXC_ADDRESS);
  while (true) {
    store<u32>(cpu, 0, EXC_VECTOR);
    // Traps, the abort and instruction breakpoints leave RF as it is; all others are faults (SDM vol. 3, 17.3.1.1).
    const resume = (vector != VEC_DB || takeGeneralDetect()) && vector != VEC_BP && vector != VEC_OF && vector != VEC_DF && vector != VEC_NMI;
    setExternalEvent(1);
    const done = transfer(cpu, vector, EVENT_HARDWARE, load<u64>(cpu, RIP), hasError, error, resume ? RF : 0);
    setExternalEvent(0);
    if (done) {
      store<u64>(cpu, load<u64>(cpu, NEXT_RIP), RIP);
      return true;
    }
    if (vector == VEC_DF) return false;
    const second = load<u32>(cpu, EXC_VECTOR) - 1;
    const double = contributory(second)
      ? contributory(vector) || vector == VEC_PF
      : second == VEC_PF && vector == VEC_PF;
    vector = double ? VEC_DF : second;
    error = double ? 0 : load<u32>(cpu, EXC_ERROR);
    hasError = double || load<u32>(cpu, EXC_HAS_ERROR) != 0;
  }
}

function contributory(vector: u32): bool {
  return vector == VEC_DE || (vector >= VEC_TS && vector <= VEC_GP);
}

/** Delivers an external interrupt at RIP. As `deliver`; the caller has checked IF and SHADOW. */
export function interrupt(cpu: usize, vector: u32): bool {
  setExternalEvent(1);
  const done = transfer(cpu, vector, EVENT_HARDWARE, load<u64>(cpu, RIP), false, 0, 0);
  setExternalEvent(0);
  if (!done) return deliver(cpu);
  store<u64>(cpu, load<u64>(cpu, NEXT_RIP), RIP);
  return true;
}

/** Delivers an NMI at RIP and blocks further ones until IRET. The caller has asked `nmiBlocked`. */
export function nmi(cpu: usize): bool {
  store<u32>(cpu, 1, NMI_BLOCKED);
  return interrupt(cpu, VEC_NMI);
}

/** Whether an external interrupt may be delivered now: IF is set, no shadow, and no debug trap goes first. */
export function interruptible(cpu: usize): bool {
  return (load<u32>(cpu, FLAGS) & IF) != 0 && !held(cpu);
}

/** Whether no NMI may be delivered now. */
export function nmiBlocked(cpu: usize): bool {
  return load<u32>(cpu, NMI_BLOCKED) != 0 || held(cpu);
}

/** Whether interrupts of any kind wait for the next boundary: for a shadow to end, or a debug trap to be taken. */
export function held(cpu: usize): bool {
  return load<u32>(cpu, SHADOW) != 0 || trapsPending(cpu);
}

/** INT n (`general`), INT3 and INTO: NEXT_RIP is at the handler, or a fault is pending. */
export function softwareInterrupt(cpu: usize, vector: u32, next: u64, general: bool): bool {
  if (general && isVm(cpu) && iopl(cpu) < 3) return protection(cpu);
  return transfer(cpu, vector, EVENT_SOFTWARE, next, false, 0, 0);
}

/** INT1: a debug trap that checks no privilege, and is the one of the breakpoints, too, that MOV SS has held back. */
export function debugInterrupt(cpu: usize, next: u64): bool {
  setExternalEvent(1);
  const done = transfer(cpu, VEC_DB, EVENT_HARDWARE, next, false, 0, 0);
  setExternalEvent(0);
  if (done) mergePending(cpu);
  return done;
}

/** Transfers control to the handler. `resume` is RF or 0: set in the saved flags. False after a fault. */
function transfer(
  cpu: usize, vector: u32, kind: u32, from: u64, hasError: bool, error: u32, resume: u32,
): bool {
  charge(cpu, COST_DELIVERY);
  const saved = getFlags(cpu) | resume;
  let done: bool;
  if (!(load<u64>(cpu, CR0) & CR0_PE)) done = realMode(cpu, vector, from, saved);
  else if (isLong(cpu)) done = longMode(cpu, vector, kind, from, hasError, error, saved);
  else done = protectedMode(cpu, vector, kind, from, hasError, error, saved);
  if (!done) return false;
  if (vector == VEC_DB) store<u64>(cpu, load<u64>(cpu, DR7) & ~GENERAL_DETECT, DR7);
  store<u32>(cpu, 0, SHADOW);
  store<u32>(cpu, 0, STEP_STATE);
  return true;
}

/** SDM vol. 3, 20.1.4. */
function realMode(cpu: usize, vector: u32, from: u64, saved: u32): bool {
  if (vector * 4 + 3 > load<u32>(cpu, IDT_LIMIT)) return protection(cpu);
  const entry = readMemAs(cpu, TLB_SUPERVISOR, load<u64>(cpu, IDT_BASE) + vector * 4, 2) as u32;
  if (faulted(cpu)) return false;
  useStack(cpu);
  if (!pushValue(cpu, 1, saved) || !pushValue(cpu, 1, load<u32>(cpu, SEG_SEL + SEG_CS * 4))) return false;
  if (!pushValue(cpu, 1, from)) return false;
  commitStack(cpu);
  setReal(cpu, SEG_CS, entry >> 16);
  store<u64>(cpu, entry & 0xffff, NEXT_RIP);
  writeFlags(cpu, saved & ~(IF | TF | AC | RF));
  return true;
}

// @ts-ignore: decorator
@inline
function gateError(vector: u32): u32 {
  return vector * 8 + 2 + externalEvent;
}

function gateFault(cpu: usize, exception: u32, vector: u32): bool {
  raiseError(cpu, exception, gateError(vector));
  return false;
}

/** Checks the handler's code segment and leaves it in `descriptor`. `cpl`: current privilege level. */
function handlerSegment(cpu: usize, selector: u32, cpl: u32): bool {
  if (isNull(selector)) return selectorFault(cpu, VEC_GP, 0);
  if (!readDescriptor(cpu, selector, VEC_GP)) return false;
  const attr = attrFrom(descriptor);
  if ((attr & (ATTR_S | ATTR_CODE)) != (ATTR_S | ATTR_CODE) || dplOf(attr) > cpl) {
    return selectorFault(cpu, VEC_GP, selector);
  }
  if (isLong(cpu) && (attr & (ATTR_L | ATTR_D)) != ATTR_L) return selectorFault(cpu, VEC_GP, selector);
  if (!(attr & ATTR_P)) return selectorFault(cpu, VEC_NP, selector);
  return true;
}

/** SDM vol. 3, 6.14. */
function longMode(
  cpu: usize, vector: u32, kind: u32, from: u64, hasError: bool, error: u32, saved: u32,
): bool {
  if (vector * 16 + 15 > load<u32>(cpu, IDT_LIMIT)) return gateFault(cpu, VEC_GP, vector);
  const at = load<u64>(cpu, IDT_BASE) + vector * 16;
  const gate = readMemAs(cpu, TLB_SUPERVISOR, at, 3);
  if (faulted(cpu)) return false;
  const high = readMemAs(cpu, TLB_SUPERVISOR, at + 8, 3);
  if (faulted(cpu)) return false;
  const attr = attrFrom(gate);
  const type = attr & 0x1f;
  if (type != 0xe && type != 0xf) return gateFault(cpu, VEC_GP, vector);
  const cpl = cplOf(cpu);
  if (kind == EVENT_SOFTWARE && dplOf(attr) < cpl) return gateFault(cpu, VEC_GP, vector);
  if (!(attr & ATTR_P)) return gateFault(cpu, VEC_NP, vector);
  const selector = (gate >> 16) as u32 & 0xffff;
  if (!handlerSegment(cpu, selector, cpl)) return false;
  const code = descriptor;
  const codeAddress = descriptorAddress;
  const target = (gate & 0xffff) | ((gate >> 32) & 0xffff0000) | (high << 32);
  const codeAttr = attrFrom(code);
  const level = codeAttr & ATTR_CONFORMING ? cpl : dplOf(codeAttr);
  const ist = (gate >> 32) as u32 & 7;
  let sp = load<u64>(cpu, GPR + RSP);
  if (ist != 0 || level < cpl) {
    if (!readTaskStack64(cpu, ist != 0 ? ist + 3 : level)) return false;
    sp = taskStackPointer;
  }
  if (!isCanonical(target)) return selectorFault(cpu, VEC_GP, 0);
  useStack64(sp & ~0xf, level);
  if (!pushValue(cpu, 3, load<u32>(cpu, SEG_SEL + SEG_SS * 4)) || !pushValue(cpu, 3, load<u64>(cpu, GPR + RSP))) {
    return false;
  }
  if (!pushValue(cpu, 3, saved) || !pushValue(cpu, 3, load<u32>(cpu, SEG_SEL + SEG_CS * 4))) return false;
  if (!pushValue(cpu, 3, from)) return false;
  if (hasError && !pushValue(cpu, 3, error)) return false;
  if (!markDescriptor(cpu, codeAddress, code, ATTR_ACCESSED)) return false;
  store<u64>(cpu, stackPointer, GPR + RSP);
  if (level < cpl) setNull(cpu, SEG_SS, level, level);
  setSegment(cpu, SEG_CS, (selector & 0xfffc) | level, code);
  enter(cpu, target, saved & ~(TF | VM | RF | NT | (type == 0xe ? IF : 0)));
  return true;
}

/** Sets flags, mode and target of the handler. */
function enter(cpu: usize, target: u64, flags: u32): void {
  writeFlags(cpu, flags);
  updateMode(cpu);
  store<u64>(cpu, target, NEXT_RIP);
}

/** SDM vol. 3, 6.12 and 20.2.8. */
function protectedMode(
  cpu: usize, vector: u32, kind: u32, from: u64, hasError: bool, error: u32, saved: u32,
): bool {
  if (vector * 8 + 7 > load<u32>(cpu, IDT_LIMIT)) return gateFault(cpu, VEC_GP, vector);
  const gate = readMemAs(cpu, TLB_SUPERVISOR, load<u64>(cpu, IDT_BASE) + vector * 8, 3);
  if (faulted(cpu)) return false;
  const attr = attrFrom(gate);
  const type = attr & 0x1f;
  if (type != 5 && (type & 0x16) != 6) return gateFault(cpu, VEC_GP, vector);
  const cpl = cplOf(cpu);
  if (kind == EVENT_SOFTWARE && dplOf(attr) < cpl) return gateFault(cpu, VEC_GP, vector);
  if (!(attr & ATTR_P)) return gateFault(cpu, VEC_NP, vector);
  const selector = (gate >> 16) as u32 & 0xffff;
  if (type == 5) return switchTask(cpu, selector, TASK_INTERRUPT, from, saved, hasError, error);
  if (!handlerSegment(cpu, selector, cpl)) return false;
  const code = descriptor;
  const codeAddress = descriptorAddress;
  const codeAttr = attrFrom(code);
  const wide = (type & 8) != 0;
  const size: u32 = wide ? 2 : 1;
  const target = wide ? (gate & 0xffff) | ((gate >> 32) & 0xffff0000) : gate & 0xffff;
  const level = codeAttr & ATTR_CONFORMING ? cpl : dplOf(codeAttr);
  const virtual = (saved & VM) != 0;
  if (virtual && level != 0) return selectorFault(cpu, VEC_GP, selector);
  let stack: u64 = 0;
  let stackSelector: u32 = 0;
  if (level < cpl) {
    if (!readTaskStack(cpu, level)) return false;
    stackSelector = taskStackSelector;
    if (!checkStack(cpu, stackSelector, level, VEC_TS)) return false;
    stack = descriptor;
    useStackOf(baseFrom(stack), limitFrom(stack), attrFrom(stack), taskStackPointer, level);
  } else {
    useStack(cpu);
  }
  if (target > (limitFrom(code) as u64)) return selectorFault(cpu, VEC_GP, 0);
  if (virtual) {
    if (!pushSegment(cpu, SEG_GS, size) || !pushSegment(cpu, SEG_FS, size)) return false;
    if (!pushSegment(cpu, SEG_DS, size) || !pushSegment(cpu, SEG_ES, size)) return false;
  }
  if (level < cpl) {
    if (!pushSegment(cpu, SEG_SS, size) || !pushValue(cpu, size, load<u64>(cpu, GPR + RSP))) return false;
  }
  if (!pushValue(cpu, size, saved) || !pushSegment(cpu, SEG_CS, size) || !pushValue(cpu, size, from)) return false;
  if (hasError && !pushValue(cpu, size, error)) return false;
  if (!markDescriptor(cpu, codeAddress, code, ATTR_ACCESSED)) return false;
  if (virtual) for (let slot = SEG_ES; slot <= SEG_GS; slot++) setNull(cpu, slot, 0, 0);
  if (level < cpl) setSegment(cpu, SEG_SS, stackSelector, stack);
  setSegment(cpu, SEG_CS, (selector & 0xfffc) | level, code);
  commitStack(cpu);
  enter(cpu, target, saved & ~(TF | VM | RF | NT | (type & 1 ? 0 : IF)));
  return true;
}

function pushSegment(cpu: usize, slot: u32, size: u32): bool {
  return pushValue(cpu, size, load<u32>(cpu + slot * 4, SEG_SEL));
}
