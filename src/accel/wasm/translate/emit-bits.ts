/** Bit tests, bit scans and counts (core/bits.ts). */
import * as L from '../layout.js';
import { type Emit, type Emitter, extend } from './emitter.js';
import type { FunctionBuilder } from './function-builder.js';
import { A64, B64, CC_A, CC_B, CC_RES, FLAG_KIND, R64 } from './locals.js';
import type { Operation } from './region.js';
import type { Cursor } from './region-frame.js';

/** Code of the condition that ZF is clear. */
const NOT_ZERO = 5;
/** Place of ZF. */
const ZERO_SHIFT = 6;

/** Pushes the word of a bit string in memory that holds the bit whose number is in a register. */
function string(
  builder: FunctionBuilder,
  operation: Operation,
  cursor: Cursor,
  modify: boolean,
): void {
  const { code } = builder;
  const { size } = operation;
  builder.address(operation, cursor);
  builder.readRegister(operation.r, size, true);
  code
    .i64(3 + size)
    .op('i64.shr_s')
    .i64(size)
    .op('i64.shl')
    .op('i64.add');
  if (modify) builder.modifiable(size, cursor);
  else builder.readable(size, cursor);
  builder.loadPointer(size, false);
}

/** BT, BTS, BTR and BTC; not of bit strings at addresses of 32 bits. */
function bitTest(match: RegExpExecArray): Emit {
  const name = match[1] ?? '';
  const immediate = match[2] === 'I';
  return (builder, operation, cursor, flags) => {
    const { code } = builder;
    const { size } = operation;
    const mask = (8 << size) - 1;
    const number = (): void => {
      if (immediate) code.i64(operation.imm & mask);
      else {
        builder.register(operation.r);
        code.i64(mask).op('i64.and');
      }
    };
    if (operation.memory && !immediate) string(builder, operation, cursor, name !== 'BT');
    else if (name === 'BT') builder.readRm(operation, cursor, size, false);
    else builder.modifyRm(operation, cursor, size, false);
    code.set(A64);
    if (name !== 'BT') {
      code.get(A64);
      if (immediate) code.i64(1n << BigInt(operation.imm & mask));
      else {
        code.i64(1);
        number();
        code.op('i64.shl');
      }
      if (name === 'BTR') code.i64(-1).op('i64.xor').op('i64.and');
      else code.op(name === 'BTS' ? 'i64.or' : 'i64.xor');
      code.set(R64);
    }
    if (flags) {
      builder.condition(NOT_ZERO);
      code.op('i64.extend_i32_u').set(CC_RES).get(A64);
      number();
      code.op('i64.shr_u').i64(1).op('i64.and').set(CC_A).i64(0).set(CC_B);
      builder.setKind(FLAG_KIND.parts);
    }
    if (name !== 'BT') builder.writeRm(operation, cursor, size, R64);
  };
}

/** BSF and BSR: a zero source leaves the destination as it was. */
function scan(match: RegExpExecArray): Emit {
  const reverse = match[1] === 'BSR';
  return (builder, operation, cursor, flags) => {
    const { code } = builder;
    const { size } = operation;
    builder.readRm(operation, cursor, size, false);
    code.set(A64);
    if (flags) {
      code.get(A64);
      extend(builder, size);
      code.set(CC_RES);
      builder.setKind(FLAG_KIND.logic);
    }
    code.get(A64).i64(0).op('i64.ne').if();
    if (reverse) code.i64(63).get(A64).op('i64.clz').op('i64.sub');
    else code.get(A64).op('i64.ctz');
    builder.writeRegister(operation.r, size);
    code.end();
  };
}

/** POPCNT: ZF tells whether the source is 0, the other flags are clear. */
const count: Emit = (builder, operation, cursor, flags) => {
  const { code } = builder;
  const { size } = operation;
  builder.readRm(operation, cursor, size, false);
  code.tee(B64).op('i64.popcnt');
  builder.writeRegister(operation.r, size);
  if (!flags) return;
  builder.setAll(() => {
    code.get(B64).op('i64.eqz').i32(ZERO_SHIFT).op('i32.shl');
  });
};

export const BIT_EMITTERS: readonly Emitter[] = [
  { pattern: /^(BT[SRC]?)_(I)$/, emit: bitTest, flags: 'none', operands: 'b' },
  {
    pattern: /^(BT[SRC]?)_(R)$/,
    emit: bitTest,
    covers: ({ memory, ea }) => !memory || !(ea & (L.EA_ADDR32 | L.EA_ADDR16)),
    flags: 'none',
    operands: 'rb',
    writes: 'b',
  },
  { pattern: /^(BSF|BSR)$/, emit: scan, flags: 'set', operands: 'rb', writes: 'r' },
  { pattern: /^POPCNT$/, emit: () => count, flags: 'set', operands: 'rb', writes: 'r' },
];
