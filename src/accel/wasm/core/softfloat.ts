/**
 * SSE and SSE2 arithmetic on bit patterns of binary32 (u32) and binary64 (u64): Intel SDM vol. 1,
 * 4.8.3.5 (NaNs), 10.2.3 (MXCSR), 11.5 (SIMD floating-point exceptions).
 *
 * Use:
 *   fpBegin(mxcsr)              before an instruction: takes RC, DAZ, FTZ and masks from MXCSR and
 *                               clears `fpFlags`
 *   f32Add(a, b): u32           a op b rounded to the format, likewise f32Sub, f32Mul, f32Div,
 *   f64Add(a, b): u64           f32Sqrt(a), f32Min, f32Max and the same for f64. `a` is the first source
 *                               (the destination of a two-operand instruction)
 *   f32Compare(a, b, signal)    CMP_GREATER 0, CMP_LESS 1, CMP_EQUAL 2, CMP_UNORDERED 3: bit 0 is CF
 *                               and bit 1 ZF of COMISS, PF is set for 3. `signal`: a QNaN is invalid too
 *                               (COMISS, CMPSS with LT LE NLT NLE); else only an SNaN (UCOMISS, EQ …)
 *   f32ToF64(a), f64ToF32(a)
 *   f32ToI32(a, truncate)       i32, or the integer indefinite value 0x80000000 with FP_IE; also
 *                               f32ToI64, f64ToI32, f64ToI64
 *   i32ToF32, i64ToF32, i32ToF64, i64ToF64
 *   fpFlags                     exceptions of all operations since fpBegin: FP_IE 1, FP_DE 2, FP_ZE 4,
 *                               FP_OE 8, FP_UE 16, FP_PE 32, in the places of MXCSR's flags
 *
 * The caller ORs `fpFlags` into MXCSR and raises #XM when one of them is unmasked; when one of FP_IE,
 * FP_DE, FP_ZE is unmasked, FP_OE, FP_UE and FP_PE are not reported (SDM vol. 1, 11.5.4): `fpReported`
 * does that. Results of an instruction with an unmasked exception are not to be stored.
 */
import { compareOrdered, FP_ADD, FP_DIV, FP_MUL, FP_SUB, operate, squareRoot } from "./softfloat-arithmetic";
import {
  aKind, aSig, aSign, bKind, bSig, bSign, CMP_GREATER, CMP_LESS, CMP_UNORDERED, FP_DE, FP_IE, FP_OE, FP_PE, FP_UE,
  FP_ZE, fpClear, fpDaz, fpFlags, fpMode, fpRaise, fpRounding, KIND_QNAN, KIND_SNAN, pack32, pack64, RC_NEAREST,
  RC_ZERO, roundR, roundToInteger, setA, setB, setExact, setR, uDenormal, uKind, unpack32, unpack64, unpackInteger,
  uSig, uSign,
} from "./softfloat-core";

export {
  CMP_EQUAL, CMP_GREATER, CMP_LESS, CMP_UNORDERED, FP_DE, FP_IE, FP_OE, FP_PE, FP_UE, FP_ZE, fpFlags,
} from "./softfloat-core";

const MXCSR_DAZ: u32 = 0x40;
const MXCSR_FTZ: u32 = 0x8000;
const MASK_SHIFT: u32 = 7;

let masks: u32 = 0;
/** Rounding is to nearest and MXCSR.PE already set, so wasm's own arithmetic gives the same results. */
let native: bool = false;

/** Takes rounding and masks from MXCSR and forgets earlier exceptions. */
export function fpBegin(mxcsr: u32): void {
  const rounding = (mxcsr >> 13) & 3;
  masks = (mxcsr >> MASK_SHIFT) & 0x3f;
  const ftz = (mxcsr & MXCSR_FTZ) != 0 && (masks & FP_UE) != 0;
  fpClear();
  fpMode(rounding, (mxcsr & MXCSR_DAZ) != 0, ftz, ~masks & (FP_OE | FP_UE));
  native = rounding == RC_NEAREST && (mxcsr & masks & FP_PE) != 0;
}

/** The flags to set in MXCSR: FP_OE, FP_UE and FP_PE are left out after an unmasked earlier exception. */
export function fpReported(): u32 {
  const early = fpFlags & (FP_IE | FP_DE | FP_ZE);
  return early & ~masks ? early : fpFlags;
}

/** Whether one of the exceptions is unmasked: #XM. */
export function fpTraps(): bool {
  return (fpFlags & ~masks) != 0;
}

