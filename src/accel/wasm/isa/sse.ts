/**
 * MMX, SSE and SSE2 encodings, FXSAVE and its kin (Intel SDM vol. 2).
 *
 * Operations that treat the same bits alike share a number: MOVAPS, MOVAPD and MOVDQA are one, as are
 * ANDPS, ANDPD and PAND. The packed integer operations come as two runs in the same order, `_X` on XMM
 * and `_P` on MMX registers, so that the core computes both with one routine (core/sse-integer.ts);
 * so do the arithmetic operations: PS, PD, SS, SD of one after another.
 */
import { type Row, row, type Traits } from './row.js';

const swap: Traits = { swap: true };
const y: Traits = { size: 'y' };
const d: Traits = { size: 'd' };

const hex = (value: number): string => value.toString(16).toUpperCase().padStart(2, '0');

/** Moves that serve the hot paths of kernels and of compiled floating point: first in the unit. */
function moves(): Row[] {
  const load = (encoding: string, mnemonic: string, operands: string, memory: string): Row =>
    row(encoding, mnemonic, operands, 'sse', ['MOV_XX', memory]);
  const stored = (encoding: string, mnemonic: string, operands: string, memory: string): Row =>
    row(encoding, mnemonic, operands, 'sse', ['MOV_XX', memory], swap);
  const memoryOnly = (
    encoding: string,
    mnemonic: string,
    operands: string,
    memory: string,
    register = '',
  ): Row => row(encoding, mnemonic, operands, 'sse', [register, memory]);
  return [
    load('NP 0F 28 /r', 'movaps', 'Vps,Wps', 'MOVA_XM'),
    load('66 0F 28 /r', 'movapd', 'Vpd,Wpd', 'MOVA_XM'),
    load('66 0F 6F /r', 'movdqa', 'Vdq,Wdq', 'MOVA_XM'),
    load('NP 0F 10 /r', 'movups', 'Vps,Wps', 'MOVU_XM'),
    load('66 0F 10 /r', 'movupd', 'Vpd,Wpd', 'MOVU_XM'),
    load('F3 0F 6F /r', 'movdqu', 'Vdq,Wdq', 'MOVU_XM'),
    stored('NP 0F 29 /r', 'movaps', 'Wps,Vps', 'MOVA_MX'),
    stored('66 0F 29 /r', 'movapd', 'Wpd,Vpd', 'MOVA_MX'),
    stored('66 0F 7F /r', 'movdqa', 'Wdq,Vdq', 'MOVA_MX'),
    stored('NP 0F 11 /r', 'movups', 'Wps,Vps', 'MOVU_MX'),
    stored('66 0F 11 /r', 'movupd', 'Wpd,Vpd', 'MOVU_MX'),
    stored('F3 0F 7F /r', 'movdqu', 'Wdq,Vdq', 'MOVU_MX'),
    memoryOnly('NP 0F 2B /r', 'movntps', 'Mps,Vps', 'MOVA_MX'),
    memoryOnly('66 0F 2B /r', 'movntpd', 'Mpd,Vpd', 'MOVA_MX'),
    memoryOnly('66 0F E7 /r', 'movntdq', 'Mdq,Vdq', 'MOVA_MX'),
    row('F3 0F 7E /r', 'movq', 'Vq,Wq', 'sse', ['MOVQ_XX', 'MOVQ_XM']),
    row('66 0F D6 /r', 'movq', 'Wq,Vq', 'sse', ['MOVQ_XX', 'MOVQ_MX'], swap),
    row('F2 0F 10 /r', 'movsd', 'Vsd,Wsd', 'sse', ['MOVSD_XX', 'MOVQ_XM']),
    row('F2 0F 11 /r', 'movsd', 'Wsd,Vsd', 'sse', ['MOVSD_XX', 'MOVQ_MX'], swap),
    row('F3 0F 10 /r', 'movss', 'Vss,Wss', 'sse', ['MOVSS_XX', 'MOVSS_XM']),
    row('F3 0F 11 /r', 'movss', 'Wss,Vss', 'sse', ['MOVSS_XX', 'MOVSS_MX'], swap),
    memoryOnly('NP 0F 13 /r', 'movlps', 'Mq,Vq', 'MOVQ_MX'),
    memoryOnly('66 0F 13 /r', 'movlpd', 'Mq,Vq', 'MOVQ_MX'),
    memoryOnly('NP 0F 12 /r', 'movlps', 'Vq,Wq', 'MOVL_XM', 'MOVHLPS'),
    memoryOnly('66 0F 12 /r', 'movlpd', 'Vq,Mq', 'MOVL_XM'),
    memoryOnly('NP 0F 16 /r', 'movhps', 'Vq,Wq', 'MOVH_XM', 'MOVLHPS'),
    memoryOnly('66 0F 16 /r', 'movhpd', 'Vq,Mq', 'MOVH_XM'),
    memoryOnly('NP 0F 17 /r', 'movhps', 'Mq,Vq', 'MOVH_MX'),
    memoryOnly('66 0F 17 /r', 'movhpd', 'Mq,Vq', 'MOVH_MX'),
    row('66 0F 6E /r', 'movd', 'Vy,Ey', 'sse', ['MOVD_XE', 'MOVD_XE'], y),
    row('66 0F 7E /r', 'movd', 'Ey,Vy', 'sse', ['MOVD_EX', 'MOVD_EX'], y),
    row('66 0F D7 /r', 'pmovmskb', 'Gd,Udq', 'sse', ['PMOVMSKB_X', ''], d),
    row('NP 0F 50 /r', 'movmskps', 'Gd,Ups', 'sse', ['MOVMSKPS', ''], d),
    row('66 0F 50 /r', 'movmskpd', 'Gd,Upd', 'sse', ['MOVMSKPD', ''], d),
    row('66 0F C4 /r', 'pinsrw', 'Vdq,Ew,Ib', 'sse', ['PINSRW_X', 'PINSRW_X'], d),
    row('66 0F C5 /r', 'pextrw', 'Gd,Udq,Ib', 'sse', ['PEXTRW_X', ''], d),
    row('66 0F F7 /r', 'maskmovdqu', 'Vdq,Udq', 'sse', ['MASKMOVDQU', '']),
    row('F3 0F D6 /r', 'movq2dq', 'Vdq,Nq', 'sse', ['MOVQ2DQ', '']),
    row('F2 0F D6 /r', 'movdq2q', 'Pq,Uq', 'sse', ['MOVDQ2Q', '']),
  ];
}

