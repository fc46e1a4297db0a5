/** Shifts and rotates (core/hot.ts shiftRI, core/integer-shift.ts). */
import * as L from '../layout.js';
import { type Emit, type Emitter, extend, RCX_BIT, shiftedIn } from './emitter.js';
import type { FunctionBuilder } from './function-builder.js';
import { A32, A64, B64, CC_A, CC_B, CC_RES, FLAG_KIND, R64, REGISTER } from './locals.js';
import type { Operation } from './region.js';

const CF = 0x001;
const OF = 0x800;

/** The count where the instruction holds it. */
function constant(operation: Operation, source: string): number {
  return source === 'ONE' ? 1 : operation.imm & (operation.size === 3 ? 63 : 31);
}

/**
 * What pushes the count, and what it is where the instruction holds it. CL, cut to the operand's size,
 * goes to B64 first.
 */
function counted(
  { code }: FunctionBuilder,
  operation: Operation,
  source: string,
): { readonly fixed: number | undefined; readonly count: () => void } {
  if (source !== 'CL') {
    const fixed = constant(operation, source);
    return { fixed, count: () => void code.i64(fixed) };
  }
  code
    .get(REGISTER + (L.RCX >> 3))
    .i64(operation.size === 3 ? 63 : 31)
    .op('i64.and')
    .set(B64);
  return { fixed: undefined, count: () => void code.get(B64) };
}

/** Takes an i64 from the stack and pushes its bit `at`. */
function bitOf({ code }: FunctionBuilder, at: number): void {
  if (at > 0) code.i64(at).op('i64.shr_u');
  if (at < 63) code.i64(1).op('i64.and');
}

/**
 * Flags of a shift of A64 by the count that `count` pushes, which is not 0, to R64: the last bit shifted
 * out, and OF as after a shift by 1.
 */
function shiftFlags(
  builder: FunctionBuilder,
  name: string,
  size: number,
  count: () => void,
  ofOperand: boolean,
): void {
  const { code } = builder;
  const bits = 8 << size;
  code.get(R64);
  extend(builder, size);
  code.set(CC_RES);
  code.get(A64);
  if (name !== 'SHL') {
    count();
    code
      .i64(1)
      .op('i64.sub')
      .op(name === 'SAR' ? 'i64.shr_s' : 'i64.shr_u');
    bitOf(builder, 0);
  } else if (size === 3) {
    code.i64(64);
    count();
    code.op('i64.sub').op('i64.shr_u');
    bitOf(builder, 0);
  } else {
    count();
    code.op('i64.shl');
    bitOf(builder, bits);
  }
  code.set(CC_A);
  if (name === 'SHL') code.get(CC_RES).i64(63).op('i64.shr_u').get(CC_A).op('i64.xor');
  else if (name === 'SAR') code.i64(0);
  else if (ofOperand) {
    code.get(A64);
    bitOf(builder, bits - 1);
  } else {
    code.get(R64);
    bitOf(builder, bits - 2);
  }
  code.set(CC_B);
}

function shift(match: RegExpExecArray): Emit {
  const name = match[1] ?? '';
  const source = match[2] ?? '';
  return (builder, operation, cursor, flags) => {
    const { code } = builder;
    const { size } = operation;
    builder.modifyRm(operation, cursor, size, name === 'SAR');
    const { fixed, count } = counted(builder, operation, source);
    code.tee(A64);
    if (fixed === 0) {
      code.set(R64);
      builder.writeRm(operation, cursor, size, R64);
      return;
    }
    count();
    code.op(name === 'SHL' ? 'i64.shl' : name === 'SHR' ? 'i64.shr_u' : 'i64.shr_s').set(R64);
    if (flags && fixed !== undefined) {
      shiftFlags(builder, name, size, count, source === 'RI');
      builder.setKind(FLAG_KIND.parts);
    } else if (flags) {
      // A count of 0 leaves the flags alone.
      const { kind } = builder;
      if (kind === FLAG_KIND.explicit) builder.kind = undefined;
      code.get(B64).i64(0).op('i64.ne').if();
      shiftFlags(builder, name, size, count, false);
      builder.setKind(FLAG_KIND.parts);
      code.end();
      builder.kind = kind === FLAG_KIND.parts ? kind : undefined;
    }
    builder.writeRm(operation, cursor, size, R64);
  };
}

/**
 * CF, which is bit `carry` of R64, and OF, which is CF xor bit `other` of R64, after a rotate; the other
 * flags stay.
 */
function rotateFlags(builder: FunctionBuilder, carry: number, other: number): void {
  const { code } = builder;
  const flag = (at: number): void => {
    code.get(R64);
    bitOf(builder, at);
  };
  if (builder.fromResult) {
    builder.adjust();
    flag(carry);
    code.op('i64.or').set(CC_A);
    flag(carry);
    flag(other);
    code.op('i64.xor').set(CC_B);
    builder.setKind(FLAG_KIND.parts);
    return;
  }
  builder.setSome(CF | OF, () => {
    flag(carry);
    flag(carry);
    flag(other);
    code.op('i64.xor').i64(11).op('i64.shl').op('i64.or').op('i32.wrap_i64');
  });
}

