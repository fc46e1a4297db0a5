/** Integer arithmetic, moves and shifts (bodies of the same operations in tier 0: core/hot.ts). */
import * as L from '../layout.js';
import { type Emit, type Emitter, RAX_BIT, RDX_BIT, SIZE_OF } from './emitter.js';
import type { FunctionBuilder } from './function-builder.js';
import {
  A64,
  B64,
  CC_A,
  CC_B,
  CC_RES,
  CPU,
  FLAG_KIND,
  MUL_HIGH,
  POINTER,
  R64,
  REGISTER,
} from './locals.js';
import type { Operation } from './region.js';

const BITS = [8, 16, 32, 64] as const;

/** Sign-extends the i64 on the stack from a size. */
function extend({ code }: FunctionBuilder, size: number): void {
  if (size === 3) return;
  code.op(
    (['i64.extend8_s', 'i64.extend16_s', 'i64.extend32_s'] as const)[size] ?? 'i64.extend32_s',
  );
}

/**
 * Result in R64 of an operation on A64 and B64 (both sign-extended), sign-extended again when the flags
 * are wanted; sets the flags.
 */
function arithmetic(builder: FunctionBuilder, name: string, size: number, flags: boolean): void {
  const { code } = builder;
  const simple = {
    ADD: 'i64.add',
    SUB: 'i64.sub',
    CMP: 'i64.sub',
    OR: 'i64.or',
    XOR: 'i64.xor',
    AND: 'i64.and',
    TEST: 'i64.and',
  } as const;
  if (name === 'ADC' || name === 'SBB') {
    code
      .get(A64)
      .get(B64)
      .op(name === 'ADC' ? 'i64.add' : 'i64.sub');
    builder.carry();
    code.op('i64.extend_i32_u').op(name === 'ADC' ? 'i64.add' : 'i64.sub');
  } else {
    code
      .get(A64)
      .get(B64)
      .op(simple[name as keyof typeof simple]);
  }
  if (flags) extend(builder, size);
  code.set(R64);
  if (!flags) {
    builder.kind = undefined;
    return;
  }
  code.get(R64).set(CC_RES);
  if (name === 'OR' || name === 'XOR' || name === 'AND' || name === 'TEST') {
    builder.setKind(FLAG_KIND.logic);
    return;
  }
  code.get(A64).set(CC_A).get(B64).set(CC_B);
  const kind =
    name === 'SBB'
      ? FLAG_KIND.sbb
      : name === 'ADD' || name === 'ADC'
        ? FLAG_KIND.add
        : FLAG_KIND.sub;
  builder.setKind(kind);
}

const keeps = (name: string): boolean => name !== 'CMP' && name !== 'TEST';

function alu(match: RegExpExecArray): Emit {
  const name = match[1] ?? '';
  const form = match[2] ?? '';
  const size = SIZE_OF[match[3] ?? ''] ?? 3;
  return (builder, operation, cursor, flags) => {
    const { code } = builder;
    const second = (): void => {
      if (form === 'RI' || form === 'MI') code.i64(truncated(operation.imm, size));
      else builder.readRegister(operation.r, size, true);
    };
    if (form === 'RR' || form === 'RI') {
      if (form === 'RR' && operation.r === operation.b && (name === 'XOR' || name === 'SUB')) {
        zero(builder, operation, name, size, flags);
        return;
      }
      builder.readRegister(operation.b, size, true);
      code.set(A64);
      second();
      code.set(B64);
      arithmetic(builder, name, size, flags);
      if (keeps(name)) {
        code.get(R64);
        builder.writeRegister(operation.b, size);
      }
      return;
    }
    builder.address(operation, cursor);
    if (form === 'RM') {
      builder.readable(size, cursor);
      builder.readRegister(operation.r, size, true);
      code.set(A64);
      builder.loadPointer(size, true);
      code.set(B64);
      arithmetic(builder, name, size, flags);
      if (keeps(name)) {
        code.get(R64);
        builder.writeRegister(operation.r, size);
      }
      return;
    }
    if (!keeps(name)) builder.readable(size, cursor);
    else builder.modifiable(size, cursor);
    builder.loadPointer(size, true);
    code.set(A64);
    second();
    code.set(B64);
    arithmetic(builder, name, size, flags);
    if (keeps(name)) {
      code.get(POINTER).get(R64);
      code.memory(
        (['i64.store8', 'i64.store16', 'i64.store32', 'i64.store'] as const)[size] ?? 'i64.store',
        0,
      );
      builder.modified(cursor);
    }
  };
}

