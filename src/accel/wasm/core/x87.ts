/**
 * The x87 unit: escape opcodes D8–DF and FWAIT (Intel SDM vol. 2, tables ).
 *
 * An operation's number is `(opcode & 7) × 8 + ModRM.reg`. Encodings that the tables leave empty but
 * that processors run as another instruction (FCOM at DC D0, FFREEP at DF C0, FSTP without stack underflow
 * at D9 D8 …) do here what they do there.
 */
import {
  EA_SEG_SHIFT, FPU_CW, FPU_FCS, FPU_FDP, FPU_FDS, FPU_FIP, FPU_FOP, FPU_SW, GPR, MODE, MODE_CODE64, MODE_CODE_MASK, RAX,
  REC_EA, REC_IMM, SEG_CS, SEG_SEL, ST_FAULT, ST_NEXT, CR0,
} from "../layout";
import { faulted, raise, VEC_NM, VEC_UD } from "./fault";
import { carryFlag, parityFlag, zeroFlag } from "./flags";
import { FWAIT, X87_MEMORY } from "./ops";
import { addressOf, offsetOf, readMem, ripOf, sizeOf, writeMem } from "./operand";
import { fpRounding, KIND_FINITE, RC_NEAREST, RC_UP, RC_ZERO, setB, setExact } from "./softfloat-core";
import {
  arithmeticAB, changeSign, compareCodes, compareRegisters, compareToFlags, compareUnderflow, examine, extract,
  partialRemainder, registerArithmetic, rootOfTop, roundTop, scale, test, underflow,
} from "./x87-arithmetic";
import {
  clearExceptions, initialize, loadEnvironment, restore, save, setControl, statusWord, storeEnvironment,
} from "./x87-control";
import { exponential, logarithm, logarithmPlusOne } from "./x87-logarithm";
import {
  FORMAT_F32, FORMAT_F64, FORMAT_I16, FORMAT_I32, FORMAT_I64, integerOf, loadDecimal, loadExtended, loadNumber,
  readNumber, storeDecimal, storeExtended, storeInteger, storeReal, unpackNumber,
} from "./x87-memory";
import { fastRegisters, fastWithFloat, fastWithInteger } from "./x87-fast";
import {
  CR0_MP, isEmpty, loadA, pending, pop, popTimes, push, pushFaults, putIndefinite, putR, rotate, setStatus, setTag,
  stackFault, stAt, SW_C1, SW_ES, x87Begin, x87Enter,
} from "./x87-state";
import { arctangent, TRIG_COS, TRIG_SIN, TRIG_SINCOS, TRIG_TAN, trigonometric } from "./x87-trigonometric";
import { charge, COST_TRANSCENDENTAL } from "./work";

const CR0_EM: u32 = 4;
const CR0_TS: u32 = 8;

export function execX87(cpu: usize, rec: usize, op: u32): u32 {
  if (op == FWAIT) return wait(cpu);
  const immediate = load<u32>(rec, REC_IMM);
  return op == X87_MEMORY ? memoryForm(cpu, rec, immediate) : registerForm(cpu, rec, immediate & 0x1ff);
}

/** FWAIT needs both MP and TS for #NM. */
function wait(cpu: usize): u32 {
  const trap = CR0_MP | CR0_TS;
  if ((load<u32>(cpu, CR0) & trap) == trap) {
    raise(cpu, VEC_NM);
    return ST_FAULT;
  }
  return pending(cpu) ? ST_FAULT : ST_NEXT;
}

/** FIP, FCS and FOP of an instruction that is not a control instruction (SDM vol. 1, 8.1.8). */
// @ts-ignore: decorator
@inline
function notePointers(cpu: usize, rec: usize, opcode: u32): void {
  notePointersAt(cpu, ripOf(cpu, rec), opcode);
}

// @ts-ignore: decorator
@inline
function notePointersAt(cpu: usize, rip: u64, opcode: u32): void {
  const long = (load<u32>(cpu, MODE) & MODE_CODE_MASK) == MODE_CODE64;
  store<u64>(cpu, rip, FPU_FIP);
  store<u32>(cpu, long ? 0 : load<u32>(cpu + SEG_CS * 4, SEG_SEL), FPU_FCS);
  store<u32>(cpu, opcode & 0x7ff, FPU_FOP);
}