/** ROL and ROR. */
function rotate(match: RegExpExecArray): Emit {
  const left = match[1] === 'ROL';
  const source = match[2] ?? '';
  return (builder, operation, cursor, flags) => {
    const { code } = builder;
    const { size } = operation;
    const bits = 8 << size;
    builder.modifyRm(operation, cursor, size, false);
    // Narrow operands are rotated as copies that fill 32 bits.
    if (size === 0) code.i64(0x01010101).op('i64.mul');
    else if (size === 1) code.i64(0x00010001).op('i64.mul');
    const { fixed } = counted(builder, operation, source);
    if (size === 3) {
      const push = (): unknown => code.get(A64);
      code.set(A64);
      shiftedIn(builder, 'i64', left, 64, fixed, push, push);
    } else {
      const push = (): unknown => code.get(A32);
      code.op('i32.wrap_i64').set(A32);
      shiftedIn(builder, 'i32', left, 32, fixed, push, push);
      code.op('i64.extend_i32_u');
    }
    code.set(R64);
    if (flags && fixed !== 0) {
      const carry = left ? 0 : bits - 1;
      const other = left ? bits - 1 : bits - 2;
      if (fixed === undefined) {
        const { kind, fromResult } = builder;
        code.get(B64).i64(0).op('i64.ne').if();
        rotateFlags(builder, carry, other);
        code.end();
        builder.kind = fromResult && kind === FLAG_KIND.parts ? kind : undefined;
      } else rotateFlags(builder, carry, other);
    }
    builder.writeRm(operation, cursor, size, R64);
  };
}

/** SHLD and SHRD of 32 and 64 bits. */
function double(match: RegExpExecArray): Emit {
  const left = match[1] === 'SHLD';
  const source = match[2] ?? '';
  return (builder, operation, cursor, flags) => {
    const { code } = builder;
    const { size } = operation;
    const bits = 8 << size;
    builder.modifyRm(operation, cursor, size, false);
    const { fixed, count } = counted(builder, operation, source);
    code.tee(A64);
    if (fixed === 0) {
      code.set(R64);
      builder.writeRm(operation, cursor, size, R64);
      return;
    }
    code.set(R64);
    const join = (): void => {
      const from = (): unknown => code.get(A64);
      const into = (): void => builder.readRegister(operation.r, size, false);
      shiftedIn(builder, 'i64', left, bits, fixed, from, into);
      code.set(R64);
    };
    const setFlags = (): void => {
      code.get(R64);
      extend(builder, size);
      code.set(CC_RES).get(A64);
      if (left) code.i64(bits);
      count();
      if (left) code.op('i64.sub');
      else code.i64(1).op('i64.sub');
      code.op('i64.shr_u');
      bitOf(builder, 0);
      code.set(CC_A);
      code.get(CC_RES).i64(63).op('i64.shr_u');
      if (left) code.get(CC_A);
      else {
        code.get(R64);
        bitOf(builder, bits - 2);
      }
      code.op('i64.xor').set(CC_B);
      builder.setKind(FLAG_KIND.parts);
    };
    if (fixed !== undefined) {
      join();
      if (flags) setFlags();
    } else {
      const { kind } = builder;
      code.get(B64).i64(0).op('i64.ne').if();
      join();
      if (flags) setFlags();
      code.end();
      if (flags && kind !== FLAG_KIND.parts) builder.kind = undefined;
    }
    builder.writeRm(operation, cursor, size, R64);
  };
}

export const SHIFT_EMITTERS: readonly Emitter[] = [
  { pattern: /^(SHL|SHR|SAR)_(ONE)$/, emit: shift, flags: 'set', operands: 'b' },
  {
    pattern: /^(SHL|SHR|SAR)_(RI|IMM)(?:_\d+)?$/,
    emit: shift,
    covers: (operation) => constant(operation, 'IMM') !== 0,
    flags: 'set',
    operands: 'b',
  },
  { pattern: /^(SHL|SHR|SAR)_(RI|IMM)(?:_\d+)?$/, emit: shift, flags: 'none', operands: 'b' },
  {
    pattern: /^(SHL|SHR|SAR)_(CL)$/,
    emit: shift,
    flags: 'none',
    operands: 'b',
    implicit: RCX_BIT,
  },
  { pattern: /^(ROL|ROR)_(IMM|ONE)$/, emit: rotate, flags: 'none', operands: 'b' },
  { pattern: /^(ROL|ROR)_(CL)$/, emit: rotate, flags: 'none', operands: 'b', implicit: RCX_BIT },
  {
    pattern: /^(SHLD|SHRD)_(IMM|CL)$/,
    emit: double,
    covers: ({ size }) => size >= 2,
    flags: 'none',
    operands: 'rb',
    writes: 'b',
    implicit: RCX_BIT,
  },
];
