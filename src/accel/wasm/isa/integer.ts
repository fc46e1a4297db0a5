/** Integer, control-flow and string encodings (Intel SDM vol. 2). */
import { type Row, row, type Traits } from './row.js';

const CF = 0x001;
const PF = 0x004;
const AF = 0x010;
const ZF = 0x040;
const SF = 0x080;
const OF = 0x800;

const hex = (value: number): string => value.toString(16).toUpperCase().padStart(2, '0');

function arithmetic(): Row[] {
  const rows: Row[] = [];
  ['ADD', 'OR', 'ADC', 'SBB', 'AND', 'SUB', 'XOR', 'CMP'].forEach((name, digit) => {
    const base = digit * 8;
    const lock = name !== 'CMP';
    const undefinedFlags = name === 'AND' || name === 'OR' || name === 'XOR' ? AF : 0;
    const byte: Traits = { size: 'b', sized: true, undefinedFlags };
    const wide: Traits = { size: 'v', sized: true, undefinedFlags };
    const low = name.toLowerCase();
    const stored = [`${name}_RR`, `${name}_MR`] as const;
    const loaded = [`${name}_RR`, `${name}_RM`] as const;
    const immediate = [`${name}_RI`, `${name}_MI`] as const;
    rows.push(
      row(`${hex(base)} /r`, low, 'Eb,Gb', 'hot', stored, { ...byte, lock }),
      row(`${hex(base + 1)} /r`, low, 'Ev,Gv', 'hot', stored, { ...wide, lock }),
      row(`${hex(base + 2)} /r`, low, 'Gb,Eb', 'hot', loaded, { ...byte, swap: true }),
      row(`${hex(base + 3)} /r`, low, 'Gv,Ev', 'hot', loaded, { ...wide, swap: true }),
      row(hex(base + 4), low, 'AL,Ib', 'hot', `${name}_RI`, byte),
      row(hex(base + 5), low, 'rAX,Iz', 'hot', `${name}_RI`, wide),
      row(`80 /${digit}`, low, 'Eb,Ib', 'hot', immediate, { ...byte, lock }),
      row(`81 /${digit}`, low, 'Ev,Iz', 'hot', immediate, { ...wide, lock }),
      row(`82 /${digit}`, low, 'Eb,Ib', 'hot', immediate, { ...byte, lock, not64: true }),
      row(`83 /${digit}`, low, 'Ev,Ibs', 'hot', immediate, { ...wide, lock }),
    );
  });
  return rows;
}