/** Moves of MMX registers. */
function mmxMoves(): Row[] {
  return [
    row('NP 0F 6F /r', 'movq', 'Pq,Qq', 'sse', ['MOVQ_PQ', 'MOVQ_PQ']),
    row('NP 0F 7F /r', 'movq', 'Qq,Pq', 'sse', ['MOVQ_PQ', 'MOVQ_MP'], swap),
    row('NP 0F E7 /r', 'movntq', 'Mq,Pq', 'sse', ['', 'MOVQ_MP']),
    row('NP 0F 6E /r', 'movd', 'Py,Ey', 'sse', ['MOVD_PE', 'MOVD_PE'], y),
    row('NP 0F 7E /r', 'movd', 'Ey,Py', 'sse', ['MOVD_EP', 'MOVD_EP'], y),
    row('NP 0F D7 /r', 'pmovmskb', 'Gd,Nq', 'sse', ['PMOVMSKB_P', ''], d),
    row('NP 0F C4 /r', 'pinsrw', 'Pq,Ew,Ib', 'sse', ['PINSRW_P', 'PINSRW_P'], d),
    row('NP 0F C5 /r', 'pextrw', 'Gd,Nq,Ib', 'sse', ['PEXTRW_P', ''], d),
    row('NP 0F F7 /r', 'maskmovq', 'Pq,Nq', 'sse', ['MASKMOVQ', '']),
    row('NP 0F 70 /r', 'pshufw', 'Pq,Qq,Ib', 'sse', ['PSHUFW', 'PSHUFW']),
    row('NP 0F 77', 'emms', '', 'sse', 'EMMS'),
  ];
}

