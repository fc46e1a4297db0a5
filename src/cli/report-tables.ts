/** A run's report as tables for people. Pages are 4 KiB; every table names where its figures come from. */
import type { PartSharing, StageName } from '../vm/types.js';
import type { RunReport, VmReport } from './report.js';
import { type Column, formatTable, type Style } from './terminal/text-table.js';
import { mebibytes } from './terminal/units.js';

const STAGES: readonly StageName[] = ['vmm_init_end', 'linux_start_kernel', 'linux_start_user'];

const left = (title: string): Column => ({ title, align: 'left' });
const right = (title: string): Column => ({ title, align: 'right' });

function stagesTable(report: RunReport, style: Style): string {
  const columns = [left('VM'), ...STAGES.map(right), right('instructions'), left('state')];
  const rows = report.vms.map((vm) => [
    String(vm.id),
    ...STAGES.map((name) => {
      const stage = vm.stages.find((candidate) => candidate.name === name);
      return stage === undefined ? '-' : `${stage.ms.toFixed(0)} ms`;
    }),
    vm.instructions > 0 ? vm.instructions.toLocaleString('en-US') : '-',
    vm.exit?.kind ?? 'running',
  ]);
  const sources = new Map(
    report.vms.flatMap((vm) => vm.stages.map((stage) => [stage.name, stage.source] as const)),
  );
  const legend = [...sources].map(([name, source]) => `${name}: ${source}`).join('; ');
  const note = style.faint(`ms since the start of the VM's process; ${legend}`);
  return `${style.bold('Stages')}\n${formatTable(columns, rows, style)}${note}\n`;
}

/** Pages of all VMs by part, in the order of the first VM's parts. */
function sumParts(vms: readonly VmReport[]): PartSharing[] {
  const sums = new Map<string, PartSharing>();
  for (const { part, total, shared, own, untouched } of vms.flatMap(
    (vm) => vm.memory?.parts ?? [],
  )) {
    const sum = sums.get(part);
    sums.set(part, {
      part,
      total: total + (sum?.total ?? 0),
      shared: shared + (sum?.shared ?? 0),
      own: own + (sum?.own ?? 0),
      untouched: untouched + (sum?.untouched ?? 0),
    });
  }
  return [...sums.values()];
}

function sharingTable(report: RunReport, style: Style): string {
  const columns = [
    left('VM'),
    left('part'),
    right('pages'),
    right('shared'),
    right('own'),
    right('untouched'),
  ];
  const cells = (vm: string, { part, total, shared, own, untouched }: PartSharing): string[] => [
    vm,
    part,
    ...[total, shared, own, untouched].map(String),
  ];
  const rows = report.vms.flatMap((vm) =>
    (vm.memory?.parts ?? []).map((part) => cells(String(vm.id), part)),
  );
  if (report.vms.length > 1) rows.push(...sumParts(report.vms).map((part) => cells('all', part)));
  const sources = [...new Set(report.vms.flatMap((vm) => vm.memory?.source ?? []))].join(', ');
  const notes = [
    `pages of 4 KiB, from ${sources}; shared: the image file's own, untouched: no memory behind it`,
    ...new Set(report.vms.flatMap((vm) => vm.memory?.fallbacks ?? [])),
  ];
  const text = notes.map((note) => `${style.faint(note)}\n`).join('');
  return `${style.bold('Sharing')}\n${formatTable(columns, rows, style)}${text}`;
}

/** Undefined when no VM has a balloon. */
function balloonTable(report: RunReport, style: Style): string | undefined {
  const columns = [left('VM'), ...['discarded', 'free', 'available', 'caches', 'total'].map(right)];
  const rows = report.vms.flatMap(({ id, memory }) => {
    if (memory?.balloon === undefined) return [];
    const { discarded, statistics = {} } = memory.balloon;
    const { free, available, caches, total } = statistics;
    const cells = [free, available, caches, total].map((bytes) =>
      bytes === undefined ? '-' : mebibytes(bytes),
    );
    return [[String(id), mebibytes(discarded), ...cells]];
  });
  if (rows.length === 0) return undefined;
  const note = style.faint(
    'discarded: all that the guest has reported free so far; the rest as it says itself',
  );
  return `${style.bold('Balloon')}\n${formatTable(columns, rows, style)}${note}\n`;
}

function processesTable(report: RunReport, style: Style): string {
  const columns = [left('process'), left('holds'), right('USS'), right('PSS'), right('RSS')];
  const held = (pid: number): string => {
    const ids = report.vms.filter((vm) => vm.pid === pid).map((vm) => vm.id);
    return ids.length === 0 ? 'no VM' : `VM ${ids.join(', ')}`;
  };
  const all = [...report.processes, ...(report.supervisor ? [report.supervisor] : [])];
  const rows = all.map(({ pid, uss, pss, rss }) => [
    String(pid),
    held(pid),
    ...[uss, pss, rss].map(mebibytes),
  ]);
  const images = report.processes.flatMap((process) =>
    process.images
      .filter(({ rss }) => rss > 0)
      .map(({ path, uss, pss, rss }) => [
        String(process.pid),
        path.length > 24 ? `…${path.slice(-23)}` : path,
        ...[uss, pss, rss].map(mebibytes),
      ]),
  );
  const note = style.faint('from /proc/PID/smaps_rollup; image files from /proc/PID/smaps');
  return `${style.bold('Processes')}\n${formatTable(columns, [...rows, ...images], style)}${note}\n`;
}

/** All tables of a report, parted by empty lines. */
export function reportTables(report: RunReport, style: Style): string {
  return [
    stagesTable(report, style),
    sharingTable(report, style),
    balloonTable(report, style),
    processesTable(report, style),
  ]
    .filter((table) => table !== undefined)
    .join('\n');
}
