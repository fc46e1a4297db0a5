/**
 * A timer that is set again with nearly every packet: moving it later costs one store, as the running
 * timer finds out when it fires.
 */
export class Deadline {
  readonly #now: () => number;
  readonly #expire: () => void;
  #at = Number.POSITIVE_INFINITY;
  #timer: NodeJS.Timeout | undefined;
  #timerAt = 0;

  /** @param now milliseconds */
  constructor(now: () => number, expire: () => void) {
    this.#now = now;
    this.#expire = expire;
  }

  /** Expires after `wait` milliseconds from now, and not when it was set to before. */
  in(wait: number): void {
    this.#at = this.#now() + wait;
    if (this.#timer !== undefined && this.#timerAt <= this.#at) return;
    this.#start(wait);
  }

  /** Does not expire until it is set again. */
  clear(): void {
    this.#at = Number.POSITIVE_INFINITY;
  }

  /** The same, and nothing of it stays with the event loop. */
  stop(): void {
    this.clear();
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #start(wait: number): void {
    clearTimeout(this.#timer);
    this.#timerAt = this.#at;
    this.#timer = setTimeout(() => this.#fired(), wait).unref();
  }

  #fired(): void {
    this.#timer = undefined;
    const left = this.#at - this.#now();
    if (left === Number.POSITIVE_INFINITY) return;
    if (left > 0.5) this.#start(left);
    else {
      this.#at = Number.POSITIVE_INFINITY;
      this.#expire();
    }
  }
}
