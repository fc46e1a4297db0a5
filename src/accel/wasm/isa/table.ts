/**
 * What is made of the encoding rows: the numbers of the core's operations, and the decoder's tables
 * as the core reads them (core/decode.ts).
 *
 * A table entry is two words. Leaf: word 0 holds the operation of the register form (low half) and of
 * the memory form (high half), word 1 the properties below. Inner: word 0 is the byte offset of a
 * sub-table, word 1 has GROUP (8 entries, chosen by ModRM.reg), PREFIX (4 entries: none, 66, F3, F2) or
 * MAP (256 entries, chosen by one more byte of the opcode).
 * Word 1 of an invalid encoding is 0.
 */
import { INTEGER_ROWS } from './integer.js';
import type { Row, Unit } from './row.js';
import { SSE_ROWS } from './sse.js';
import { SSE4_ROWS } from './sse4.js';
import { SYSTEM_ROWS } from './system.js';
import { X87_ROWS } from './x87.js';

export const ENTRY_VALID = 1 << 0;
export const ENTRY_MODRM = 1 << 1;
export const ENTRY_IMM_SHIFT = 2;
export const ENTRY_REG_SHIFT = 6;
export const ENTRY_RM_SHIFT = 8;
export const ENTRY_SIZE_SHIFT = 10;
export const ENTRY_SIZED = 1 << 14;
export const ENTRY_ENDS = 1 << 15;
export const ENTRY_LOCK = 1 << 16;
export const ENTRY_SWAP = 1 << 17;
export const ENTRY_OPCODE_REG = 1 << 18;
export const ENTRY_GROUP = 1 << 19;
export const ENTRY_PREFIX = 1 << 20;
export const ENTRY_FORCE_REGISTER = 1 << 21;
export const ENTRY_FIXED_A = 1 << 22;
export const ENTRY_X87 = 1 << 23;
export const ENTRY_MAP = 1 << 24;

const IMMEDIATES = ['', 'Ib', 'Iw', 'Iz', 'Iv', 'Jb', 'Jz', 'O', 'Ap', 'Iw,Ib', 'Ibs'] as const;
const SIZES = ['', 'b', 'v', 'v64', 'y', 'w', 'd', 'q', 'f64'] as const;

const UNITS: readonly Unit[] = ['hot', 'integer', 'string', 'system', 'x87', 'sse', 'sse4'];

/** Every row of the engine. */
export const ROWS: readonly Row[] = [
  ...INTEGER_ROWS,
  ...SYSTEM_ROWS,
  ...X87_ROWS,
  ...SSE_ROWS,
  ...SSE4_ROWS,
];

/** Operations with a number of their own that no encoding names. */
const PSEUDO_OPERATIONS = ['BREAK', 'FALL', 'TAIL'] as const;

let numbersOfOperations: ReadonlyMap<string, number> | undefined;

/** Operation names to numbers. Numbers of one unit are consecutive, the hot unit's first, from 1. */
export function operationNumbers(): ReadonlyMap<string, number> {
  numbersOfOperations ??= numberOperations();
  return numbersOfOperations;
}

function numberOperations(): ReadonlyMap<string, number> {
  const numbers = new Map<string, number>();
  let next = 1;
  for (const name of PSEUDO_OPERATIONS) numbers.set(name, next++);
  for (const unit of UNITS) {
    numbers.set(`FIRST_${unit.toUpperCase()}`, next);
    for (const row of ROWS) {
      if (row.unit !== unit) continue;
      for (const name of [row.register, row.memory]) {
        const first = row.traits.sized ? `${name}_8` : name;
        if (name === '' || numbers.has(first)) continue;
        if (row.traits.sized)
          for (const bits of [8, 16, 32, 64]) numbers.set(`${name}_${bits}`, next++);
        else numbers.set(name, next++);
      }
    }
  }
  return numbers;
}

/** The AssemblyScript module `ops`: one constant for each operation. */
export function operationModule(): string {
  const lines = [...operationNumbers()].map(
    ([name, number]) => `export const ${name}: u32 = ${number};`,
  );
  return `// Made from isa/ by scripts/build.mjs.\n${lines.join('\n')}\n`;
}

/** An encoding, taken apart. */
export interface Encoding {
  /** The bytes before the opcode: none, 0F, 0F 38, 0F 3A. */
  readonly map: 0 | 1 | 2 | 3;
  readonly opcode: number;
  /** Index in [none, 66, F3, F2], or undefined when prefixes do not select. */
  readonly prefix: number | undefined;
  readonly digit: number | undefined;
  readonly modrm: boolean;
  readonly opcodeRegister: boolean;
}

/** Parses the notation of `Row.encoding`. */
export function parseEncoding(text: string): Encoding {
  const words = text.split(' ');
  const prefixes = ['NP', '66', 'F3', 'F2'];
  const prefix =
    words.length > 1 && words[1] === '0F' && prefixes.includes(words[0] ?? '')
      ? prefixes.indexOf(words.shift() ?? '')
      : undefined;
  let map: Encoding['map'] = words[0] === '0F' && words.length > 1 ? 1 : 0;
  if (map === 1) words.shift();
  if (map === 1 && words[0] === '38') map = 2;
  else if (map === 1 && words[0] === '3A') map = 3;
  if (map > 1) words.shift();
  const opcode = Number.parseInt(words.shift() ?? '', 16);
  const tail = words[0] ?? '';
  const digit = /^\/[0-7]$/.test(tail) ? Number(tail[1]) : undefined;
  return { map, opcode, prefix, digit, modrm: tail.startsWith('/'), opcodeRegister: tail === '+r' };
}

