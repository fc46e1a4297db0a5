/**
 * What the threads that drive a VM share beside its devices and vCPUs: requests, notices, the origin
 * of guest time. It lies at VM_CONTROL in the VM's memory.
 */
import { VM_CONTROL } from '../accel/wasm/layout.js';
import type { Clock } from '../arch/clock.js';
import { hostNanoseconds } from './host-time.js';

/* Words. */
const REQUEST = 0;
const CONSOLE_NOTICE = 1;
const ENTERED = 2;
const SPOKE = 3;
/* Doubles, behind the words. */
const TIME_ORIGIN = 8;
const PAUSED_AT = 9;
const BYTES = 128;

/** Requests to the thread that drives the VM. */
export const REQUEST_PARK = 1;

export class VmControl implements Clock {
  readonly #words: Int32Array;
  readonly #times: Float64Array;

  constructor(memory: WebAssembly.Memory) {
    this.#words = new Int32Array(memory.buffer, VM_CONTROL, BYTES / 4);
    this.#times = new Float64Array(memory.buffer, VM_CONTROL, BYTES / 8);
  }

  /** Guest time starts here, stopped. */
  initialise(): void {
    this.#words.fill(0);
    this.#times[TIME_ORIGIN] = hostNanoseconds();
    this.#times[PAUSED_AT] = this.#times[TIME_ORIGIN] ?? 0;
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

  /** What guest time 0 is on the host's clock, for putting guest times among the host's. */
  get origin(): number {
    return this.#times[TIME_ORIGIN] ?? 0;
  }

  request(bits: number): void {
    Atomics.or(this.#words, REQUEST, bits);
  }

  withdraw(bits: number): void {
    Atomics.and(this.#words, REQUEST, ~bits);
  }

  requests(): number {
    return Atomics.load(this.#words, REQUEST);
  }

  /** True for the first caller since `takeConsoleNotice`: that one tells the owner of the console. */
  noticeConsole(): boolean {
    return Atomics.exchange(this.#words, CONSOLE_NOTICE, 1) === 0;
  }

  takeConsoleNotice(): void {
    Atomics.store(this.#words, CONSOLE_NOTICE, 0);
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
