/** SSE3, SSSE3 and SSE4.1 on XMM registers (core/sse4.ts, core/sse4-move.ts). */
import * as L from '../layout.js';
import { lanes, multiplyEven } from './emit-sse-integer.js';
import type { Emit, Emitter } from './emitter.js';
import type { FunctionBuilder } from './function-builder.js';
import { CPU, POINTER, R64 } from './locals.js';
import { setXmm, source16, sseEmitter, xmm } from './sse-operand.js';
import type { VectorName } from './vector-opcodes.js';

/** Operations that are one vector instruction on destination and source. */
const BINARY: Readonly<Record<string, VectorName>> = {
  PCMPEQQ: 'i64x2.eq',
  PCMPGTQ: 'i64x2.gt_s',
  PACKUSDW: 'i16x8.narrow_i32x4_u',
  PMINSB: 'i8x16.min_s',
  PMINSD: 'i32x4.min_s',
  PMINUW: 'i16x8.min_u',
  PMINUD: 'i32x4.min_u',
  PMAXSB: 'i8x16.max_s',
  PMAXSD: 'i32x4.max_s',
  PMAXUW: 'i16x8.max_u',
  PMAXUD: 'i32x4.max_u',
  PMULLD: 'i32x4.mul',
};

const ABSOLUTE: Readonly<Record<string, VectorName>> = {
  B: 'i8x16.abs',
  W: 'i16x8.abs',
  D: 'i32x4.abs',
};

/** Sums and differences of neighbours: element size, instruction. */
const NEIGHBOURS: Readonly<Record<string, readonly [width: number, name: VectorName]>> = {
  PHADDW: [2, 'i16x8.add'],
  PHADDD: [4, 'i32x4.add'],
  PHADDSW: [2, 'i16x8.add_sat_s'],
  PHSUBW: [2, 'i16x8.sub'],
  PHSUBD: [4, 'i32x4.sub'],
  PHSUBSW: [2, 'i16x8.sub_sat_s'],
};

/** Blends by the signs of XMM0: what spreads them. */
const SIGNS: Readonly<Record<string, readonly [name: VectorName, count: number]>> = {
  PBLENDVB: ['i8x16.shr_s', 7],
  BLENDVPS: ['i32x4.shr_s', 31],
  BLENDVPD: ['i64x2.shr_s', 63],
};

/** Blends by an immediate: element size. */
const BLENDS: Readonly<Record<string, number>> = { BLENDPS: 4, BLENDPD: 8, PBLENDW: 2 };

/** Which doublewords of the source the result has. */
const COPIES: Readonly<Record<string, readonly number[]>> = {
  MOVSHDUP: [1, 1, 3, 3],
  MOVSLDUP: [0, 0, 2, 2],
};

/** Extensions: log2 of the bytes read, and the steps. */
const EXTENSIONS: Readonly<Record<string, readonly [size: number, steps: readonly number[]]>> = {
  BW: [3, [1]],
  BD: [2, [1, 2]],
  BQ: [1, [1, 2, 4]],
  WD: [3, [2]],
  WQ: [2, [2, 4]],
  DQ: [3, [4]],
};

const EXTEND: Readonly<Record<string, Readonly<Record<number, VectorName>>>> = {
  S: {
    1: 'i16x8.extend_low_i8x16_s',
    2: 'i32x4.extend_low_i16x8_s',
    4: 'i64x2.extend_low_i32x4_s',
  },
  Z: {
    1: 'i16x8.extend_low_i8x16_u',
    2: 'i32x4.extend_low_i16x8_u',
    4: 'i64x2.extend_low_i32x4_u',
  },
};

const BYTES = [...Array(16).keys()];

const binary = (match: RegExpExecArray): Emit => {
  const name = BINARY[match[0]] ?? 'i64x2.eq';
  return (builder, operation, cursor) => {
    const push = source16(builder, operation, cursor);
    setXmm(builder, operation.r, () => {
      xmm(builder, operation.r);
      push();
      builder.code.vector(name);
    });
  };
};

/** What is computed of the source alone. */
function unary(write: (builder: FunctionBuilder, push: () => void) => void): Emit {
  return (builder, operation, cursor) => {
    const push = source16(builder, operation, cursor);
    setXmm(builder, operation.r, () => write(builder, push));
  };
}

/** A shuffle of the bytes of destination and source. */
function shuffled(order: (imm: number) => readonly number[]): Emit {
  return (builder, operation, cursor) => {
    const push = source16(builder, operation, cursor);
    setXmm(builder, operation.r, () => {
      xmm(builder, operation.r);
      push();
      builder.code.vector('i8x16.shuffle', order(operation.imm));
    });
  };
}

