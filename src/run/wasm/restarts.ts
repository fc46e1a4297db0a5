/** How soon a thread that died is replaced: at once, then later and later while they go on dying. */

/** Milliseconds until the second one in a row is replaced; it doubles with each more. */
const FIRST_DELAY = 50;
const LONGEST_DELAY = 10_000;
/** One that dies after this many milliseconds is the first in its row again. */
const HEALTHY = 5000;

export class Restarts {
  #row = 0;
  #last = Number.NEGATIVE_INFINITY;
  #timer: NodeJS.Timeout | undefined;

  /** Whether one may be started now. */
  get allowed(): boolean {
    return this.#timer === undefined;
  }

  /** One has died: calls `restart` when the next may be started. */
  after(restart: () => void): void {
    const now = performance.now();
    this.#row = now - this.#last < HEALTHY ? this.#row + 1 : 0;
    this.#last = now;
    if (this.#timer !== undefined) return;
    const delay = this.#row === 0 ? 0 : Math.min(FIRST_DELAY * 2 ** (this.#row - 1), LONGEST_DELAY);
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      restart();
    }, delay).unref();
  }
}
