/** How long to wait for an acknowledgement: the computation of RFC 6298. Times are in milliseconds. */

/** RFC 6298, 2.1. */
const INITIAL = 1000;
/** Below RFC 6298's second, as the path is a virtual wire. */
export const MIN_RTO = 200;
const MAX_RTO = 60_000;

export class RetransmissionTimeout {
  #smoothed = -1;
  #variation = 0;
  #value = INITIAL;

  /** The wait, with all doublings. */
  get value(): number {
    return this.#value;
  }

  /** A round trip of a segment that was sent once (Karn's algorithm, RFC 6298, 3). */
  sample(roundTrip: number): void {
    if (this.#smoothed < 0) {
      this.#smoothed = roundTrip;
      this.#variation = roundTrip / 2;
    } else {
      this.#variation = 0.75 * this.#variation + 0.25 * Math.abs(this.#smoothed - roundTrip);
      this.#smoothed = 0.875 * this.#smoothed + 0.125 * roundTrip;
    }
    this.restore();
  }

  /** The timer expired (RFC 6298, 5.5). */
  double(): void {
    this.#value = Math.min(this.#value * 2, MAX_RTO);
  }

  /** Something new was acknowledged: doublings are undone. */
  restore(): void {
    if (this.#smoothed < 0) return;
    const wait = this.#smoothed + Math.max(1, 4 * this.#variation);
    this.#value = Math.min(Math.max(wait, MIN_RTO), MAX_RTO);
  }
}
