/** Multiplication and division (core/hot.ts, core/divide.ts). */
import * as L from '../layout.js';
import {
  type Emit,
  type Emitter,
  extend,
  RAX_BIT,
  RDX_BIT,
  SIZE_OF,
  truncated,
} from './emitter.js';
import { callRoutine } from './interpret.js';
import { A64, B64, CC_A, CC_B, CC_RES, FLAG_KIND, MUL_HIGH, R64, REGISTER } from './locals.js';
import type { Operation } from './region.js';

const RAX = REGISTER + (L.RAX >> 3);
const RDX = REGISTER + (L.RDX >> 3);
const PAIR = RAX_BIT | RDX_BIT;

/** Two- and three-operand IMUL; operands in A64 and B64, sign-extended. */
function product(match: RegExpExecArray): Emit {
  const form = match[1] ?? '';
  const size = SIZE_OF[match[2] ?? ''] ?? 3;
  return (builder, operation, cursor, flags) => {
    const { code } = builder;
    builder.readRm(operation, cursor, size, true);
    code.set(A64);
    if (form.endsWith('I')) code.i64(truncated(operation.imm, size));
    else builder.readRegister(operation.r, size, true);
    code.set(B64);
    code.get(A64).get(B64).op('i64.mul').set(R64);
    if (flags) {
      if (size === 3) {
        code.get(A64).set(CC_A).get(B64).set(CC_B).get(R64).set(CC_RES);
        builder.setKind(FLAG_KIND.mul64);
      } else {
        code.get(R64);
        extend(builder, size);
        code.tee(CC_RES).get(R64).op('i64.ne').op('i64.extend_i32_u').tee(CC_A).set(CC_B);
        builder.setKind(FLAG_KIND.parts);
      }
    } else builder.kind = undefined;
    code.get(R64);
    builder.writeRegister(operation.r, size);
  };
}

/** MUL and IMUL of RAX by a 32- or 64-bit operand into RDX:RAX. */
function multiply(match: RegExpExecArray): Emit {
  const signed = match[1] === 'IMUL1';
  return (builder, operation, cursor, flags) => {
    const { code } = builder;
    const { size } = operation;
    builder.readRm(operation, cursor, size, signed);
    code.set(A64);
    if (size === 3) {
      code.get(RAX).get(A64).call(MUL_HIGH);
      if (signed) {
        // The signed high half is the unsigned one less each factor where the other is negative.
        code.get(RAX).i64(63).op('i64.shr_s').get(A64).op('i64.and').op('i64.sub');
        code.get(A64).i64(63).op('i64.shr_s').get(RAX).op('i64.and').op('i64.sub');
      }
      code.set(B64).get(RAX).get(A64).op('i64.mul').tee(R64).set(RAX);
      code.get(B64).set(RDX);
    } else {
      builder.readRegister(L.RAX, 2, signed);
      code.get(A64).op('i64.mul').tee(R64).i64(32).op('i64.shr_u').tee(B64).set(RDX);
      code.get(R64).op('i32.wrap_i64').op('i64.extend_i32_u').set(RAX);
    }
    if (!flags) return;
    // CF and OF: the high half is not just the low half's extension.
    if (!signed) {
      code.get(R64);
      extend(builder, size);
      code.set(CC_RES).get(B64).i64(0);
    } else if (size === 3) code.get(R64).tee(CC_RES).i64(63).op('i64.shr_s').get(B64);
    else code.get(R64).op('i64.extend32_s').tee(CC_RES).get(R64);
    code.op('i64.ne').op('i64.extend_i32_u').tee(CC_A).set(CC_B);
    builder.setKind(FLAG_KIND.parts);
  };
}

/** Quotient and remainder of 32 and 64 bits; what does not fit, or would divide by 0, is the routine's. */
function divide(match: RegExpExecArray): Emit {
  const signed = match[1] === 'IDIV';
  return (builder, operation, cursor) => {
    const { code } = builder;
    const { size } = operation;
    const quotient = signed ? 'i64.div_s' : 'i64.div_u';
    const remainder = signed ? 'i64.rem_s' : 'i64.rem_u';
    builder.readRm(operation, cursor, size, signed);
    code.set(A64);
    if (size === 3) code.get(RAX).set(B64);
    else {
      code.get(RDX).i64(32).op('i64.shl');
      builder.readRegister(L.RAX, 2, false);
      code.op('i64.or').set(B64);
    }
    // 0, and for IDIV -1 as well: x / -1 may not fit.
    if (signed) code.get(A64).i64(1).op('i64.add').i64(2).op('i64.lt_u').op('i32.eqz');
    else code.get(A64).i64(0).op('i64.ne');
    if (size === 3) {
      code.get(RDX);
      if (signed) code.get(RAX).i64(63).op('i64.shr_s');
      else code.i64(0);
      code.op('i64.eq').op('i32.and');
    } else if (signed) {
      // |dividend| < 2^31 · |divisor| is certain when the high half is only sign.
      code.get(B64).op('i64.extend32_s').get(B64).op('i64.eq').op('i32.and');
    } else code.get(B64).i64(32).op('i64.shr_u').get(A64).op('i64.lt_u').op('i32.and');
    code.if();
    code.get(B64).get(A64).op(quotient);
    builder.writeRegister(L.RAX, size);
    code.get(B64).get(A64).op(remainder);
    builder.writeRegister(L.RDX, size);
    code.else();
    callRoutine(builder, operation, cursor, {
      reads: PAIR | general(operation),
      writes: PAIR,
    });
    code.end();
  };
}

/** The r/m operand's register as a bit mask. */
const general = ({ memory, b }: Operation): number => (memory ? 0 : 1 << (b >> 3));

const wide = (operation: Operation): boolean => operation.size >= 2;

export const MULTIPLY_EMITTERS: readonly Emitter[] = [
  {
    pattern: /^IMUL_(RR|RM|RRI|RMI)_(16|32|64)$/,
    emit: product,
    flags: 'set',
    operands: 'rb',
    writes: 'r',
  },
  {
    pattern: /^(MUL|IMUL1)$/,
    emit: multiply,
    covers: wide,
    flags: 'set',
    operands: 'b',
    writes: '',
    implicit: PAIR,
  },
  {
    pattern: /^(DIV|IDIV)$/,
    emit: divide,
    covers: wide,
    flags: 'none',
    operands: 'b',
    writes: '',
    implicit: PAIR,
    memory: true,
  },
];
