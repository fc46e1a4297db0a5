/**
 * Descriptor-table registers and checks of selectors (Intel SDM vol. 2: LGDT, LIDT, LLDT, LTR, LAR, LSL,
 * VERR, VERW, ARPL).
 */
import { GDT_BASE, GDT_LIMIT, IDT_LIMIT, REC_R, SEG_LDTR, SEG_TR, TLB_SET } from "../layout";
import {
  attrFrom, baseFrom, dataAllowed, descriptor, descriptorAddress, dplOf, isNull, limitFrom, markDescriptor,
  peekDescriptor, readDescriptor, readUpper, selectorFault, setHidden,
} from "./descriptor";
import { faulted, raise, VEC_GP, VEC_NP, VEC_UD } from "./fault";
import { setSome, ZF } from "./flags";
import { probeWrite } from "./mmu";
import { addressOf, readMem, readReg, readRm, sizeOf, writeMem, writeReg, writeRm } from "./operand";
import {
  ATTR_CODE, ATTR_CONFORMING, ATTR_P, ATTR_RW, ATTR_S, cplOf, isCanonical, isCode64, isLong, isRealOrVm, privileged,
  protection,
} from "./system-state";

/** System descriptor types of IA-32e and legacy modes. */
const TYPE_LDT: u32 = 2;
const TYPE_BUSY: u32 = 2;
/** Bits 8–12 of a 16-byte descriptor's last word are its upper type, which must be 0. */
const UPPER_TYPE: u64 = 0x1f0000000000;

/** SGDT and SIDT. `register`: GDT_BASE or IDT_BASE. */
export function storeTable(cpu: usize, rec: usize, register: usize): bool {
  const at = addressOf(cpu, rec);
  const wide = isCode64(cpu);
  if (!probeWrite(cpu, load<u32>(cpu, TLB_SET), at, wide ? 10 : 6)) return false;
  const limit = load<u32>(cpu + (register == GDT_BASE ? GDT_LIMIT : IDT_LIMIT));
  return writeMem(cpu, at, 1, limit) && writeMem(cpu, at + 2, wide ? 3 : 2, load<u64>(cpu + register));
}

/** LGDT and LIDT. */
export function loadTable(cpu: usize, rec: usize, register: usize): bool {
  if (!privileged(cpu)) return false;
  const at = addressOf(cpu, rec);
  const wide = isCode64(cpu);
  const limit = readMem(cpu, at, 1) as u32;
  if (faulted(cpu)) return false;
  let base = readMem(cpu, at + 2, wide ? 3 : 2);
  if (faulted(cpu)) return false;
  if (wide && !isCanonical(base)) return protection(cpu);
  if (!wide && sizeOf(rec) == 1) base &= 0xffffff;
  store<u64>(cpu + register, base);
  store<u32>(cpu + (register == GDT_BASE ? GDT_LIMIT : IDT_LIMIT), limit);
  return true;
}

function undefinedOpcode(cpu: usize): bool {
  raise(cpu, VEC_UD);
  return false;
}

/** The descriptor's base, with the upper half that 64-bit mode's system descriptors have. Check `faulted`. */
function wideBase(cpu: usize, selector: u32, raw: u64): u64 {
  if (!isLong(cpu)) return baseFrom(raw);
  const high = readUpper(cpu, selector);
  if (faulted(cpu)) return 0;
  const base = baseFrom(raw) | (high << 32);
  if (high & UPPER_TYPE) selectorFault(cpu, VEC_GP, selector);
  else if (!isCanonical(base)) selectorFault(cpu, VEC_GP, selector);
  return base;
}

export function loadLocalTable(cpu: usize, rec: usize): bool {
  if (isRealOrVm(cpu)) return undefinedOpcode(cpu);
  if (!privileged(cpu)) return false;
  const selector = readRm(cpu, rec, 1) as u32;
  if (faulted(cpu)) return false;
  if (isNull(selector)) {
    setHidden(cpu, SEG_LDTR, selector, 0, 0, 0);
    return true;
  }
  if (selector & 4) return selectorFault(cpu, VEC_GP, selector);
  if (!readDescriptor(cpu, selector, VEC_GP)) return false;
  const raw = descriptor;
  const attr = attrFrom(raw);
  if ((attr & 0x1f) != TYPE_LDT) return selectorFault(cpu, VEC_GP, selector);
  if (!(attr & ATTR_P)) return selectorFault(cpu, VEC_NP, selector);
  const base = wideBase(cpu, selector, raw);
  if (faulted(cpu)) return false;
  setHidden(cpu, SEG_LDTR, selector, base, limitFrom(raw), attr);
  return true;
}