/** Zero or a normal number. */
// @ts-ignore: decorator
@inline
function plain32(bits: u32): bool {
  const magnitude = bits << 1;
  return magnitude == 0 || magnitude - 0x01000000 < 0xfe000000;
}

// @ts-ignore: decorator
@inline
function plain64(bits: u64): bool {
  const magnitude = bits << 1;
  return magnitude == 0 || magnitude - 0x0020000000000000 < 0xffc0000000000000;
}

/** A normal number above the smallest exponent, so that its rounding cannot have hidden an underflow. */
// @ts-ignore: decorator
@inline
function safe32(bits: u32): bool {
  return (bits << 1) - 0x02000000 < 0xfd000000;
}

// @ts-ignore: decorator
@inline
function safe64(bits: u64): bool {
  return (bits << 1) - 0x0040000000000000 < 0xffa0000000000000;
}

/** R = the NaN that an operation on A and B gives: the first operand's when it is one (SDM vol. 1, table 4-7). */
function chooseNan(): void {
  if (aKind == KIND_SNAN || bKind == KIND_SNAN) fpRaise(FP_IE);
  if (aKind >= KIND_QNAN) setExact(KIND_QNAN, aSign, 0, aSig);
  else setExact(KIND_QNAN, bSign, 0, bSig);
}

function binary32(op: u32, a: u32, b: u32): u32 {
  unpack32(a);
  setA();
  unpack32(b);
  setB();
  if (aKind >= KIND_QNAN || bKind >= KIND_QNAN) {
    chooseNan();
  } else {
    operate(op);
    roundR(24, 127);
  }
  return pack32();
}

function binary64(op: u32, a: u64, b: u64): u64 {
  unpack64(a);
  setA();
  unpack64(b);
  setB();
  if (aKind >= KIND_QNAN || bKind >= KIND_QNAN) {
    chooseNan();
  } else {
    operate(op);
    roundR(53, 1023);
  }
  return pack64();
}

export function f32Add(a: u32, b: u32): u32 {
  if (native && plain32(a) && plain32(b)) {
    const sum = reinterpret<u32>(reinterpret<f32>(a) + reinterpret<f32>(b));
    if (safe32(sum)) return sum;
  }
  return binary32(FP_ADD, a, b);
}

export function f32Sub(a: u32, b: u32): u32 {
  if (native && plain32(a) && plain32(b)) {
    const difference = reinterpret<u32>(reinterpret<f32>(a) - reinterpret<f32>(b));
    if (safe32(difference)) return difference;
  }
  return binary32(FP_SUB, a, b);
}

export function f32Mul(a: u32, b: u32): u32 {
  if (native && plain32(a) && plain32(b)) {
    const product = reinterpret<u32>(reinterpret<f32>(a) * reinterpret<f32>(b));
    if (safe32(product)) return product;
  }
  return binary32(FP_MUL, a, b);
}

export function f32Div(a: u32, b: u32): u32 {
  if (native && plain32(a) && plain32(b)) {
    const quotient = reinterpret<u32>(reinterpret<f32>(a) / reinterpret<f32>(b));
    if (safe32(quotient)) return quotient;
  }
  return binary32(FP_DIV, a, b);
}

export function f64Add(a: u64, b: u64): u64 {
  if (native && plain64(a) && plain64(b)) {
    const sum = reinterpret<u64>(reinterpret<f64>(a) + reinterpret<f64>(b));
    if (safe64(sum)) return sum;
  }
  return binary64(FP_ADD, a, b);
}

export function f64Sub(a: u64, b: u64): u64 {
  if (native && plain64(a) && plain64(b)) {
    const difference = reinterpret<u64>(reinterpret<f64>(a) - reinterpret<f64>(b));
    if (safe64(difference)) return difference;
  }
  return binary64(FP_SUB, a, b);
}

export function f64Mul(a: u64, b: u64): u64 {
  if (native && plain64(a) && plain64(b)) {
    const product = reinterpret<u64>(reinterpret<f64>(a) * reinterpret<f64>(b));
    if (safe64(product)) return product;
  }
  return binary64(FP_MUL, a, b);
}

export function f64Div(a: u64, b: u64): u64 {
  if (native && plain64(a) && plain64(b)) {
    const quotient = reinterpret<u64>(reinterpret<f64>(a) / reinterpret<f64>(b));
    if (safe64(quotient)) return quotient;
  }
  return binary64(FP_DIV, a, b);
}

