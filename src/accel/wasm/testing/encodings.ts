/**
 * Instructions made from the rows of the encoding table: every operand size and form, with random
 * registers, addressing forms and immediates (Intel SDM vol. 2, chapter 2).
 */
import type { Row } from '../isa/row.js';
import { type Encoding, parseEncoding } from '../isa/table.js';
import { ARENA, type Bits, SLOT_TARGET, WINDOW_CENTER } from './arena.js';
import type { Random, State } from './states.js';

const REX_W = 8;
const REX_R = 4;
const REX_X = 2;
const REX_B = 1;

/** Segment prefixes without effect in 64-bit code: ES CS SS DS, and GS, whose base is 0 in a process. */
const IGNORED_SEGMENTS = [0x26, 0x2e, 0x36, 0x3e, 0x65];
/** Segments that 32-bit code can write through. */
const DATA_SEGMENTS = [0x26, 0x36, 0x3e];

/** A memory operand's form. */
export interface Addressing {
  readonly base: number | undefined;
  readonly index: number | undefined;
  readonly scale: 1 | 2 | 4 | 8;
  readonly displacement: number;
  /** Address size 32. */
  readonly narrow: boolean;
  /** The address, when no register goes into it. */
  readonly fixed: number | undefined;
}

/** One instruction. */
export interface Variant {
  readonly row: Row;
  readonly bytes: readonly number[];
  /** Linear address of its first byte. */
  readonly address: number;
  /** Operand size in bytes where the row has one, else 0. */
  readonly size: number;
  /** ModRM.reg with REX.R, or the number in the opcode. */
  readonly reg: number;
  /** ModRM.rm with REX.B in the register form. */
  readonly rm: number | undefined;
  readonly memory: Addressing | undefined;
  /** Address size 32. */
  readonly narrow: boolean;
  /** 0xf3 or 0xf2 of a string operation. */
  readonly repeat: number;
  /** The immediate's bytes. */
  readonly immediate: readonly number[];
}

/** What the caller may fix. */
export interface VariantOptions {
  /** Code segment (default 64). */
  readonly bits?: Bits;
  /** Immediate bytes instead of random ones. */
  readonly immediate?: (random: Random) => readonly number[] | undefined;
  /** ModRM.rm of the register form, three bits. */
  readonly registerForms?: readonly number[];
  readonly repeats?: readonly number[];
  /** The row addresses memory, or counts in RCX, without a ModRM byte: prefix 67 matters. */
  readonly implicitAddress?: boolean;
}

function little(value: number | bigint, bytes: number): number[] {
  const wide = BigInt.asUintN(64, BigInt(value));
  return Array.from({ length: bytes }, (_, index) => Number((wide >> BigInt(index * 8)) & 255n));
}

/** The bytes of an opcode before its last. */
export function escapeBytes({ map }: Encoding): readonly number[] {
  return [[], [0x0f], [0x0f, 0x38], [0x0f, 0x3a]][map] ?? [];
}

interface ModRm {
  readonly rex: number;
  /** ModRM (without reg), SIB, displacement. */
  readonly bytes: number[];
  readonly addressing: Addressing;
  /** The displacement counts from the end of the instruction. */
  readonly relative: boolean;
}

/** Instructions with a memory operand that push or pop as well. */
const STACK_USERS = new Set(['push', 'pop', 'call']);

const LOG2 = { 1: 0, 2: 1, 4: 2, 8: 3 } as const;

