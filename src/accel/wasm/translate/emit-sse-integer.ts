/** Packed integer operations, logic and shuffles on XMM registers (core/sse-integer.ts, core/sse-move.ts). */
import type { Emit, Emitter } from './emitter.js';
import { setXmm, source16, sseEmitter, xmm } from './sse-operand.js';
import type { VectorName } from './vector-opcodes.js';

/** Operations that are one vector instruction on destination and source. */
const BINARY: Readonly<Record<string, VectorName>> = {
  PACKSSWB: 'i8x16.narrow_i16x8_s',
  PACKUSWB: 'i8x16.narrow_i16x8_u',
  PACKSSDW: 'i16x8.narrow_i32x4_s',
  PCMPGTB: 'i8x16.gt_s',
  PCMPGTW: 'i16x8.gt_s',
  PCMPGTD: 'i32x4.gt_s',
  PCMPEQB: 'i8x16.eq',
  PCMPEQW: 'i16x8.eq',
  PCMPEQD: 'i32x4.eq',
  PADDB: 'i8x16.add',
  PADDW: 'i16x8.add',
  PADDD: 'i32x4.add',
  PADDQ: 'i64x2.add',
  PSUBB: 'i8x16.sub',
  PSUBW: 'i16x8.sub',
  PSUBD: 'i32x4.sub',
  PSUBQ: 'i64x2.sub',
  PADDUSB: 'i8x16.add_sat_u',
  PADDUSW: 'i16x8.add_sat_u',
  PADDSB: 'i8x16.add_sat_s',
  PADDSW: 'i16x8.add_sat_s',
  PSUBUSB: 'i8x16.sub_sat_u',
  PSUBUSW: 'i16x8.sub_sat_u',
  PSUBSB: 'i8x16.sub_sat_s',
  PSUBSW: 'i16x8.sub_sat_s',
  PAVGB: 'i8x16.avgr_u',
  PAVGW: 'i16x8.avgr_u',
  PMINUB: 'i8x16.min_u',
  PMAXUB: 'i8x16.max_u',
  PMINSW: 'i16x8.min_s',
  PMAXSW: 'i16x8.max_s',
  PAND: 'v128.and',
  POR: 'v128.or',
  PXOR: 'v128.xor',
  PMULLW: 'i16x8.mul',
  PMADDWD: 'i32x4.dot_i16x8_s',
};

/** Shifts by an immediate: instruction and the count from which on all bits have gone. */
const SHIFTS: Readonly<Record<string, readonly [VectorName, number]>> = {
  PSRLW: ['i16x8.shr_u', 16],
  PSRLD: ['i32x4.shr_u', 32],
  PSRLQ: ['i64x2.shr_u', 64],
  PSRAW: ['i16x8.shr_s', 16],
  PSRAD: ['i32x4.shr_s', 32],
  PSLLW: ['i16x8.shl', 16],
  PSLLD: ['i32x4.shl', 32],
  PSLLQ: ['i64x2.shl', 64],
};

const BYTES = [...Array(16).keys()];

/** Lanes of bytes for a shuffle of elements of `width` bytes; elements of the source follow those of the destination. */
export function lanes(width: number, elements: readonly number[]): number[] {
  return elements.flatMap((element) => BYTES.slice(0, width).map((byte) => element * width + byte));
}

/** Interleaves the halves that begin at element `from`. */
function interleaved(width: number, high: boolean): number[] {
  const count = 16 / width;
  const from = high ? count / 2 : 0;
  return lanes(
    width,
    BYTES.slice(0, count / 2).flatMap((n) => [from + n, from + n + count]),
  );
}

const WIDTHS: Readonly<Record<string, number>> = {
  LBW: 1,
  LWD: 2,
  LDQ: 4,
  LQDQ: 8,
  HBW: 1,
  HWD: 2,
  HDQ: 4,
  HQDQ: 8,
};

const zero: Emit = (builder, { r }) => {
  setXmm(builder, r, () => builder.code.i32(0).vector('i32x4.splat'));
};

const binary = (match: RegExpExecArray): Emit => {
  const name = BINARY[match[1] ?? ''] ?? 'v128.xor';
  return (builder, operation, cursor) => {
    const push = source16(builder, operation, cursor);
    setXmm(builder, operation.r, () => {
      xmm(builder, operation.r);
      push();
      builder.code.vector(name);
    });
  };
};

const andNot: Emit = (builder, operation, cursor) => {
  const push = source16(builder, operation, cursor);
  setXmm(builder, operation.r, () => {
    push();
    xmm(builder, operation.r);
    builder.code.vector('v128.andnot');
  });
};

