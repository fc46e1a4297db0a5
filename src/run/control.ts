/**
 * What the threads that drive a VM share beside its devices and vCPUs: requests, notices, the origin
 * of guest time. It lies in the VM's control area, where the accelerator has room for it.
 */
import type { Clock } from '../arch/clock.js';
import { hostNanoseconds } from '../platform/clock.js';

/* Words. */
const REQUEST = 0;
const CONSOLE_NOTICE = 1;
const ENTERED = 2;
const SPOKE = 3;
const CHANGES = 4;
const TRANSLATOR = 5;
const ROOM_WANTED = 6;
/* Doubles, behind the words. */
const TIME_ORIGIN = 8;
const PAUSED_AT = 9;
const DEADLINE = 10;
const BYTES = 128;

/** The word of requests counts the runs above its bits, so that both are read and changed as one. */
const REQUEST_BITS = 0xff;
const EPOCH_SHIFT = 8;

/** Requests to the threads that drive the VM: leave the guest and wait. */
export const REQUEST_PARK = 1;
/** Leave the guest for a moment, without a word, until this is withdrawn. */
export const REQUEST_HOLD = 2;
/** Leave the VM for good. */
export const REQUEST_DETACH = 4;

export class VmControl implements Clock {
  readonly #words: Int32Array;
  readonly #times: Float64Array;

  /** @param byteOffset a multiple of 8; 128 bytes from there */
  constructor(buffer: SharedArrayBuffer, byteOffset: number) {
    this.#words = new Int32Array(buffer, byteOffset, BYTES / 4);
    this.#times = new Float64Array(buffer, byteOffset, BYTES / 8);
  }

  /** Guest time starts here, stopped. */
  initialise(): void {
    this.#words.fill(0);
    this.#times[TIME_ORIGIN] = hostNanoseconds();
    this.#times[PAUSED_AT] = this.#times[TIME_ORIGIN] ?? 0;
    this.#times[DEADLINE] = Number.POSITIVE_INFINITY;
  }

  /** Guest time in nanoseconds. */
  now(): number {
    const paused = this.#times[PAUSED_AT] ?? 0;
    return (paused > 0 ? paused : hostNanoseconds()) - (this.#times[TIME_ORIGIN] ?? 0);
  }

  /** Guest time stands still. */
  stopTime(): void {
    if (this.#times[PAUSED_AT] === 0) this.#times[PAUSED_AT] = hostNanoseconds();
  }

  /** Guest time goes on from where it stood. */
  startTime(): void {
    const paused = this.#times[PAUSED_AT] ?? 0;
    if (paused === 0) return;
    this.#times[TIME_ORIGIN] = (this.#times[TIME_ORIGIN] ?? 0) + hostNanoseconds() - paused;
    this.#times[PAUSED_AT] = 0;
  }

  /** Guest time, which stands, is `time` nanoseconds. */
  setTime(time: number): void {
    this.#times[TIME_ORIGIN] = (this.#times[PAUSED_AT] ?? 0) - time;
  }

  /** What guest time 0 is on the host's clock, for putting guest times among the host's. */
  get origin(): number {
    return this.#times[TIME_ORIGIN] ?? 0;
  }

  /** When somebody will next look at the devices' timers, in guest nanoseconds; Infinity for never. */
  get deadline(): number {
    return this.#times[DEADLINE] ?? Number.POSITIVE_INFINITY;
  }

  set deadline(time: number) {
    this.#times[DEADLINE] = time;
  }

  request(bits: number): void {
    Atomics.or(this.#words, REQUEST, bits);
    this.#announce();
  }

  withdraw(bits: number): void {
    Atomics.and(this.#words, REQUEST, ~bits);
    this.#announce();
  }

  requests(): number {
    return Atomics.load(this.#words, REQUEST) & REQUEST_BITS;
  }

  /** Withdraws REQUEST_PARK for a new run, whose epoch it returns: whoever parks after this says so anew. */
  startEpoch(): number {
    for (;;) {
      const word = Atomics.load(this.#words, REQUEST);
      const next = (word + (1 << EPOCH_SHIFT)) & ~REQUEST_PARK;
      if (Atomics.compareExchange(this.#words, REQUEST, word, next) !== word) continue;
      this.#announce();
      return next >>> EPOCH_SHIFT;
    }
  }

  /** Counts the runs, from 0 for none yet. */
  epoch(): number {
    return Atomics.load(this.#words, REQUEST) >>> EPOCH_SHIFT;
  }

  /** Requests and the run that they are of, as they were at one moment. */
  orders(): { readonly requests: number; readonly epoch: number } {
    const word = Atomics.load(this.#words, REQUEST);
    return { requests: word & REQUEST_BITS, epoch: word >>> EPOCH_SHIFT };
  }

  #announce(): void {
    Atomics.add(this.#words, CHANGES, 1);
    Atomics.notify(this.#words, CHANGES);
  }

  /** Counts changes of requests and epoch: read it before looking at them. */
  changes(): number {
    return Atomics.load(this.#words, CHANGES);
  }

  /** Sleeps until there is a change after `seen`. */
  waitForChange(seen: number): void {
    Atomics.wait(this.#words, CHANGES, seen);
  }

  /**
   * The translator whose modules the VM uses, by its generation: odd. 0 before the first; even when those of the
   * one before are lost and the VM is interpreted. Whoever runs the VM reads and sets it.
   */
  get translator(): number {
    return Atomics.load(this.#words, TRANSLATOR);
  }

  set translator(generation: number) {
    Atomics.store(this.#words, TRANSLATOR, generation);
  }

  /** True for the first caller since `takeConsoleNotice`: that one tells the owner of the console. */
  noticeConsole(): boolean {
    return Atomics.exchange(this.#words, CONSOLE_NOTICE, 1) === 0;
  }

  takeConsoleNotice(): void {
    Atomics.store(this.#words, CONSOLE_NOTICE, 0);
  }

  /** The owner of the console has more input than its ring takes: it wants to know of room, once. */
  wantRoom(): void {
    Atomics.store(this.#words, ROOM_WANTED, 1);
  }

  get wantsRoom(): boolean {
    return Atomics.load(this.#words, ROOM_WANTED) !== 0;
  }

  /** True for the first caller since `wantRoom`: that one tells of room. */
  noticeRoom(): boolean {
    return Atomics.exchange(this.#words, ROOM_WANTED, 0) === 1;
  }

  /** True once: at the first entry of the first vCPU. */
  firstEntry(): boolean {
    return Atomics.exchange(this.#words, ENTERED, 1) === 0;
  }

  /** True once: when the guest gave its first sign of life. */
  firstSign(): boolean {
    return Atomics.exchange(this.#words, SPOKE, 1) === 0;
  }
}