function moves(): Row[] {
  const b: Traits = { size: 'b', sized: true };
  const v: Traits = { size: 'v', sized: true };
  const stack: Traits = { size: 'v64', sized: true };
  return [
    row('88 /r', 'mov', 'Eb,Gb', 'hot', ['MOV_RR', 'MOV_MR'], b),
    row('89 /r', 'mov', 'Ev,Gv', 'hot', ['MOV_RR', 'MOV_MR'], v),
    row('8A /r', 'mov', 'Gb,Eb', 'hot', ['MOV_RR', 'MOV_RM'], { ...b, swap: true }),
    row('8B /r', 'mov', 'Gv,Ev', 'hot', ['MOV_RR', 'MOV_RM'], { ...v, swap: true }),
    row('C6 /0', 'mov', 'Eb,Ib', 'hot', ['MOV_RI', 'MOV_MI'], b),
    row('C7 /0', 'mov', 'Ev,Iz', 'hot', ['MOV_RI', 'MOV_MI'], v),
    row('B0 +r', 'mov', 'Zb,Ib', 'hot', 'MOV_RI', b),
    row('B8 +r', 'mov', 'Zv,Iv', 'hot', 'MOV_RV', v),
    row('A0', 'mov', 'AL,Ob', 'integer', 'MOV_AO', { size: 'b' }),
    row('A1', 'mov', 'rAX,Ov', 'integer', 'MOV_AO', { size: 'v' }),
    row('A2', 'mov', 'Ob,AL', 'integer', 'MOV_OA', { size: 'b' }),
    row('A3', 'mov', 'Ov,rAX', 'integer', 'MOV_OA', { size: 'v' }),
    row('0F B6 /r', 'movzx', 'Gv,Eb', 'hot', ['MOVZX8_RR', 'MOVZX8_RM'], v),
    row('0F B7 /r', 'movzx', 'Gv,Ew', 'hot', ['MOVZX16_RR', 'MOVZX16_RM'], v),
    row('0F BE /r', 'movsx', 'Gv,Eb', 'hot', ['MOVSX8_RR', 'MOVSX8_RM'], v),
    row('0F BF /r', 'movsx', 'Gv,Ew', 'hot', ['MOVSX16_RR', 'MOVSX16_RM'], v),
    row('63 /r', 'movsxd', 'Gv,Ed', 'hot', ['MOVSX32_RR', 'MOVSX32_RM'], { ...v, only64: true }),
    row('8D /r', 'lea', 'Gv,M', 'hot', ['', 'LEA'], v),
    row('50 +r', 'push', 'Zv', 'hot', 'PUSH_R', stack),
    row('58 +r', 'pop', 'Zv', 'hot', 'POP_R', stack),
    row('68', 'push', 'Iz', 'hot', 'PUSH_I', stack),
    row('6A', 'push', 'Ibs', 'hot', 'PUSH_I', stack),
    row('FF /6', 'push', 'Ev', 'hot', ['PUSH_R', 'PUSH_M'], stack),
    row('8F /0', 'pop', 'Ev', 'integer', ['POP_RM', 'POP_RM'], { size: 'v64' }),
    row('60', 'pusha', '', 'integer', 'PUSHA', { size: 'v', not64: true }),
    row('61', 'popa', '', 'integer', 'POPA', { size: 'v', not64: true }),
    row('C8', 'enter', 'Iw,Ib', 'integer', 'ENTER', { size: 'v64' }),
    row('C9', 'leave', '', 'hot', 'LEAVE', stack),
    row('86 /r', 'xchg', 'Eb,Gb', 'integer', ['XCHG', 'XCHG'], { size: 'b', lock: true }),
    row('87 /r', 'xchg', 'Ev,Gv', 'integer', ['XCHG', 'XCHG'], { size: 'v', lock: true }),
    row('90 +r', 'xchg', 'Zv,rAX', 'integer', 'XCHG_A', { size: 'v' }),
    row('98', 'cbw', '', 'hot', 'CBW', v),
    row('99', 'cwd', '', 'hot', 'CWD', v),
    row('9E', 'sahf', '', 'integer', 'SAHF'),
    row('9F', 'lahf', '', 'integer', 'LAHF'),
    // In no manual, and in every processor.
    row('D6', 'salc', '', 'integer', 'SALC', { size: 'b', not64: true }),
    row('D7', 'xlat', '', 'integer', 'XLAT', { size: 'b' }),
    row('0F C8 +r', 'bswap', 'Zy', 'integer', 'BSWAP', { size: 'v' }),
    row('NP 0F C3 /r', 'movnti', 'My,Gy', 'hot', ['', 'MOV_MR'], { size: 'y', sized: true }),
  ];
}

