/**
 * A guest that another thread runs translated (lockstep-worker.ts), in step with this one: requests and
 * answers are words of shared memory, so neither side needs an event loop.
 */
import { Worker } from 'node:worker_threads';
import type { TierOptions } from '../accel/wasm/translate/tier.js';
import { PandoError } from '../error.js';
import type { GuestMemory } from '../memory/guest-memory.js';
import type { LockstepTime } from './lockstep-guest.js';
import { ProcessorState } from './lockstep-state.js';

/** Words of the mailbox: number of the last request, number of the last answer. */
export const MAIL_REQUEST = 0;
export const MAIL_ANSWER = 1;
export const MAIL_COMMAND = 2;
/** Of the guest: 1 once it has ended, RFLAGS. */
export const MAIL_ENDED = 3;
export const MAIL_FLAGS = 4;
/** Bytes of an error's text, which begins at MAIL_TEXT (in bytes); -1 for none. */
export const MAIL_ERROR = 5;
/** u64, in bytes: the instruction to run to. */
export const MAIL_LIMIT = 32;
export const MAIL_TEXT = 64;
export const MAIL_BYTES = 4096;

export const COMMAND_TURN = 1;
export const COMMAND_ADVANCE = 2;
export const COMMAND_STOP = 3;

/** What the thread is started with. */
export interface LockstepStart {
  readonly mail: SharedArrayBuffer;
  readonly memory: WebAssembly.Memory;
  readonly module: WebAssembly.Module;
  readonly tier: TierOptions;
  readonly timing: LockstepTime;
  /** Operation that is translated wrongly (planted-fault.ts). */
  readonly planted: string | undefined;
}

/** An answer that takes longer than this never comes. */
const ANSWER_LIMIT_MS = 600_000;

export class LockstepThread {
  readonly memory: GuestMemory;
  readonly state: ProcessorState;
  readonly #mail = new SharedArrayBuffer(MAIL_BYTES);
  readonly #words = new Int32Array(this.#mail);
  readonly #view = new DataView(this.#mail);
  readonly #gone: Promise<void>;

  /** @param memory of a guest that LockstepGuest.create has made */
  constructor(memory: GuestMemory, start: Omit<LockstepStart, 'mail' | 'memory'>) {
    this.memory = memory;
    this.state = new ProcessorState(memory.buffer);
    const workerData: LockstepStart = { ...start, mail: this.#mail, memory: memory.memory };
    const worker = new Worker(new URL('./lockstep-worker.js', import.meta.url), { workerData });
    this.#gone = new Promise((resolve) => worker.once('exit', () => resolve()));
  }

  #ask(command: number, limit: bigint): void {
    this.#view.setBigUint64(MAIL_LIMIT, limit, true);
    this.#words[MAIL_COMMAND] = command;
    Atomics.add(this.#words, MAIL_REQUEST, 1);
    Atomics.notify(this.#words, MAIL_REQUEST);
  }

  /** Begins a turn and runs to `limit`, as LockstepGuest does; goes on while this thread does. */
  turn(limit: bigint): void {
    this.#ask(COMMAND_TURN, limit);
  }

  /** Runs on to `limit`. */
  advance(limit: bigint): void {
    this.#ask(COMMAND_ADVANCE, limit);
  }

  /** Waits until what was asked for has been done. */
  wait(): void {
    const words = this.#words;
    const wanted = Atomics.load(words, MAIL_REQUEST);
    for (;;) {
      const answered = Atomics.load(words, MAIL_ANSWER);
      if (answered === wanted) break;
      if (Atomics.wait(words, MAIL_ANSWER, answered, ANSWER_LIMIT_MS) === 'timed-out') {
        throw new PandoError('LOCKSTEP_STUCK', 'the translated guest does not come to an end');
      }
    }
    const length = Atomics.load(words, MAIL_ERROR);
    if (length === 0) return;
    const text = Buffer.from(this.#mail, MAIL_TEXT, length).toString('utf8');
    throw new PandoError('LOCKSTEP_FAILED', `the translated guest's thread: ${text}`);
  }

  get ended(): boolean {
    return this.#words[MAIL_ENDED] === 1;
  }

  get rflags(): bigint {
    return BigInt(this.#words[MAIL_FLAGS] ?? 0);
  }

  /** Ends the thread, then gives the guest's memory back. */
  async release(): Promise<void> {
    this.#ask(COMMAND_STOP, 0n);
    await this.#gone;
    this.memory.release();
  }
}