function noteOperand(cpu: usize, rec: usize, offset: u64): void {
  const long = (load<u32>(cpu, MODE) & MODE_CODE_MASK) == MODE_CODE64;
  const segment: u32 = (load<u8>(rec, REC_EA) >> EA_SEG_SHIFT) & 7;
  store<u64>(cpu, offset, FPU_FDP);
  store<u32>(cpu, long ? 0 : load<u32>(cpu + segment * 4, SEG_SEL), FPU_FDS);
}

/* ---- memory forms ---------------------------------------------------------------------------------- */

/** Sets of memory forms, a bit for each. */
const UNDEFINED_MEMORY: u64 = ((1 as u64) << 0o11) | ((1 as u64) << 0o34) | ((1 as u64) << 0o36)
  | ((1 as u64) << 0o55);
/** FNSTENV FNSTCW FNSAVE FNSTSW do not wait. */
const NOT_WAITING: u64 = ((1 as u64) << 0o16) | ((1 as u64) << 0o17) | ((1 as u64) << 0o56) | ((1 as u64) << 0o57);

// @ts-ignore: decorator
@inline
function isAmong(form: u32, set: u64): bool {
  return ((set >> form) & 1) != 0;
}

function memoryForm(cpu: usize, rec: usize, immediate: u32): u32 {
  const form = immediate & 63;
  if (isAmong(form, UNDEFINED_MEMORY)) {
    raise(cpu, VEC_UD);
    return ST_FAULT;
  }
  if (!x87Enter(cpu, !isAmong(form, NOT_WAITING))) return ST_FAULT;
  const va = addressOf(cpu, rec);
  const offset = offsetOf(cpu, rec);
  if (isControl(form)) return controlMemory(cpu, rec, form, va) ? ST_NEXT : ST_FAULT;
  if (!dataMemory(cpu, form, va)) return ST_FAULT;
  notePointers(cpu, rec, ((form >> 3) << 8) | ((form & 7) << 3) | ((immediate >> 8) & 0xc7));
  noteOperand(cpu, rec, offset);
  return ST_NEXT;
}

/** D9 /4–7, DD /4, DD /6, DD /7. */
function isControl(form: u32): bool {
  return (form >= 0o14 && form <= 0o17) || (form >= 0o54 && form <= 0o57);
}

function controlMemory(cpu: usize, rec: usize, form: u32, va: u64): bool {
  x87Begin(cpu);
  const wide = sizeOf(rec) >= 2;
  switch (form) {
    case 0o14: return loadEnvironment(cpu, va, wide);
    case 0o15: {
      const control = readMem(cpu, va, 1) as u32;
      if (faulted(cpu)) return false;
      setControl(cpu, control);
      return true;
    }
    case 0o16: return storeEnvironment(cpu, va, wide);
    case 0o17: return writeMem(cpu, va, 1, load<u32>(cpu, FPU_CW) as u64);
    case 0o54: return restore(cpu, va, wide);
    case 0o56: return save(cpu, va, wide);
    default: return writeMem(cpu, va, 1, statusWord(cpu) as u64);
  }
}

/** Number format of the arithmetic forms of D8, DA, DC, DE and of loads and stores of D9, DB, DD, DF. */
function formatOf(escape: u32): u32 {
  switch (escape) {
    case 0: case 1: return FORMAT_F32;
    case 2: case 3: return FORMAT_I32;
    case 4: case 5: return FORMAT_F64;
    default: return FORMAT_I16;
  }
}

function dataMemory(cpu: usize, form: u32, va: u64): bool {
  const escape = form >> 3;
  const digit = form & 7;
  const format = formatOf(escape);
  if (!(escape & 1)) return memoryArithmetic(cpu, digit, va, format);
  if (digit < 4) {
    if (digit == 0) return loadNumber(cpu, va, format);
    const pops: u32 = digit & 1;
    const truncates = digit == 1;
    if (format <= FORMAT_F64 && !truncates) return storeReal(cpu, va, format, pops);
    x87Begin(cpu);
    // FISTTP has 64 bits where the others have a double.
    return storeInteger(cpu, va, format == FORMAT_F64 ? FORMAT_I64 : format, pops, truncates ? RC_ZERO : fpRounding);
  }
  x87Begin(cpu);
  switch (form) {
    case 0o35: return loadExtended(cpu, va);
    case 0o37: return storeExtended(cpu, va);
    case 0o74: return loadDecimal(cpu, va);
    case 0o75: return loadNumber(cpu, va, FORMAT_I64);
    case 0o76: return storeDecimal(cpu, va);
    default: return storeInteger(cpu, va, FORMAT_I64, 1, fpRounding);
  }
}

