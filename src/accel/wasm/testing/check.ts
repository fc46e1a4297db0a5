/** Compares the engine with the host's processor, row by row of the encoding table. */
import type { Row } from '../isa/row.js';
import {
  type Bits,
  CODE,
  narrowState,
  SLOT_COUNT,
  SLOT_SIZE,
  SLOT_TARGET,
  STATE_FLAGS,
  STATE_FX,
  STATE_RIP,
  WINDOW,
  WINDOW_CENTER,
  WINDOW_SIZE,
} from './arena.js';
import { aim, type Variant, type VariantOptions, variantsOf } from './encodings.js';
import { Oracle } from './oracle.js';
import { Random, State } from './states.js';
import { Subject } from './subject.js';

/** CF PF AF ZF SF DF OF. */
const COMPARED_FLAGS = 0xcd5;
const REPORTED_DIFFERENCES = 5;
const NAMES = 'RAX RCX RDX RBX RSP RBP RSI RDI R8 R9 R10 R11 R12 R13 R14 R15'.split(' ');

/** What `prepare` and the comparison see of a test. */
export interface Trial {
  readonly variant: Variant;
  readonly state: State;
  /** The window's bytes before the instruction; `WINDOW` is the address of the first. */
  readonly window: Uint8Array;
  readonly random: Random;
  /** Linear address of the memory operand, or 0. */
  address: number;
}

export interface CheckOptions extends VariantOptions {
  /** Variants of each form and operand size (default 6). */
  readonly variants?: number;
  /** States for each variant (default 200). */
  readonly states?: number;
  /** With x87, MMX and SSE registers. */
  readonly floating?: boolean;
  /** Of memory operands, in bytes (default 1): half of the trials keep it. */
  readonly alignment?: number;
  /** Leaves a variant out. */
  readonly skip?: (variant: Variant) => boolean;
  /** Puts operands into the state before the address registers are set. */
  readonly prepare?: (trial: Trial) => void;
  /** Puts operands into the window, once the memory operand's address is known. */
  readonly place?: (trial: Trial) => void;
  /** Flags left out of the comparison, beyond those that the row calls undefined. */
  readonly undefinedFlags?: (trial: Trial) => number;
  /** False when a trial has no defined result. */
  readonly defined?: (trial: Trial) => boolean;
  /** Makes results that may differ alike, in both FXSAVE images. */
  readonly normalize?: (fx: Uint8Array, trial: Trial) => void;
}

export interface CheckResult {
  variants: number;
  states: number;
  /** Trials that ended in an exception, on both sides alike. */
  faults: number;
  /** Descriptions of the first differences. */
  readonly differences: string[];
}

/** The two processors, and the slots of the arena. */
export class Bench {
  readonly #oracle = new Oracle();
  readonly #subject = new Subject();
  readonly #random: Random;
  readonly #pool: Uint8Array;
  #slot = 0;

  constructor(seed: number) {
    this.#random = new Random(seed);
    const words = Uint32Array.from({ length: 0x4000 }, () => this.#random.word());
    this.#pool = new Uint8Array(words.buffer);
  }

  #next(): number {
    if (this.#slot === SLOT_COUNT) {
      this.#slot = 0;
      this.#subject.forget();
    }
    return CODE + this.#slot++ * SLOT_SIZE;
  }

  /** Why the host's processor cannot be asked about code of this width; false when it can. */
  refusal(bits: Bits): string | false {
    if (bits === 64 || this.#oracle.runs32()) return false;
    return 'processes of this host cannot execute 32-bit code';
  }

  /** Tests the forms of a row; rows that cannot run in user mode or 64-bit code are not for it. */
  checkRow(row: Row, options: CheckOptions = {}): CheckResult {
    const result: CheckResult = { variants: 0, states: 0, faults: 0, differences: [] };
    const bits = options.bits ?? 64;
    this.#oracle.bits = bits;
    this.#subject.bits = bits;
    const all = variantsOf(row, this.#random, options.variants ?? 6, () => this.#next(), options);
    const wanted = all.filter((variant) => !options.skip?.(variant));
    for (const variant of wanted) this.#place(variant);
    this.#subject.translate(wanted.map(({ address }) => address));
    this.#oracle.during(() => {
      for (const variant of wanted) {
        result.variants++;
        this.#checkVariant(variant, options, result);
        if (result.differences.length >= REPORTED_DIFFERENCES) return;
      }
    });
    return result;
  }

  #place(variant: Variant): void {
    for (const processor of [this.#oracle, this.#subject]) {
      processor.code.set(variant.bytes, variant.address - CODE);
      processor.land(variant.address + variant.bytes.length);
      processor.land(variant.address + SLOT_TARGET);
    }
  }