/** Operations on both register files, by their second opcode byte. */
const PACKED: ReadonlyArray<readonly [opcode: number, name: string]> = [
  [0x60, 'PUNPCKLBW'],
  [0x61, 'PUNPCKLWD'],
  [0x62, 'PUNPCKLDQ'],
  [0x63, 'PACKSSWB'],
  [0x67, 'PACKUSWB'],
  [0x6b, 'PACKSSDW'],
  [0x68, 'PUNPCKHBW'],
  [0x69, 'PUNPCKHWD'],
  [0x6a, 'PUNPCKHDQ'],
  [0x64, 'PCMPGTB'],
  [0x65, 'PCMPGTW'],
  [0x66, 'PCMPGTD'],
  [0x74, 'PCMPEQB'],
  [0x75, 'PCMPEQW'],
  [0x76, 'PCMPEQD'],
  [0xd1, 'PSRLW'],
  [0xd2, 'PSRLD'],
  [0xd3, 'PSRLQ'],
  [0xe1, 'PSRAW'],
  [0xe2, 'PSRAD'],
  [0xf1, 'PSLLW'],
  [0xf2, 'PSLLD'],
  [0xf3, 'PSLLQ'],
  [0xd4, 'PADDQ'],
  [0xd5, 'PMULLW'],
  [0xd8, 'PSUBUSB'],
  [0xd9, 'PSUBUSW'],
  [0xda, 'PMINUB'],
  [0xdb, 'PAND'],
  [0xdc, 'PADDUSB'],
  [0xdd, 'PADDUSW'],
  [0xde, 'PMAXUB'],
  [0xdf, 'PANDN'],
  [0xe0, 'PAVGB'],
  [0xe3, 'PAVGW'],
  [0xe4, 'PMULHUW'],
  [0xe5, 'PMULHW'],
  [0xe8, 'PSUBSB'],
  [0xe9, 'PSUBSW'],
  [0xea, 'PMINSW'],
  [0xeb, 'POR'],
  [0xec, 'PADDSB'],
  [0xed, 'PADDSW'],
  [0xee, 'PMAXSW'],
  [0xef, 'PXOR'],
  [0xf4, 'PMULUDQ'],
  [0xf5, 'PMADDWD'],
  [0xf6, 'PSADBW'],
  [0xf8, 'PSUBB'],
  [0xf9, 'PSUBW'],
  [0xfa, 'PSUBD'],
  [0xfb, 'PSUBQ'],
  [0xfc, 'PADDB'],
  [0xfd, 'PADDW'],
  [0xfe, 'PADDD'],
];

/** Shifts by an immediate: opcode, digit, name. */
const SHIFTS: ReadonlyArray<readonly [opcode: number, digit: number, name: string]> = [
  [0x71, 2, 'PSRLW'],
  [0x72, 2, 'PSRLD'],
  [0x73, 2, 'PSRLQ'],
  [0x71, 4, 'PSRAW'],
  [0x72, 4, 'PSRAD'],
  [0x71, 6, 'PSLLW'],
  [0x72, 6, 'PSLLD'],
  [0x73, 6, 'PSLLQ'],
];

const both = (encoding: string, mnemonic: string, operands: string, name: string): Row =>
  row(encoding, mnemonic, operands, 'sse', [name, name]);

