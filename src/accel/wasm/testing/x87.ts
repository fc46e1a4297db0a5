/**
 * x87 instructions on the host's processor and on the engine: states rich in the values at which
 * floating-point instructions change their behaviour, and a comparison of FXSAVE images
 * (Intel SDM vol. 1, 8.1, 8.2.2 and 10.5.1).
 */
import {
  CODE,
  FX_ST,
  SLOT_COUNT,
  SLOT_SIZE,
  STATE_FLAGS,
  STATE_FX,
  STATE_RIP,
  WINDOW,
  WINDOW_CENTER,
  WINDOW_SIZE,
} from './arena.js';
import { Oracle } from './oracle.js';
import { Random, State } from './states.js';
import { Subject } from './subject.js';

/** The status word's condition codes. */
export const C0 = 0x100;
export const C1 = 0x200;
export const C2 = 0x400;
export const C3 = 0x4000;
const TOP_MASK = 0x3800;
const CONDITIONS = C0 | C1 | C2 | C3;
const EXCEPTIONS = 0x3f;
const ES_AND_B = 0x8080;

const INTEGER_BIT = 1n << 63n;
/** CF PF AF ZF SF OF. */
const ARITHMETIC = 0x8d5;

/** Memory operands that an instruction may have. */
export type Operand = 'f32' | 'f64' | 'f80' | 'integer' | 'decimal' | 'none';

export interface X87Options {
  readonly states?: number;
  readonly operand?: Operand;
  /** Status word bits that are left out of the comparison. */
  readonly ignore?: number;
  /** Addresses of the memory operand instead of three in the window. */
  readonly places?: readonly number[];
  /** Bytes of the memory operand that are left out of the comparison: from, to. */
  readonly volatile?: readonly [number, number];
  /** By how many units in the last place results may differ (default 0: not at all). */
  readonly ulps?: number;
  /** Puts other operands into the state. */
  readonly prepare?: (state: State, random: Random) => void;
  /** False when the manual leaves the result undefined. */
  readonly defined?: (state: State) => boolean;
}

export interface X87Result {
  states: number;
  /** The largest difference seen, in units in the last place. */
  ulps: number;
  readonly differences: string[];
}

/** A random value of the double extended format: sign and exponent, significand. */
export function randomExtended(random: Random): [se: number, significand: bigint] {
  const sign = random.oneIn(2) ? 0x8000 : 0;
  let exponent = 0x3fff + random.below(8) - 4;
  let significand = INTEGER_BIT | random.quad();
  switch (random.below(20)) {
    case 0:
      return [sign, 0n];
    case 1:
      return [sign | 0x7fff, INTEGER_BIT];
    case 2:
      return [sign | 0x7fff, INTEGER_BIT | (1n << 62n) | (random.quad() >> 3n)];
    case 3:
      return [sign | 0x7fff, INTEGER_BIT | 1n | (random.quad() >> 2n)];
    case 4:
      exponent = 0;
      significand = random.quad() >> BigInt(1 + random.below(63));
      break;
    case 5:
      exponent = random.pick([0, 1, 2, 40, 0x3fff, 0x7ffe, 0x7fff]);
      significand = random.oneIn(3) ? significand : random.quad() >> 1n;
      break;
    case 6:
      exponent = random.pick([1, 2, 30, 60, 70, 0x7ffe, 0x7ffd, 0x7ff0]);
      break;
    case 7:
    case 8:
      exponent = 0x3fff + random.below(140) - 70;
      break;
    case 9:
      exponent = random.below(0x7fff);
      break;
    case 10:
      exponent =
        0x3fff + random.pick([-127, -126, -150, 127, 128, -1023, -1022, -1075, 1023, 1024]);
      break;
    case 11:
      significand = 0xffff_ffff_ffff_ffffn << BigInt(random.below(64));
      break;
    default:
      break;
  }
  const tail = random.below(9);
  if (tail < 3)
    significand = BigInt.asUintN(64, (significand >> 40n) << 40n) | BigInt(random.below(3));
  else if (tail < 5) significand = ((significand >> 11n) << 11n) | (1n << 10n);
  if (exponent > 0 && !random.oneIn(30)) significand |= INTEGER_BIT;
  return [sign | exponent, significand];
}

/** Writes a value of the double extended format. */
export function putExtended(bytes: Uint8Array, se: number, significand: bigint): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  view.setBigUint64(0, significand, true);
  view.setUint16(8, se, true);
}

function extendedAt(fx: Uint8Array, i: number): bigint {
  const view = new DataView(fx.buffer, fx.byteOffset + FX_ST + i * 16);
  return (BigInt(view.getUint16(8, true)) << 64n) | view.getBigUint64(0, true);
}

