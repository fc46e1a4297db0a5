/**
 * System instructions (rows of ../isa/system.ts; Intel SDM vol. 2): the dispatcher.
 *
 * The run loop and the host side use of the system routines:
 *   execSystem(cpu, rec, op)      here
 *   deliver(cpu)                  interrupt.ts: pending exception at RIP; false is a triple fault; the run loop's
 *   interruptible(cpu)            interrupt.ts: whether an external interrupt may be delivered now
 *   interrupt(cpu, vector)        interrupt.ts: external interrupt at RIP; false is a triple fault
 *   nmi(cpu), nmiBlocked(cpu)     interrupt.ts
 *   stepCheck(cpu)                debug.ts: at each boundary while POLL_STEP is set; true: #DB is pending
 *   updateMode(cpu)               system-state.ts: after the host changed CS, SS, CR0, EFER, RFLAGS or DR7
 *   resetVcpu(cpu)                control.ts: power-on state
 *   portAllowed(cpu, port, size)  ports.ts: for INS and OUTS
 */
import {
  CR0, FLAGS, GPR, IDT_BASE, GDT_BASE, NEXT_RIP, RDX, REC_B, REC_DISP, REC_IMM, REC_R, SEG_CS, SEG_DS, SEG_ES, SEG_FS,
  SEG_GS, SEG_LDTR, SEG_SEL, SEG_SS, SEG_TR, ST_FAULT, ST_HALT, ST_JUMP, ST_NEXT, MODE, MODE_STEP,
} from "../layout";
import { readControl, writeCr0, writeControl } from "./control";
import { cpuid } from "./cpuid";
import { readDebug, writeDebug } from "./debug";
import { loadSegment } from "./descriptor";
import { faulted, raise, VEC_OF, VEC_BP, VEC_UD } from "./fault";
import { getFlags, IF, IOPL, overflowFlag, RF, VIF, VIP, VM } from "./flags";
import { hypercall } from "./hypercall";
import { debugInterrupt, softwareInterrupt } from "./interrupt";
import { flushPage } from "./mmu";
import { rdmsr, readTimeStamp, readTimeStampAux, wrmsr } from "./msr";
import { addressOf, isMemory, nextRipOf, readMem, readRm, sizeOf, writeMem, writeReg } from "./operand";
import * as OP from "./ops";
import { portIn, portOut } from "./ports";
import { swapgs, syscall, sysenter, sysexit, sysret } from "./syscall";
import { isMarked } from "./segment-check";
import { commitStack, popValue, pushValue, useStack } from "./system-stack";
import {
  CR0_PE, CR0_TS, cplOf, iopl, isRealOrVm, isVm, openShadow, privileged, protection, STEP_HELD, STEP_STATE, updateMode,
  writeFlags,
} from "./system-state";
import {
  adjustPrivilege, loadAccessRights, loadLimit, loadLocalTable, loadTable, loadTask, storeTable, verify,
} from "./system-tables";
import { farCall, farJump, farReturn } from "./transfer";
import { interruptReturn } from "./transfer-iret";

export { portAllowed } from "./ports";

/** The operation was the last of its block: control goes to the next instruction. */
function ended(cpu: usize, rec: usize, ok: bool): u32 {
  if (!ok) return ST_FAULT;
  store<u64>(cpu, nextRipOf(cpu, rec), NEXT_RIP);
  return ST_JUMP;
}

// @ts-ignore: decorator
@inline
function jumped(ok: bool): u32 {
  return ok ? ST_JUMP : ST_FAULT;
}

// @ts-ignore: decorator
@inline
function done(ok: bool): u32 {
  return ok ? ST_NEXT : ST_FAULT;
}

function undefinedOpcode(cpu: usize): bool {
  raise(cpu, VEC_UD);
  return false;
}

