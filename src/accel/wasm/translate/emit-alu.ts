/** Integer arithmetic and logic of two operands and of one (bodies in tier 0: core/hot.ts). */
import * as L from '../layout.js';
import { type Emit, type Emitter, extend, SIZE_OF, truncated } from './emitter.js';
import type { OpName } from './encoder.js';
import type { FunctionBuilder } from './function-builder.js';
import { A64, B64, CC_A, CC_B, CC_OP, CC_RES, CPU, FLAG_KIND, R64 } from './locals.js';
import type { Operation } from './region.js';

const INSTRUCTIONS: Readonly<Record<string, OpName>> = {
  ADD: 'i64.add',
  ADC: 'i64.add',
  SUB: 'i64.sub',
  SBB: 'i64.sub',
  CMP: 'i64.sub',
  OR: 'i64.or',
  XOR: 'i64.xor',
  AND: 'i64.and',
  TEST: 'i64.and',
};

const KINDS: Readonly<Record<string, number>> = {
  ADD: FLAG_KIND.add,
  ADC: FLAG_KIND.add,
  SUB: FLAG_KIND.sub,
  SBB: FLAG_KIND.sbb,
  CMP: FLAG_KIND.sub,
};

/**
 * An operation on what `first` and `second` push, sign-extended from their size; sets the flags when they
 * are wanted. Returns the local that has the result, sign-extended if it has to be for the flags.
 */
export function arithmetic(
  builder: FunctionBuilder,
  name: string,
  size: number,
  flags: boolean,
  first: () => void,
  second: () => void,
): number {
  const { code } = builder;
  const instruction = INSTRUCTIONS[name] ?? 'i64.add';
  const kind = KINDS[name];
  if (name === 'ADC' || name === 'SBB') {
    // The carry is what the operands' places still say.
    first();
    code.set(A64);
    second();
    code.set(B64);
    builder.carry();
    code.op('i64.extend_i32_u').set(R64);
    code.get(A64).get(B64).op(instruction).get(R64).op(instruction);
    if (flags) extend(builder, size);
    code.set(R64);
    if (!flags) builder.kind = undefined;
    else {
      code.get(A64).set(CC_A).get(B64).set(CC_B).get(R64).set(CC_RES);
      builder.setKind(kind ?? FLAG_KIND.add);
    }
    return R64;
  }
  if (!flags) builder.kind = undefined;
  first();
  if (flags && kind !== undefined) code.tee(CC_A);
  second();
  if (flags && kind !== undefined) code.tee(CC_B);
  code.op(instruction);
  if (!flags) {
    code.set(R64);
    return R64;
  }
  extend(builder, size);
  code.set(CC_RES);
  builder.setKind(kind ?? FLAG_KIND.logic);
  return CC_RES;
}

const keeps = (name: string): boolean => name !== 'CMP' && name !== 'TEST';

function alu(match: RegExpExecArray): Emit {
  const name = match[1] ?? '';
  const form = match[2] ?? '';
  const size = SIZE_OF[match[3] ?? ''] ?? 3;
  const kept = keeps(name);
  return (builder, operation, cursor, flags) => {
    const { code } = builder;
    const same = form === 'RR' && operation.r === operation.b;
    if (same && (name === 'XOR' || name === 'SUB')) {
      zero(builder, operation, name, size, flags);
      return;
    }
    const r = (): void => builder.readRegister(operation.r, size, true);
    if (form === 'RM') {
      builder.address(operation, cursor);
      builder.readable(size, cursor);
      const result = arithmetic(builder, name, size, flags, r, () => {
        builder.loadPointer(size, true);
      });
      if (!kept) return;
      code.get(result);
      builder.writeRegister(operation.r, size);
      return;
    }
    if (operation.memory) {
      builder.address(operation, cursor);
      if (kept) builder.modifiable(size, cursor);
      else builder.readable(size, cursor);
    }
    const rm = (): void => {
      if (operation.memory) builder.loadPointer(size, true);
      else builder.readRegister(operation.b, size, true);
    };
    if (name === 'TEST' && same) {
      if (!flags) return;
      rm();
      code.set(CC_RES);
      builder.setKind(FLAG_KIND.logic);
      return;
    }
    const second = form.endsWith('I') ? () => code.i64(truncated(operation.imm, size)) : r;
    const result = arithmetic(builder, name, size, flags, rm, second);
    if (kept) builder.writeRm(operation, cursor, size, result);
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
      const counted = kind === FLAG_KIND.inc || kind === FLAG_KIND.dec;
      if (!counted && kind !== FLAG_KIND.explicit) {
        // Loops that count with INC and DEC come here with CF in FLAGS already.
        if (kind === undefined)
          code.get(CC_OP).i32(FLAG_KIND.inc).op('i32.sub').i32(2).op('i32.ge_u').if();
        code.get(CPU).get(CPU).memory('i32.load', L.FLAGS).i32(-2).op('i32.and');
        builder.carry();
        code.op('i32.or').memory('i32.store', L.FLAGS);
        if (kind === undefined) code.end();
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
      const result = arithmetic(
        builder,
        'SUB',
        size,
        flags,
        () => code.i64(0),
        () => code.get(B64),
      );
      builder.writeRm(operation, cursor, size, result);
      return;
    }
    code.get(B64).i64(-1).op('i64.xor').set(R64);
    builder.writeRm(operation, cursor, size, R64);
  };
}

/** Forms of ADD … TEST that use and write these registers. */
function family(pattern: RegExp, operands: 'rb' | 'r' | 'b', writes: 'r' | 'b' | ''): Emitter {
  return { pattern, emit: alu, flags: 'set', operands, writes };
}

export const ALU_EMITTERS: readonly Emitter[] = [
  family(/^(CMP|TEST)_(RR|RM|MR)_(8|16|32|64)$/, 'rb', ''),
  family(/^(CMP|TEST)_(RI|MI)_(8|16|32|64)$/, 'b', ''),
  family(/^(ADD|OR|AND|SUB|XOR)_(RR|MR)_(8|16|32|64)$/, 'rb', 'b'),
  family(/^(ADD|OR|AND|SUB|XOR)_(RI|MI)_(8|16|32|64)$/, 'b', 'b'),
  family(/^(ADD|OR|AND|SUB|XOR)_(RM)_(8|16|32|64)$/, 'r', 'r'),
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
