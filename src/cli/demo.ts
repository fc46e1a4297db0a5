/**
 * `pando demo`: four VMs of Debian's kernel on one mapped copy, and what they share; two with the same
 * images read; and clones of a template (demo-clones.ts).
 */
import type { Command } from 'commander';
import { DEFAULT_MEMORY, type Makers } from '../fleet/fleet.js';
import { chooseBootImage } from '../image/boot-image.js';
import { USER_SPACE_LINE } from '../image/init-script.js';
import { WorkerPool } from '../run/wasm/pool.js';
import type { LoadMode } from '../vm/types.js';
import { TRIM_DELAY } from '../vm/vm.js';
import { type Cost, clonesText, memoryMeter, runClones } from './demo-clones.js';
import type { RunReport } from './report.js';
import { MAKERS } from './run.js';
import { runSession, type SessionResult } from './session.js';
import { progressLine } from './terminal/image-progress.js';
import { STANDARD_STREAMS, type Streams } from './terminal/standard-streams.js';
import { formatTable, type Style, styleFor } from './terminal/text-table.js';
import { mebibytes } from './terminal/units.js';

const VM_COUNT = 4;
const READ_COUNT = 2;
const LOADS = { map: 'mapped', read: 'read' } as const satisfies Record<LoadMode, string>;
const TIMEOUT_MS = 300_000;
/** Pages of zeros go back, and pages written alike are shared, some time after user space began. */
const SETTLE_MS = 2 * TRIM_DELAY;

/** Pages of kernel and initrd in one VM's memory, by whose they are. */
function imagePages({ memory }: RunReport['vms'][number]): { shared: number; own: number } {
  const parts = memory?.parts ?? [];
  const sum = (kind: 'shared' | 'own'): number =>
    parts.reduce((total, part) => total + part[kind], 0);
  return { shared: sum('shared'), own: sum('own') };
}

/** The finding in two sentences, then a line for each VM. */
export function demoText(report: RunReport, style: Style): string {
  const { vms, processes, accelerator } = report;
  const pages = vms.map(imagePages);
  const shared = pages.reduce((total, vm) => total + vm.shared, 0);
  const own = pages.reduce((total, vm) => total + vm.own, 0);
  const percent = Math.round((100 * shared) / Math.max(1, shared + own));
  const memory = processes.reduce((total, { pss }) => total + pss, 0);
  const each = mebibytes(memory / Math.max(1, vms.length));
  const finding = [
    `${vms.length} Linux guests have booted from one mapped copy of kernel and initrd (accelerator: ${accelerator}).`,
    `${percent} % of the kernel and initrd pages that they use are shared: these are once in memory.`,
    `The guests take ${mebibytes(memory)} together, ${each} each.`,
  ];
  const columns = [
    { title: 'guest', align: 'left' },
    { title: 'user space after', align: 'right' },
    { title: 'image pages shared', align: 'right' },
    { title: 'own', align: 'right' },
  ] as const;
  const rows = vms.map((vm, index) => {
    const user = vm.stages.find(({ name }) => name === 'linux_start_user');
    const after = user === undefined ? '-' : `${(user.ms / 1000).toFixed(1)} s`;
    return [`VM ${vm.id}`, after, String(pages[index]?.shared), String(pages[index]?.own)];
  });
  const notes = [
    'Pages of 4 KiB, from /proc/self/pagemap; memory: PSS, from /proc/PID/smaps_rollup.',
    `All figures: pando run --count ${VM_COUNT} --until '${USER_SPACE_LINE}'. A console: pando run.`,
  ];
  return [
    `${finding.map((sentence) => style.bold(sentence)).join('\n')}\n`,
    formatTable(columns, rows, style),
    `${notes.map((note) => style.faint(note)).join('\n')}\n`,
  ].join('\n');
}

/** Milliseconds until the last of the VMs ran user space. */
function readyAfter({ vms }: RunReport): number {
  const stages = vms.flatMap((vm) => vm.stages.filter(({ name }) => name === 'linux_start_user'));
  return Math.max(0, ...stages.map(({ ms }) => ms));
}

/**
 * @returns the exit status
 * @throws PandoError
 */
export async function demo(
  streams: Streams = STANDARD_STREAMS,
  makers: Makers = MAKERS,
): Promise<number> {
  const style = styleFor(streams.out);
  const pulling = progressLine(streams.err);
  const image = await chooseBootImage({}, pulling.sink).finally(() => pulling.end());
  const { kernel, initrd, commandLine } = image;
  const costs: Cost[] = [];
  const boot = async (load: LoadMode, count: number): Promise<SessionResult> => {
    streams.err.write(`booting ${count} VMs of ${kernel}, ${LOADS[load]}\n`);
    // Neither way finds the threads of the one before.
    await WorkerPool.shared().endIdle();
    const meter = memoryMeter();
    let memory = 0;
    const session = await runSession(
      {
        vm: { kernel, initrd, commandLine, load, memory: DEFAULT_MEMORY },
        count,
        isolate: 'shared',
        serial: { kind: 'null' },
        until: USER_SPACE_LINE,
        timeoutMs: TIMEOUT_MS,
        measure: true,
        inspect: async () => {
          memory = meter(count);
        },
        settleMs: SETTLE_MS,
        lastingProgress: true,
      },
      streams,
      makers,
    );
    const { report, complaints } = session;
    if (complaints.length > 0) streams.err.write(`${complaints.join('\n')}\n`);
    if (report !== undefined) {
      costs.push({ how: LOADS[load], count, ready: readyAfter(report), memory });
    }
    return session;
  };
  const mapped = await boot('map', VM_COUNT);
  if (mapped.report !== undefined) streams.out.write(`\n${demoText(mapped.report, style)}\n`);
  if (mapped.status !== 0) return mapped.status;
  const read = await boot('read', READ_COUNT);
  if (read.status !== 0) return read.status;
  const cloning = progressLine(streams.err);
  const clones = await runClones(cloning.sink).finally(() => cloning.end());
  streams.out.write(`\n${clonesText(clones, [...costs, clones.cost], style)}`);
  return 0;
}

/** Adds the command to the program. */
export function registerDemoCommand(program: Command): void {
  program
    .command('demo')
    .description(
      'boot VMs of the Debian image on one mapped copy, clone a template; show sharing and times',
    )
    .action(async () => {
      process.exitCode = await demo();
    });
}