function unary(): Row[] {
  const rows: Row[] = [];
  const pairs: ReadonlyArray<readonly ['b' | 'v', string, string]> = [
    ['b', 'F6', 'FE'],
    ['v', 'F7', 'FF'],
  ];
  for (const [size, group3, group5] of pairs) {
    const s: Traits = { size, sized: true };
    const u: Traits = { size };
    const E = `E${size}`;
    const imm = size === 'b' ? 'Ib' : 'Iz';
    rows.push(
      row(`${group3} /0`, 'test', `${E},${imm}`, 'hot', ['TEST_RI', 'TEST_MI'], {
        ...s,
        undefinedFlags: AF,
      }),
      row(`${group3} /1`, 'test', `${E},${imm}`, 'hot', ['TEST_RI', 'TEST_MI'], {
        ...s,
        undefinedFlags: AF,
      }),
      row(`${group3} /2`, 'not', E, 'integer', ['NOT', 'NOT'], { ...u, lock: true }),
      row(`${group3} /3`, 'neg', E, 'integer', ['NEG', 'NEG'], { ...u, lock: true }),
      row(`${group3} /4`, 'mul', E, 'integer', ['MUL', 'MUL'], {
        ...u,
        undefinedFlags: SF | ZF | AF | PF,
      }),
      row(`${group3} /5`, 'imul', E, 'integer', ['IMUL1', 'IMUL1'], {
        ...u,
        undefinedFlags: SF | ZF | AF | PF,
      }),
      row(`${group3} /6`, 'div', E, 'integer', ['DIV', 'DIV'], {
        ...u,
        undefinedFlags: CF | OF | SF | ZF | AF | PF,
      }),
      row(`${group3} /7`, 'idiv', E, 'integer', ['IDIV', 'IDIV'], {
        ...u,
        undefinedFlags: CF | OF | SF | ZF | AF | PF,
      }),
      row(`${group5} /0`, 'inc', E, 'hot', ['INC_R', 'INC_M'], { ...s, lock: true }),
      row(`${group5} /1`, 'dec', E, 'hot', ['DEC_R', 'DEC_M'], { ...s, lock: true }),
      row(
        `${size === 'b' ? '84' : '85'} /r`,
        'test',
        `${E},G${size}`,
        'hot',
        ['TEST_RR', 'TEST_MR'],
        { ...s, undefinedFlags: AF },
      ),
      row(size === 'b' ? 'A8' : 'A9', 'test', size === 'b' ? 'AL,Ib' : 'rAX,Iz', 'hot', 'TEST_RI', {
        ...s,
        undefinedFlags: AF,
      }),
    );
  }
  rows.push(
    row('40 +r', 'inc', 'Zv', 'hot', 'INC_R', { size: 'v', sized: true, not64: true }),
    row('48 +r', 'dec', 'Zv', 'hot', 'DEC_R', { size: 'v', sized: true, not64: true }),
    row('69 /r', 'imul', 'Gv,Ev,Iz', 'hot', ['IMUL_RRI', 'IMUL_RMI'], {
      size: 'v',
      sized: true,
      undefinedFlags: SF | ZF | AF | PF,
    }),
    row('6B /r', 'imul', 'Gv,Ev,Ibs', 'hot', ['IMUL_RRI', 'IMUL_RMI'], {
      size: 'v',
      sized: true,
      undefinedFlags: SF | ZF | AF | PF,
    }),
    row('0F AF /r', 'imul', 'Gv,Ev', 'hot', ['IMUL_RR', 'IMUL_RM'], {
      size: 'v',
      sized: true,
      undefinedFlags: SF | ZF | AF | PF,
    }),
  );
  return rows;
}

function shifts(): Row[] {
  const rows: Row[] = [];
  ['ROL', 'ROR', 'RCL', 'RCR', 'SHL', 'SHR', 'SHL', 'SAR'].forEach((name, digit) => {
    const low = name.toLowerCase();
    const undefinedFlags = digit < 4 ? OF : OF | AF;
    const one = digit < 4 ? 0 : AF;
    const hotImmediate =
      digit >= 4
        ? ([`${name}_RI`, `${name}_IMM`] as const)
        : ([`${name}_IMM`, `${name}_IMM`] as const);
    const unit = digit >= 4 ? 'hot' : 'integer';
    const sized = digit >= 4;
    rows.push(
      row(`C0 /${digit}`, low, 'Eb,Ib', 'integer', [`${name}_IMM`, `${name}_IMM`], {
        size: 'b',
        undefinedFlags,
      }),
      row(`C1 /${digit}`, low, 'Ev,Ib', unit, hotImmediate, { size: 'v', sized, undefinedFlags }),
      row(`D0 /${digit}`, low, 'Eb,1', 'integer', [`${name}_ONE`, `${name}_ONE`], {
        size: 'b',
        undefinedFlags: one,
      }),
      row(`D1 /${digit}`, low, 'Ev,1', 'integer', [`${name}_ONE`, `${name}_ONE`], {
        size: 'v',
        undefinedFlags: one,
      }),
      row(`D2 /${digit}`, low, 'Eb,CL', 'integer', [`${name}_CL`, `${name}_CL`], {
        size: 'b',
        undefinedFlags,
      }),
      row(`D3 /${digit}`, low, 'Ev,CL', 'integer', [`${name}_CL`, `${name}_CL`], {
        size: 'v',
        undefinedFlags,
      }),
    );
  });
  const doubles: Traits = { size: 'v', undefinedFlags: OF | AF };
  rows.push(
    row('0F A4 /r', 'shld', 'Ev,Gv,Ib', 'integer', ['SHLD_IMM', 'SHLD_IMM'], doubles),
    row('0F A5 /r', 'shld', 'Ev,Gv,CL', 'integer', ['SHLD_CL', 'SHLD_CL'], doubles),
    row('0F AC /r', 'shrd', 'Ev,Gv,Ib', 'integer', ['SHRD_IMM', 'SHRD_IMM'], doubles),
    row('0F AD /r', 'shrd', 'Ev,Gv,CL', 'integer', ['SHRD_CL', 'SHRD_CL'], doubles),
  );
  return rows;
}