export function execSystem(cpu: usize, rec: usize, op: u32): u32 {
  switch (op) {
    case OP.MOV_ES: return done(moveFromSegment(cpu, rec));
    case OP.MOV_SE: return ended(cpu, rec, moveToSegment(cpu, rec));
    case OP.PUSH_ES: return done(pushSegment(cpu, rec, SEG_ES));
    case OP.PUSH_CS: return done(pushSegment(cpu, rec, SEG_CS));
    case OP.PUSH_SS: return done(pushSegment(cpu, rec, SEG_SS));
    case OP.PUSH_DS: return done(pushSegment(cpu, rec, SEG_DS));
    case OP.PUSH_FS: return done(pushSegment(cpu, rec, SEG_FS));
    case OP.PUSH_GS: return done(pushSegment(cpu, rec, SEG_GS));
    case OP.POP_ES: return ended(cpu, rec, popSegment(cpu, rec, SEG_ES));
    case OP.POP_SS: return ended(cpu, rec, popSegment(cpu, rec, SEG_SS));
    case OP.POP_DS: return ended(cpu, rec, popSegment(cpu, rec, SEG_DS));
    case OP.POP_FS: return ended(cpu, rec, popSegment(cpu, rec, SEG_FS));
    case OP.POP_GS: return ended(cpu, rec, popSegment(cpu, rec, SEG_GS));
    case OP.LES: return ended(cpu, rec, loadPointer(cpu, rec, SEG_ES));
    case OP.LDS: return ended(cpu, rec, loadPointer(cpu, rec, SEG_DS));
    case OP.LSS: return ended(cpu, rec, loadPointer(cpu, rec, SEG_SS));
    case OP.LFS: return ended(cpu, rec, loadPointer(cpu, rec, SEG_FS));
    case OP.LGS: return ended(cpu, rec, loadPointer(cpu, rec, SEG_GS));
    case OP.CALL_FAR_I: return jumped(farImmediate(cpu, rec, true));
    case OP.JMP_FAR_I: return jumped(farImmediate(cpu, rec, false));
    case OP.CALL_FAR_M: return jumped(farMemory(cpu, rec, true));
    case OP.JMP_FAR_M: return jumped(farMemory(cpu, rec, false));
    case OP.RETF: return jumped(farReturn(cpu, sizeOf(rec), 0));
    case OP.RETF_I: return jumped(farReturn(cpu, sizeOf(rec), load<u16>(rec, REC_IMM)));
    case OP.INT3: return jumped(softwareInterrupt(cpu, VEC_BP, nextRipOf(cpu, rec), false));
    case OP.INT: return jumped(softwareInterrupt(cpu, load<u8>(rec, REC_IMM), nextRipOf(cpu, rec), true));
    case OP.INTO:
      if (!overflowFlag(cpu)) return ended(cpu, rec, true);
      return jumped(softwareInterrupt(cpu, VEC_OF, nextRipOf(cpu, rec), false));
    case OP.INT1: return jumped(debugInterrupt(cpu, nextRipOf(cpu, rec)));
    case OP.IRET: return jumped(interruptReturn(cpu, sizeOf(rec), nextRipOf(cpu, rec)));
    case OP.PUSHF: return done(pushFlags(cpu, sizeOf(rec)));
    case OP.POPF: return ended(cpu, rec, popFlags(cpu, sizeOf(rec)));
    case OP.CLI: return done(clearInterrupts(cpu));
    case OP.STI: return ended(cpu, rec, setInterrupts(cpu));
    case OP.HLT:
      if (!privileged(cpu)) return ST_FAULT;
      store<u64>(cpu, nextRipOf(cpu, rec), NEXT_RIP);
      return ST_HALT;
    case OP.IN_I: return ended(cpu, rec, portIn(cpu, load<u8>(rec, REC_IMM), sizeOf(rec)));
    case OP.OUT_I: return ended(cpu, rec, portOut(cpu, load<u8>(rec, REC_IMM), sizeOf(rec)));
    case OP.IN_DX: return ended(cpu, rec, portIn(cpu, load<u16>(cpu, GPR + RDX), sizeOf(rec)));
    case OP.OUT_DX: return ended(cpu, rec, portOut(cpu, load<u16>(cpu, GPR + RDX), sizeOf(rec)));
    case OP.ARPL: return done(adjustPrivilege(cpu, rec));
    case OP.SLDT: return done(storeSelector(cpu, rec, SEG_LDTR));
    case OP.STR: return done(storeSelector(cpu, rec, SEG_TR));
    case OP.LLDT: return done(loadLocalTable(cpu, rec));
    case OP.LTR: return done(loadTask(cpu, rec));
    case OP.VERR: return done(verify(cpu, rec, false));
    case OP.VERW: return done(verify(cpu, rec, true));
    case OP.SGDT: return done(storeTable(cpu, rec, GDT_BASE));
    case OP.SIDT: return done(storeTable(cpu, rec, IDT_BASE));
    case OP.LGDT: return done(loadTable(cpu, rec, GDT_BASE));
    case OP.LIDT: return done(loadTable(cpu, rec, IDT_BASE));
    case OP.SMSW: return done(storeStatusWord(cpu, rec));
    case OP.LMSW: return ended(cpu, rec, loadStatusWord(cpu, rec));
    case OP.SWAPGS_RDTSCP: return ended(cpu, rec, swapgsOrRdtscp(cpu, rec));
    case OP.VMCALL:
    case OP.VMMCALL: return done(callHypervisor(cpu, rec));
    case OP.INVLPG: return ended(cpu, rec, invalidatePage(cpu, rec));
    case OP.LAR: return done(loadAccessRights(cpu, rec));
    case OP.LSL: return done(loadLimit(cpu, rec));
    case OP.SYSCALL: return jumped(syscall(cpu, nextRipOf(cpu, rec)));
    case OP.CLTS: return ended(cpu, rec, clearTaskSwitched(cpu));
    case OP.SYSRET: return jumped(sysret(cpu, sizeOf(rec) == 3));
    case OP.INVD:
    case OP.WBINVD: return done(privileged(cpu));
    case OP.MOV_RC: return done(readControl(cpu, rec));
    case OP.MOV_RD: return done(readDebug(cpu, rec));
    case OP.MOV_CR: return ended(cpu, rec, writeControl(cpu, rec));
    case OP.MOV_DR: return ended(cpu, rec, writeDebug(cpu, rec));
    case OP.WRMSR: return ended(cpu, rec, wrmsr(cpu));
    case OP.RDTSC: return done(readTimeStamp(cpu));
    case OP.RDMSR: return done(rdmsr(cpu));
    // There are no performance counters: every counter number is out of range.
    case OP.RDPMC: return done(protection(cpu));
    case OP.SYSENTER: return jumped(sysenter(cpu));
    case OP.SYSEXIT: return jumped(sysexit(cpu, sizeOf(rec) == 3));
    case OP.CPUID:
      cpuid(cpu);
      return ST_NEXT;
    default: return done(undefinedOpcode(cpu));
  }
}

