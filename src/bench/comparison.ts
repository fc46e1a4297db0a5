/** How two results of the same bench differ: what repeating a measurement is good for. */
import { BOOT_STAGES } from '../run/types.js';
import type { BootReport } from './boot-series.js';
import type { FootprintReport } from './footprint-report.js';

/** One figure in both results. */
export interface Difference {
  readonly title: string;
  /** What of the series: a number of instances, a boot stage. */
  readonly what: string;
  readonly first: number;
  readonly second: number;
  /** Of the second against the first: 0.03 is three per cent more. */
  readonly share: number;
}

const difference = (title: string, what: string, first: number, second: number): Difference => ({
  title,
  what,
  first,
  second,
  share: second / first - 1,
});

/** USS per instance, in bytes, of every series and count that both have. */
export function compareFootprints(first: FootprintReport, second: FootprintReport): Difference[] {
  return first.series.flatMap(({ key, title, cells }) => {
    const other = second.series.find((series) => series.key === key);
    return cells.flatMap(({ instances, uss }) => {
      const cell = other?.cells.find((candidate) => candidate.instances === instances);
      if (cell === undefined) return [];
      return [difference(title, String(instances), uss / instances, cell.uss / instances)];
    });
  });
}

/** Medians of the boot stages, in milliseconds, of every series that both have. */
export function compareBoots(first: BootReport, second: BootReport): Difference[] {
  return first.series.flatMap(({ key, title, stages }) => {
    const other = second.series.find((series) => series.key === key);
    return BOOT_STAGES.flatMap((name) => {
      const [before, after] = [stages, other?.stages ?? []].map((all) =>
        all.find((stage) => stage.name === name),
      );
      if (before === undefined || after === undefined) return [];
      return [difference(title, name, before.ms.median, after.ms.median)];
    });
  });
}

/** The largest share in either direction; 0 for none. */
export function largestShare(differences: readonly Difference[]): number {
  return Math.max(0, ...differences.map(({ share }) => Math.abs(share)));
}