/** A selector whose bit 7 is set gives 0, as one beyond the vector does here. */
const shuffleBytes: Emit = (builder, operation, cursor) => {
  const { code } = builder;
  const push = source16(builder, operation, cursor);
  setXmm(builder, operation.r, () => {
    xmm(builder, operation.r);
    push();
    code.i32(0x8f).vector('i8x16.splat').vector('v128.and').vector('i8x16.swizzle');
  });
};

const align: Emit = (builder, operation, cursor) => {
  const { code } = builder;
  const push = source16(builder, operation, cursor);
  const count = Math.min(operation.imm & 0xff, 32);
  setXmm(builder, operation.r, () => {
    if (count <= 16) push();
    xmm(builder, operation.r);
    if (count > 16) code.i32(0).vector('i32x4.splat');
    code.vector(
      'i8x16.shuffle',
      BYTES.map((byte) => byte + (count <= 16 ? count : count - 16)),
    );
  });
};

const neighbours = (match: RegExpExecArray): Emit => {
  const [width, name] = NEIGHBOURS[match[1] ?? ''] ?? [2, 'i16x8.add'];
  const elements = BYTES.slice(0, 16 / width);
  const parts = [0, 1].map((odd) =>
    lanes(
      width,
      elements.map((n) => 2 * n + odd),
    ),
  );
  return (builder, operation, cursor) => {
    const push = source16(builder, operation, cursor);
    setXmm(builder, operation.r, () => {
      for (const part of parts) {
        xmm(builder, operation.r);
        push();
        builder.code.vector('i8x16.shuffle', part);
      }
      builder.code.vector(name);
    });
  };
};

/** PMULHRSW: -1 times -1 stays -1, where WebAssembly's saturates. */
const multiplyRounded: Emit = (builder, operation, cursor) => {
  const { code } = builder;
  const push = source16(builder, operation, cursor);
  const lowest = (): unknown => code.i32(0x8000).vector('i16x8.splat').vector('i16x8.eq');
  setXmm(builder, operation.r, () => {
    xmm(builder, operation.r);
    push();
    code.vector('i16x8.q15mulr_sat_s');
    xmm(builder, operation.r);
    lowest();
    push();
    lowest();
    code.vector('v128.and').vector('v128.xor');
  });
};

const blendBySigns = (match: RegExpExecArray): Emit => {
  const [name, count] = SIGNS[match[0]] ?? ['i8x16.shr_s', 7];
  return (builder, operation, cursor) => {
    const { code } = builder;
    const push = source16(builder, operation, cursor);
    setXmm(builder, operation.r, () => {
      push();
      xmm(builder, operation.r);
      // XMM0 is in memory too, whether or not it has a local.
      code.get(CPU).vectorMemory('v128.load', L.XMM).i32(count).vector(name);
      code.vector('v128.bitselect');
    });
  };
};

const blend = (match: RegExpExecArray): Emit => {
  const width = BLENDS[match[0]] ?? 4;
  const count = 16 / width;
  return shuffled((imm) =>
    lanes(
      width,
      BYTES.slice(0, count).map((n) => n + ((imm >> n) & 1 ? count : 0)),
    ),
  );
};

/** PTEST: ZF when no bit of the source is in the destination, CF when all are; the other flags are clear. */
const testBits: Emit = (builder, operation, cursor, flags) => {
  const { code } = builder;
  const push = source16(builder, operation, cursor);
  if (!flags) return;
  builder.setAll(() => {
    push();
    xmm(builder, operation.r);
    code.vector('v128.and').vector('v128.any_true').op('i32.eqz').i32(6).op('i32.shl');
    push();
    xmm(builder, operation.r);
    code.vector('v128.andnot').vector('v128.any_true').op('i32.eqz').op('i32.or');
  });
};

/** Pushes a vector whose low bytes are those that POINTER points to. */
function loadLow(builder: FunctionBuilder, size: number): void {
  const { code } = builder;
  if (size === 1) {
    code.i32(0).vector('i32x4.splat');
    builder.loadPointer(size, false);
    code.vector('i64x2.replace_lane', [0]);
  } else {
    code.get(POINTER).vectorMemory(size === 3 ? 'v128.load64_zero' : 'v128.load32_zero', 0);
  }
}

const extend = (match: RegExpExecArray): Emit => {
  const [size, steps] = EXTENSIONS[match[2] ?? ''] ?? [3, []];
  const names = EXTEND[match[1] ?? ''] ?? {};
  return (builder, operation, cursor) => {
    if (operation.memory) {
      builder.address(operation, cursor);
      builder.readable(size, cursor);
    }
    setXmm(builder, operation.r, () => {
      if (operation.memory) loadLow(builder, size);
      else xmm(builder, operation.b);
      for (const step of steps) builder.code.vector(names[step] ?? 'i16x8.extend_low_i8x16_u');
    });
  };
};

