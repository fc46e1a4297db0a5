/** A table without collisions for a few numbers that are known beforehand. */

export interface PerfectHash {
  /** The place of a number, as an unsigned 32-bit word, is (number × multiplier mod 2³²) >>> shift. */
  readonly multiplier: number;
  readonly shift: number;
  /** By place the index of the number that belongs there; -1 for places that none has. */
  readonly places: readonly number[];
}

/** Multipliers tried before the table is made larger. */
const ATTEMPTS = 64;
/** An odd number whose multiples are spread evenly: 2³² by the golden ratio. */
const FIRST = 0x9e3779b1;

/** @param numbers 32-bit numbers, no two of them equal, at least one */
export function perfectHash(numbers: readonly number[]): PerfectHash {
  for (let bits = Math.max(1, Math.ceil(Math.log2(2 * numbers.length))); ; bits++) {
    let multiplier = FIRST | 0;
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const places = new Array<number>(2 ** bits).fill(-1);
      const fits = numbers.every((number, index) => {
        const place = Math.imul(number, multiplier) >>> (32 - bits);
        if (places[place] !== -1) return false;
        places[place] = index;
        return true;
      });
      if (fits) return { multiplier, shift: 32 - bits, places };
      // A linear congruential step keeps it odd.
      multiplier = (Math.imul(multiplier, 0x19660d) + 0x3c6ef35e) | 1;
    }
  }
}
