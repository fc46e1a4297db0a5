/**
 * Which VM runs on which thread: a table in shared memory that every thread of the process sees. A
 * thread claims a VM that is ready or whose time has come, runs a slice of it, and puts it back.
 */
import { hostNanoseconds } from '../../platform/clock.js';

/** How many VMs one process may hold. */
export const SCHEDULE_SLOTS = 4096;
/** How many threads may claim VMs; thread 0 is the one that makes them. */
const SCHEDULE_THREADS = 1024;

/** States of a slot. */
export const SLOT_FREE = 0;
/** It can run. */
export const SLOT_READY = 1;
/** A thread has it. */
export const SLOT_RUNNING = 2;
/** Nothing to do until its deadline or a wake. */
export const SLOT_ASLEEP = 3;
/** Not to be run: new, paused or ended. */
export const SLOT_PARKED = 4;

/** States of a worker thread. */
const THREAD_FREE = 0;
const THREAD_STARTING = 1;
/** It claims VMs. */
const THREAD_CLAIMING = 2;
/** It has been told to end. */
const THREAD_LEAVING = 3;

/* A slot's word: its state, whether it was woken while it ran, and above that the thread that holds it. */
const STATE = 0x0f;
const WOKEN = 0x10;
const THREAD_SHIFT = 8;

/** Word that changes whenever there may be work: threads wait on it. */
const SEQUENCE = 0;
/** One past the highest slot in use. */
const IN_USE = 1;
/** One past the highest thread in use. */
const THREADS_IN_USE = 2;
/** The threads' states. */
const THREADS = 4;
/** The slots' words; even, for the deadlines behind them to be aligned. */
const FIRST = THREADS + SCHEDULE_THREADS;
const WORDS = FIRST + SCHEDULE_SLOTS;
const BYTES = WORDS * 4 + SCHEDULE_SLOTS * 8;

export class Schedule {
  readonly buffer: SharedArrayBuffer;
  readonly #words: Int32Array;
  readonly #deadlines: Float64Array;
  readonly #holder: number;
  #next = 0;
  /** Called on this thread whenever it announces work. */
  announced: () => void = () => undefined;