function bits(): Row[] {
  const rows: Row[] = [];
  const bit: Traits = { size: 'v', undefinedFlags: OF | SF | AF | PF };
  const scan: Traits = { size: 'v', undefinedFlags: CF | OF | SF | AF | PF };
  ['BT', 'BTS', 'BTR', 'BTC'].forEach((name, index) => {
    const lock = name !== 'BT';
    const low = name.toLowerCase();
    rows.push(
      row(`0F ${hex(0xa3 + index * 8)} /r`, low, 'Ev,Gv', 'integer', [`${name}_R`, `${name}_R`], {
        ...bit,
        lock,
      }),
      row(`0F BA /${4 + index}`, low, 'Ev,Ib', 'integer', [`${name}_I`, `${name}_I`], {
        ...bit,
        lock,
      }),
    );
  });
  rows.push(
    row('0F BC /r', 'bsf', 'Gv,Ev', 'integer', ['BSF', 'BSF'], scan),
    row('0F BD /r', 'bsr', 'Gv,Ev', 'integer', ['BSR', 'BSR'], scan),
    row('F3 0F B8 /r', 'popcnt', 'Gv,Ev', 'integer', ['POPCNT', 'POPCNT'], { size: 'v' }),
    row('NP 0F 38 F0 /r', 'movbe', 'Gv,Mv', 'integer', ['', 'MOVBE'], { size: 'v' }),
    row('66 0F 38 F0 /r', 'movbe', 'Gv,Mv', 'integer', ['', 'MOVBE'], { size: 'v' }),
    row('NP 0F 38 F1 /r', 'movbe', 'Mv,Gv', 'integer', ['', 'MOVBE_STORE'], { size: 'v' }),
    row('66 0F 38 F1 /r', 'movbe', 'Mv,Gv', 'integer', ['', 'MOVBE_STORE'], { size: 'v' }),
    row('66 0F 38 F6 /r', 'adcx', 'Gy,Ey', 'integer', ['ADCX', 'ADCX'], { size: 'y' }),
    row('F3 0F 38 F6 /r', 'adox', 'Gy,Ey', 'integer', ['ADOX', 'ADOX'], { size: 'y' }),
    row('F2 0F 38 F0 /r', 'crc32', 'Gy,Eb', 'integer', ['CRC32_B', 'CRC32_B'], { size: 'y' }),
    row('F2 0F 38 F1 /r', 'crc32', 'Gv,Ev', 'integer', ['CRC32', 'CRC32'], { size: 'v' }),
    row('0F B0 /r', 'cmpxchg', 'Eb,Gb', 'integer', ['CMPXCHG', 'CMPXCHG'], {
      size: 'b',
      lock: true,
    }),
    row('0F B1 /r', 'cmpxchg', 'Ev,Gv', 'integer', ['CMPXCHG', 'CMPXCHG'], {
      size: 'v',
      lock: true,
    }),
    row('0F C0 /r', 'xadd', 'Eb,Gb', 'integer', ['XADD', 'XADD'], { size: 'b', lock: true }),
    row('0F C1 /r', 'xadd', 'Ev,Gv', 'integer', ['XADD', 'XADD'], { size: 'v', lock: true }),
    row('0F C7 /1', 'cmpxchg8b', 'Mq', 'integer', ['', 'CMPXCHG8B'], { size: 'y', lock: true }),
  );
  return rows;
}

/** Condition names by their 4-bit code (SDM vol. 2, appendix B.1.4.7). */
export const CONDITIONS: readonly string[] = [
  'O',
  'NO',
  'B',
  'AE',
  'E',
  'NE',
  'BE',
  'A',
  'S',
  'NS',
  'P',
  'NP',
  'L',
  'GE',
  'LE',
  'G',
];