  #checkVariant(variant: Variant, options: CheckOptions, result: CheckResult): void {
    const random = this.#random;
    const state = new State(options.floating ?? false);
    const expected = new State(options.floating ?? false);
    const actual = new State(options.floating ?? false);
    const window = new Uint8Array(WINDOW_SIZE);
    const expectedWindow = new Uint8Array(WINDOW_SIZE);
    const actualWindow = new Uint8Array(WINDOW_SIZE);
    const trial: Trial = { variant, state, window, random, address: 0 };
    for (let count = options.states ?? 200; count > 0; count--) {
      const from = random.below(this.#pool.length - WINDOW_SIZE);
      window.set(this.#pool.subarray(from, from + WINDOW_SIZE));
      state.randomize(random);
      if (options.bits === 32) narrowState(state.bytes);
      state.words.setBigUint64(STATE_RIP, BigInt(variant.address), true);
      options.prepare?.(trial);
      if (variant.memory) {
        let target = WINDOW_CENTER + random.below(129) - 64;
        const alignment = options.alignment ?? 1;
        if (alignment > 1 && random.oneIn(2)) target -= target % alignment;
        trial.address = aim(variant.memory, state, target);
        if (random.oneIn(2)) window.set(specialBytes(random), trial.address - WINDOW);
        options.place?.(trial);
      }
      if (options.bits === 32) narrowState(state.bytes);
      if (options.defined && !options.defined(trial)) continue;
      result.states++;
      this.#oracle.writeWindow(window);
      this.#subject.writeWindow(window);
      const wanted = this.#oracle.execute(state.bytes, expected.bytes);
      const got = this.#subject.execute(state.bytes, actual.bytes);
      this.#oracle.readWindow(expectedWindow);
      this.#subject.readWindow(actualWindow);
      if (wanted >= 0 && wanted === got) result.faults++;
      const ignored =
        wanted >= 0
          ? COMPARED_FLAGS
          : (variant.row.traits.undefinedFlags ?? 0) | (options.undefinedFlags?.(trial) ?? 0);
      if (options.floating && options.normalize) {
        options.normalize(expected.bytes.subarray(STATE_FX), trial);
        options.normalize(actual.bytes.subarray(STATE_FX), trial);
      }
      const found: string[] = [];
      if (wanted !== got) found.push(`exception ${got}, expected ${wanted}`);
      compareStates(expected, actual, COMPARED_FLAGS & ~ignored, found);
      if (Buffer.compare(expectedWindow, actualWindow) !== 0)
        found.push(describeMemory(expectedWindow, actualWindow));
      if (found.length === 0) continue;
      result.differences.push(`${describe(trial)}: ${found.join('; ')}`);
      if (result.differences.length >= REPORTED_DIFFERENCES) return;
    }
  }
}

const SPECIAL_BYTES = [
  [0, 0, 0, 0, 0, 0, 0, 0],
  [255, 255, 255, 255, 255, 255, 255, 255],
  [0, 0, 0, 0x80, 0, 0, 0, 0],
  [0x80, 0, 0, 0, 0, 0, 0, 0x80],
  [1, 0, 0, 0, 0, 0, 0, 0],
  [255, 255, 255, 127, 255, 255, 255, 127],
];

function specialBytes(random: Random): readonly number[] {
  return random.pick(SPECIAL_BYTES);
}

function hex(value: number | bigint): string {
  return `0x${value.toString(16)}`;
}

function compareStates(expected: State, actual: State, flags: number, found: string[]): void {
  for (let at = 0; at < STATE_FLAGS; at += 4) {
    if (expected.words.getUint32(at, true) === actual.words.getUint32(at, true)) continue;
    const quad = at & ~7;
    const name = quad === STATE_RIP ? 'RIP' : NAMES[quad >> 3];
    const want = expected.words.getBigUint64(quad, true);
    found.push(`${name} ${hex(actual.words.getBigUint64(quad, true))}, expected ${hex(want)}`);
    at = quad + 4;
  }
  const want = expected.words.getUint32(STATE_FLAGS, true);
  const got = actual.words.getUint32(STATE_FLAGS, true);
  if ((want ^ got) & flags) found.push(`flags ${hex(got & flags)}, expected ${hex(want & flags)}`);
  if (expected.bytes.length > STATE_FX) compareImages(expected, actual, found);
}

/** FXSAVE images without FOP, FIP, FDP, MXCSR_MASK and the reserved parts. */
function compareImages(expected: State, actual: State, found: string[]): void {
  const differ = (name: string, at: number, length: number): void => {
    const want = expected.bytes.subarray(STATE_FX + at, STATE_FX + at + length);
    const got = actual.bytes.subarray(STATE_FX + at, STATE_FX + at + length);
    if (Buffer.compare(want, got) === 0) return;
    const text = (bytes: Uint8Array): string => Buffer.from(bytes).reverse().toString('hex');
    found.push(`${name} ${text(got)}, expected ${text(want)}`);
  };
  differ('FCW', 0, 2);
  differ('FSW', 2, 2);
  differ('FTW', 4, 1);
  differ('MXCSR', 24, 4);
  for (let i = 0; i < 8; i++) differ(`ST${i}`, 32 + i * 16, 10);
  for (let i = 0; i < 16; i++) differ(`XMM${i}`, 160 + i * 16, 16);
}

function describeMemory(expected: Uint8Array, actual: Uint8Array): string {
  let first = 0;
  while (expected[first] === actual[first]) first++;
  let last = WINDOW_SIZE - 1;
  while (expected[last] === actual[last]) last--;
  const text = (bytes: Uint8Array): string =>
    Buffer.from(bytes.subarray(first, Math.min(last + 1, first + 32))).toString('hex');
  return `memory at ${hex(WINDOW + first)}: ${text(actual)}, expected ${text(expected)}`;
}

function describe(trial: Trial): string {
  const { variant, state } = trial;
  const bytes = Buffer.from(variant.bytes).toString('hex');
  const registers = NAMES.map((name, index) => `${name}=${state.register(index).toString(16)}`);
  const flags = state.words.getUint32(STATE_FLAGS, true);
  const at = trial.address ? ` [${hex(trial.address)}]` : '';
  const memory = trial.address
    ? ` ${Buffer.from(trial.window.subarray(trial.address - WINDOW, trial.address - WINDOW + 16)).toString('hex')}`
    : '';
  return `${variant.row.mnemonic} ${variant.row.operands} (${bytes})${at}${memory} ${registers.join(' ')} flags=${hex(flags)}`;
}