/** XOR or SUB of a register with itself. */
function zero(
  builder: FunctionBuilder,
  operation: Operation,
  name: string,
  size: number,
  flags: boolean,
): void {
  const { code } = builder;
  code.i64(0);
  builder.writeRegister(operation.b, size);
  if (!flags) return;
  code.i64(0).set(CC_RES);
  if (name === 'SUB') code.i64(0).set(CC_A).i64(0).set(CC_B);
  builder.setKind(name === 'SUB' ? FLAG_KIND.sub : FLAG_KIND.logic);
}

/** An immediate as the signed value of its size. */
function truncated(imm: number, size: number): bigint {
  return BigInt.asIntN(BITS[size] ?? 64, BigInt(imm));
}

/** INC and DEC: CF keeps its value, in FLAGS. */
function step(match: RegExpExecArray): Emit {
  const increments = match[1] === 'INC';
  const size = SIZE_OF[match[3] ?? ''] ?? 3;
  return (builder, operation, cursor, flags) => {
    const { code } = builder;
    if (operation.memory) {
      builder.address(operation, cursor);
      builder.modifiable(size, cursor);
      builder.loadPointer(size, true);
    } else builder.readRegister(operation.b, size, true);
    code.set(A64);
    code
      .get(A64)
      .i64(increments ? 1 : -1)
      .op('i64.add');
    extend(builder, size);
    code.set(R64);
    if (flags) {
      if (
        builder.kind !== FLAG_KIND.inc &&
        builder.kind !== FLAG_KIND.dec &&
        builder.kind !== FLAG_KIND.explicit
      ) {
        code.get(CPU).get(CPU).memory('i32.load', L.FLAGS).i32(-2).op('i32.and');
        builder.carry();
        code.op('i32.or').memory('i32.store', L.FLAGS);
      }
      code.get(A64).set(CC_A).i64(1).set(CC_B).get(R64).set(CC_RES);
      builder.setKind(increments ? FLAG_KIND.inc : FLAG_KIND.dec);
    }
    if (operation.memory) {
      code.get(POINTER).get(R64);
      code.memory(
        (['i64.store8', 'i64.store16', 'i64.store32', 'i64.store'] as const)[size] ?? 'i64.store',
        0,
      );
      builder.modified(cursor);
    } else {
      code.get(R64);
      builder.writeRegister(operation.b, size);
    }
  };
}

function move(match: RegExpExecArray): Emit {
  const form = match[1] ?? '';
  const size = SIZE_OF[match[2] ?? ''] ?? 3;
  return (builder, operation, cursor) => {
    const { code } = builder;
    switch (form) {
      case 'RR':
        builder.readRegister(operation.r, size, false);
        builder.writeRegister(operation.b, size);
        return;
      case 'RI':
        code.i64(truncated(operation.imm, size));
        builder.writeRegister(operation.b, size);
        return;
      case 'RV':
        code.i64(
          size === 3
            ? (BigInt(operation.imm) << 32n) | BigInt(operation.disp >>> 0)
            : truncated(operation.imm, size),
        );
        builder.writeRegister(operation.b, size);
        return;
      case 'RM':
        builder.address(operation, cursor);
        builder.readable(size, cursor);
        builder.loadPointer(size, false);
        if (size === 2) code.set(REGISTER + (operation.r >> 3));
        else builder.writeRegister(operation.r, size);
        return;
      default:
        if (form === 'MI') code.i64(truncated(operation.imm, size));
        else builder.readRegister(operation.r, operation.r & 1 ? 0 : 3, false);
        code.set(R64);
        builder.address(operation, cursor);
        builder.write(size, R64, cursor);
    }
  };
}

function extension(match: RegExpExecArray): Emit {
  const signed = match[1] === 'S';
  const from = SIZE_OF[match[2] ?? ''] ?? 0;
  const form = match[3];
  const size = SIZE_OF[match[4] ?? ''] ?? 3;
  return (builder, operation, cursor) => {
    if (form === 'RM') {
      builder.address(operation, cursor);
      builder.readable(from, cursor);
      builder.loadPointer(from, signed);
    } else builder.readRegister(operation.b, from, signed);
    builder.writeRegister(operation.r, size);
  };
}