function operandKind(operand: string): number {
  switch (operand[0]) {
    case 'V':
    case 'W':
    case 'U':
      return 2;
    case 'P':
    case 'Q':
    case 'N':
    case 'S':
    case 'C':
    case 'D':
      return 3;
    default:
      return operand.endsWith('b') ? 1 : 0;
  }
}

function leaf(
  row: Row,
  encoding: Encoding,
  numbers: ReadonlyMap<string, number>,
): [number, number] {
  const number = (name: string): number =>
    name === '' ? 0 : (numbers.get(row.traits.sized ? `${name}_8` : name) ?? 0);
  const operands = row.operands === '' ? [] : row.operands.split(',');
  let flags = ENTRY_VALID;
  if (encoding.modrm) flags |= ENTRY_MODRM;
  if (encoding.opcodeRegister) flags |= ENTRY_OPCODE_REG;
  const immediates = operands
    .filter((operand) => /^[IJO]|^Ap/.test(operand))
    .map((operand) => (operand[0] === 'O' ? 'O' : operand));
  const kind = IMMEDIATES.indexOf(immediates.join(',') as (typeof IMMEDIATES)[number]);
  if (kind < 0) throw new Error(`no immediate kind for ${row.encoding} ${row.operands}`);
  flags |= kind << ENTRY_IMM_SHIFT;
  const reg = operands.find((operand) => /^[GVPSCD]/.test(operand));
  const rm = operands.find((operand) => /^[EWQUNR]/.test(operand));
  if (reg) flags |= operandKind(reg) << ENTRY_REG_SHIFT;
  // Without an operand the r/m number of a register form is part of the opcode.
  if (rm ?? encoding.modrm) flags |= (rm ? operandKind(rm) : 3) << ENTRY_RM_SHIFT;
  if (rm?.startsWith('R')) flags |= ENTRY_FORCE_REGISTER;
  if (/^(AL|rAX)/.test(row.operands) && !encoding.modrm) flags |= ENTRY_FIXED_A;
  flags |= SIZES.indexOf(row.traits.size ?? '') << ENTRY_SIZE_SHIFT;
  if (row.traits.sized) flags |= ENTRY_SIZED;
  if (row.traits.ends) flags |= ENTRY_ENDS;
  if (row.traits.lock) flags |= ENTRY_LOCK;
  if (row.traits.swap) flags |= ENTRY_SWAP;
  if (row.unit === 'x87' && encoding.modrm) flags |= ENTRY_X87;
  return [(number(row.register) | (number(row.memory) << 16)) >>> 0, flags >>> 0];
}

type Slot = Map<number, Map<number, [number, number]>>;

/** Bytes of one opcode table: one-byte, 0F, and behind it 0F 38 and 0F 3A. */
export const TABLE_BYTES = 0x800;

/**
 * The decoder's tables: 256 entries each for one-byte opcodes and 0F opcodes in 64-bit code, then the
 * same two for 16- and 32-bit code, then the sub-tables.
 */
export function decodeTables(): Uint8Array {
  const numbers = operationNumbers();
  const words = new Uint32Array(0x16000 / 4);
  let next = 4 * TABLE_BYTES;
  const allocate = (entries: number): number => {
    const at = next;
    next += entries * 8;
    if (next > words.byteLength) throw new Error('decoder tables are full');
    return at;
  };
  const put = (at: number, [low, high]: [number, number]): void => {
    words[at / 4] = low;
    words[at / 4 + 1] = high;
  };
  const putSlot = (at: number, digits: Map<number, [number, number]>): void => {
    const plain = digits.get(-1);
    if (plain) {
      put(at, plain);
      return;
    }
    const group = allocate(8);
    put(at, [group, ENTRY_GROUP | ENTRY_VALID]);
    for (const [digit, entry] of digits) put(group + digit * 8, entry);
  };
  for (const long of [true, false]) {
    const slots = new Map<number, Slot>();
    for (const row of ROWS) {
      if (long ? row.traits.not64 : row.traits.only64) continue;
      const encoding = parseEncoding(row.encoding);
      const entry = leaf(row, encoding, numbers);
      for (let low = 0; low < (encoding.opcodeRegister ? 8 : 1); low++) {
        const index = encoding.map * 256 + encoding.opcode + low;
        const slot: Slot = slots.get(index) ?? new Map();
        slots.set(index, slot);
        const digits = slot.get(encoding.prefix ?? -1) ?? new Map<number, [number, number]>();
        slot.set(encoding.prefix ?? -1, digits);
        if (digits.has(encoding.digit ?? -1)) throw new Error(`two rows for ${row.encoding}`);
        digits.set(encoding.digit ?? -1, entry);
      }
    }
    const base = long ? 0 : 2 * TABLE_BYTES;
    const longer = [0x38, 0x3a].map((opcode) => {
      const table = allocate(256);
      put(base + TABLE_BYTES + opcode * 8, [table, ENTRY_MAP | ENTRY_VALID]);
      return table;
    });
    for (const [index, slot] of slots) {
      const at =
        index < 0x200 ? base + index * 8 : (longer[(index >> 8) - 2] ?? 0) + (index & 0xff) * 8;
      const common = slot.get(-1);
      if (slot.size === 1 && common) {
        putSlot(at, common);
        continue;
      }
      const table = allocate(4);
      put(at, [table, ENTRY_PREFIX | ENTRY_VALID]);
      for (let prefix = 0; prefix < 4; prefix++) {
        const digits = new Map([...(common ?? []), ...(slot.get(prefix) ?? [])]);
        if (digits.size > 0) putSlot(table + prefix * 8, digits);
      }
    }
  }
  return new Uint8Array(words.buffer, 0, next);
}
