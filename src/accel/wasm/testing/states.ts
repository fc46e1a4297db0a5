/** Seeded random processor states, rich in the values at which instructions change their behaviour. */
import {
  FX_MXCSR,
  FX_ST,
  FX_XMM,
  initialFx,
  STATE_FLAGS,
  STATE_FX,
  WINDOW_CENTER,
} from './arena.js';

/** xorshift128 (Marsaglia, "Xorshift RNGs", 2003): the same seed gives the same tests. */
export class Random {
  #x: number;
  #y = 0x9e3779b9;
  #z = 0x7f4a7c15;
  #w = 0x85ebca6b;

  constructor(seed: number) {
    this.#x = seed | 1;
    for (let i = 0; i < 16; i++) this.word();
  }

  /** 32 random bits. */
  word(): number {
    const t = this.#x ^ (this.#x << 11);
    this.#x = this.#y;
    this.#y = this.#z;
    this.#z = this.#w;
    this.#w = (this.#w ^ (this.#w >>> 19) ^ t ^ (t >>> 8)) >>> 0;
    return this.#w;
  }

  /** An integer from 0 to `limit` - 1. */
  below(limit: number): number {
    return this.word() % limit;
  }

  /** True once in `n` times. */
  oneIn(n: number): boolean {
    return this.below(n) === 0;
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)] as T;
  }

  /** 64 random bits. */
  quad(): bigint {
    return (BigInt(this.word()) << 32n) | BigInt(this.word());
  }
}

/** Edges of the operand sizes, small counts. */
const SPECIAL: readonly bigint[] = [
  0n,
  1n,
  2n,
  7n,
  8n,
  9n,
  0xfn,
  0x10n,
  0x1fn,
  0x20n,
  0x3fn,
  0x40n,
  0x7fn,
  0x80n,
  0xffn,
  0x7fffn,
  0x8000n,
  0xffffn,
  0x7fff_ffffn,
  0x8000_0000n,
  0xffff_ffffn,
  0x1_0000_0000n,
  0x7fff_ffff_ffff_ffffn,
  0x8000_0000_0000_0000n,
  0xffff_ffff_ffff_ff80n,
  0xffff_ffff_ffff_8000n,
  0xffff_ffff_8000_0000n,
  0xffff_ffff_ffff_fffen,
  0xffff_ffff_ffff_ffffn,
];

/** CF PF AF ZF SF DF OF. */
const TESTED_FLAGS = 0xcd5;
/** Bit 1 and IF. */
const FIXED_FLAGS = 0x202;

/** A state under construction. */
export class State {
  readonly bytes: Uint8Array;
  readonly words: DataView;
  readonly #registers: Uint32Array;

  /** With `floating` it has an FXSAVE image. */
  constructor(floating: boolean) {
    const buffer = new ArrayBuffer(floating ? STATE_FX + 512 : STATE_FX);
    this.bytes = new Uint8Array(buffer);
    this.words = new DataView(buffer);
    this.#registers = new Uint32Array(buffer, 0, 32);
    if (floating) this.bytes.set(initialFx(), STATE_FX);
  }

  register(number: number): bigint {
    return this.words.getBigUint64(number * 8, true);
  }

  setRegister(number: number, value: bigint): void {
    this.words.setBigUint64(number * 8, BigInt.asUintN(64, value), true);
  }

  /** New random registers and flags; the stack pointer lies in the window. */
  randomize(random: Random): void {
    for (let i = 0; i < 32; i++) this.#registers[i] = random.word();
    for (let i = random.below(16); i > 0; i--) {
      const value = random.pick(SPECIAL);
      this.setRegister(random.below(16), value);
    }
    this.setRegister(4, BigInt(WINDOW_CENTER + random.below(129) - 64));
    this.words.setUint32(STATE_FLAGS, FIXED_FLAGS | (random.word() & TESTED_FLAGS), true);
  }

  xmm(number: number): Uint8Array {
    const at = STATE_FX + FX_XMM + number * 16;
    return this.bytes.subarray(at, at + 16);
  }

  /** ST(i), or MMX register i when TOP is 0. */
  st(number: number): Uint8Array {
    const at = STATE_FX + FX_ST + number * 16;
    return this.bytes.subarray(at, at + 10);
  }

  get mxcsr(): number {
    return this.words.getUint32(STATE_FX + FX_MXCSR, true);
  }

  set mxcsr(value: number) {
    this.words.setUint32(STATE_FX + FX_MXCSR, value, true);
  }
}
