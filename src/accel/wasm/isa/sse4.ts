/**
 * SSE3, SSSE3, SSE4.1, SSE4.2, AES-NI and PCLMULQDQ encodings (Intel SDM vol. 2; vol. 1, chapter 12).
 *
 * As in isa/sse.ts, the operations that SSSE3 has on both register files come as two runs in the same
 * order: `_X` on XMM registers, first of all, and `_P` on MMX registers, last of all.
 */
import { type Row, row, type Traits } from './row.js';

const y: Traits = { size: 'y' };
const d: Traits = { size: 'd' };

const hex = (value: number): string => value.toString(16).toUpperCase().padStart(2, '0');

const both = (
  encoding: string,
  operands: string,
  name: string,
  mnemonic = name.toLowerCase(),
  traits: Traits = {},
): Row => row(encoding, mnemonic, operands, 'sse4', [name, name], traits);

/** Opcodes of 0F 38 that exist on both register files. */
const PAIRED: ReadonlyArray<readonly [opcode: number, name: string]> = [
  [0x00, 'PSHUFB'],
  [0x01, 'PHADDW'],
  [0x02, 'PHADDD'],
  [0x03, 'PHADDSW'],
  [0x05, 'PHSUBW'],
  [0x06, 'PHSUBD'],
  [0x07, 'PHSUBSW'],
  [0x04, 'PMADDUBSW'],
  [0x08, 'PSIGNB'],
  [0x09, 'PSIGNW'],
  [0x0a, 'PSIGND'],
  [0x0b, 'PMULHRSW'],
  [0x1c, 'PABSB'],
  [0x1d, 'PABSW'],
  [0x1e, 'PABSD'],
];

function paired(prefix: '66' | 'NP', operands: string, suffix: 'X' | 'P'): Row[] {
  return [
    ...PAIRED.map(([opcode, name]) =>
      both(`${prefix} 0F 38 ${hex(opcode)} /r`, operands, `${name}_${suffix}`, name.toLowerCase()),
    ),
    both(`${prefix} 0F 3A 0F /r`, `${operands},Ib`, `PALIGNR_${suffix}`, 'palignr'),
  ];
}

/** Opcodes of 0F 38 on XMM registers and 16 aligned bytes. */
const PACKED: ReadonlyArray<readonly [opcode: number, name: string]> = [
  [0x10, 'PBLENDVB'],
  [0x14, 'BLENDVPS'],
  [0x15, 'BLENDVPD'],
  [0x28, 'PMULDQ'],
  [0x29, 'PCMPEQQ'],
  [0x2b, 'PACKUSDW'],
  [0x37, 'PCMPGTQ'],
  [0x38, 'PMINSB'],
  [0x39, 'PMINSD'],
  [0x3a, 'PMINUW'],
  [0x3b, 'PMINUD'],
  [0x3c, 'PMAXSB'],
  [0x3d, 'PMAXSD'],
  [0x3e, 'PMAXUW'],
  [0x3f, 'PMAXUD'],
  [0x40, 'PMULLD'],
  [0x41, 'PHMINPOSUW'],
];

/** Opcodes of 0F 38 of AES. */
const AES: ReadonlyArray<readonly [opcode: number, name: string]> = [
  [0xdb, 'AESIMC'],
  [0xdc, 'AESENC'],
  [0xdd, 'AESENCLAST'],
  [0xde, 'AESDEC'],
  [0xdf, 'AESDECLAST'],
];

function packed(): Row[] {
  return [
    ...PACKED.map(([opcode, name]) => both(`66 0F 38 ${hex(opcode)} /r`, 'Vdq,Wdq', name)),
    both('F3 0F 16 /r', 'Vps,Wps', 'MOVSHDUP'),
    both('F3 0F 12 /r', 'Vps,Wps', 'MOVSLDUP'),
    both('66 0F 3A 0C /r', 'Vps,Wps,Ib', 'BLENDPS'),
    both('66 0F 3A 0D /r', 'Vpd,Wpd,Ib', 'BLENDPD'),
    both('66 0F 3A 0E /r', 'Vdq,Wdq,Ib', 'PBLENDW'),
    both('66 0F 3A 42 /r', 'Vdq,Wdq,Ib', 'MPSADBW'),
    ...AES.map(([opcode, name]) => both(`66 0F 38 ${hex(opcode)} /r`, 'Vdq,Wdq', name)),
    both('66 0F 3A DF /r', 'Vdq,Wdq,Ib', 'AESKEYGENASSIST'),
    both('66 0F 3A 44 /r', 'Vdq,Wdq,Ib', 'PCLMULQDQ'),
    both('66 0F 38 17 /r', 'Vdq,Wdq', 'PTEST'),
  ];
}

