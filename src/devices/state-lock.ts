/**
 * The one lock of a VM's device state: a word of shared memory that any thread can take.
 *
 * The word holds 0 when free, 1 when held, 2 when held and waited for, so that releasing an
 * uncontended lock wakes nobody (U. Drepper, "Futexes Are Tricky", mutex 2).
 */

const FREE = 0;
const HELD = 1;
const CONTENDED = 2;

/** How often to try before sleeping: device accesses are shorter than a sleep and a wake-up. */
const SPINS = 64;

/** A mutual exclusion lock; not reentrant. */
export class StateLock {
  readonly #word: Int32Array;

  /** @param byteOffset of the lock's 4-byte word, a multiple of 4 */
  constructor(buffer: SharedArrayBuffer, byteOffset: number) {
    this.#word = new Int32Array(buffer, byteOffset, 1);
  }

  /** Takes the lock, sleeping when another thread holds it. */
  acquire(): void {
    for (let spin = 0; spin < SPINS; spin += 1) {
      if (Atomics.compareExchange(this.#word, 0, FREE, HELD) === FREE) return;
    }
    while (Atomics.exchange(this.#word, 0, CONTENDED) !== FREE) {
      Atomics.wait(this.#word, 0, CONTENDED);
    }
  }

  /** Gives the lock back in place of a holder that has died. */
  abandon(): void {
    Atomics.store(this.#word, 0, FREE);
    Atomics.notify(this.#word, 0);
  }

  /** Gives the lock back; only its holder may. */
  release(): void {
    if (Atomics.exchange(this.#word, 0, FREE) === CONTENDED) {
      Atomics.notify(this.#word, 0, 1);
    }
  }
}
