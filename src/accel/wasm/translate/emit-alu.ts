/** Integer arithmetic and logic of two operands and of one (bodies in tier 0: core/hot.ts). */
import * as L from '../layout.js';
import { type Emit, type Emitter, extend, SIZE_OF, truncated } from './emitter.js';
import type { FunctionBuilder } from './function-builder.js';
import { A64, B64, CC_A, CC_B, CC_RES, CPU, FLAG_KIND, R64 } from './locals.js';
import type { Operation } from './region.js';

/**
 * Result in R64 of an operation on A64 and B64 (both sign-extended), sign-extended again when the flags
 * are wanted; sets the flags.
 */
export function arithmetic(
  builder: FunctionBuilder,
  name: string,
  size: number,
  flags: boolean,
): void {
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
      builder.storePointer(size, R64);
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

/** INC and DEC: CF keeps its value, in FLAGS. */
function step(match: RegExpExecArray): Emit {
  const increments = match[1] === 'INC';
  return (builder, operation, cursor, flags) => {
    const { code } = builder;
    const { size } = operation;
    builder.modifyRm(operation, cursor, size, true);
    code
      .tee(A64)
      .i64(increments ? 1 : -1)
      .op('i64.add');
    if (flags) extend(builder, size);
    code.set(R64);
    if (flags) {
      const { kind } = builder;
      if (kind !== FLAG_KIND.inc && kind !== FLAG_KIND.dec && kind !== FLAG_KIND.explicit) {
        code.get(CPU).get(CPU).memory('i32.load', L.FLAGS).i32(-2).op('i32.and');
        builder.carry();
        code.op('i32.or').memory('i32.store', L.FLAGS);
      }
      code.get(A64).set(CC_A).i64(1).set(CC_B).get(R64).set(CC_RES);
      builder.setKind(increments ? FLAG_KIND.inc : FLAG_KIND.dec);
    }
    builder.writeRm(operation, cursor, size, R64);
  };
}

/** NEG and NOT. */
function negate(match: RegExpExecArray): Emit {
  const negates = match[1] === 'NEG';
  return (builder, operation, cursor, flags) => {
    const { code } = builder;
    const { size } = operation;
    builder.modifyRm(operation, cursor, size, true);
    code.set(B64);
    if (negates) {
      code.i64(0).set(A64);
      arithmetic(builder, 'SUB', size, flags);
    } else code.get(B64).i64(-1).op('i64.xor').set(R64);
    builder.writeRm(operation, cursor, size, R64);
  };
}

export const ALU_EMITTERS: readonly Emitter[] = [
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
  { pattern: /^(INC|DEC)_[RM]_(?:8|16|32|64)$/, emit: step, flags: 'none', operands: 'b' },
  { pattern: /^(NEG)$/, emit: negate, flags: 'set', operands: 'b' },
  { pattern: /^(NOT)$/, emit: negate, flags: 'none', operands: 'b' },
];
