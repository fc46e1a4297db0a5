/**
 * Scalar floating-point instructions (core/sse-float.ts, core/sse-convert.ts): in line where the host's
 * arithmetic gives the same result and there is no flag of MXCSR to set; the routine does the rest.
 */
import * as L from '../layout.js';
import type { Emit, Emitter } from './emitter.js';
import type { OpName } from './encoder.js';
import type { FunctionBuilder } from './function-builder.js';
import { callRoutine, type Effects } from './interpret.js';
import { A32, CPU, FLOAT, R64 } from './locals.js';
import type { Operation } from './region.js';
import type { Cursor } from './region-frame.js';
import { sourceLow, sse } from './sse-operand.js';

/** Rounding to nearest, all exceptions masked, PE set (core/sse-float.ts). */
const FAST_MXCSR_MASK = 0x7fa0;
const FAST_MXCSR = 0x1fa0;
/** PE and PM: an inexact result changes nothing when both are set. */
const INEXACT_QUIET = 0x1020;
/** Smallest normal numbers. */
const MIN_DOUBLE = 2 ** -1022;
const MIN_SINGLE = 2 ** -126;

const A = FLOAT;
const B = FLOAT + 1;
const RESULT = FLOAT + 2;
const DOUBLE = 3;
const SINGLE = 2;

/** Pushes a scalar as f64; both formats are handled as doubles, which hold every single. */
function load(builder: FunctionBuilder, size: number, base: number, offset: number): void {
  const { code } = builder;
  builder.floats = true;
  code.get(base);
  if (size === DOUBLE) code.memory('f64.load', offset);
  else code.memory('f32.load', offset).op('f64.promote_f32');
}

/** Writes a local to the low lane of a register. */
function store({ code }: FunctionBuilder, size: number, slot: number, local: number): void {
  code.get(CPU).get(local);
  if (size === DOUBLE) code.memory('f64.store', L.XMM + slot);
  else code.op('f32.demote_f64').memory('f32.store', L.XMM + slot);
}

/** Pushes whether (MXCSR & mask) == value. */
function status({ code }: FunctionBuilder, mask: number, value: number): void {
  code.get(CPU).memory('i32.load', L.MXCSR).i32(mask).op('i32.and').i32(value).op('i32.eq');
}

/** Pushes whether a local is at least `least` in magnitude; false for a NaN. */
function atLeast({ code }: FunctionBuilder, local: number, least: number): void {
  code.get(local).op('f64.abs').f64(least).op('f64.ge');
}

/** Pushes whether a local is neither denormal nor a NaN. */
function plain(builder: FunctionBuilder, local: number, size: number): void {
  const { code } = builder;
  atLeast(builder, local, size === DOUBLE ? MIN_DOUBLE : MIN_SINGLE);
  code.get(local).f64(0).op('f64.eq').op('i32.or');
}

/** Takes the condition for `fast` from the stack; otherwise the routine does the instruction. */
function orRoutine(
  builder: FunctionBuilder,
  operation: Operation,
  cursor: Cursor,
  effects: Effects,
  fast: () => void,
): void {
  const { code } = builder;
  code.if();
  fast();
  code.else();
  callRoutine(builder, operation, cursor, effects);
  code.end();
}

const OPERATIONS: Readonly<Record<string, OpName>> = {
  ADD: 'f64.add',
  SUB: 'f64.sub',
  MUL: 'f64.mul',
  DIV: 'f64.div',
};

/**
 * Sum, difference, product and quotient: the result is well inside the normal range, which a NaN or an
 * infinity as an operand does not give, and no operand is denormal. A single's result is rounded twice,
 * which is innocuous: a double has more than twice its precision.
 */
function arithmetic(match: RegExpExecArray): Emit {
  const name = OPERATIONS[match[1] ?? ''] ?? 'f64.add';
  const size = match[2] === 'SD' ? DOUBLE : SINGLE;
  return (builder, operation, cursor) => {
    const { code } = builder;
    const [base, offset] = sourceLow(builder, operation, cursor, size);
    load(builder, size, CPU, L.XMM + operation.r);
    code.tee(A);
    load(builder, size, base, offset);
    code.tee(B).op(name);
    if (size === SINGLE) code.op('f32.demote_f64').op('f64.promote_f32');
    code.set(RESULT);
    const least = size === DOUBLE ? MIN_DOUBLE : MIN_SINGLE;
    atLeast(builder, RESULT, 2 * least);
    code.get(RESULT).op('f64.abs').f64(Number.POSITIVE_INFINITY).op('f64.lt').op('i32.and');
    plain(builder, A, size);
    code.op('i32.and');
    plain(builder, B, size);
    code.op('i32.and');
    status(builder, FAST_MXCSR_MASK, FAST_MXCSR);
    code.op('i32.and');
    orRoutine(builder, operation, cursor, {}, () => store(builder, size, operation.r, RESULT));
  };
}

