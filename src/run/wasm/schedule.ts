/**
 * Which VM runs on which worker: a table in shared memory that every thread of the process sees. A
 * worker claims a VM that is ready or whose time has come, runs a slice of it, and puts it back.
 */
import { hostNanoseconds } from '../host-time.js';

/** How many VMs one process may hold. */
export const SCHEDULE_SLOTS = 4096;

/** States of a slot. */
export const SLOT_FREE = 0;
/** It can run. */
export const SLOT_READY = 1;
/** A worker has it. */
export const SLOT_RUNNING = 2;
/** Nothing to do until its deadline or a wake. */
export const SLOT_ASLEEP = 3;
/** Not to be run: new, paused or ended. */
export const SLOT_PARKED = 4;

/** Word that changes whenever there may be work: workers wait on it. */
const SEQUENCE = 0;
/** One past the highest slot in use. */
const IN_USE = 1;
/** Worker threads that claim VMs. */
const WORKERS = 2;
/** The slots' states; even, for the deadlines behind them to be aligned. */
const FIRST = 4;
const BYTES = (FIRST + SCHEDULE_SLOTS) * 4 + 8 + SCHEDULE_SLOTS * 8;

export class Schedule {
  readonly buffer: SharedArrayBuffer;
  readonly #words: Int32Array;
  readonly #deadlines: Float64Array;
  #next = 0;
  /** Called on this thread whenever it announces work. */
  announced: () => void = () => undefined;

  constructor(buffer: SharedArrayBuffer = new SharedArrayBuffer(BYTES)) {
    this.buffer = buffer;
    this.#words = new Int32Array(buffer, 0, FIRST + SCHEDULE_SLOTS);
    this.#deadlines = new Float64Array(buffer, BYTES - SCHEDULE_SLOTS * 8, SCHEDULE_SLOTS);
  }

  /** Takes a free slot, parked; -1 when all are taken. */
  allocate(): number {
    for (let slot = 0; slot < SCHEDULE_SLOTS; slot++) {
      if (
        Atomics.compareExchange(this.#words, FIRST + slot, SLOT_FREE, SLOT_PARKED) !== SLOT_FREE
      ) {
        continue;
      }
      if (Atomics.load(this.#words, IN_USE) <= slot) Atomics.store(this.#words, IN_USE, slot + 1);
      return slot;
    }
    return -1;
  }

  free(slot: number): void {
    Atomics.store(this.#words, FIRST + slot, SLOT_FREE);
  }

  state(slot: number): number {
    return Atomics.load(this.#words, FIRST + slot);
  }

  /** Moves a slot from one state to another; false when it was not in the first. */
  transition(slot: number, from: number, to: number): boolean {
    if (Atomics.compareExchange(this.#words, FIRST + slot, from, to) !== from) return false;
    if (to === SLOT_READY) this.announce(1);
    return true;
  }

  /** Lets a sleeping VM run; without effect on others. */
  wake(slot: number): void {
    this.transition(slot, SLOT_ASLEEP, SLOT_READY);
  }

  /** Tells waiting workers that something changed. */
  announce(workers: number = Number.POSITIVE_INFINITY): void {
    Atomics.add(this.#words, SEQUENCE, 1);
    Atomics.notify(this.#words, SEQUENCE, workers);
    this.announced();
  }

  /** One more thread claims VMs. */
  workerStarted(): void {
    Atomics.add(this.#words, WORKERS, 1);
  }

  workerEnded(): void {
    Atomics.sub(this.#words, WORKERS, 1);
  }

  /** How many worker threads claim VMs. */
  workers(): number {
    return Atomics.load(this.#words, WORKERS);
  }

  /** Claims a VM to run, in turn; -1 when there is none. */
  claim(): number {
    const used = Atomics.load(this.#words, IN_USE);
    const now = hostNanoseconds();
    for (let i = 0; i < used; i++) {
      const slot = (this.#next + i) % used;
      const state = Atomics.load(this.#words, FIRST + slot);
      const due = state === SLOT_ASLEEP && (this.#deadlines[slot] ?? 0) <= now;
      if (state !== SLOT_READY && !due) continue;
      if (Atomics.compareExchange(this.#words, FIRST + slot, state, SLOT_RUNNING) === state) {
        this.#next = slot + 1;
        return slot;
      }
    }
    return -1;
  }

  /** Puts a claimed VM back. `deadline` (host nanoseconds) counts for SLOT_ASLEEP. */
  release(slot: number, state: number, deadline: number): void {
    this.#deadlines[slot] = deadline;
    Atomics.store(this.#words, FIRST + slot, state);
  }

  /** The change counter, to be read before looking for work. */
  sequence(): number {
    return Atomics.load(this.#words, SEQUENCE);
  }

  /** Milliseconds to the earliest deadline; Infinity when there is none. */
  untilDeadline(): number {
    const used = Atomics.load(this.#words, IN_USE);
    let earliest = Number.POSITIVE_INFINITY;
    for (let slot = 0; slot < used; slot++) {
      if (Atomics.load(this.#words, FIRST + slot) !== SLOT_ASLEEP) continue;
      earliest = Math.min(earliest, this.#deadlines[slot] ?? earliest);
    }
    return (earliest - hostNanoseconds()) / 1e6;
  }

  /** Sleeps until the earliest deadline, or until something changed since `sequence` was read. */
  wait(sequence: number): void {
    const milliseconds = this.untilDeadline();
    if (milliseconds > 0) Atomics.wait(this.#words, SEQUENCE, sequence, milliseconds);
  }
}
