/** The second half of `pando demo`: a template, clones of it with a command in each, and what each way costs. */
import { release } from 'node:os';
import type { ProgressSink } from '../image/progress.js';
import { readProcessMemory } from '../measure/process-memory.js';
import { Sandbox } from '../sandbox/sandbox.js';
import { formatTable, type Style } from './terminal/text-table.js';
import { mebibytes } from './terminal/units.js';

const CLONES = 8;
const COMMAND = 'echo "$(hostname) runs $(uname -sr)"';

/** What VMs that came to be in one way cost. */
export interface Cost {
  readonly how: string;
  readonly count: number;
  /** Milliseconds until the slowest of them was ready. */
  readonly ready: number;
  /** Bytes that the process's PSS grew by, for each. */
  readonly memory: number;
}

/** Measures what VMs add to the PSS of this process (proc(5), smaps_rollup). */
export function memoryMeter(): (count: number) => number {
  const before = readProcessMemory().pss;
  return (count) => Math.max(0, readProcessMemory().pss - before) / count;
}

export interface Clones {
  /** What each clone's command printed. */
  readonly outputs: readonly string[];
  readonly cost: Cost;
}

/**
 * Makes a sandbox from the image's template, forks it, and runs a command in each fork.
 * @throws PandoError as `Sandbox.create` and `fork`
 */
export async function runClones(progress: ProgressSink): Promise<Clones> {
  await using first = await Sandbox.create({ progress });
  progress(`cloning it ${CLONES} times`);
  const grown = memoryMeter();
  const began = performance.now();
  const forks = await first.fork(CLONES);
  const clones = forks.flatMap((fork) => (fork.status === 'fulfilled' ? [fork.value] : []));
  try {
    for (const fork of forks) if (fork.status === 'rejected') throw fork.reason;
    const results = await Promise.all(clones.map((clone) => clone.exec(COMMAND, { check: true })));
    const ready = performance.now() - began;
    const cost = { how: 'cloned', count: CLONES, ready, memory: grown(CLONES) };
    return { outputs: results.map(({ stdout }) => stdout.trim()), cost };
  } finally {
    await Promise.all(clones.map((clone) => clone.close()));
  }
}

/** The clones' outputs, and the ways beside each other. */
export function clonesText({ outputs }: Clones, costs: readonly Cost[], style: Style): string {
  const columns = [
    { title: 'kernel and initrd', align: 'left' },
    { title: 'VMs', align: 'right' },
    { title: 'all ready after', align: 'right' },
    { title: 'memory each', align: 'right' },
  ] as const;
  const rows = costs.map(({ how, count, ready, memory }) => [
    how,
    String(count),
    `${(ready / 1000).toFixed(2)} s`,
    mebibytes(memory),
  ]);
  const notes = [
    'Ready: user space runs; a clone: its command has printed. Memory: what a VM adds to this process’s PSS.',
    'In programs: Sandbox.create() and fork(); see docs/sandboxes.md.',
  ];
  return [
    `${style.bold(`${outputs.length} clones of a template, a command in each (host: Linux ${release()}):`)}\n`,
    `${outputs.map((line) => `  ${line}`).join('\n')}\n`,
    formatTable(columns, rows, style),
    `${notes.map((note) => style.faint(note)).join('\n')}\n`,
  ].join('\n');
}