/** √A, or A's NaN. */
function rootOfA(): void {
  unpackInteger(0);
  setB();
  if (aKind >= KIND_QNAN) chooseNan();
  else squareRoot();
}

export function f32Sqrt(a: u32): u32 {
  if (native && (a as i32) >= 0 && safe32(a)) {
    return reinterpret<u32>(sqrt<f32>(reinterpret<f32>(a)));
  }
  unpack32(a);
  setA();
  rootOfA();
  roundR(24, 127);
  return pack32();
}

export function f64Sqrt(a: u64): u64 {
  if (native && (a as i64) >= 0 && safe64(a)) {
    return reinterpret<u64>(sqrt<f64>(reinterpret<f64>(a)));
  }
  unpack64(a);
  setA();
  rootOfA();
  roundR(53, 1023);
  return pack64();
}

/* ---- comparisons ------------------------------------------------------------------------------- */

function compareAB(signal: bool): u32 {
  if (aKind < KIND_QNAN && bKind < KIND_QNAN) return compareOrdered();
  if (signal || aKind == KIND_SNAN || bKind == KIND_SNAN) fpRaise(FP_IE);
  return CMP_UNORDERED;
}

export function f32Compare(a: u32, b: u32, signal: bool): u32 {
  unpack32(a);
  setA();
  unpack32(b);
  setB();
  return compareAB(signal);
}

export function f64Compare(a: u64, b: u64, signal: bool): u32 {
  unpack64(a);
  setA();
  unpack64(b);
  setB();
  return compareAB(signal);
}

/** An operand as DAZ shows it. */
// @ts-ignore: decorator
@inline
function seen32(bits: u32): u32 {
  return fpDaz && !(bits & 0x7f800000) ? bits & 0x80000000 : bits;
}

// @ts-ignore: decorator
@inline
function seen64(bits: u64): u64 {
  return fpDaz && !(bits & 0x7ff0000000000000) ? bits & 0x8000000000000000 : bits;
}

/** MINSS: `a` when it is less, else `b` (so `b` for NaNs and for zeros of either sign). */
export function f32Min(a: u32, b: u32): u32 {
  return seen32(f32Compare(a, b, true) == CMP_LESS ? a : b);
}

export function f32Max(a: u32, b: u32): u32 {
  return seen32(f32Compare(a, b, true) == CMP_GREATER ? a : b);
}

export function f64Min(a: u64, b: u64): u64 {
  return seen64(f64Compare(a, b, true) == CMP_LESS ? a : b);
}

export function f64Max(a: u64, b: u64): u64 {
  return seen64(f64Compare(a, b, true) == CMP_GREATER ? a : b);
}

/* ---- conversions -------------------------------------------------------------------------------- */

/** R = the value last unpacked; quiets a NaN. */
function convert(): void {
  if (uDenormal) fpRaise(FP_DE);
  if (uKind == KIND_SNAN) {
    fpRaise(FP_IE);
    setExact(KIND_QNAN, uSign, 0, uSig);
  } else {
    setR();
  }
}

export function f32ToF64(a: u32): u64 {
  unpack32(a);
  convert();
  return pack64();
}

export function f64ToF32(a: u64): u32 {
  unpack64(a);
  convert();
  roundR(24, 127);
  return pack32();
}

export function f32ToI32(a: u32, truncate: bool): i32 {
  unpack32(a);
  return roundToInteger(truncate ? RC_ZERO : fpRounding, 32) as i32;
}

export function f32ToI64(a: u32, truncate: bool): i64 {
  unpack32(a);
  return roundToInteger(truncate ? RC_ZERO : fpRounding, 64);
}

export function f64ToI32(a: u64, truncate: bool): i32 {
  unpack64(a);
  return roundToInteger(truncate ? RC_ZERO : fpRounding, 32) as i32;
}

export function f64ToI64(a: u64, truncate: bool): i64 {
  unpack64(a);
  return roundToInteger(truncate ? RC_ZERO : fpRounding, 64);
}

export function i32ToF32(value: i32): u32 {
  return i64ToF32(value as i64);
}

export function i64ToF32(value: i64): u32 {
  unpackInteger(value);
  setR();
  roundR(24, 127);
  return pack32();
}

export function i32ToF64(value: i32): u64 {
  return reinterpret<u64>(value as f64);
}

export function i64ToF64(value: i64): u64 {
  unpackInteger(value);
  setR();
  roundR(53, 1023);
  return pack64();
}
