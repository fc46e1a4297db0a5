/**
 * Conversion between guest nanoseconds and the ticks of a fixed-frequency oscillator.
 *
 * A frequency is a ratio of integers, so that the PC's oscillators are exact: the 8254 runs at
 * 105/88 MHz and the ACPI timer at 315/88 MHz (a colour carrier of 315/88 MHz, divided by 3 and 1).
 */

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}

/** An oscillator that made its tick 0 at guest time 0. */
export class Rate {
  readonly #ticks: number;
  readonly #nanoseconds: number;

  /**
   * @param hertzNumerator positive integer
   * @param hertzDenominator positive integer; the frequency is numerator / denominator hertz
   */
  constructor(hertzNumerator: number, hertzDenominator = 1) {
    const nanoseconds = hertzDenominator * 1e9;
    const divisor = greatestCommonDivisor(hertzNumerator, nanoseconds);
    this.#ticks = hertzNumerator / divisor;
    this.#nanoseconds = nanoseconds / divisor;
  }

  /** Number of whole ticks made by guest time `ns`. */
  ticksAt(ns: number): number {
    return Math.floor((ns * this.#ticks) / this.#nanoseconds);
  }

  /** The first nanosecond at which `ticksAt` is at least `tick`. */
  timeOf(tick: number): number {
    let ns = Math.ceil((tick * this.#nanoseconds) / this.#ticks);
    // The division rounds; a deadline a nanosecond early would expire with nothing to do, for ever.
    while (this.ticksAt(ns) < tick) ns += 1;
    while (ns > 0 && this.ticksAt(ns - 1) >= tick) ns -= 1;
    return ns;
  }
}

/** The 8254's clock, 1.193181818 MHz. */
export const PIT_RATE = new Rate(105_000_000, 88);
/** The ACPI power management timer's clock, 3.579545454 MHz. */
export const PM_TIMER_RATE = new Rate(315_000_000, 88);
