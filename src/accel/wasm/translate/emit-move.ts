/** Integer moves, extensions, exchanges and byte order. */
import * as L from '../layout.js';
import { arithmetic } from './emit-alu.js';
import {
  type Emit,
  type Emitter,
  RAX_BIT,
  RDX_BIT,
  SIZE_OF,
  shiftedIn,
  truncated,
} from './emitter.js';
import { A32, A64, B64, R64, REGISTER } from './locals.js';
import type { Operation } from './region.js';

/** Lanes of a shuffle that turns eight bytes round, twice. */
const REVERSED = [7, 6, 5, 4, 3, 2, 1, 0, 7, 6, 5, 4, 3, 2, 1, 0];

function move(match: RegExpExecArray): Emit {
  const form = match[1] ?? '';
  const size = SIZE_OF[match[2] ?? ''] ?? 3;
  return (builder, operation, cursor) => {
    const { code } = builder;
    switch (form) {
      case 'RR':
        // The write cuts the value off.
        builder.readRegister(operation.r, operation.r & 1 ? 0 : 3, false);
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

/** The operand of MOV that is an address: nothing but a displacement. */
const absolute = (operation: Operation): Operation => ({
  ...operation,
  b: L.SLOT_ZERO,
  x: L.SLOT_ZERO,
});

/** MOV of the accumulator from and to an absolute address. */
const loadAbsolute: Emit = (builder, operation, cursor) => {
  const { size } = operation;
  builder.address(absolute(operation), cursor);
  builder.readable(size, cursor);
  builder.loadPointer(size, false);
  builder.writeRegister(L.RAX, size);
};

const storeAbsolute: Emit = (builder, operation, cursor) => {
  builder.address(absolute(operation), cursor);
  builder.write(operation.size, REGISTER + (L.RAX >> 3), cursor);
};

/** An address of 64 bits does not fit an operation's displacement. */
const isNarrow = ({ ea }: Operation): boolean => (ea & (L.EA_ADDR32 | L.EA_ADDR16)) !== 0;

function extension(match: RegExpExecArray): Emit {
  const signed = match[1] === 'S';
  const from = SIZE_OF[match[2] ?? ''] ?? 0;
  const size = SIZE_OF[match[3] ?? ''] ?? 3;
  return (builder, operation, cursor) => {
    builder.readRm(operation, cursor, from, signed);
    builder.writeRegister(operation.r, size);
  };
}

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

const exchange: Emit = (builder, operation, cursor) => {
  const { code } = builder;
  const { size } = operation;
  builder.modifyRm(operation, cursor, size, false);
  code.set(A64);
  builder.readRegister(operation.r, size, false);
  code.set(R64).get(A64);
  builder.writeRegister(operation.r, size);
  builder.writeRm(operation, cursor, size, R64);
};

const exchangeAccumulator: Emit = (builder, operation) => {
  const { size } = operation;
  builder.readRegister(operation.b, size, false);
  builder.readRegister(L.RAX, size, false);
  builder.writeRegister(operation.b, size);
  builder.writeRegister(L.RAX, size);
};

/** The destination is written last: XADD of a register with itself leaves the sum. */
const exchangeAdd: Emit = (builder, operation, cursor, flags) => {
  const { code } = builder;
  const { size } = operation;
  builder.modifyRm(operation, cursor, size, true);
  code.set(A64);
  builder.readRegister(operation.r, size, true);
  code.set(B64);
  const sum = arithmetic(
    builder,
    'ADD',
    size,
    flags,
    () => code.get(A64),
    () => code.get(B64),
  );
  code.get(A64);
  builder.writeRegister(operation.r, size);
  builder.writeRm(operation, cursor, size, sum);
};

/** Memory is written in both cases, as by the processor; a register keeps its upper half when they differ. */
const compareExchange: Emit = (builder, operation, cursor, flags) => {
  const { code } = builder;
  const { size } = operation;
  builder.modifyRm(operation, cursor, size, true);
  code.set(B64);
  builder.readRegister(L.RAX, size, true);
  code.set(A64);
  const compared = [() => code.get(A64), () => code.get(B64)] as const;
  if (flags) arithmetic(builder, 'CMP', size, true, ...compared);
  builder.readRegister(operation.r, size, false);
  code.set(R64);
  code.get(A64).get(B64).op('i64.ne').if();
  code.get(B64);
  builder.writeRegister(L.RAX, size);
  if (operation.memory) {
    code.get(B64).set(R64).end();
    builder.writeRm(operation, cursor, size, R64);
    return;
  }
  code.else();
  builder.writeRm(operation, cursor, size, R64);
  code.end();
};

/** BSWAP: the bytes of the register by a shuffle. A 16-bit operand is undefined; processors store zero. */
const byteSwap: Emit = (builder, operation) => {
  const { code } = builder;
  const { size } = operation;
  if (size === 1) code.i64(0);
  else if (size === 2) {
    const low = REGISTER + (operation.b >> 3);
    code.get(low).op('i32.wrap_i64').set(A32);
    const push = (): unknown => code.get(A32);
    for (const left of [true, false]) {
      shiftedIn(builder, 'i32', left, 32, 8, push, push);
      code.i32(left ? 0x00ff00ff : 0xff00ff00).op('i32.and');
    }
    code.op('i32.or').op('i64.extend_i32_u').set(low);
    return;
  } else {
    builder.register(operation.b);
    code.vector('i64x2.splat');
    builder.register(operation.b);
    code.vector('i64x2.splat').vector('i8x16.shuffle', REVERSED).vector('i64x2.extract_lane', [0]);
  }
  builder.writeRegister(operation.b, size);
};

export const MOVE_EMITTERS: readonly Emitter[] = [
  {
    pattern: /^MOV_(RR)_(8|16|32|64)$/,
    emit: move,
    flags: 'none',
    operands: 'rb',
    writes: 'b',
  },
  { pattern: /^MOV_(RI|RV)_(8|16|32|64)$/, emit: move, flags: 'none', operands: 'b' },
  { pattern: /^MOV_(RM)_(8|16|32|64)$/, emit: move, flags: 'none', operands: 'r' },
  { pattern: /^MOV_(MR)_(8|16|32|64)$/, emit: move, flags: 'none', operands: 'r', writes: '' },
  { pattern: /^MOV_(MI)_(8|16|32|64)$/, emit: move, flags: 'none', operands: '' },
  {
    pattern: /^MOV_AO$/,
    emit: () => loadAbsolute,
    covers: isNarrow,
    flags: 'none',
    operands: '',
    implicit: RAX_BIT,
    memory: true,
  },
  {
    pattern: /^MOV_OA$/,
    emit: () => storeAbsolute,
    covers: isNarrow,
    flags: 'none',
    operands: '',
    implicit: RAX_BIT,
    memory: true,
  },
  {
    pattern: /^MOV([ZS])X(8|16|32)_(?:RR|RM)_(16|32|64)$/,
    emit: extension,
    flags: 'none',
    operands: 'rb',
    writes: 'r',
  },
  { pattern: /^LEA_(16|32|64)$/, emit: lea, flags: 'none', operands: 'r' },
  {
    pattern: /^(CBW|CWD)_(16|32|64)$/,
    emit: widen,
    flags: 'none',
    operands: '',
    implicit: RAX_BIT | RDX_BIT,
  },
  { pattern: /^NOP$/, emit: () => () => {}, flags: 'none', operands: '' },
  { pattern: /^XCHG$/, emit: () => exchange, flags: 'none', operands: 'rb' },
  {
    pattern: /^XCHG_A$/,
    emit: () => exchangeAccumulator,
    flags: 'none',
    operands: 'b',
    implicit: RAX_BIT,
  },
  { pattern: /^XADD$/, emit: () => exchangeAdd, flags: 'set', operands: 'rb' },
  {
    pattern: /^CMPXCHG$/,
    emit: () => compareExchange,
    flags: 'set',
    operands: 'rb',
    writes: 'b',
    implicit: RAX_BIT,
  },
  { pattern: /^BSWAP$/, emit: () => byteSwap, flags: 'none', operands: 'b' },
];