export function loadTask(cpu: usize, rec: usize): bool {
  if (isRealOrVm(cpu)) return undefinedOpcode(cpu);
  if (!privileged(cpu)) return false;
  const selector = readRm(cpu, rec, 1) as u32;
  if (faulted(cpu)) return false;
  if (isNull(selector)) return protection(cpu);
  if (selector & 4) return selectorFault(cpu, VEC_GP, selector);
  if (!readDescriptor(cpu, selector, VEC_GP)) return false;
  const raw = descriptor;
  const address = descriptorAddress;
  const attr = attrFrom(raw);
  const type = attr & 0x1f;
  if (type != 9 && (type != 1 || isLong(cpu))) return selectorFault(cpu, VEC_GP, selector);
  if (!(attr & ATTR_P)) return selectorFault(cpu, VEC_NP, selector);
  const base = wideBase(cpu, selector, raw);
  if (faulted(cpu) || !markDescriptor(cpu, address, raw, TYPE_BUSY)) return false;
  setHidden(cpu, SEG_TR, selector, base, limitFrom(raw), attr | TYPE_BUSY);
  return true;
}

/** Whether LAR (or LSL) sees the descriptor in `descriptor` (SDM vol. 2, tables 3-53 and 3-56). */
function visible(cpu: usize, selector: u32, limit: bool): bool {
  const attr = attrFrom(descriptor);
  if (attr & ATTR_S) {
    const conforming = (attr & (ATTR_CODE | ATTR_CONFORMING)) == (ATTR_CODE | ATTR_CONFORMING);
    return conforming || (dplOf(attr) >= cplOf(cpu) && dplOf(attr) >= (selector & 3));
  }
  if (dplOf(attr) < cplOf(cpu) || dplOf(attr) < (selector & 3)) return false;
  switch (attr & 15) {
    case 2:
    case 9:
    case 11: return true;
    case 1:
    case 3: return !isLong(cpu);
    case 12: return !limit;
    case 4:
    case 5: return !limit && !isLong(cpu);
    default: return false;
  }
}

/** Reads the r/m selector and its descriptor for LAR and LSL: 1 valid, 0 not, and a fault is pending or not. */
function inspect(cpu: usize, rec: usize, limit: bool): bool {
  if (isRealOrVm(cpu)) return undefinedOpcode(cpu);
  const selector = readRm(cpu, rec, 1) as u32;
  return !faulted(cpu) && peekDescriptor(cpu, selector) && visible(cpu, selector, limit);
}

export function loadAccessRights(cpu: usize, rec: usize): bool {
  const ok = inspect(cpu, rec, false);
  if (faulted(cpu)) return false;
  if (ok) writeReg(cpu, load<u8>(rec, REC_R), sizeOf(rec), (descriptor >> 32) & 0x00f0ff00);
  setSome(cpu, ZF, ok ? ZF : 0);
  return true;
}

export function loadLimit(cpu: usize, rec: usize): bool {
  const ok = inspect(cpu, rec, true);
  if (faulted(cpu)) return false;
  if (ok) writeReg(cpu, load<u8>(rec, REC_R), sizeOf(rec), limitFrom(descriptor));
  setSome(cpu, ZF, ok ? ZF : 0);
  return true;
}

/** VERR, and VERW with `write`. */
export function verify(cpu: usize, rec: usize, write: bool): bool {
  if (isRealOrVm(cpu)) return undefinedOpcode(cpu);
  const selector = readRm(cpu, rec, 1) as u32;
  if (faulted(cpu)) return false;
  let ok = peekDescriptor(cpu, selector);
  if (faulted(cpu)) return false;
  if (ok) {
    const attr = attrFrom(descriptor);
    ok = dataAllowed(attr, selector, cplOf(cpu));
    if (write && (attr & (ATTR_S | ATTR_CODE | ATTR_RW)) != (ATTR_S | ATTR_RW)) ok = false;
  }
  setSome(cpu, ZF, ok ? ZF : 0);
  return true;
}

export function adjustPrivilege(cpu: usize, rec: usize): bool {
  if (isRealOrVm(cpu)) return undefinedOpcode(cpu);
  const destination = readRm(cpu, rec, 1);
  if (faulted(cpu)) return false;
  const wanted = readReg(cpu, load<u8>(rec, REC_R), 1) & 3;
  const lower = (destination & 3) < wanted;
  if (lower && !writeRm(cpu, rec, 1, (destination & ~3) | wanted)) return false;
  setSome(cpu, ZF, lower ? ZF : 0);
  return true;
}
