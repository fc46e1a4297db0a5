/** Systems that run the same workloads in turn, and the table of their times. */
import { writeFileSync } from 'node:fs';
import { summarise } from '#dist/bench/statistics.js';
import { type Column, formatTable, styleFor } from '#dist/cli/terminal/text-table.js';
import { type MarkedRun, runMarked } from './marked-process.js';

/** One monitor with its options. */
export interface System {
  readonly title: string;
  readonly program: string;
  readonly args: readonly string[];
}

/** A system with what it did. */
export interface Measured extends System {
  readonly runs: readonly MarkedRun[];
}

/** What is to be reached: speed as the peer's median time over one's own, means geometric. */
export interface Bounds {
  readonly mean: number;
  readonly each: number;
  /** By processor time instead of the clock. */
  readonly cpuMean?: number;
}

/**
 * Runs all systems in turn, so that whatever else the machine does meets all of them.
 * @throws Error when one fails, or when they do not all compute the same
 */
export async function measure(
  systems: readonly System[],
  count: number,
  limitMs: number,
): Promise<Measured[]> {
  const measured = systems.map((system) => ({ ...system, runs: [] as MarkedRun[] }));
  const digests = new Map<string, string>();
  for (let run = 1; run <= count; run++) {
    for (const { title, program, args, runs } of measured) {
      console.error(`run ${run} of ${count}: ${title}`);
      const done = await runMarked(program, args, limitMs);
      runs.push(done);
      for (const { name, digest } of done.workloads) {
        const expected = digests.get(name) ?? digest;
        digests.set(name, expected);
        if (digest !== expected) throw new Error(`${title}: ${name} computed something else`);
      }
    }
  }
  return measured;
}

/** Median over the runs of a workload's time. */
function median({ runs }: Measured, workload: string, time: 'wallMs' | 'cpuMs'): number {
  const found = runs.flatMap((run) => run.workloads.filter(({ name }) => name === workload));
  return summarise(found.map((timed) => timed[time])).median;
}

/** The peer's time over one's own, for each workload. */
function speedsOf(
  system: Measured,
  peer: Measured,
  names: readonly string[],
  time: 'wallMs' | 'cpuMs',
): number[] {
  return names.map((name) => median(peer, name, time) / median(system, name, time));
}

const geometricMean = (list: readonly number[]): number =>
  Math.exp(list.reduce((sum, value) => sum + Math.log(value), 0) / list.length);

const seconds = (ms: number): string => (ms / 1000).toFixed(2);
const right = (title: string): Column => ({ title, align: 'right' });

/** Prints the table and, for each system but the peer, whether it reaches the bounds. */
export function printComparison(
  own: readonly Measured[],
  peer: Measured | undefined,
  bounds: Bounds,
): void {
  const all = peer === undefined ? own : [...own, peer];
  const names = all[0]?.runs[0]?.workloads.map(({ name }) => name) ?? [];
  const ratios = (time: 'wallMs' | 'cpuMs'): number[][] =>
    own.map((system) => (peer === undefined ? [] : speedsOf(system, peer, names, time)));
  const speeds = ratios('wallMs');
  const byCpu = ratios('cpuMs');
  const rows = names.map((name, at) => [
    name,
    ...all.map((system) => seconds(median(system, name, 'wallMs'))),
    ...all.map((system) => seconds(median(system, name, 'cpuMs'))),
    ...speeds.map((list) => list[at]?.toFixed(2) ?? ''),
    ...byCpu.map((list) => list[at]?.toFixed(2) ?? ''),
  ]);
  const columns: Column[] = [
    { title: 'workload', align: 'left' },
    ...all.map(({ title }) => right(`${title}, s`)),
    ...all.map(() => right('CPU, s')),
    ...own.map(() => right('speed')),
    ...own.map(() => right('by CPU')),
  ];
  console.log(formatTable(columns, rows, styleFor(process.stdout)));
  if (peer === undefined) return;
  for (const [index, { title }] of own.entries()) {
    const list = speeds[index] ?? [];
    const mean = geometricMean(list);
    const least = Math.min(...list);
    const cpuMean = geometricMean(byCpu[index] ?? []);
    const { cpuMean: cpuBound = 0 } = bounds;
    const reached = mean >= bounds.mean && least >= bounds.each && cpuMean >= cpuBound;
    console.log(
      `${title}: geometric mean ${mean.toFixed(2)} of ${peer.title}'s speed (bound ${bounds.mean}), ` +
        `least ${least.toFixed(2)} (bound ${bounds.each}); by processor time ${cpuMean.toFixed(2)}` +
        `${cpuBound > 0 ? ` (bound ${cpuBound})` : ''}: ${reached ? 'reached' : 'not reached'}`,
    );
  }
}

/** Writes everything that was measured. */
export function writeComparison(path: string, kind: string, all: readonly Measured[]): void {
  writeFileSync(path, `${JSON.stringify({ kind, systems: all }, null, 2)}\n`);
}