function packedXmm(): Row[] {
  return [
    ...PACKED.map(([opcode, name]) =>
      both(`66 0F ${hex(opcode)} /r`, name.toLowerCase(), 'Vdq,Wdq', `${name}_X`),
    ),
    ...SHIFTS.map(([opcode, digit, name]) =>
      row(`66 0F ${hex(opcode)} /${digit}`, name.toLowerCase(), 'Udq,Ib', 'sse', [
        `${name}_XI`,
        '',
      ]),
    ),
    row('66 0F 73 /3', 'psrldq', 'Udq,Ib', 'sse', ['PSRLDQ', '']),
    row('66 0F 73 /7', 'pslldq', 'Udq,Ib', 'sse', ['PSLLDQ', '']),
    both('66 0F 6C /r', 'punpcklqdq', 'Vdq,Wdq', 'PUNPCKLQDQ'),
    both('66 0F 6D /r', 'punpckhqdq', 'Vdq,Wdq', 'PUNPCKHQDQ'),
    both('66 0F 70 /r', 'pshufd', 'Vdq,Wdq,Ib', 'PSHUFD'),
    both('F3 0F 70 /r', 'pshufhw', 'Vdq,Wdq,Ib', 'PSHUFHW'),
    both('F2 0F 70 /r', 'pshuflw', 'Vdq,Wdq,Ib', 'PSHUFLW'),
    both('NP 0F C6 /r', 'shufps', 'Vps,Wps,Ib', 'SHUFPS'),
    both('66 0F C6 /r', 'shufpd', 'Vpd,Wpd,Ib', 'SHUFPD'),
    both('NP 0F 14 /r', 'unpcklps', 'Vps,Wps', 'PUNPCKLDQ_X'),
    both('66 0F 14 /r', 'unpcklpd', 'Vpd,Wpd', 'PUNPCKLQDQ'),
    both('NP 0F 15 /r', 'unpckhps', 'Vps,Wps', 'PUNPCKHDQ_X'),
    both('66 0F 15 /r', 'unpckhpd', 'Vpd,Wpd', 'PUNPCKHQDQ'),
    both('NP 0F 54 /r', 'andps', 'Vps,Wps', 'PAND_X'),
    both('66 0F 54 /r', 'andpd', 'Vpd,Wpd', 'PAND_X'),
    both('NP 0F 55 /r', 'andnps', 'Vps,Wps', 'PANDN_X'),
    both('66 0F 55 /r', 'andnpd', 'Vpd,Wpd', 'PANDN_X'),
    both('NP 0F 56 /r', 'orps', 'Vps,Wps', 'POR_X'),
    both('66 0F 56 /r', 'orpd', 'Vpd,Wpd', 'POR_X'),
    both('NP 0F 57 /r', 'xorps', 'Vps,Wps', 'PXOR_X'),
    both('66 0F 57 /r', 'xorpd', 'Vpd,Wpd', 'PXOR_X'),
  ];
}

function packedMmx(): Row[] {
  return [
    // The low-half unpacks of MMX read only 32 bits of memory.
    ...PACKED.map(([opcode, name]) =>
      both(
        `NP 0F ${hex(opcode)} /r`,
        name.toLowerCase(),
        opcode <= 0x62 ? 'Pq,Qd' : 'Pq,Qq',
        `${name}_P`,
      ),
    ),
    ...SHIFTS.map(([opcode, digit, name]) =>
      row(`NP 0F ${hex(opcode)} /${digit}`, name.toLowerCase(), 'Nq,Ib', 'sse', [`${name}_PI`, '']),
    ),
  ];
}

const FORMATS = [
  ['NP', 'PS', 'Vps,Wps'],
  ['66', 'PD', 'Vpd,Wpd'],
  ['F3', 'SS', 'Vss,Wss'],
  ['F2', 'SD', 'Vsd,Wsd'],
] as const;

/** Arithmetic in four formats; the order of the names is that of the core's kinds (core/sse-float.ts). */
function arithmetic(): Row[] {
  const rows: Row[] = [];
  const operations: ReadonlyArray<readonly [number, string]> = [
    [0x58, 'ADD'],
    [0x5c, 'SUB'],
    [0x59, 'MUL'],
    [0x5e, 'DIV'],
    [0x5d, 'MIN'],
    [0x5f, 'MAX'],
    [0x51, 'SQRT'],
    [0xc2, 'CMP'],
  ];
  for (const [opcode, name] of operations) {
    for (const [prefix, suffix, operands] of FORMATS) {
      rows.push(
        row(
          `${prefix} 0F ${hex(opcode)} /r`,
          `${name}${suffix}`.toLowerCase(),
          name === 'CMP' ? `${operands},Ib` : operands,
          'sse',
          [`${name}${suffix}`, `${name}${suffix}`],
        ),
      );
    }
  }
  for (const [opcode, name] of [
    [0x52, 'RSQRT'],
    [0x53, 'RCP'],
  ] as const) {
    for (const [prefix, suffix, operands] of [FORMATS[0], FORMATS[2]]) {
      rows.push(
        row(`${prefix} 0F ${hex(opcode)} /r`, `${name}${suffix}`.toLowerCase(), operands, 'sse', [
          `${name}${suffix}`,
          `${name}${suffix}`,
        ]),
      );
    }
  }
  for (const [opcode, name] of [
    [0x2e, 'UCOMI'],
    [0x2f, 'COMI'],
  ] as const) {
    rows.push(
      row(`NP 0F ${hex(opcode)} /r`, `${name.toLowerCase()}ss`, 'Vss,Wss', 'sse', [
        `${name}SS`,
        `${name}SS`,
      ]),
      row(`66 0F ${hex(opcode)} /r`, `${name.toLowerCase()}sd`, 'Vsd,Wsd', 'sse', [
        `${name}SD`,
        `${name}SD`,
      ]),
    );
  }
  return rows;
}