function shift(match: RegExpExecArray): Emit {
  const name = match[1] ?? '';
  const size = SIZE_OF[match[2] ?? ''] ?? 3;
  const bits = BITS[size] ?? 64;
  return (builder, operation, _cursor, flags) => {
    const { code } = builder;
    const count = operation.imm & (bits === 64 ? 63 : 31);
    builder.readRegister(operation.b, size, name === 'SAR');
    code.set(A64);
    if (count === 0) {
      code.get(A64);
      builder.writeRegister(operation.b, size);
      return;
    }
    code.get(A64).i64(count);
    code.op(name === 'SHL' ? 'i64.shl' : name === 'SHR' ? 'i64.shr_u' : 'i64.shr_s');
    if (flags) extend(builder, size);
    code.set(R64);
    if (flags) {
      code.get(R64).set(CC_RES);
      // The last bit shifted out; bits beyond the operand's are zeros (SHL) or its sign (SAR).
      if (name === 'SHL') {
        if (count > bits) code.i64(0);
        else
          code
            .get(A64)
            .i64(bits - count)
            .op('i64.shr_u')
            .i64(1)
            .op('i64.and');
      } else
        code
          .get(A64)
          .i64(count - 1)
          .op(name === 'SAR' ? 'i64.shr_s' : 'i64.shr_u')
          .i64(1)
          .op('i64.and');
      code.set(CC_A);
      if (name === 'SHL') code.get(R64).i64(63).op('i64.shr_u').get(CC_A).op('i64.xor');
      else if (name === 'SHR')
        code
          .get(A64)
          .i64(bits - 1)
          .op('i64.shr_u')
          .i64(1)
          .op('i64.and');
      else code.i64(0);
      code.set(CC_B);
      builder.setKind(FLAG_KIND.parts);
    } else builder.kind = undefined;
    code.get(R64);
    builder.writeRegister(operation.b, size);
  };
}

/** ROL and ROR by an immediate where nothing looks at CF and OF; the other flags stay. */
function rotate(match: RegExpExecArray): Emit {
  const left = match[1] === 'ROL';
  return (builder, operation) => {
    const { code } = builder;
    const { size } = operation;
    builder.readRegister(operation.b, size, false);
    if (size === 3) code.i64(operation.imm & 63).op(left ? 'i64.rotl' : 'i64.rotr');
    else {
      code.op('i32.wrap_i64').i32(operation.imm & 31);
      code.op(left ? 'i32.rotl' : 'i32.rotr').op('i64.extend_i32_u');
    }
    builder.writeRegister(operation.b, size);
  };
}