/** Extensions: opcode of the signed one, and what of the source they read. */
const EXTENSIONS: ReadonlyArray<readonly [opcode: number, name: string, source: string]> = [
  [0x20, 'BW', 'Wq'],
  [0x21, 'BD', 'Wd'],
  [0x22, 'BQ', 'Ww'],
  [0x23, 'WD', 'Wq'],
  [0x24, 'WQ', 'Wd'],
  [0x25, 'DQ', 'Wq'],
];

function extensions(): Row[] {
  return [
    ...EXTENSIONS.map(([opcode, name, source]) =>
      both(`66 0F 38 ${hex(opcode)} /r`, `Vdq,${source}`, `PMOVSX${name}`),
    ),
    ...EXTENSIONS.map(([opcode, name, source]) =>
      both(`66 0F 38 ${hex(opcode + 0x10)} /r`, `Vdq,${source}`, `PMOVZX${name}`),
    ),
  ];
}

function moves(): Row[] {
  return [
    both('F2 0F 12 /r', 'Vq,Wq', 'MOVDDUP'),
    row('F2 0F F0 /r', 'lddqu', 'Vdq,Mdq', 'sse4', ['', 'MOVU_XM']),
    row('66 0F 38 2A /r', 'movntdqa', 'Vdq,Mdq', 'sse4', ['', 'MOVA_XM']),
    both('66 0F 3A 14 /r', 'Ed,Vdq,Ib', 'PEXTRB', 'pextrb', d),
    both('66 0F 3A 15 /r', 'Ed,Vdq,Ib', 'PEXTRW', 'pextrw', d),
    both('66 0F 3A 16 /r', 'Ey,Vdq,Ib', 'PEXTRD', 'pextrd', y),
    both('66 0F 3A 17 /r', 'Ed,Vdq,Ib', 'EXTRACTPS', 'extractps', d),
    both('66 0F 3A 20 /r', 'Vdq,Ed,Ib', 'PINSRB', 'pinsrb', d),
    both('66 0F 3A 21 /r', 'Vdq,Wd,Ib', 'INSERTPS'),
    both('66 0F 3A 22 /r', 'Vdq,Ey,Ib', 'PINSRD', 'pinsrd', y),
  ];
}

function floats(): Row[] {
  return [
    both('F2 0F D0 /r', 'Vps,Wps', 'ADDSUBPS'),
    both('66 0F D0 /r', 'Vpd,Wpd', 'ADDSUBPD'),
    both('F2 0F 7C /r', 'Vps,Wps', 'HADDPS'),
    both('66 0F 7C /r', 'Vpd,Wpd', 'HADDPD'),
    both('F2 0F 7D /r', 'Vps,Wps', 'HSUBPS'),
    both('66 0F 7D /r', 'Vpd,Wpd', 'HSUBPD'),
    both('66 0F 3A 40 /r', 'Vps,Wps,Ib', 'DPPS'),
    both('66 0F 3A 41 /r', 'Vpd,Wpd,Ib', 'DPPD'),
    both('66 0F 3A 08 /r', 'Vps,Wps,Ib', 'ROUNDPS'),
    both('66 0F 3A 09 /r', 'Vpd,Wpd,Ib', 'ROUNDPD'),
    both('66 0F 3A 0A /r', 'Vss,Wss,Ib', 'ROUNDSS'),
    both('66 0F 3A 0B /r', 'Vsd,Wsd,Ib', 'ROUNDSD'),
  ];
}

/** Comparisons of strings: REX.W widens the lengths of the explicit ones. */
function strings(): Row[] {
  return ['PCMPESTRM', 'PCMPESTRI', 'PCMPISTRM', 'PCMPISTRI'].map((name, index) =>
    both(`66 0F 3A ${hex(0x60 + index)} /r`, 'Vdq,Wdq,Ib', name, name.toLowerCase(), y),
  );
}

/** All rows of the later SIMD extensions. */
export const SSE4_ROWS: readonly Row[] = [
  ...paired('66', 'Vdq,Wdq', 'X'),
  ...packed(),
  ...extensions(),
  ...moves(),
  ...floats(),
  ...strings(),
  ...paired('NP', 'Pq,Qq', 'P'),
];