/** The even doublewords, multiplied with their signs or without. */
export const multiplyEven =
  (name: 'i64x2.extmul_low_i32x4_s' | 'i64x2.extmul_low_i32x4_u'): Emit =>
  (builder, operation, cursor) => {
    const { code } = builder;
    const even = lanes(4, [0, 2, 0, 2]);
    const push = source16(builder, operation, cursor);
    setXmm(builder, operation.r, () => {
      xmm(builder, operation.r);
      xmm(builder, operation.r);
      code.vector('i8x16.shuffle', even);
      push();
      push();
      code.vector('i8x16.shuffle', even).vector(name);
    });
  };

function shift(match: RegExpExecArray): Emit {
  const [name, limit] = SHIFTS[match[1] ?? ''] ?? ['i64x2.shl', 64];
  return (builder, operation) => {
    const { code } = builder;
    const count = operation.imm & 0xff;
    setXmm(builder, operation.b, () => {
      if (count < limit || name.endsWith('_s')) {
        xmm(builder, operation.b);
        code.i32(Math.min(count, limit - 1)).vector(name);
      } else code.i32(0).vector('i32x4.splat');
    });
  };
}

/** PSRLDQ and PSLLDQ. */
function shiftBytes(match: RegExpExecArray): Emit {
  const right = match[1] === 'R';
  return (builder, operation) => {
    const { code } = builder;
    const count = Math.min(operation.imm & 0xff, 16);
    setXmm(builder, operation.b, () => {
      if (!right) code.i32(0).vector('i32x4.splat');
      xmm(builder, operation.b);
      if (right) code.i32(0).vector('i32x4.splat');
      code.vector(
        'i8x16.shuffle',
        BYTES.map((byte) => byte + (right ? count : 16 - count)),
      );
    });
  };
}

/** A shuffle of destination and source by lanes that depend on the immediate. */
function shuffle(order: (imm: number) => number[], both: boolean): Emit {
  return (builder, operation, cursor) => {
    const push = source16(builder, operation, cursor);
    setXmm(builder, operation.r, () => {
      if (both) xmm(builder, operation.r);
      else push();
      push();
      builder.code.vector('i8x16.shuffle', order(operation.imm));
    });
  };
}

const field = (imm: number, n: number): number => (imm >> (2 * n)) & 3;

const SHUFFLES: Readonly<Record<string, Emit>> = {
  PSHUFD: shuffle(
    (imm) =>
      lanes(
        4,
        [0, 1, 2, 3].map((n) => field(imm, n)),
      ),
    false,
  ),
  PSHUFLW: shuffle(
    (imm) => lanes(2, [...[0, 1, 2, 3].map((n) => field(imm, n)), 4, 5, 6, 7]),
    false,
  ),
  PSHUFHW: shuffle(
    (imm) => lanes(2, [0, 1, 2, 3, ...[0, 1, 2, 3].map((n) => 4 + field(imm, n))]),
    false,
  ),
  SHUFPS: shuffle(
    (imm) => lanes(4, [field(imm, 0), field(imm, 1), 4 + field(imm, 2), 4 + field(imm, 3)]),
    true,
  ),
  SHUFPD: shuffle((imm) => lanes(8, [imm & 1, 2 + ((imm >> 1) & 1)]), true),
};

export const SSE_INTEGER_EMITTERS: readonly Emitter[] = [
  sseEmitter(/^PXOR_X$/, () => zero, {
    covers: ({ memory, r, b }) => !memory && r === b,
    vectors: 'r',
    fills: 'r',
  }),
  sseEmitter(new RegExp(`^(${Object.keys(BINARY).join('|')})_X$`), binary),
  sseEmitter(/^PANDN_X$/, () => andNot),
  sseEmitter(/^PMULUDQ_X$/, () => multiplyEven('i64x2.extmul_low_i32x4_u')),
  sseEmitter(new RegExp(`^(${Object.keys(SHIFTS).join('|')})_XI$`), shift, { vectors: 'b' }),
  sseEmitter(/^PS([RL])LDQ$/, shiftBytes, { vectors: 'b' }),
  sseEmitter(/^PUNPCK([LH])(BW|WD|DQ)_X$|^PUNPCK[LH]QDQ$/, (match) => {
    const part = match[0].replace(/^PUNPCK/, '').replace(/_X$/, '');
    return shuffle(() => interleaved(WIDTHS[part] ?? 1, part.startsWith('H')), true);
  }),
  sseEmitter(/^PSHUFD$|^PSHUF[LH]W$/, (match) => SHUFFLES[match[0]] ?? andNot, { fills: 'r' }),
  sseEmitter(/^SHUFP[SD]$/, (match) => SHUFFLES[match[0]] ?? andNot),
];
