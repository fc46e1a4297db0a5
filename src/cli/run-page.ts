/** The page of one run: stages, memory by part, processes, and a map of each guest's memory. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { GuestMap } from '../measure/footprint.js';
import { definitions, htmlPage, plotSection, table } from '../measure/page.js';
import { guestMapPlot } from '../measure/plot/charts.js';
import { toPng } from '../measure/plot/png.js';
import { toSvg } from '../measure/plot/svg.js';
import { readMappings } from '../measure/process-memory.js';
import { guestMaps, mapCells } from '../measure/whereabouts.js';
import { openImages } from '../vm/images.js';
import { controlArea } from '../vm/memory-parts.js';
import type { Machine } from './machine.js';
import { formatReport, type ReportTarget, type RunReport } from './report.js';
import { mebibytes } from './units.js';

/** More maps than this tell a reader nothing more. */
const MAP_LIMIT = 8;
const PAGES_PER_CELL = 32;

/** What guests' memory is mapped from. */
export interface MappedImages {
  readonly kernel: string;
  readonly initrd: string | undefined;
  /** Guest RAM in bytes. */
  readonly memory: number;
}

/**
 * Maps of the guests' RAM, as it is now, of at most MAP_LIMIT guests.
 * @throws PandoError MEASURE_NO_PAGEMAP
 */
export function mapGuests(
  machines: readonly Pick<Machine, 'pid' | 'index' | 'accelerator'>[],
  { kernel, initrd, memory }: MappedImages,
): GuestMap[] {
  const images = openImages({ kernel, initrd, memory, immutable: true });
  images.close();
  const parts = images.parts.map(({ part, guestAddress, length }) => ({
    name: part,
    start: guestAddress,
    length,
  }));
  const maps: GuestMap[] = [];
  for (const pid of new Set(machines.map((machine) => machine.pid))) {
    const held = machines.filter((machine) => machine.pid === pid);
    const { accelerator, index } = held[0]!;
    const shape = { controlBytes: controlArea(accelerator).bytes, ramBytes: memory };
    const states = guestMaps(pid, readMappings(pid), shape, MAP_LIMIT - maps.length);
    for (const [number, pages] of states.entries()) {
      const title =
        held.length === 1 ? `VM ${index}` : `VM at place ${number + 1} of process ${pid}`;
      const cells = mapCells(pages, PAGES_PER_CELL);
      maps.push({ title, pagesPerCell: PAGES_PER_CELL, cells, parts });
    }
  }
  return maps;
}

function sections(report: RunReport): string[] {
  const stages = report.vms.flatMap((vm) =>
    vm.stages.map(({ name, ms, source }) => [`VM ${vm.id}`, name, ms.toFixed(1), source]),
  );
  const parts = report.vms.flatMap((vm) =>
    (vm.memory?.parts ?? []).map(({ part, total, shared, own, untouched }) => [
      `VM ${vm.id}, ${part}`,
      ...[total, shared, own, untouched].map(String),
    ]),
  );
  const sources = [...new Set(report.vms.flatMap((vm) => vm.memory?.source ?? []))].join(', ');
  const all = [...report.processes, ...(report.supervisor ? [report.supervisor] : [])];
  const held = (pid: number): string =>
    report.vms
      .filter((vm) => vm.pid === pid)
      .map((vm) => `VM ${vm.id}`)
      .join(', ') || 'the command';
  return [
    table(
      'Stages, ms',
      ['VM', 'Stage', 'At', 'Seen by'],
      stages,
      "each stage's own, in the last column; counted from the start of the VM's process",
    ),
    table(
      'Guest memory by part, pages of 4 KiB',
      ['Part', 'Pages', 'Shared', 'Own', 'Untouched'],
      parts,
      `${sources}. Shared: the image file's own page; untouched: no memory behind it.`,
    ),
    table(
      'Processes, MiB',
      ['Process', 'Holds', 'USS', 'PSS', 'RSS'],
      all.map(({ pid, uss, pss, rss }) => [
        String(pid),
        held(pid),
        ...[uss, pss, rss].map((bytes) => mebibytes(bytes).replace(/ MiB$/, '')),
      ]),
      '/proc/PID/smaps_rollup',
    ),
  ];
}

/** The page as text of an HTML file that refers to nothing outside. */
export function runPage(report: RunReport, maps: readonly GuestMap[], command: string): string {
  const { host } = report;
  return htmlPage('Pando: a run', 'run', [
    ...maps.map((map) => plotSection(guestMapPlot(map))),
    '<p class="source">Source of the maps: /proc/PID/pagemap, as the run ended.</p>',
    ...sections(report),
    definitions('Machine, versions, how to run it again', [
      ['Command', command],
      ['Processor', `${host.processor}, ${host.cores} in use`],
      ['Memory', mebibytes(host.memory)],
      ['Host kernel', host.kernel],
      ['Node.js', host.node],
      ['Accelerator', report.accelerator],
      ['Images', report.load === 'map' ? 'mapped' : 'read'],
    ]),
  ]);
}

/** Writes what the target asks for. */
export async function writeRunPage(
  { path, kind }: ReportTarget,
  report: RunReport,
  maps: readonly GuestMap[],
  command: string,
): Promise<void> {
  const page = runPage(report, maps, command);
  if (kind === 'page') return writeFile(path, page);
  await mkdir(path, { recursive: true });
  await writeFile(join(path, 'run.html'), page);
  await writeFile(join(path, 'run.json'), formatReport(report));
  for (const [index, map] of maps.entries()) {
    const drawing = guestMapPlot(map);
    await writeFile(join(path, `guest-memory-${index}.svg`), toSvg(drawing, true));
    await writeFile(join(path, `guest-memory-${index}.png`), toPng(drawing));
  }
}
