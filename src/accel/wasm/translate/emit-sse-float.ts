/**
 * Scalar floating-point instructions (core/sse-float.ts, core/sse-convert.ts): in line where the host's
 * arithmetic gives the same result and there is no flag of MXCSR to set; the routine does the rest.
 */
import * as L from '../layout.js';
import type { Emit, Emitter } from './emitter.js';
import type { OpName } from './encoder.js';
import type { FunctionBuilder } from './function-builder.js';
import { callRoutine, type Effects } from './interpret.js';
import { A32, CPU, FLOAT, POINTER, R64 } from './locals.js';
import type { Operation } from './region.js';
import type { Cursor } from './region-frame.js';
import { setXmm, sseEmitter, xmm } from './sse-operand.js';

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

/** Pushes the low lane of a register as f64; both formats are handled as doubles, which hold every single. */
function low(builder: FunctionBuilder, size: number, slot: number): void {
  xmm(builder, slot);
  if (size === DOUBLE) builder.code.vector('f64x2.extract_lane', [0]);
  else builder.code.vector('f32x4.extract_lane', [0]).op('f64.promote_f32');
}

/** Makes a scalar r/m operand ready; returns what pushes it as f64. */
function source(
  builder: FunctionBuilder,
  operation: Operation,
  cursor: Cursor,
  size: number,
): () => void {
  if (!operation.memory) return () => low(builder, size, operation.b);
  builder.address(operation, cursor);
  builder.readable(size, cursor);
  return () => {
    const { code } = builder;
    code.get(POINTER);
    if (size === DOUBLE) code.memory('f64.load', 0);
    else code.memory('f32.load', 0).op('f64.promote_f32');
  };
}

/** Writes what `value` pushes as f64 to the low lane of a register. */
function setLow(builder: FunctionBuilder, size: number, slot: number, value: () => void): void {
  const { code } = builder;
  setXmm(builder, slot, () => {
    xmm(builder, slot);
    value();
    if (size === DOUBLE) code.vector('f64x2.replace_lane', [0]);
    else code.op('f32.demote_f64').vector('f32x4.replace_lane', [0]);
  });
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
  SQRT: 'f64.sqrt',
};

/**
 * Sum, difference, product, quotient and root: the result is well inside the normal range, which a NaN or an
 * infinity as an operand does not give, and no operand is denormal. A single's result is rounded twice,
 * which is innocuous: a double has more than twice its precision.
 */
function arithmetic(match: RegExpExecArray): Emit {
  const name = OPERATIONS[match[1] ?? ''] ?? 'f64.add';
  const size = match[2] === 'SD' ? DOUBLE : SINGLE;
  const root = name === 'f64.sqrt';
  return (builder, operation, cursor) => {
    const { code } = builder;
    const push = source(builder, operation, cursor, size);
    if (!root) {
      low(builder, size, operation.r);
      code.tee(A);
    }
    push();
    code.tee(B).op(name);
    if (size === SINGLE) code.op('f32.demote_f64').op('f64.promote_f32');
    code.set(RESULT);
    const least = size === DOUBLE ? MIN_DOUBLE : MIN_SINGLE;
    atLeast(builder, RESULT, 2 * least);
    code.get(RESULT).op('f64.abs').f64(Number.POSITIVE_INFINITY).op('f64.lt').op('i32.and');
    for (const operand of root ? [B] : [A, B]) {
      plain(builder, operand, size);
      code.op('i32.and');
    }
    status(builder, FAST_MXCSR_MASK, FAST_MXCSR);
    code.op('i32.and');
    orRoutine(builder, operation, cursor, { vectors: true }, () => {
      setLow(builder, size, operation.r, () => code.get(RESULT));
    });
  };
}

/** UCOMIS and COMIS: two numbers that are neither denormal nor NaNs raise nothing. */
function compare(match: RegExpExecArray): Emit {
  const size = match[1] === 'SD' ? DOUBLE : SINGLE;
  return (builder, operation, cursor) => {
    const { code } = builder;
    const push = source(builder, operation, cursor, size);
    low(builder, size, operation.r);
    code.set(A);
    push();
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
    setLow(builder, DOUBLE, operation.r, () => code.get(R64).op('f64.convert_i64_s'));
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
  orRoutine(
    builder,
    operation,
    cursor,
    { reads: generalSource(operation), vectors: true },
    convert,
  );
};

const generalSource = ({ memory, b }: Operation): number => (memory ? 0 : 1 << (b >> 3));

/** CVTTSD2SI and CVTTSS2SI, where the result fits and is exact or PE is set already. */
function toInteger(match: RegExpExecArray): Emit {
  const from = match[1] === 'SD' ? DOUBLE : SINGLE;
  return (builder, operation, cursor) => {
    const { code } = builder;
    const { size } = operation;
    source(builder, operation, cursor, from)();
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
  source(builder, operation, cursor, SINGLE)();
  code.set(RESULT);
  plain(builder, RESULT, SINGLE);
  orRoutine(builder, operation, cursor, { vectors: true }, () => {
    setLow(builder, DOUBLE, operation.r, () => code.get(RESULT));
  });
};

/** CVTSD2SS. */
const narrow: Emit = (builder, operation, cursor) => {
  const { code } = builder;
  source(builder, operation, cursor, DOUBLE)();
  code.op('f32.demote_f64').op('f64.promote_f32').set(RESULT);
  atLeast(builder, RESULT, 2 * MIN_SINGLE);
  code.get(RESULT).op('f64.abs').f64(Number.POSITIVE_INFINITY).op('f64.lt').op('i32.and');
  status(builder, FAST_MXCSR_MASK, FAST_MXCSR);
  code.op('i32.and');
  orRoutine(builder, operation, cursor, { vectors: true }, () => {
    setLow(builder, SINGLE, operation.r, () => code.get(RESULT));
  });
};

export const SSE_FLOAT_EMITTERS: readonly Emitter[] = [
  sseEmitter(/^(ADD|SUB|MUL|DIV|SQRT)(S[SD])$/, arithmetic),
  sseEmitter(/^U?COMI(S[SD])$/, compare, { flags: 'set' }),
  sseEmitter(/^CVTSI2SD$/, () => fromInteger, { operands: 'b', writes: '', vectors: 'r' }),
  sseEmitter(/^CVTT(S[SD])2SI$/, toInteger, { operands: 'r', vectors: 'b' }),
  sseEmitter(/^CVTSS2SD$/, () => widen),
  sseEmitter(/^CVTSD2SS$/, () => narrow),
];