/** A random memory form; RIP-relative displacements are filled in later. */
function memoryForm(random: Random, narrow: boolean, bits: Bits, stack: boolean): ModRm {
  const registers = bits === 64 ? 16 : 8;
  const scale = random.pick([1, 2, 4, 8] as const);
  const near = WINDOW_CENTER + random.below(129) - 64;
  const form = random.below(8);
  if (form === 0) {
    const addressing = {
      base: undefined,
      index: undefined,
      scale,
      displacement: near,
      narrow,
      fixed: near,
    };
    return { rex: 0, bytes: [0x05, ...little(near, 4)], addressing, relative: bits === 64 };
  }
  if (form === 1) {
    const addressing = {
      base: undefined,
      index: undefined,
      scale,
      displacement: near,
      narrow,
      fixed: near,
    };
    return { rex: 0, bytes: [0x04, 0x25, ...little(near, 4)], addressing, relative: false };
  }
  const needsIndex = form === 2 || form >= 5;
  let index = needsIndex ? random.below(registers) : undefined;
  if (index === 4) index = undefined;
  const base = form === 2 && index !== undefined ? undefined : random.below(registers);
  // What uses the stack too needs the stack pointer near the operand.
  const nearStack = stack && base === 4;
  if (index === base || nearStack) index = undefined;
  const sib = index !== undefined || base === undefined || (base & 7) === 4;
  const rex = ((index ?? 0) > 7 ? REX_X : 0) | ((base ?? 0) > 7 ? REX_B : 0);
  const indexBits = ((index ?? 4) & 7) << 3;
  if (base === undefined) {
    // A positive displacement below the window: the scaled index makes up the rest.
    const displacement = random.below(ARENA);
    const addressing = { base, index, scale, displacement, narrow, fixed: undefined };
    const bytes = [0x04, (LOG2[scale] << 6) | indexBits | 5, ...little(displacement, 4)];
    return { rex, bytes, addressing, relative: false };
  }
  let mod = random.below(nearStack ? 2 : 3);
  if (mod === 0 && (base & 7) === 5) mod = 1;
  const displacement = mod === 0 ? 0 : mod === 1 ? (random.word() << 24) >> 24 : random.word() | 0;
  const bytes = [(mod << 6) | (sib ? 4 : base & 7)];
  if (sib) bytes.push((LOG2[scale] << 6) | indexBits | (base & 7));
  bytes.push(...little(displacement, mod === 0 ? 0 : mod === 1 ? 1 : 4));
  const addressing = { base, index, scale, displacement, narrow, fixed: undefined };
  return { rex, bytes, addressing, relative: false };
}

/** Sets the address registers so that the operand lies at `target`, or close by; returns its address. */
export function aim(form: Addressing, state: State, target: number): number {
  if (form.fixed !== undefined) return form.fixed;
  const displacement = BigInt(form.displacement);
  const scale = BigInt(form.scale);
  if (form.base === undefined) {
    const index = (BigInt(target) - displacement) / scale;
    setAddress(form, state, form.index ?? 0, index);
    return Number(index * scale + displacement);
  }
  const offset = form.index === undefined ? 0n : state.register(form.index) * scale;
  setAddress(form, state, form.base, BigInt(target) - offset - displacement);
  return target;
}

/** With 32-bit addresses the register's upper half keeps its random value. */
function setAddress(form: Addressing, state: State, register: number, value: bigint): void {
  const high = form.narrow ? state.register(register) & 0xffff_ffff_0000_0000n : 0n;
  state.setRegister(register, form.narrow ? high | BigInt.asUintN(32, value) : value);
}

/** The prefixes that choose an operand size for the row: [66, REX.W]. */
function sizeChoices(row: Row, bits: Bits): ReadonlyArray<readonly [boolean, number]> {
  const fixedPrefix = parseEncoding(row.encoding).prefix !== undefined;
  if (bits === 32)
    return (row.traits.size === 'v' && !fixedPrefix) || row.traits.size === 'v64'
      ? [
          [false, 0],
          [true, 0],
        ]
      : [[false, 0]];
  switch (row.traits.size) {
    case 'v':
      return fixedPrefix
        ? [
            [false, 0],
            [false, REX_W],
          ]
        : [
            [false, 0],
            [true, 0],
            [false, REX_W],
          ];
    case 'v64':
      return [
        [false, 0],
        [true, 0],
      ];
    case 'y':
      return [
        [false, 0],
        [false, REX_W],
      ];
    default:
      return [[false, 0]];
  }
}

function sizeInBytes(row: Row, opsize: boolean, rexW: number, bits: Bits): number {
  switch (row.traits.size) {
    case 'b':
      return 1;
    case 'v':
      return rexW ? 8 : opsize ? 2 : 4;
    case 'v64':
      return opsize ? 2 : bits / 8;
    case 'y':
      return rexW ? 8 : 4;
    case 'w':
      return 2;
    case 'd':
      return 4;
    case 'q':
      return 8;
    case 'f64':
      return bits / 8;
    default:
      return 0;
  }
}

function immediateBytes(random: Random, operand: string, size: number, narrow: boolean): number[] {
  const value = random.oneIn(2)
    ? random.pick([0, 1, -1, 2, 7, 8, 0x7f, 0x80, 31, 32, 63])
    : random.word();
  switch (operand) {
    case 'Ib':
    case 'Ibs':
      return little(value, 1);
    case 'Iw':
      return little(value, 2);
    case 'Iz':
      return little(value, size === 2 ? 2 : 4);
    case 'Iv':
      return size === 8 ? little(random.quad(), 8) : little(value, size);
    case 'Jb':
      return [0];
    case 'Jz':
      return [0, 0, 0, 0];
    case 'Ob':
    case 'Ov':
      return little(WINDOW_CENTER + random.below(129) - 64, narrow ? 4 : 8);
    default:
      return [];
  }
}

