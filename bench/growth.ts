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
 * @param samples from when everything had run once: before that memory only fills
 * @returns the figures that grew
 */
export function growthOf(samples: readonly ProcessFigures[]): string[] {
  if (samples.length < LEAST_SAMPLES) {
    console.log('too short after warm-up to tell whether memory grows');
    return [];
  }
  const third = Math.floor(samples.length / 3);
  const grown: string[] = [];
  for (const name of NAMES) {
    const figures = samples.map((sample) => sample[name]);
    const early = middle(figures.slice(0, third));
    const late = middle(figures.slice(-third));
    const grew = late - early > early * GROWTH_PART + GROWTH[name];
    if (grew) grown.push(name);
    console.log(
      `${name}: ${early.toFixed(1)} in the first third after warm-up, ${late.toFixed(1)} in the last: ` +
        `${grew ? 'GREW' : 'flat'}`,
    );
  }
  return grown;
}