function moveFromSegment(cpu: usize, rec: usize): bool {
  const number: u32 = load<u8>(rec, REC_R);
  if (number > 5) return undefinedOpcode(cpu);
  return storeSelector(cpu, rec, number + SEG_ES);
}

/** Stores a selector: 16 bits in memory, zero-extended in a register (also SLDT and STR). */
function storeSelector(cpu: usize, rec: usize, slot: u32): bool {
  if ((slot == SEG_TR || slot == SEG_LDTR) && isRealOrVm(cpu)) return undefinedOpcode(cpu);
  const selector = load<u32>(cpu + slot * 4, SEG_SEL) as u64;
  if (isMemory(rec)) return writeMem(cpu, addressOf(cpu, rec), 1, selector);
  writeReg(cpu, load<u8>(rec, REC_B), sizeOf(rec), selector);
  return true;
}

function moveToSegment(cpu: usize, rec: usize): bool {
  const number: u32 = load<u8>(rec, REC_R);
  const slot = number + SEG_ES;
  if (slot == SEG_CS || number > 5) return undefinedOpcode(cpu);
  const selector = readRm(cpu, rec, 1) as u32;
  return !faulted(cpu) && loadHolding(cpu, slot, selector);
}

/** Loads a segment register; a load of SS by MOV or POP holds off interrupts and debug traps. */
function loadHolding(cpu: usize, slot: u32, selector: u32): bool {
  if (!loadSegment(cpu, slot, selector)) return false;
  updateMode(cpu);
  if (slot == SEG_SS) {
    if (load<u32>(cpu, MODE) & MODE_STEP) store<u32>(cpu, load<u32>(cpu, STEP_STATE) | STEP_HELD, STEP_STATE);
    openShadow(cpu);
  }
  return true;
}

function pushSegment(cpu: usize, rec: usize, slot: u32): bool {
  useStack(cpu);
  if (!pushValue(cpu, sizeOf(rec), load<u32>(cpu + slot * 4, SEG_SEL))) return false;
  commitStack(cpu);
  return true;
}

function popSegment(cpu: usize, rec: usize, slot: u32): bool {
  useStack(cpu);
  const selector = popValue(cpu, sizeOf(rec)) as u32;
  if (faulted(cpu) || !loadHolding(cpu, slot, selector)) return false;
  commitStack(cpu);
  return true;
}

/** LDS, LES, LFS, LGS, LSS. */
function loadPointer(cpu: usize, rec: usize, slot: u32): bool {
  const size = sizeOf(rec);
  const at = addressOf(cpu, rec);
  const offset = readMem(cpu, at, size);
  if (faulted(cpu)) return false;
  const selector = readMem(cpu, at + (1 << size), 1) as u32;
  if (faulted(cpu) || !loadSegment(cpu, slot, selector)) return false;
  updateMode(cpu);
  writeReg(cpu, load<u8>(rec, REC_R), size, offset);
  return true;
}

