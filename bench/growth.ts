/** Whether what a process holds grows: medians of the first and the last third of its samples. */
import type { ProcessFigures } from './process-figures.js';

/** Samples that a verdict needs. */
const LEAST_SAMPLES = 24;
/**
 * Growth that passes for none, beside 5 %. V8 frees modules when it collects garbage, so their machine code and its
 * mappings (two a module) go up and down.
 */
const GROWTH_PART = 0.05;
const GROWTH: Readonly<Record<keyof ProcessFigures, number>> = {
  residentMiB: 24,
  codeMiB: 12,
  heapMiB: 8,
  mappings: 1500,
  descriptors: 4,
  threads: 2,
};

const NAMES = ['residentMiB', 'codeMiB', 'heapMiB', 'mappings', 'descriptors', 'threads'] as const;

function middle(numbers: readonly number[]): number {
  const sorted = numbers.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

/**
 * Prints a line a figure.
 * @param names of the figures
 * @param allowed what one may grow by, from what it was in the first third
 * @returns the figures that grew by more
 */
export function grownFigures<Name extends string>(
  samples: readonly Readonly<Record<Name, number>>[],
  names: readonly Name[],
  allowed: (name: Name, early: number) => number,
): Name[] {
  const third = Math.floor(samples.length / 3);
  return names.filter((name) => {
    const figures = samples.map((sample) => sample[name]);
    const early = middle(figures.slice(0, third));
    const late = middle(figures.slice(-third));
    const flat = late - early <= allowed(name, early);
    console.log(
      `${name}: ${early.toFixed(1)} in the first third, ${late.toFixed(1)} in the last: ` +
        `${flat ? 'flat' : 'GREW'}`,
    );
    return !flat;
  });
}

/**
 * The same for a soak's process, by the growth that passes for none.
 * @param samples from when everything had run once: before that memory only fills
 * @returns the figures that grew
 */
export function growthOf(samples: readonly ProcessFigures[]): string[] {
  if (samples.length < LEAST_SAMPLES) {
    console.log('too short after warm-up to tell whether memory grows');
    return [];
  }
  return grownFigures(samples, NAMES, (name, early) => early * GROWTH_PART + GROWTH[name]);
}
