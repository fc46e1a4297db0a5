/**
 * A VM's serial console on the way out: from where its bytes come to the readers. All readers get the same
 * bytes, and the next ones once each is done with these. While one is not, they stay where they are: in the
 * end in the ring that the guest's UART fills, and when that is full its transmitter waits
 * (devices/uart16550.ts).
 */
import { call } from './listeners.js';

/**
 * Takes console bytes, which are its own. When it returns a promise, the console waits for that before it
 * gives the next bytes.
 */
export type ConsoleListener = (bytes: Uint8Array) => unknown;

/** Where the bytes come from. */
export interface ConsoleSource {
  /** The next bytes; undefined when there are none now: `drain` is called when there are. */
  next(): Uint8Array | undefined;
  /** Whether `next` may have more at once. */
  readonly more: boolean;
  /** No bytes will come any more. */
  readonly ended: boolean;
}

interface Reader {
  readonly listener: ConsoleListener;
}

export class ConsoleOutput {
  readonly #source: ConsoleSource;
  readonly #readers = new Set<Reader>();
  /** Those that are not done with what they were given. */
  readonly #busy = new Set<Reader>();
  #draining = false;
  #ends: (() => void)[] = [];

  constructor(source: ConsoleSource) {
    this.#source = source;
  }

  /** @returns what removes the listener: the console does not wait for it any more */
  add(listener: ConsoleListener): () => void {
    const reader = { listener };
    this.#readers.add(reader);
    return () => {
      this.#readers.delete(reader);
      if (this.#busy.delete(reader)) this.drain();
    };
  }

  /** Gives readers what there is, as long as they take it. */
  drain(): void {
    if (this.#draining) return;
    this.#draining = true;
    try {
      while (this.#busy.size === 0) {
        const bytes = this.#source.next();
        if (bytes === undefined) break;
        this.#give(bytes);
        if (!this.#source.more) break;
      }
    } finally {
      this.#draining = false;
    }
    if (!this.#source.ended || this.#busy.size > 0) return;
    const ends = this.#ends;
    this.#ends = [];
    for (const end of ends) end();
  }

  #give(bytes: Uint8Array): void {
    const readers = [...this.#readers];
    const copies = readers.map((_, index) => (index === 0 ? bytes : bytes.slice()));
    readers.forEach((reader, index) => {
      const taken = call(reader.listener, copies[index] as Uint8Array);
      if (taken === undefined || !this.#readers.has(reader)) return;
      this.#busy.add(reader);
      void taken.then(() => {
        if (this.#busy.delete(reader)) this.drain();
      });
    });
  }

  /** Calls `end` once the source has ended and its last byte has been read. */
  onEnd(end: () => void): void {
    this.#ends.push(end);
    this.drain();
  }
}