function farImmediate(cpu: usize, rec: usize, call: bool): bool {
  const selector: u32 = load<u16>(rec, REC_IMM);
  const offset: u64 = load<u32>(rec, REC_DISP);
  const next = nextRipOf(cpu, rec);
  const size = sizeOf(rec);
  return call ? farCall(cpu, selector, offset, size, next) : farJump(cpu, selector, offset, size, next);
}

function farMemory(cpu: usize, rec: usize, call: bool): bool {
  const size = sizeOf(rec);
  const at = addressOf(cpu, rec);
  const offset = readMem(cpu, at, size);
  if (faulted(cpu)) return false;
  const selector = readMem(cpu, at + (1 << size), 1) as u32;
  if (faulted(cpu)) return false;
  const next = nextRipOf(cpu, rec);
  return call ? farCall(cpu, selector, offset, size, next) : farJump(cpu, selector, offset, size, next);
}

function pushFlags(cpu: usize, size: u32): bool {
  if (isVm(cpu) && iopl(cpu) < 3) return protection(cpu);
  useStack(cpu);
  if (!pushValue(cpu, size, getFlags(cpu) & ~(VM | RF))) return false;
  commitStack(cpu);
  return true;
}

function popFlags(cpu: usize, size: u32): bool {
  if (isVm(cpu) && iopl(cpu) < 3) return protection(cpu);
  useStack(cpu);
  const image = popValue(cpu, size) as u32;
  if (faulted(cpu)) return false;
  let kept: u32 = VM | VIF | VIP;
  if (load<u64>(cpu, CR0) & CR0_PE) {
    if (cplOf(cpu) > 0) kept |= IOPL;
    if (cplOf(cpu) > iopl(cpu)) kept |= IF;
  }
  if (size == 1) kept |= 0xffff0000;
  commitStack(cpu);
  writeFlags(cpu, ((getFlags(cpu) & kept) | (image & ~kept)) & ~RF);
  return true;
}

/** CLI and STI (without CR4.VME and CR4.PVI). */
function mayChangeInterrupts(cpu: usize): bool {
  if (!(load<u64>(cpu, CR0) & CR0_PE) || cplOf(cpu) <= iopl(cpu)) return true;
  return protection(cpu);
}

function clearInterrupts(cpu: usize): bool {
  if (!mayChangeInterrupts(cpu)) return false;
  store<u32>(cpu, load<u32>(cpu, FLAGS) & ~IF, FLAGS);
  return true;
}

function setInterrupts(cpu: usize): bool {
  if (!mayChangeInterrupts(cpu)) return false;
  const flags = load<u32>(cpu, FLAGS);
  if (!(flags & IF)) {
    store<u32>(cpu, flags | IF, FLAGS);
    openShadow(cpu);
  }
  return true;
}

function storeStatusWord(cpu: usize, rec: usize): bool {
  const value = load<u64>(cpu, CR0);
  if (isMemory(rec)) return writeMem(cpu, addressOf(cpu, rec), 1, value);
  writeReg(cpu, load<u8>(rec, REC_B), sizeOf(rec), value);
  return true;
}

/** LMSW writes PE, MP, EM and TS, and cannot clear PE. */
function loadStatusWord(cpu: usize, rec: usize): bool {
  if (!privileged(cpu)) return false;
  const word = readRm(cpu, rec, 1);
  if (faulted(cpu)) return false;
  const old = load<u64>(cpu, CR0);
  return writeCr0(cpu, (old & ~0xe) | (word & 0xf));
}

function clearTaskSwitched(cpu: usize): bool {
  if (!privileged(cpu)) return false;
  store<u64>(cpu, load<u64>(cpu, CR0) & ~CR0_TS, CR0);
  return true;
}

/** 0F 01 /0 and /3 with a register operand: number 1 is VMCALL and VMMCALL, the others are of VMX and SVM. */
function callHypervisor(cpu: usize, rec: usize): bool {
  if (load<u8>(rec, REC_B) != 1) return undefinedOpcode(cpu);
  hypercall(cpu);
  return true;
}

/** 0F 01 /7 with a register operand: its number selects the instruction. */
function swapgsOrRdtscp(cpu: usize, rec: usize): bool {
  const number = load<u8>(rec, REC_B);
  if (number == 0) return swapgs(cpu);
  return number == 1 ? readTimeStampAux(cpu) : undefinedOpcode(cpu);
}

function invalidatePage(cpu: usize, rec: usize): bool {
  if (!privileged(cpu)) return false;
  const va = addressOf(cpu, rec);
  flushPage(cpu, isMarked(cpu, va) ? va & 0xffffffff : va);
  return true;
}