/** UCOMIS and COMIS: two numbers that are neither denormal nor NaNs raise nothing. */
function compare(match: RegExpExecArray): Emit {
  const size = match[1] === 'SD' ? DOUBLE : SINGLE;
  return (builder, operation, cursor) => {
    const { code } = builder;
    const [base, offset] = sourceLow(builder, operation, cursor, size);
    load(builder, size, CPU, L.XMM + operation.r);
    code.set(A);
    load(builder, size, base, offset);
    code.set(B);
    plain(builder, A, size);
    plain(builder, B, size);
    code.op('i32.and');
    orRoutine(builder, operation, cursor, { flags: 'all' }, () => {
      // CF: less; ZF: equal; the others are clear.
      builder.setAll(() => {
        code
          .get(A)
          .get(B)
          .op('f64.lt')
          .get(A)
          .get(B)
          .op('f64.eq')
          .i32(6)
          .op('i32.shl')
          .op('i32.or');
      });
    });
  };
}

/** CVTSI2SD: integers of up to 53 bits are doubles. */
const fromInteger: Emit = (builder, operation, cursor) => {
  const { code } = builder;
  const { size } = operation;
  builder.readRm(operation, cursor, size, true);
  code.set(R64);
  const convert = (): void => {
    code
      .get(CPU)
      .get(R64)
      .op('f64.convert_i64_s')
      .memory('f64.store', L.XMM + operation.r);
  };
  if (size === 2) {
    convert();
    return;
  }
  code
    .get(R64)
    .i64(1n << 53n)
    .op('i64.add')
    .i64(1n << 54n)
    .op('i64.le_u');
  orRoutine(builder, operation, cursor, { reads: generalSource(operation) }, convert);
};

const generalSource = ({ memory, b }: Operation): number => (memory ? 0 : 1 << (b >> 3));

/** CVTTSD2SI and CVTTSS2SI, where the result fits and is exact or PE is set already. */
function toInteger(match: RegExpExecArray): Emit {
  const from = match[1] === 'SD' ? DOUBLE : SINGLE;
  return (builder, operation, cursor) => {
    const { code } = builder;
    const { size } = operation;
    const [base, offset] = sourceLow(builder, operation, cursor, from);
    load(builder, from, base, offset);
    code
      .tee(A)
      .op('f64.abs')
      .f64(size === 3 ? 2 ** 63 : 2 ** 31)
      .op('f64.lt')
      .tee(A32)
      .if();
    code.get(A).op('i64.trunc_f64_s').tee(R64).op('f64.convert_i64_s').get(A).op('f64.eq');
    status(builder, INEXACT_QUIET, INEXACT_QUIET);
    code.op('i32.or').set(A32).end();
    code.get(A32);
    orRoutine(builder, operation, cursor, { operands: 'r' }, () => {
      code.get(R64);
      builder.writeRegister(operation.r, size);
    });
  };
}

/** CVTSS2SD, which is exact. */
const widen: Emit = (builder, operation, cursor) => {
  const { code } = builder;
  const [base, offset] = sourceLow(builder, operation, cursor, SINGLE);
  load(builder, SINGLE, base, offset);
  code.set(RESULT);
  plain(builder, RESULT, SINGLE);
  orRoutine(builder, operation, cursor, {}, () => store(builder, DOUBLE, operation.r, RESULT));
};

/** CVTSD2SS. */
const narrow: Emit = (builder, operation, cursor) => {
  const { code } = builder;
  const [base, offset] = sourceLow(builder, operation, cursor, DOUBLE);
  load(builder, DOUBLE, base, offset);
  code.op('f32.demote_f64').op('f64.promote_f32').set(RESULT);
  atLeast(builder, RESULT, 2 * MIN_SINGLE);
  code.get(RESULT).op('f64.abs').f64(Number.POSITIVE_INFINITY).op('f64.lt').op('i32.and');
  status(builder, FAST_MXCSR_MASK, FAST_MXCSR);
  code.op('i32.and');
  orRoutine(builder, operation, cursor, {}, () => store(builder, SINGLE, operation.r, RESULT));
};

function entry(
  pattern: RegExp,
  emit: (match: RegExpExecArray) => Emit,
  operands: Emitter['operands'] = '',
  flags: Emitter['flags'] = 'none',
): Emitter {
  return { pattern, emit: (match) => sse(emit(match)), flags, operands, memory: true };
}

export const SSE_FLOAT_EMITTERS: readonly Emitter[] = [
  entry(/^(ADD|SUB|MUL|DIV)(S[SD])$/, arithmetic),
  entry(/^U?COMI(S[SD])$/, compare, '', 'set'),
  entry(/^CVTSI2SD$/, () => fromInteger, 'b'),
  entry(/^CVTT(S[SD])2SI$/, toInteger, 'r'),
  entry(/^CVTSS2SD$/, () => widen),
  entry(/^CVTSD2SS$/, () => narrow),
];