/** All forms of a row at `address`, `each` times; `next` gives each its own address. */
export function variantsOf(
  row: Row,
  random: Random,
  each: number,
  next: () => number,
  options: VariantOptions = {},
): Variant[] {
  const encoding = parseEncoding(row.encoding);
  const variants: Variant[] = [];
  const forms: boolean[] = [];
  if (!encoding.modrm || row.register !== '') forms.push(false);
  if (encoding.modrm && row.memory !== '') forms.push(true);
  for (const [opsize, rexW] of sizeChoices(row, options.bits ?? 64))
    for (const inMemory of forms)
      for (const repeat of options.repeats ?? [0])
        for (let i = 0; i < each; i++)
          variants.push(variant(row, random, next(), { opsize, rexW, inMemory, repeat }, options));
  return variants;
}

interface Choice {
  readonly opsize: boolean;
  readonly rexW: number;
  readonly inMemory: boolean;
  readonly repeat: number;
}

function variant(
  row: Row,
  random: Random,
  address: number,
  choice: Choice,
  options: VariantOptions,
): Variant {
  const encoding = parseEncoding(row.encoding);
  const operands = row.operands === '' ? [] : row.operands.split(',');
  const offset = operands.some((operand) => operand.startsWith('O'));
  const addressed = choice.inMemory || offset || options.implicitAddress === true;
  const bits = options.bits ?? 64;
  const long = bits === 64;
  const prefix67 = long && addressed && random.oneIn(6);
  const narrow = !long || prefix67;
  const size = sizeInBytes(row, choice.opsize, choice.rexW, bits);
  const registers = long ? 16 : 8;
  let rex = choice.rexW;
  let reg = encoding.digit ?? 0;
  let rm: number | undefined;
  let memory: ModRm | undefined;
  const tail: number[] = [];
  if (encoding.opcodeRegister) {
    reg = random.below(registers);
    if (reg > 7) rex |= REX_B;
  }
  if (encoding.modrm) {
    if (encoding.digit === undefined) {
      reg = random.below(registers);
      if (reg > 7) rex |= REX_R;
    }
    if (choice.inMemory) {
      memory = memoryForm(random, narrow, bits, STACK_USERS.has(row.mnemonic));
      rex |= memory.rex;
      tail.push(...memory.bytes);
    } else {
      rm = options.registerForms ? random.pick(options.registerForms) : random.below(registers);
      if (rm > 7) rex |= REX_B;
      tail.push(0xc0 | (rm & 7));
    }
    tail[0] = (tail[0] ?? 0) | ((reg & 7) << 3);
  }
  const prefixes: number[] = [];
  if (choice.opsize) prefixes.push(0x66);
  if (prefix67) prefixes.push(0x67);
  if (choice.repeat) prefixes.push(choice.repeat);
  if (choice.inMemory && row.traits.lock && random.oneIn(3)) prefixes.push(0xf0);
  if (random.oneIn(10)) prefixes.push(random.pick(long ? IGNORED_SEGMENTS : DATA_SEGMENTS));
  if (random.oneIn(2)) prefixes.reverse();
  const mandatory = encoding.prefix ? [[], [0x66], [0xf3], [0xf2]][encoding.prefix] : [];
  // A REX prefix without bits makes SPL … DIL of AH … BH.
  const withRex = rex !== 0 || (long && random.oneIn(4)) ? [0x40 | rex] : [];
  const opcode = encoding.opcode + (encoding.opcodeRegister ? reg & 7 : 0);
  const immediate = [
    ...(options.immediate?.(random) ??
      operands.flatMap((operand) => immediateBytes(random, operand, size, narrow))),
  ];
  const bytes = [
    ...prefixes,
    ...(mandatory ?? []),
    ...withRex,
    ...escapeBytes(encoding),
    opcode,
    ...tail,
    ...immediate,
  ];
  if (operands.some((operand) => operand.startsWith('J'))) {
    const relative = SLOT_TARGET - bytes.length;
    bytes.splice(-immediate.length, immediate.length, ...little(relative, immediate.length));
  }
  if (memory?.relative) {
    const distance = memory.addressing.displacement - (address + bytes.length);
    bytes.splice(-immediate.length - 4, 4, ...little(distance, 4));
  }
  return {
    row,
    bytes,
    address,
    size,
    reg,
    rm,
    memory: memory?.addressing,
    narrow,
    repeat: choice.repeat,
    immediate,
  };
}