  /** @param thread the number of this thread, as `allocateThread` gave it */
  constructor(thread = 0, buffer: SharedArrayBuffer = new SharedArrayBuffer(BYTES)) {
    this.buffer = buffer;
    this.#holder = thread << THREAD_SHIFT;
    this.#words = new Int32Array(buffer, 0, WORDS);
    this.#deadlines = new Float64Array(buffer, WORDS * 4, SCHEDULE_SLOTS);
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

  /** Lets a parked VM run. */
  start(slot: number): void {
    Atomics.store(this.#words, FIRST + slot, SLOT_READY);
    this.announce(1);
  }

  /** Parks a VM whose thread has died. */
  seize(slot: number): void {
    Atomics.store(this.#words, FIRST + slot, SLOT_PARKED);
  }

  /** Lets a sleeping VM run, and one that runs look again before it sleeps; without effect on others. */
  wake(slot: number): void {
    for (;;) {
      const word = Atomics.load(this.#words, FIRST + slot);
      const state = word & STATE;
      let next: number;
      if (state === SLOT_ASLEEP) next = SLOT_READY;
      else if (state === SLOT_RUNNING) next = word | WOKEN;
      else return;
      if (Atomics.compareExchange(this.#words, FIRST + slot, word, next) !== word) continue;
      if (next === SLOT_READY) this.announce(1);
      return;
    }
  }

  /** Tells waiting workers that something changed. */
  announce(workers: number = Number.POSITIVE_INFINITY): void {
    Atomics.add(this.#words, SEQUENCE, 1);
    Atomics.notify(this.#words, SEQUENCE, workers);
    this.announced();
  }

  /** A number for a new worker thread; -1 when all are taken. */
  allocateThread(): number {
    for (let thread = 1; thread < SCHEDULE_THREADS; thread++) {
      if (Atomics.load(this.#words, THREADS + thread) !== THREAD_FREE) continue;
      Atomics.store(this.#words, THREADS + thread, THREAD_STARTING);
      if (Atomics.load(this.#words, THREADS_IN_USE) <= thread) {
        Atomics.store(this.#words, THREADS_IN_USE, thread + 1);
      }
      return thread;
    }
    return -1;
  }

  /** This thread claims VMs from now on, unless it has been told to leave. */
  workerStarted(): void {
    const at = THREADS + (this.#holder >>> THREAD_SHIFT);
    Atomics.compareExchange(this.#words, at, THREAD_STARTING, THREAD_CLAIMING);
  }

  /** A thread is to end: it is not counted any more. */
  workerLeaves(thread: number): void {
    Atomics.store(this.#words, THREADS + thread, THREAD_LEAVING);
  }

  /** A thread has ended, in whatever way; its number may be another's. */
  freeThread(thread: number): void {
    Atomics.store(this.#words, THREADS + thread, THREAD_FREE);
  }

  /** How many worker threads claim VMs. */
  workers(): number {
    const used = Atomics.load(this.#words, THREADS_IN_USE);
    let count = 0;
    for (let thread = 1; thread < used; thread++) {
      if (Atomics.load(this.#words, THREADS + thread) === THREAD_CLAIMING) count += 1;
    }
    return count;
  }

  /** Whether a worker thread has come so far that it claims VMs. */
  claims(thread: number): boolean {
    return Atomics.load(this.#words, THREADS + thread) === THREAD_CLAIMING;
  }

  /** The slots that a thread has claimed, or has parked without telling. */
  heldBy(thread: number): number[] {
    const used = Atomics.load(this.#words, IN_USE);
    const held: number[] = [];
    for (let slot = 0; slot < used; slot++) {
      if (Atomics.load(this.#words, FIRST + slot) >>> THREAD_SHIFT === thread) held.push(slot);
    }
    return held;
  }

  /** Claims a VM to run, in turn; -1 when there is none. */
  claim(): number {
    const used = Atomics.load(this.#words, IN_USE);
    const now = hostNanoseconds();
    for (let i = 0; i < used; i++) {
      const slot = (this.#next + i) % used;
      const word = Atomics.load(this.#words, FIRST + slot);
      const due = word === SLOT_ASLEEP && (this.#deadlines[slot] ?? 0) <= now;
      if (word !== SLOT_READY && !due) continue;
      const claimed = SLOT_RUNNING | this.#holder;
      if (Atomics.compareExchange(this.#words, FIRST + slot, word, claimed) === word) {
        this.#next = slot + 1;
        return slot;
      }
    }
    return -1;
  }

  /**
   * Puts a claimed VM back. `deadline` (host nanoseconds) counts for SLOT_ASLEEP.
   * @returns the state that it got: one that was woken does not sleep
   */
  release(slot: number, state: number, deadline: number): number {
    this.#deadlines[slot] = deadline;
    if (state === SLOT_PARKED) {
      Atomics.store(this.#words, FIRST + slot, SLOT_PARKED | this.#holder);
      return state;
    }
    if (state !== SLOT_ASLEEP) {
      Atomics.store(this.#words, FIRST + slot, state);
      return state;
    }
    const held = SLOT_RUNNING | this.#holder;
    if (Atomics.compareExchange(this.#words, FIRST + slot, held, SLOT_ASLEEP) === held) {
      return SLOT_ASLEEP;
    }
    Atomics.store(this.#words, FIRST + slot, SLOT_READY);
    return SLOT_READY;
  }

  /** The owner of a VM that this thread parked will hear of it. */
  told(slot: number): void {
    Atomics.compareExchange(this.#words, FIRST + slot, SLOT_PARKED | this.#holder, SLOT_PARKED);
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