const duplicateLow: Emit = (builder, operation, cursor) => {
  if (operation.memory) {
    builder.address(operation, cursor);
    builder.readable(3, cursor);
  }
  setXmm(builder, operation.r, () => {
    if (operation.memory) builder.loadPointer(3, false);
    else {
      xmm(builder, operation.b);
      builder.code.vector('i64x2.extract_lane', [0]);
    }
    builder.code.vector('i64x2.splat');
  });
};

/** Elements by the log2 of their size. */
const EXTRACTIONS = [
  'i8x16.extract_lane_u',
  'i16x8.extract_lane_u',
  'i32x4.extract_lane',
  'i64x2.extract_lane',
] as const;

/** PEXTRB, PEXTRW, PEXTRD, PEXTRQ, EXTRACTPS. */
const extract = (match: RegExpExecArray): Emit => {
  const fixed = { PEXTRB: 0, PEXTRW: 1, PEXTRD: undefined, EXTRACTPS: 2 }[match[0]];
  return (builder, operation, cursor) => {
    const { code } = builder;
    const size = fixed ?? operation.size;
    xmm(builder, operation.r);
    code.vector(EXTRACTIONS[size] ?? 'i64x2.extract_lane', [operation.imm & ((16 >> size) - 1)]);
    if (size < 3) code.op('i64.extend_i32_u');
    if (!operation.memory) {
      builder.writeRegister(operation.b, 3);
      return;
    }
    code.set(R64);
    builder.address(operation, cursor);
    builder.write(size, R64, cursor);
  };
};

/** PINSRB, PINSRD, PINSRQ. */
const insert = (match: RegExpExecArray): Emit => {
  const byte = match[0] === 'PINSRB';
  return (builder, operation, cursor) => {
    const { code } = builder;
    const size = byte ? 0 : operation.size;
    builder.readRm(operation, cursor, size, false);
    code.set(R64);
    setXmm(builder, operation.r, () => {
      xmm(builder, operation.r);
      code.get(R64);
      if (size < 3) code.op('i32.wrap_i64');
      code.vector(
        byte ? 'i8x16.replace_lane' : size === 3 ? 'i64x2.replace_lane' : 'i32x4.replace_lane',
        [operation.imm & ((16 >> size) - 1)],
      );
    });
  };
};

const oneOf = (table: object): string => Object.keys(table).join('|');

export const SSE4_EMITTERS: readonly Emitter[] = [
  sseEmitter(new RegExp(`^(${oneOf(BINARY)})$`), binary),
  sseEmitter(/^PSHUFB_X$/, () => shuffleBytes),
  sseEmitter(/^PALIGNR_X$/, () => align),
  sseEmitter(new RegExp(`^(${oneOf(NEIGHBOURS)})_X$`), neighbours),
  sseEmitter(/^PMULHRSW_X$/, () => multiplyRounded),
  sseEmitter(/^PMULDQ$/, () => multiplyEven('i64x2.extmul_low_i32x4_s')),
  sseEmitter(new RegExp(`^(${oneOf(SIGNS)})$`), blendBySigns),
  sseEmitter(new RegExp(`^(${oneOf(BLENDS)})$`), blend),
  sseEmitter(/^PTEST$/, () => testBits, { flags: 'set' }),
  sseEmitter(
    /^PABS([BWD])_X$/,
    (match) =>
      unary((builder, push) => {
        push();
        builder.code.vector(ABSOLUTE[match[1] ?? ''] ?? 'i8x16.abs');
      }),
    { fills: 'r' },
  ),
  sseEmitter(
    /^MOVS[HL]DUP$/,
    (match) =>
      unary((builder, push) => {
        push();
        push();
        builder.code.vector('i8x16.shuffle', lanes(4, COPIES[match[0]] ?? []));
      }),
    { fills: 'r' },
  ),
  sseEmitter(/^MOVDDUP$/, () => duplicateLow, { fills: 'r' }),
  sseEmitter(new RegExp(`^PMOV([SZ])X(${oneOf(EXTENSIONS)})$`), extend, { fills: 'r' }),
  sseEmitter(/^PEXTR[BWD]$|^EXTRACTPS$/, extract, { operands: 'b', vectors: 'r' }),
  sseEmitter(/^PINSR[BD]$/, insert, { operands: 'b', writes: '', vectors: 'r' }),
];