function memoryArithmetic(cpu: usize, digit: u32, va: u64, format: u32): bool {
  const bits = readNumber(cpu, va, format);
  if (faulted(cpu)) return false;
  const compares = (digit >> 1) == 1;
  if (!compares) {
    const done = format <= FORMAT_F64
      ? fastWithFloat(cpu, digit, bits, format == FORMAT_F64)
      : fastWithInteger(cpu, digit, integerOf(bits, format));
    if (done) return true;
  }
  x87Begin(cpu);
  unpackNumber(bits, format);
  setB();
  if (isEmpty(cpu, 0)) {
    if (compares) compareUnderflow(cpu, digit & 1);
    else underflow(cpu, 0, 0);
    return true;
  }
  loadA(cpu, 0);
  if (compares) compareCodes(cpu, false, digit & 1);
  else arithmeticAB(cpu, digit, 0, 0);
  return true;
}

/* ---- register forms --------------------------------------------------------------------------------- */

function undefinedRegister(code: u32): bool {
  const rm = code & 7;
  switch (code >> 3) {
    case 0o12: return rm != 0;
    case 0o14: return rm == 2 || rm == 3 || rm > 5;
    case 0o15: return rm == 7;
    case 0o25: case 0o63: return rm != 1;
    case 0o34: return rm > 4;
    case 0o74: return rm != 0;
    case 0o24: case 0o26: case 0o27: case 0o37: case 0o56: case 0o57: case 0o77: return true;
    default: return false;
  }
}

/** Whether a form is arithmetic on two registers. */
// @ts-ignore: decorator
@inline
function isArithmetic(form: u32): bool {
  const escape = form >> 3;
  return (escape == 0 || escape == 4 || escape == 6) && (form & 6) != 2;
}

/** FLD, FXCH, FST and FSTP of a register, which compute nothing. */
// @ts-ignore: decorator
@inline
function isMove(form: u32): bool {
  return (form & 0o76) == 0o10 || (form & 0o76) == 0o52;
}

/** Does a register form in the common case; false, with nothing changed, when it is another one. */
// @ts-ignore: decorator
@inline
function commonForm(cpu: usize, rip: u64, code: u32): bool {
  const form = code >> 3;
  const i = code & 7;
  if (isArithmetic(form)) {
    const escape = form >> 3;
    if (!fastRegisters(cpu, form & 7, i, escape == 0 ? 0 : i, escape == 6 ? 1 : 0)) return false;
  } else if (!isMove(form)) return false;
  else if (form == 0o10) loadRegister(cpu, i);
  else if (form == 0o11) exchange(cpu, i);
  else storeRegister(cpu, i, form & 1);
  notePointersAt(cpu, rip, ((code >> 6) << 8) | 0xc0 | (code & 63));
  return true;
}

/**
 * A register form of translated code, at `rip`. False, with nothing changed: it is not the common case,
 * or it faults; `execX87` is to do it.
 */
export function x87Registers(cpu: usize, code: u32, rip: u64): bool {
  if (load<u32>(cpu, CR0) & (CR0_EM | CR0_TS) || load<u32>(cpu, FPU_SW) & SW_ES) return false;
  return commonForm(cpu, rip, code);
}

function registerForm(cpu: usize, rec: usize, code: u32): u32 {
  if (isArithmetic(code >> 3) || isMove(code >> 3)) {
    if (!x87Enter(cpu, true)) return ST_FAULT;
    if (commonForm(cpu, ripOf(cpu, rec), code)) return ST_NEXT;
  }
  if (undefinedRegister(code)) {
    raise(cpu, VEC_UD);
    return ST_FAULT;
  }
  const form = code >> 3;
  const i = code & 7;
  /* FNCLEX, FNINIT and what is left of the 80287's FNENI FNDISI FNSETPM; FNSTSW AX. */
  const control = form == 0o34 || form == 0o74;
  if (!x87Enter(cpu, !control)) return ST_FAULT;
  x87Begin(cpu);
  if (control) {
    if (form == 0o74) store<u16>(cpu + RAX, statusWord(cpu) as u16, GPR);
    else if (i == 2) clearExceptions(cpu);
    else if (i == 3) initialize(cpu);
    return ST_NEXT;
  }
  const escape = form >> 3;
  if (escape == 0 || ((escape == 4 || escape == 6) && (form & 7) != 2 && (form & 7) != 3)) {
    arithmeticForm(cpu, escape, form & 7, i);
  } else {
    otherForm(cpu, form, i);
  }
  notePointers(cpu, rec, (escape << 8) | 0xc0 | (code & 63));
  return ST_NEXT;
}

