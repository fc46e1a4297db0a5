/** Moves of XMM registers (core/sse.ts, core/sse-move.ts). */
import * as L from '../layout.js';
import type { Emit, Emitter } from './emitter.js';
import { CPU, POINTER, R64 } from './locals.js';
import { setXmm, source16, sseEmitter, xmm } from './sse-operand.js';

const registers: Emit = (builder, { r, b }) => setXmm(builder, r, () => xmm(builder, b));

function load16(match: RegExpExecArray): Emit {
  return (builder, operation, cursor) => {
    setXmm(builder, operation.r, source16(builder, operation, cursor, match[1] === 'A'));
  };
}

function store16(match: RegExpExecArray): Emit {
  return (builder, operation, cursor) => {
    builder.address(operation, cursor);
    builder.write16(operation.r, match[1] === 'A', cursor);
  };
}

/** MOVQ and MOVSS loads, which clear the rest of the register. */
function loadZero(match: RegExpExecArray): Emit {
  const wide = match[1] === 'Q';
  return (builder, operation, cursor) => {
    if (operation.memory) {
      builder.address(operation, cursor);
      builder.readable(wide ? 3 : 2, cursor);
    }
    setXmm(builder, operation.r, () => {
      builder.code
        .get(operation.memory ? POINTER : CPU)
        .vectorMemory(
          wide ? 'v128.load64_zero' : 'v128.load32_zero',
          operation.memory ? 0 : L.XMM + operation.b,
        );
    });
  };
}

/** Stores of a half or the lowest quarter of a register. */
function store(size: number, half: number): Emit {
  return (builder, operation, cursor) => {
    xmm(builder, operation.r);
    builder.code.vector('i64x2.extract_lane', [half]).set(R64);
    builder.address(operation, cursor);
    builder.write(size, R64, cursor);
  };
}

function loadHalf(half: number): Emit {
  return (builder, operation, cursor) => {
    builder.address(operation, cursor);
    builder.readable(3, cursor);
    setXmm(builder, operation.r, () => {
      builder.code.get(POINTER);
      xmm(builder, operation.r);
      builder.code.vectorMemory('v128.load64_lane', 0).bytes.byte(half);
    });
  };
}

/** Moves part `from` of one register to part `to` of another. */
function part(shape: 'f32x4' | 'f64x2', to: number, from: number): Emit {
  return (builder, { r, b }) => {
    setXmm(builder, r, () => {
      xmm(builder, r);
      xmm(builder, b);
      builder.code.vector(`${shape}.extract_lane`, [from]).vector(`${shape}.replace_lane`, [to]);
    });
  };
}

/** MOVD and MOVQ from a general register or memory. */
const fromGeneral: Emit = (builder, operation, cursor) => {
  const { code } = builder;
  builder.readRm(operation, cursor, operation.size, false);
  code.set(R64);
  setXmm(builder, operation.r, () => {
    code.i32(0).vector('i32x4.splat').get(R64).vector('i64x2.replace_lane', [0]);
  });
};

const toGeneral: Emit = (builder, operation, cursor) => {
  const { code } = builder;
  if (operation.memory) {
    store(operation.size, 0)(builder, operation, cursor, false);
    return;
  }
  xmm(builder, operation.r);
  if (operation.size === 3) code.vector('i64x2.extract_lane', [0]);
  else code.vector('i32x4.extract_lane', [0]).op('i64.extend_i32_u');
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

export const SSE_MOVE_EMITTERS: readonly Emitter[] = [
  sseEmitter(/^MOV_XX$/, () => registers, { fills: 'r' }),
  sseEmitter(/^MOV([AU])_XM$/, load16, { fills: 'r' }),
  sseEmitter(/^MOV([AU])_MX$/, store16),
  sseEmitter(/^MOV(Q|SS)_XM$/, loadZero, { fills: 'r' }),
  sseEmitter(/^MOV(Q)_XX$/, loadZero, { vectors: 'r', fills: 'r' }),
  sseEmitter(/^MOVQ_MX$/, () => store(3, 0)),
  sseEmitter(/^MOVSS_MX$/, () => store(2, 0)),
  sseEmitter(/^MOVH_MX$/, () => store(3, 1)),
  sseEmitter(/^MOVL_XM$/, () => loadHalf(0)),
  sseEmitter(/^MOVH_XM$/, () => loadHalf(1)),
  sseEmitter(/^MOVSD_XX$/, () => part('f64x2', 0, 0)),
  sseEmitter(/^MOVSS_XX$/, () => part('f32x4', 0, 0)),
  sseEmitter(/^MOVHLPS$/, () => part('f64x2', 0, 1)),
  sseEmitter(/^MOVLHPS$/, () => part('f64x2', 1, 0)),
  sseEmitter(/^MOVD_XE$/, () => fromGeneral, {
    operands: 'b',
    writes: '',
    vectors: 'r',
    fills: 'r',
  }),
  sseEmitter(/^MOVD_EX$/, () => toGeneral, { operands: 'b', vectors: 'r' }),
  sseEmitter(/^PMOVMSKB_X$|^MOVMSKP[SD]$/, mask, { operands: 'r', vectors: 'b' }),
  sseEmitter(/^PEXTRW_X$/, () => extractWord, { operands: 'r', vectors: '' }),
];
