/**
 * The local APIC's timer: one-shot, periodic and TSC-deadline.
 *
 * Source: Intel SDM vol. 3A, 11.5.4 APIC timer, 11.5.4.1 TSC-deadline mode. Its clock is the core
 * crystal clock of CPUID leaf 15h, here as fast as the time-stamp counter.
 */
import type { StateBlock } from './device.js';
import type { Rate } from './rate.js';

/** Words of the local APIC's state that the timer owns: 16–23. */
const INITIAL_COUNT = 16;
const DIVIDE = 17;
/** What the count started from: the initial count, or what was left when the divider changed. */
const LOADED = 18;
const TSC_DEADLINE_LOW = 19;
const TSC_DEADLINE_HIGH = 20;
const TSC_OFFSET_LOW = 21;
const TSC_OFFSET_HIGH = 22;
/** Doubles of the same state. */
const START_TICK = 28;
const DEADLINE = 29;

/** LVT timer entry, bits 18–17; 0 is one-shot. */
export const TIMER_PERIODIC = 1;
export const TIMER_TSC_DEADLINE = 2;

const MASK_64 = (1n << 64n) - 1n;
/** Deadlines past this many nanoseconds (104 days) never come. */
const FOREVER = BigInt(Number.MAX_SAFE_INTEGER);

export class LocalApicTimer {
  readonly #u32: Uint32Array;
  readonly #f64: Float64Array;
  readonly #rate: Rate;
  readonly #frequency: bigint;

  /**
   * @param rate the time-stamp counter's and the timer's clock
   * @param frequency of that clock, in hertz
   */
  constructor(state: StateBlock, rate: Rate, frequency: number) {
    this.#u32 = state.u32;
    this.#f64 = state.f64;
    this.#rate = rate;
    this.#frequency = BigInt(frequency);
  }

  /** INIT and power-on; the time-stamp counter goes on. */
  reset(): void {
    this.#u32.fill(0, INITIAL_COUNT, TSC_OFFSET_LOW);
    this.#f64[START_TICK] = 0;
    this.#f64[DEADLINE] = Number.POSITIVE_INFINITY;
  }

  /** Nanosecond at which the timer expires; Infinity when it does not. */
  get deadline(): number {
    return this.#f64[DEADLINE]!;
  }

  get initialCount(): number {
    return this.#u32[INITIAL_COUNT]!;
  }

  get divideConfiguration(): number {
    return this.#u32[DIVIDE]!;
  }

  /** Starts the count, or stops it with 0. */
  setInitialCount(count: number, now: number): void {
    this.#u32[INITIAL_COUNT] = count;
    this.#start(count, this.#rate.ticksAt(now));
  }

  setDivideConfiguration(value: number, now: number): void {
    const left = this.currentCount(now);
    this.#u32[DIVIDE] = value & 0xb;
    if (left > 0) this.#start(left, this.#rate.ticksAt(now));
  }

  /** The count left; 0 once it has expired. */
  currentCount(now: number): number {
    if (this.#f64[DEADLINE] === Number.POSITIVE_INFINITY || this.#u32[LOADED] === 0) return 0;
    const ticks = this.#rate.ticksAt(now) - this.#f64[START_TICK]!;
    return Math.max(0, this.#u32[LOADED]! - Math.floor(ticks / this.#divider()));
  }

  /** Switching to or from TSC-deadline mode disarms the timer. */
  disarm(): void {
    this.#u32[LOADED] = 0;
    this.#u32[TSC_DEADLINE_LOW] = 0;
    this.#u32[TSC_DEADLINE_HIGH] = 0;
    this.#f64[DEADLINE] = Number.POSITIVE_INFINITY;
  }

  /** The timer ran out: stops it or starts the next period that has not ended by `now`. */
  restart(periodic: boolean, now: number): void {
    const loaded = this.#u32[LOADED]!;
    const start = this.#f64[START_TICK]!;
    const end = start + loaded * this.#divider();
    this.disarm();
    const initial = this.#u32[INITIAL_COUNT]!;
    if (!periodic || loaded === 0 || initial === 0) return;
    const period = initial * this.#divider();
    // Expiries that went by unseen were merged into this one by IRR, as in hardware.
    const missed = Math.max(0, Math.floor((this.#rate.ticksAt(now) - end) / period));
    this.#start(initial, end + missed * period);
  }

  /** IA32_TIME_STAMP_COUNTER at `now`. */
  timeStamp(now: number): bigint {
    return (this.#ticks(now) + this.timeStampOffset) & MASK_64;
  }

  /** What a write of IA32_TIME_STAMP_COUNTER added to the counter, modulo 2^64. */
  get timeStampOffset(): bigint {
    return (BigInt(this.#u32[TSC_OFFSET_HIGH]!) << 32n) | BigInt(this.#u32[TSC_OFFSET_LOW]!);
  }

  setTimeStamp(value: bigint, now: number): void {
    this.#setOffset(value - this.#ticks(now));
    const deadline = this.timeStampDeadline;
    if (deadline !== 0n) this.setTimeStampDeadline(deadline, now);
  }

  /** The counter of a processor that has just been powered on starts with the others. */
  clearTimeStampOffset(): void {
    this.#setOffset(0n);
  }

  /** IA32_TSC_DEADLINE; 0 when disarmed. */
  get timeStampDeadline(): bigint {
    return (BigInt(this.#u32[TSC_DEADLINE_HIGH]!) << 32n) | BigInt(this.#u32[TSC_DEADLINE_LOW]!);
  }

  /** Arms the timer for a value of the time-stamp counter, or disarms it with 0. */
  setTimeStampDeadline(value: bigint, now: number): void {
    this.#u32[TSC_DEADLINE_LOW] = Number(value & 0xffffffffn);
    this.#u32[TSC_DEADLINE_HIGH] = Number((value >> 32n) & 0xffffffffn);
    if (value === 0n) {
      this.#f64[DEADLINE] = Number.POSITIVE_INFINITY;
      return;
    }
    const counter = this.timeStamp(now);
    const wait = value <= counter ? 0n : value - counter;
    const ns =
      ((this.#ticks(now) + wait) * 1_000_000_000n + this.#frequency - 1n) / this.#frequency;
    this.#f64[DEADLINE] = wait === 0n ? now : ns > FOREVER ? Number.POSITIVE_INFINITY : Number(ns);
  }

  #ticks(now: number): bigint {
    return (BigInt(Math.floor(now)) * this.#frequency) / 1_000_000_000n;
  }

  #setOffset(offset: bigint): void {
    this.#u32[TSC_OFFSET_LOW] = Number(offset & 0xffffffffn);
    this.#u32[TSC_OFFSET_HIGH] = Number((offset >> 32n) & 0xffffffffn);
  }

  /** 2, 4, … 128, and 1 for 111b (the three bits are 0, 1 and 3 of the register). */
  #divider(): number {
    const value = this.#u32[DIVIDE]!;
    return 1 << (((((value >>> 1) & 4) | (value & 3)) + 1) & 7);
  }

  #start(count: number, tick: number): void {
    this.#u32[LOADED] = count;
    this.#f64[START_TICK] = tick;
    this.#f64[DEADLINE] =
      count === 0 ? Number.POSITIVE_INFINITY : this.#rate.timeOf(tick + count * this.#divider());
  }
}