function control(): Row[] {
  const rows: Row[] = [];
  CONDITIONS.forEach((condition, code) => {
    const low = condition.toLowerCase();
    rows.push(
      row(hex(0x70 + code), `j${low}`, 'Jb', 'hot', `J${condition}`, { size: 'f64', ends: true }),
      row(`0F ${hex(0x80 + code)}`, `j${low}`, 'Jz', 'hot', `J${condition}`, {
        size: 'f64',
        ends: true,
      }),
      row(
        `0F ${hex(0x90 + code)} /r`,
        `set${low}`,
        'Eb',
        'hot',
        [`SET${condition}_R`, `SET${condition}_M`],
        { size: 'b' },
      ),
      row(
        `0F ${hex(0x40 + code)} /r`,
        `cmov${low}`,
        'Gv,Ev',
        'hot',
        [`CMOV${condition}_RR`, `CMOV${condition}_RM`],
        { size: 'v' },
      ),
    );
  });
  const near: Traits = { size: 'f64', sized: true, ends: true };
  rows.push(
    row('E9', 'jmp', 'Jz', 'hot', 'JMP', { size: 'f64', ends: true }),
    row('EB', 'jmp', 'Jb', 'hot', 'JMP', { size: 'f64', ends: true }),
    row('E8', 'call', 'Jz', 'hot', 'CALL', near),
    row('FF /2', 'call', 'Ev', 'hot', ['CALL_R', 'CALL_M'], near),
    row('FF /4', 'jmp', 'Ev', 'hot', ['JMP_R', 'JMP_M'], near),
    row('C3', 'ret', '', 'hot', 'RET', near),
    row('C2', 'ret', 'Iw', 'hot', 'RET_I', near),
    row('E0', 'loopne', 'Jb', 'integer', 'LOOPNE', { size: 'f64', ends: true }),
    row('E1', 'loope', 'Jb', 'integer', 'LOOPE', { size: 'f64', ends: true }),
    row('E2', 'loop', 'Jb', 'integer', 'LOOP', { size: 'f64', ends: true }),
    row('E3', 'jrcxz', 'Jb', 'integer', 'JRCXZ', { size: 'f64', ends: true }),
    row('F5', 'cmc', '', 'integer', 'CMC'),
    row('F8', 'clc', '', 'integer', 'CLC'),
    row('F9', 'stc', '', 'integer', 'STC'),
    row('FC', 'cld', '', 'integer', 'CLD'),
    row('FD', 'std', '', 'integer', 'STD'),
    row('0F 0B', 'ud2', '', 'integer', 'UD', { ends: true, privileged: true }),
    row('0F B9 /r', 'ud1', 'Gv,Ev', 'integer', ['UD', 'UD'], { ends: true, privileged: true }),
    row('0F FF /r', 'ud0', 'Gv,Ev', 'integer', ['UD', 'UD'], { ends: true, privileged: true }),
  );
  // The hint space: NOP with a ModRM byte, prefetches (SDM vol. 2, "NOP", "PREFETCHh"; AMD APM 3 "PREFETCH").
  for (const opcode of [0x0d, 0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f]) {
    rows.push(row(`0F ${hex(opcode)} /r`, 'nop', 'Ev', 'hot', ['NOP', 'NOP'], { size: 'v' }));
  }
  return rows;
}

function decimal(): Row[] {
  const t: Traits = { not64: true, undefinedFlags: OF };
  const unpacked: Traits = { not64: true, undefinedFlags: OF | SF | ZF | PF };
  const base: Traits = { not64: true, undefinedFlags: OF | AF | CF };
  return [
    row('27', 'daa', '', 'integer', 'DAA', t),
    row('2F', 'das', '', 'integer', 'DAS', t),
    row('37', 'aaa', '', 'integer', 'AAA', unpacked),
    row('3F', 'aas', '', 'integer', 'AAS', unpacked),
    row('D4', 'aam', 'Ib', 'integer', 'AAM', base),
    row('D5', 'aad', 'Ib', 'integer', 'AAD', base),
    row('62 /r', 'bound', 'Gv,M', 'integer', ['', 'BOUND'], { size: 'v', not64: true }),
  ];
}

function strings(): Row[] {
  const rows: Row[] = [];
  const table: ReadonlyArray<readonly [number, string]> = [
    [0xa4, 'MOVS'],
    [0xa6, 'CMPS'],
    [0xaa, 'STOS'],
    [0xac, 'LODS'],
    [0xae, 'SCAS'],
    [0x6c, 'INS'],
    [0x6e, 'OUTS'],
  ];
  for (const [opcode, name] of table) {
    const privileged = name === 'INS' || name === 'OUTS';
    rows.push(
      row(hex(opcode), `${name.toLowerCase()}b`, '', 'string', name, { size: 'b', privileged }),
      row(hex(opcode + 1), name.toLowerCase(), '', 'string', name, { size: 'v', privileged }),
    );
  }
  return rows;
}

/** All integer rows. */
export const INTEGER_ROWS: readonly Row[] = [
  ...arithmetic(),
  ...moves(),
  ...unary(),
  ...shifts(),
  ...bits(),
  ...control(),
  ...decimal(),
  ...strings(),
];
