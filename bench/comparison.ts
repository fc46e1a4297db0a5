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

/** What is to be reached: speed as the peer's median time over one's own. */
export interface Bounds {
  readonly mean: number;
  readonly each: number;
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
  const speeds = own.map((system) =>
    peer === undefined
      ? []
      : names.map((name) => median(peer, name, 'wallMs') / median(system, name, 'wallMs')),
  );
  const rows = names.map((name, at) => [
    name,
    ...all.map((system) => seconds(median(system, name, 'wallMs'))),
    ...all.map((system) => seconds(median(system, name, 'cpuMs'))),
    ...speeds.map((list) => list[at]?.toFixed(2) ?? ''),
    ...own.map((system) =>
      peer === undefined
        ? ''
        : (median(peer, name, 'cpuMs') / median(system, name, 'cpuMs')).toFixed(2),
    ),
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
    const mean = Math.exp(list.reduce((sum, speed) => sum + Math.log(speed), 0) / list.length);
    const least = Math.min(...list);
    const reached = mean >= bounds.mean && least >= bounds.each;
    console.log(
      `${title}: geometric mean ${mean.toFixed(2)} of ${peer.title}'s speed (bound ${bounds.mean}), ` +
        `least ${least.toFixed(2)} (bound ${bounds.each}): ${reached ? 'reached' : 'not reached'}`,
    );
  }
}

/** Writes everything that was measured. */
export function writeComparison(path: string, kind: string, all: readonly Measured[]): void {
  writeFileSync(path, `${JSON.stringify({ kind, systems: all }, null, 2)}\n`);
}