/** Distance of two values of one sign in units in the last place; huge otherwise. */
function distance(a: bigint, b: bigint): number {
  if (a === b) return 0;
  if (a >> 79n !== b >> 79n) return Number.POSITIVE_INFINITY;
  const rank = (value: bigint): bigint =>
    ((value >> 64n) & 0x7fffn) * INTEGER_BIT + (value & (INTEGER_BIT - 1n));
  const between = rank(a) - rank(b);
  return Number(between < 0n ? -between : between);
}

function randomFloat(random: Random, fractionBits: bigint, exponentMax: number): bigint {
  const [se, significand] = randomExtended(random);
  const exponent = se & 0x7fff;
  const bias = exponentMax >> 1;
  let biased = exponent - 0x3fff + bias;
  if (exponent === 0x7fff) biased = exponentMax;
  else if (exponent === 0) biased = 0;
  else if (biased < 0 || biased > exponentMax) biased = random.below(exponentMax + 1);
  const fraction = (significand << 1n) & 0xffff_ffff_ffff_ffffn;
  return (
    (BigInt(((se & 0x8000) >> 15) * (exponentMax + 1) + biased) << fractionBits) |
    (fraction >> (64n - fractionBits))
  );
}

function randomOperand(random: Random, operand: Operand, bytes: Uint8Array): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  switch (operand) {
    case 'f32':
      view.setUint32(0, Number(randomFloat(random, 23n, 0xff)), true);
      break;
    case 'f64':
      view.setBigUint64(0, randomFloat(random, 52n, 0x7ff), true);
      break;
    case 'f80': {
      const [se, significand] = randomExtended(random);
      putExtended(bytes, se, significand);
      break;
    }
    case 'integer':
      view.setBigUint64(0, random.oneIn(4) ? BigInt(random.below(3)) : random.quad(), true);
      break;
    case 'decimal':
      for (let i = 0; i < 9; i++) bytes[i] = random.below(10) * 16 + random.below(10);
      bytes[9] = random.oneIn(2) ? 0x80 : 0;
      break;
    default:
      break;
  }
}

/** Random control and status words, tags and registers. */
export function randomize(state: State, random: Random): void {
  state.randomize(random);
  const fx = STATE_FX;
  const precision = random.pick([0, 2, 3, 3]) << 8;
  const masks = random.oneIn(4) ? random.below(64) : EXCEPTIONS;
  state.words.setUint16(fx, 0x40 | masks | precision | (random.below(4) << 10), true);
  let status = (random.below(8) << 11) | (random.word() & (CONDITIONS | 0x40));
  status |= random.word() & EXCEPTIONS & masks & random.word();
  if (random.oneIn(30)) status |= random.word() & EXCEPTIONS;
  if (status & EXCEPTIONS & ~masks) status |= ES_AND_B;
  state.words.setUint16(fx + 2, status, true);
  const top = (status >> 11) & 7;
  const tags = random.oneIn(6) ? random.below(256) : 0x1f;
  state.bytes[fx + 4] = ((tags << top) | (tags >> (8 - top))) & 0xff;
  for (let i = 0; i < 8; i++) {
    const [se, significand] = randomExtended(random);
    putExtended(state.st(i), se, significand);
  }
}

/** Across pages and not. */
const PLACES = [WINDOW_CENTER - 7, WINDOW_CENTER + 32, WINDOW_CENTER - 300];

/** Runs instructions on both processors. One of them a process. */
export class X87Bench {
  readonly #oracle = new Oracle();
  readonly #subject = new Subject();
  readonly #random: Random;
  #slot = 0;

  constructor(seed: number) {
    this.#random = new Random(seed);
  }

  /** Compares the two on an instruction; `bytes` ends in ModRM, a memory form gets an address. */
  check(bytes: readonly number[], options: X87Options = {}): X87Result {
    return this.#oracle.during(() => this.#check(bytes, options));
  }