function arithmeticForm(cpu: usize, escape: u32, digit: u32, i: u32): void {
  if (escape == 0 && (digit >> 1) == 1) compareRegisters(cpu, i, false, digit & 1);
  else registerArithmetic(cpu, digit, i, escape == 0 ? 0 : i, escape == 6 ? 1 : 0);
}

function otherForm(cpu: usize, form: u32, i: u32): void {
  switch (form) {
    case 0o51: case 0o71: exchange(cpu, i); break;
    case 0o12: break;
    case 0o13:
      if (!isEmpty(cpu, 0)) {
        storeRegister(cpu, i, 1);
      } else {
        pop(cpu);
        setStatus(cpu, SW_C1, 0);
      }
      break;
    case 0o72: case 0o73: storeRegister(cpu, i, 1); break;
    case 0o14: signForm(cpu, i); break;
    case 0o15: constant(cpu, i); break;
    case 0o16: transcendentalForm(cpu, i); break;
    case 0o17: moreForm(cpu, i); break;
    case 0o20: move(cpu, i, carryFlag(cpu)); break;
    case 0o21: move(cpu, i, zeroFlag(cpu)); break;
    case 0o22: move(cpu, i, carryFlag(cpu) || zeroFlag(cpu)); break;
    case 0o23: move(cpu, i, parityFlag(cpu)); break;
    case 0o30: move(cpu, i, !carryFlag(cpu)); break;
    case 0o31: move(cpu, i, !zeroFlag(cpu)); break;
    case 0o32: move(cpu, i, !carryFlag(cpu) && !zeroFlag(cpu)); break;
    case 0o33: move(cpu, i, !parityFlag(cpu)); break;
    case 0o25: compareRegisters(cpu, 1, true, 2); break;
    case 0o35: compareToFlags(cpu, i, true, 0); break;
    case 0o36: compareToFlags(cpu, i, false, 0); break;
    case 0o42: compareRegisters(cpu, i, false, 0); break;
    case 0o43: case 0o62: compareRegisters(cpu, i, false, 1); break;
    case 0o63: compareRegisters(cpu, 1, false, 2); break;
    case 0o50:
      setTag(cpu, i, 3);
      setStatus(cpu, SW_C1, 0);
      break;
    case 0o54: compareRegisters(cpu, i, true, 0); break;
    case 0o55: compareRegisters(cpu, i, true, 1); break;
    case 0o70:
      setTag(cpu, i, 3);
      pop(cpu);
      setStatus(cpu, SW_C1, 0);
      break;
    case 0o75: compareToFlags(cpu, i, true, 1); break;
    default: compareToFlags(cpu, i, false, 1); break;
  }
}

/** FLD ST(i). */
function loadRegister(cpu: usize, i: u32): void {
  if (isEmpty(cpu, i) || !isEmpty(cpu, 7)) {
    if (!stackFault(cpu, !isEmpty(cpu, i))) return;
    push(cpu);
    putIndefinite(cpu, 0);
    return;
  }
  const from = stAt(cpu, i);
  push(cpu);
  copyRegister(stAt(cpu, 0), from);
  setStatus(cpu, SW_C1, 0);
}

// @ts-ignore: decorator
@inline
function copyRegister(to: usize, from: usize): void {
  store<u64>(to, load<u64>(from));
  store<u16>(to, load<u16>(from, 8), 8);
}

/** FST ST(i), FSTP ST(i). */
function storeRegister(cpu: usize, i: u32, pops: u32): void {
  if (isEmpty(cpu, 0)) {
    underflow(cpu, i, pops);
    return;
  }
  copyRegister(stAt(cpu, i), stAt(cpu, 0));
  setTag(cpu, i, 0);
  popTimes(cpu, pops);
  setStatus(cpu, SW_C1, 0);
}

