/**
 * Which regions of a module have been installed by any thread, and in which order: what a profile keeps is what
 * was used. It lies in memory that the process's threads share.
 */

/** Uses of one module's regions. */
export interface Uses {
  /** One word for all modules: how many regions have been used. */
  readonly clock: Int32Array;
  /** For each region of the module 0, or what the clock showed when it was first installed. */
  readonly first: Int32Array;
}

const sharedWords = (count: number): Int32Array => new Int32Array(new SharedArrayBuffer(4 * count));

export const makeClock = (): Int32Array => sharedWords(1);

export function makeUses(clock: Int32Array, regions: number): Uses {
  return { clock, first: sharedWords(regions) };
}

/** A region has been installed in a VM. */
export function noteUse({ clock, first }: Uses, index: number): void {
  if (Atomics.load(first, index) === 0) Atomics.store(first, index, Atomics.add(clock, 0, 1) + 1);
}
