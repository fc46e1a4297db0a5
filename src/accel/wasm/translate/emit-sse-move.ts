/** Moves of XMM registers (core/sse.ts, core/sse-move.ts). */
import * as L from '../layout.js';
import type { Emit, Emitter } from './emitter.js';
import type { FunctionBuilder } from './function-builder.js';
import { CPU, R64 } from './locals.js';
import { source16, sourceLow, sse, xmm } from './sse-operand.js';

const HIGH = 8;

/** Copies a word between places of XMM registers. */
function copy({ code }: FunctionBuilder, to: number, from: number, half = false): void {
  code.get(CPU).get(CPU);
  code.memory(half ? 'i32.load' : 'i64.load', L.XMM + from);
  code.memory(half ? 'i32.store' : 'i64.store', L.XMM + to);
}

const registers: Emit = (builder, { r, b }) => {
  builder.code.get(CPU);
  xmm(builder, b);
  builder.code.vectorMemory('v128.store', L.XMM + r);
};

function load16(match: RegExpExecArray): Emit {
  return (builder, operation, cursor) => {
    const push = source16(builder, operation, cursor, match[1] === 'A');
    builder.code.get(CPU);
    push();
    builder.code.vectorMemory('v128.store', L.XMM + operation.r);
  };
}

function store16(match: RegExpExecArray): Emit {
  return (builder, operation, cursor) => {
    builder.address(operation, cursor);
    builder.write16(L.XMM + operation.r, match[1] === 'A', cursor);
  };
}

/** MOVQ and MOVSS loads, which clear the rest of the register. */
function loadZero(match: RegExpExecArray): Emit {
  const wide = match[1] === 'Q';
  return (builder, operation, cursor) => {
    const [base, offset] = sourceLow(builder, operation, cursor, wide ? 3 : 2);
    builder.code.get(CPU).get(base);
    builder.code.vectorMemory(wide ? 'v128.load64_zero' : 'v128.load32_zero', offset);
    builder.code.vectorMemory('v128.store', L.XMM + operation.r);
  };
}

/** Loads and stores of a quarter or half of a register. */
function store(size: number, part: number): Emit {
  return (builder, operation, cursor) => {
    const { code } = builder;
    code
      .get(CPU)
      .memory('i64.load', L.XMM + operation.r + part)
      .set(R64);
    builder.address(operation, cursor);
    builder.write(size, R64, cursor);
  };
}

function loadHalf(part: number): Emit {
  return (builder, operation, cursor) => {
    builder.address(operation, cursor);
    builder.readable(3, cursor);
    builder.code.get(CPU);
    builder.loadPointer(3, false);
    builder.code.memory('i64.store', L.XMM + operation.r + part);
  };
}

/** MOVD and MOVQ from a general register or memory. */
const fromGeneral: Emit = (builder, operation, cursor) => {
  const { code } = builder;
  const at = L.XMM + operation.r;
  builder.readRm(operation, cursor, operation.size, false);
  code.set(R64).get(CPU).get(R64).memory('i64.store', at);
  // One store of the whole register: what reads it next takes it from there.
  code.get(CPU).get(CPU).vectorMemory('v128.load64_zero', at).vectorMemory('v128.store', at);
};

const toGeneral: Emit = (builder, operation, cursor) => {
  if (operation.memory) {
    store(operation.size, 0)(builder, operation, cursor, false);
    return;
  }
  builder.code
    .get(CPU)
    .memory(operation.size === 3 ? 'i64.load' : 'i64.load32_u', L.XMM + operation.r);
  builder.writeRegister(operation.b, 3);
};

/** PMOVMSKB, MOVMSKPS, MOVMSKPD. */
function mask(match: RegExpExecArray): Emit {
  const names = {
    PMOVMSKB_X: 'i8x16.bitmask',
    MOVMSKPS: 'i32x4.bitmask',
    MOVMSKPD: 'i64x2.bitmask',
  } as const;
  const name = names[match[0] as keyof typeof names];
  return (builder, operation) => {
    xmm(builder, operation.b);
    builder.code.vector(name).op('i64.extend_i32_u');
    builder.writeRegister(operation.r, 3);
  };
}

const extractWord: Emit = (builder, operation) => {
  builder.code.get(CPU).memory('i64.load16_u', L.XMM + operation.b + ((operation.imm & 7) << 1));
  builder.writeRegister(operation.r, 3);
};

/** An emitter of instructions on XMM registers. */
function entry(
  pattern: RegExp,
  emit: (match: RegExpExecArray) => Emit,
  operands: Emitter['operands'] = '',
): Emitter {
  return { pattern, emit: (match) => sse(emit(match)), flags: 'none', operands, memory: true };
}

export const SSE_MOVE_EMITTERS: readonly Emitter[] = [
  entry(/^MOV_XX$/, () => registers),
  entry(/^MOV([AU])_XM$/, load16),
  entry(/^MOV([AU])_MX$/, store16),
  entry(/^MOV(Q|SS)_XM$/, loadZero),
  entry(/^MOV(Q)_XX$/, loadZero),
  entry(/^MOVQ_MX$/, () => store(3, 0)),
  entry(/^MOVSS_MX$/, () => store(2, 0)),
  entry(/^MOVH_MX$/, () => store(3, HIGH)),
  entry(/^MOVL_XM$/, () => loadHalf(0)),
  entry(/^MOVH_XM$/, () => loadHalf(HIGH)),
  entry(
    /^MOVSD_XX$/,
    () =>
      (builder, { r, b }) =>
        copy(builder, r, b),
  ),
  entry(
    /^MOVSS_XX$/,
    () =>
      (builder, { r, b }) =>
        copy(builder, r, b, true),
  ),
  entry(
    /^MOVHLPS$/,
    () =>
      (builder, { r, b }) =>
        copy(builder, r, b + HIGH),
  ),
  entry(
    /^MOVLHPS$/,
    () =>
      (builder, { r, b }) =>
        copy(builder, r + HIGH, b),
  ),
  entry(/^MOVD_XE$/, () => fromGeneral, 'b'),
  entry(/^MOVD_EX$/, () => toGeneral, 'b'),
  entry(/^PMOVMSKB_X$|^MOVMSKP[SD]$/, mask, 'r'),
  entry(/^PEXTRW_X$/, () => extractWord, 'r'),
];