/** FXCH. */
function exchange(cpu: usize, i: u32): void {
  if (isEmpty(cpu, 0) || isEmpty(cpu, i)) {
    if (!stackFault(cpu, false)) return;
    if (isEmpty(cpu, 0)) putIndefinite(cpu, 0);
    if (isEmpty(cpu, i)) putIndefinite(cpu, i);
  } else {
    setStatus(cpu, SW_C1, 0);
  }
  const a = stAt(cpu, 0);
  const b = stAt(cpu, i);
  const sig = load<u64>(a);
  const se = load<u16>(a, 8);
  copyRegister(a, b);
  store<u64>(b, sig);
  store<u16>(b, se, 8);
}

/** FCMOVcc. */
function move(cpu: usize, i: u32, condition: bool): void {
  if (isEmpty(cpu, 0) || isEmpty(cpu, i)) {
    underflow(cpu, 0, 0);
    return;
  }
  if (condition) copyRegister(stAt(cpu, 0), stAt(cpu, i));
}

/** D9 E0–E5. */
function signForm(cpu: usize, i: u32): void {
  if (i == 0) changeSign(cpu, 0x8000, 0x8000);
  else if (i == 1) changeSign(cpu, 0, 0);
  else if (i == 4) test(cpu);
  else examine(cpu);
}

/** D9 E8–EE: constants are rounded from more bits as RC says (SDM vol. 1, 8.3.8). */
function constant(cpu: usize, i: u32): void {
  if (pushFaults(cpu)) return;
  push(cpu);
  setStatus(cpu, SW_C1, 0);
  const up = fpRounding == RC_UP;
  const nearest = fpRounding == RC_NEAREST;
  switch (i) {
    case 0: putConstant(cpu, 0, 0x8000000000000000); break;
    case 1: putConstant(cpu, 1, up ? 0xd49a784bcd1b8aff : 0xd49a784bcd1b8afe); break;
    case 2: putConstant(cpu, 0, up || nearest ? 0xb8aa3b295c17f0bc : 0xb8aa3b295c17f0bb); break;
    case 3: putConstant(cpu, 1, up || nearest ? 0xc90fdaa22168c235 : 0xc90fdaa22168c234); break;
    case 4: putConstant(cpu, -2, up || nearest ? 0x9a209a84fbcff799 : 0x9a209a84fbcff798); break;
    case 5: putConstant(cpu, -1, up || nearest ? 0xb17217f7d1cf79ac : 0xb17217f7d1cf79ab); break;
    default: {
      const at = stAt(cpu, 0);
      store<u64>(at, 0);
      store<u16>(at, 0, 8);
    }
  }
}

function putConstant(cpu: usize, exp: i32, sig: u64): void {
  setExact(KIND_FINITE, 0, exp, sig);
  putR(cpu, 0);
}

/** D9 F0–F7. */
function transcendentalForm(cpu: usize, i: u32): void {
  if (i < 6) charge(cpu, COST_TRANSCENDENTAL);
  switch (i) {
    case 0: exponential(cpu); break;
    case 1: logarithm(cpu); break;
    case 2: trigonometric(cpu, TRIG_TAN); break;
    case 3: arctangent(cpu); break;
    case 4: extract(cpu); break;
    case 5: partialRemainder(cpu, true); break;
    case 6:
      rotate(cpu, 7);
      setStatus(cpu, SW_C1, 0);
      break;
    default:
      rotate(cpu, 1);
      setStatus(cpu, SW_C1, 0);
      break;
  }
}

/** D9 F8–FF. */
function moreForm(cpu: usize, i: u32): void {
  if (i != 2 && i != 4) charge(cpu, COST_TRANSCENDENTAL);
  switch (i) {
    case 0: partialRemainder(cpu, false); break;
    case 1: logarithmPlusOne(cpu); break;
    case 2: rootOfTop(cpu); break;
    case 3: trigonometric(cpu, TRIG_SINCOS); break;
    case 4: roundTop(cpu); break;
    case 5: scale(cpu); break;
    case 6: trigonometric(cpu, TRIG_SIN); break;
    default: trigonometric(cpu, TRIG_COS); break;
  }
}