/** Two- and three-operand IMUL; operands in A64 and B64, sign-extended. */
function product(match: RegExpExecArray): Emit {
  const form = match[1] ?? '';
  const size = SIZE_OF[match[2] ?? ''] ?? 3;
  return (builder, operation, cursor, flags) => {
    const { code } = builder;
    if (operation.memory) {
      builder.address(operation, cursor);
      builder.readable(size, cursor);
      builder.loadPointer(size, true);
    } else builder.readRegister(operation.b, size, true);
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

/** MUL of RAX by a 32- or 64-bit operand into RDX:RAX. Other sizes are the interpreter's. */
const multiply: Emit = (builder, operation, cursor, flags) => {
  const { code } = builder;
  const size = operation.size;
  if (operation.memory) {
    builder.address(operation, cursor);
    builder.readable(size, cursor);
    builder.loadPointer(size, false);
  } else builder.readRegister(operation.b, size, false);
  code.set(A64);
  if (size === 3) {
    code.get(REGISTER).get(A64).call(MUL_HIGH).set(B64);
    code.get(REGISTER).get(A64).op('i64.mul').tee(R64).set(REGISTER);
    code.get(B64).set(REGISTER + (L.RDX >> 3));
  } else {
    code.get(REGISTER).i64(0xffffffffn).op('i64.and').get(A64).op('i64.mul').tee(R64);
    code
      .i64(32)
      .op('i64.shr_u')
      .tee(B64)
      .set(REGISTER + (L.RDX >> 3));
    code.get(R64).i64(0xffffffffn).op('i64.and').set(REGISTER);
  }
  builder.kind = undefined;
  if (!flags) return;
  code.get(R64);
  extend(builder, size);
  code.set(CC_RES);
  code.get(B64).i64(0).op('i64.ne').op('i64.extend_i32_u').tee(CC_A).set(CC_B);
  builder.setKind(FLAG_KIND.parts);
};

/** Loads effective addresses. */
function lea(match: RegExpExecArray): Emit {
  const size = SIZE_OF[match[1] ?? ''] ?? 3;
  return (builder, operation, cursor) => {
    builder.offset(operation, cursor.offset);
    builder.writeRegister(operation.r, size);
  };
}

/** CBW, CWDE, CDQE: RAX from its lower half; CWD, CDQ, CQO: RDX from RAX's sign. */
function widen(match: RegExpExecArray): Emit {
  const size = SIZE_OF[match[2] ?? ''] ?? 3;
  const data = match[1] === 'CWD';
  return (builder) => {
    const { code } = builder;
    if (data) {
      builder.readRegister(L.RAX, size, true);
      code.i64(63).op('i64.shr_s');
      builder.writeRegister(L.RDX, size);
      return;
    }
    builder.readRegister(L.RAX, size - 1, true);
    builder.writeRegister(L.RAX, size);
  };
}

/** NEG and NOT of registers and memory. */
function negate(match: RegExpExecArray): Emit {
  const negates = match[1] === 'NEG';
  return (builder, operation, cursor, flags) => {
    const { code } = builder;
    const { size } = operation;
    if (operation.memory) {
      builder.address(operation, cursor);
      builder.modifiable(size, cursor);
      builder.loadPointer(size, true);
    } else builder.readRegister(operation.b, size, true);
    code.set(B64);
    if (negates) {
      code.i64(0).set(A64);
      arithmetic(builder, 'SUB', size, flags);
    } else code.get(B64).i64(-1).op('i64.xor').set(R64);
    if (operation.memory) {
      code.get(POINTER).get(R64);
      code.memory(
        (['i64.store8', 'i64.store16', 'i64.store32', 'i64.store'] as const)[size] ?? 'i64.store',
        0,
      );
      builder.modified(cursor);
    } else {
      code.get(R64);
      builder.writeRegister(operation.b, size);
    }
  };
}

export const INTEGER_EMITTERS: readonly Emitter[] = [
  {
    pattern: /^(ADD|OR|AND|SUB|XOR|CMP|TEST)_(RR|RI|RM|MR|MI)_(8|16|32|64)$/,
    emit: alu,
    flags: 'set',
    operands: 'rb',
  },
  {
    pattern: /^(ADC|SBB)_(RR|RI|RM|MR|MI)_(8|16|32|64)$/,
    emit: alu,
    flags: 'read-set',
    operands: 'rb',
  },
  { pattern: /^(INC|DEC)_(R|M)_(8|16|32|64)$/, emit: step, flags: 'read', operands: 'b' },
  { pattern: /^MOV_(RR|RI|RV|RM|MR|MI)_(8|16|32|64)$/, emit: move, flags: 'none', operands: 'rb' },
  {
    pattern: /^MOV([ZS])X(8|16|32)_(RR|RM)_(16|32|64)$/,
    emit: extension,
    flags: 'none',
    operands: 'rb',
  },
  { pattern: /^LEA_(16|32|64)$/, emit: lea, flags: 'none', operands: 'r' },
  { pattern: /^(SHL|SHR|SAR)_RI_(16|32|64)$/, emit: shift, flags: 'read-set', operands: 'b' },
  { pattern: /^IMUL_(RR|RM|RRI|RMI)_(16|32|64)$/, emit: product, flags: 'set', operands: 'rb' },
  {
    pattern: /^(CBW|CWD)_(16|32|64)$/,
    emit: widen,
    flags: 'none',
    operands: '',
    implicit: RAX_BIT | RDX_BIT,
  },
  { pattern: /^(NEG)$/, emit: negate, flags: 'set', operands: 'b' },
  { pattern: /^(NOT)$/, emit: negate, flags: 'none', operands: 'b' },
  { pattern: /^NOP$/, emit: () => () => {}, flags: 'none', operands: '' },
];

/** ROL and ROR as an emitter for what it covers. */
export const ROTATE: Emitter = {
  pattern: /^(ROL|ROR)_IMM$/,
  emit: rotate,
  flags: 'none',
  operands: 'b',
};

/** MUL as an emitter for the sizes that it covers. */
export const MULTIPLY: Emitter = {
  pattern: /^MUL$/,
  emit: () => multiply,
  flags: 'set',
  operands: 'b',
  implicit: RAX_BIT | RDX_BIT,
};