function conversions(): Row[] {
  const both = (encoding: string, mnemonic: string, operands: string, traits: Traits = {}): Row => {
    const name = mnemonic.toUpperCase();
    return row(encoding, mnemonic, operands, 'sse', [name, name], traits);
  };
  return [
    both('F2 0F 2A /r', 'cvtsi2sd', 'Vsd,Ey', y),
    both('F3 0F 2A /r', 'cvtsi2ss', 'Vss,Ey', y),
    both('F2 0F 2C /r', 'cvttsd2si', 'Gy,Wsd', y),
    both('F3 0F 2C /r', 'cvttss2si', 'Gy,Wss', y),
    both('F2 0F 2D /r', 'cvtsd2si', 'Gy,Wsd', y),
    both('F3 0F 2D /r', 'cvtss2si', 'Gy,Wss', y),
    both('F3 0F 5A /r', 'cvtss2sd', 'Vsd,Wss'),
    both('F2 0F 5A /r', 'cvtsd2ss', 'Vss,Wsd'),
    both('NP 0F 5A /r', 'cvtps2pd', 'Vpd,Wq'),
    both('66 0F 5A /r', 'cvtpd2ps', 'Vps,Wpd'),
    both('NP 0F 5B /r', 'cvtdq2ps', 'Vps,Wdq'),
    both('66 0F 5B /r', 'cvtps2dq', 'Vdq,Wps'),
    both('F3 0F 5B /r', 'cvttps2dq', 'Vdq,Wps'),
    both('F3 0F E6 /r', 'cvtdq2pd', 'Vpd,Wq'),
    both('F2 0F E6 /r', 'cvtpd2dq', 'Vdq,Wpd'),
    both('66 0F E6 /r', 'cvttpd2dq', 'Vdq,Wpd'),
    both('NP 0F 2A /r', 'cvtpi2ps', 'Vps,Qq'),
    both('66 0F 2A /r', 'cvtpi2pd', 'Vpd,Qq'),
    both('NP 0F 2C /r', 'cvttps2pi', 'Pq,Wq'),
    both('66 0F 2C /r', 'cvttpd2pi', 'Pq,Wpd'),
    both('NP 0F 2D /r', 'cvtps2pi', 'Pq,Wq'),
    both('66 0F 2D /r', 'cvtpd2pi', 'Pq,Wpd'),
  ];
}

function state(): Row[] {
  return [
    row('NP 0F AE /0', 'fxsave', 'M', 'sse', ['', 'FXSAVE'], y),
    row('NP 0F AE /1', 'fxrstor', 'M', 'sse', ['', 'FXRSTOR'], y),
    row('NP 0F AE /2', 'ldmxcsr', 'Md', 'sse', ['', 'LDMXCSR']),
    row('NP 0F AE /3', 'stmxcsr', 'Md', 'sse', ['', 'STMXCSR']),
    row('NP 0F AE /5', 'lfence', '', 'sse', ['FENCE', '']),
    row('NP 0F AE /6', 'mfence', '', 'sse', ['FENCE', '']),
    row('NP 0F AE /7', 'clflush', 'Mb', 'sse', ['FENCE', 'CLFLUSH']),
  ];
}

/** All SIMD rows: first what touches XMM registers, then what touches MMX registers only, then the rest. */
export const SSE_ROWS: readonly Row[] = [
  ...moves(),
  ...packedXmm(),
  ...arithmetic(),
  ...conversions(),
  ...packedMmx(),
  ...mmxMoves(),
  ...state(),
];
