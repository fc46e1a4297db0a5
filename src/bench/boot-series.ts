/** What `pando bench boot` finds out: JSON, tables and plots are made of these. */
import { BOOT_STAGES, type StageName } from '../run/types.js';
import type { BenchHost, BenchSubject, SeriesName } from './footprint-report.js';
import { type Summary, summarise } from './statistics.js';

/** One boot: milliseconds from the series' origin, by stage. */
export type BootRun = Readonly<Partial<Record<StageName, number>>>;

/** One stage over all runs. */
export interface StageSummary {
  readonly name: StageName;
  readonly ms: Summary;
  readonly source: string;
}

/** One system, in a cold or warm process. */
export interface BootSeries extends SeriesName {
  readonly process: 'cold' | 'warm';
  /** What the times count from. */
  readonly origin: string;
  readonly runs: readonly BootRun[];
  readonly stages: readonly StageSummary[];
}

export interface BootReport {
  readonly kind: 'boot';
  readonly host: BenchHost;
  readonly subject: BenchSubject;
  readonly series: readonly BootSeries[];
}

/** Puts the runs of a series together; stages that no run saw are left out. */
export function summariseRuns(
  runs: readonly BootRun[],
  sources: Readonly<Partial<Record<StageName, string>>>,
): StageSummary[] {
  return BOOT_STAGES.flatMap((name) => {
    const values = runs.flatMap((run) => run[name] ?? []);
    if (values.length === 0) return [];
    return [{ name, ms: summarise(values), source: sources[name] ?? '' }];
  });
}

/** From each stage to the next, in each run by itself; the first counts from the origin. */
export function increments(series: Pick<BootSeries, 'runs'>): Summary[] {
  return BOOT_STAGES.map((name, index) => {
    const before = BOOT_STAGES[index - 1];
    return summarise(
      series.runs.flatMap((run) => {
        const from = before === undefined ? 0 : run[before];
        const to = run[name];
        return from === undefined || to === undefined ? [] : [to - from];
      }),
    );
  });
}