  #check(opcode: readonly number[], options: X87Options): X87Result {
    const random = this.#random;
    const result: X87Result = { states: 0, ulps: 0, differences: [] };
    const memory = (opcode.at(-1) ?? 0) < 0xc0 && opcode[0] !== 0x9b;
    const places = memory ? (options.places ?? PLACES) : [0];
    for (const place of places) {
      const bytes = memory ? memoryForm(opcode, place) : opcode;
      const address = CODE + this.#slot * SLOT_SIZE;
      this.#slot = (this.#slot + 1) % SLOT_COUNT;
      if (this.#slot === 0) this.#subject.forget();
      for (const processor of [this.#oracle, this.#subject]) {
        processor.code.set(bytes, address - CODE);
        processor.land(address + bytes.length);
      }
      const states = Math.ceil((options.states ?? 400) / places.length);
      for (let i = 0; i < states; i++) {
        this.#compare(address, bytes, place, options, result, random);
        if (result.differences.length >= 5) return result;
      }
    }
    return result;
  }

  #compare(
    address: number,
    bytes: readonly number[],
    place: number,
    options: X87Options,
    result: X87Result,
    random: Random,
  ): void {
    const before = new State(true);
    const expected = new State(true);
    const actual = new State(true);
    randomize(before, random);
    options.prepare?.(before, random);
    if (options.defined && !options.defined(before)) return;
    before.words.setBigUint64(STATE_RIP, BigInt(address), true);
    const window = new Uint8Array(WINDOW_SIZE);
    for (let i = 0; i < 128; i++) window[WINDOW_SIZE / 2 - 320 + i] = random.below(256);
    if (place >= WINDOW && place < WINDOW + WINDOW_SIZE)
      randomOperand(
        random,
        options.operand ?? 'none',
        window.subarray(place - WINDOW, place - WINDOW + 10),
      );
    this.#oracle.writeWindow(window);
    this.#subject.writeWindow(window);
    const wanted = this.#oracle.execute(before.bytes, expected.bytes);
    const got = this.#subject.execute(before.bytes, actual.bytes);
    result.states++;
    const found: string[] = [];
    if (wanted !== got) found.push(`exception ${got}, expected ${wanted}`);
    compareImages(expected, actual, options, result, found);
    const flags =
      expected.words.getUint32(STATE_FLAGS, true) ^ actual.words.getUint32(STATE_FLAGS, true);
    if (flags & ARITHMETIC) found.push(`flags differ by 0x${(flags & ARITHMETIC).toString(16)}`);
    if (expected.register(0) !== actual.register(0))
      found.push(
        `RAX ${actual.register(0).toString(16)}, expected ${expected.register(0).toString(16)}`,
      );
    const expectedWindow = new Uint8Array(WINDOW_SIZE);
    const actualWindow = new Uint8Array(WINDOW_SIZE);
    this.#oracle.readWindow(expectedWindow);
    this.#subject.readWindow(actualWindow);
    const at = place - WINDOW;
    for (const copy of [expectedWindow, actualWindow])
      copy.fill(0, at + (options.volatile?.[0] ?? 0), at + (options.volatile?.[1] ?? 0));
    if (Buffer.compare(expectedWindow, actualWindow) !== 0)
      found.push(
        `memory ${hex(actualWindow.subarray(at, at + 10))}, expected ${hex(expectedWindow.subarray(at, at + 10))}`,
      );
    if (found.length === 0) return;
    const operand = place ? ` memory ${hex(window.subarray(at, at + 10))}` : '';
    result.differences.push(
      `${Buffer.from(bytes).toString('hex')}${operand} ${describe(before)}: ${found.join('; ')}`,
    );
  }
}

/** The opcode with ModRM for an absolute address. */
function memoryForm(opcode: readonly number[], place: number): number[] {
  const modrm = ((opcode.at(-1) ?? 0) & 0x38) | 4;
  const address = [0, 8, 16, 24].map((shift) => (place >> shift) & 255);
  return [...opcode.slice(0, -1), modrm, 0x25, ...address];
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).reverse().toString('hex');
}

function describe(state: State): string {
  const word = (at: number): string => state.words.getUint16(STATE_FX + at, true).toString(16);
  const registers = [0, 1, 2, 7].map((i) => `ST${i}=${hex(state.st(i))}`).join(' ');
  return `CW=${word(0)} SW=${word(2)} tags=${state.bytes[STATE_FX + 4]?.toString(2)} ${registers}`;
}

function compareImages(
  expected: State,
  actual: State,
  options: X87Options,
  result: X87Result,
  found: string[],
): void {
  const word = (state: State, at: number): number => state.words.getUint16(STATE_FX + at, true);
  const compare = (name: string, at: number, ignore: number): void => {
    const want = word(expected, at) & ~ignore;
    const got = word(actual, at) & ~ignore;
    if (want !== got) found.push(`${name} ${got.toString(16)}, expected ${want.toString(16)}`);
  };
  compare('CW', 0, 0);
  compare('SW', 2, (options.ignore ?? 0) & ~TOP_MASK);
  compare('tags', 4, 0xff00);
  for (let i = 0; i < 8; i++) {
    const want = extendedAt(expected.bytes.subarray(STATE_FX), i);
    const got = extendedAt(actual.bytes.subarray(STATE_FX), i);
    const ulps = distance(want, got);
    if (ulps > (options.ulps ?? 0))
      found.push(`ST${i} ${got.toString(16)}, expected ${want.toString(16)} (${ulps} ulp)`);
    else if (ulps > result.ulps) result.ulps = ulps;
  }
}
