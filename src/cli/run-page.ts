/** The page of one run: stages, memory by part, processes, and a map of each guest's memory. */
import type { GuestMap } from '../bench/footprint-report.js';
import { definitions, htmlPage, plotSection, table } from '../bench/page.js';
import { guestMapPlot } from '../bench/plot/charts.js';
import { toPng } from '../bench/plot/png.js';
import { toSvg } from '../bench/plot/svg.js';
import { PandoError } from '../error.js';
import type { FleetVm } from '../fleet/fleet-vm.js';
import { NOT_MADE } from '../fleet/planned-vm.js';
import {
  countPages,
  findRegions,
  type NamedRange,
  type RangePages,
} from '../measure/guest-pages.js';
import { tableRanges, withGuestPages } from '../measure/guest-tables.js';
import { type Mapping, readMappings } from '../measure/process-memory.js';
import { guestMaps, mapCells } from '../measure/whereabouts.js';
import { controlArea } from '../run/control-area.js';
import { openImages } from '../run/images.js';
import { formatReport, type ReportFile, type RunReport, tryObserve } from './report.js';
import { mebibytes } from './terminal/units.js';

/** More maps than this tell a reader nothing more. */
const MAP_LIMIT = 8;
const PAGES_PER_CELL = 32;
/** Long mode is active (Intel SDM vol. 3, IA32_EFER). */
const EFER_LMA = 1n << 10n;

/** What guests' memory is mapped from. */
export interface MappedImages {
  readonly kernel: string;
  readonly initrd: string | undefined;
  /** Guest RAM in bytes. */
  readonly memory: number;
}

/** A guest's map, and its pages by part. */
export interface MappedGuest extends GuestMap {
  readonly counts: readonly RangePages[];
}

/** What the guest's own page tables tell about its RAM; nothing outside long mode, or when it is silent. */
async function tablesOf(
  vm: FleetVm,
  mappings: readonly Mapping[],
  { controlBytes, ramBytes }: { readonly controlBytes: number; readonly ramBytes: number },
): Promise<NamedRange[]> {
  const seen = await tryObserve(vm);
  const [region] = findRegions(mappings, controlBytes + ramBytes);
  if (seen === undefined || region === undefined || (seen.vcpu.efer & EFER_LMA) === 0n) return [];
  const { cr3 } = seen.vcpu;
  try {
    return withGuestPages(vm.pid, region + controlBytes, (read) =>
      tableRanges(read, cr3, ramBytes),
    );
  } catch (cause) {
    // The map does without where the system does not let one process read the other.
    if (cause instanceof PandoError) return [];
    throw cause;
  }
}

/**
 * Maps of the guests' RAM, as it is now, of at most MAP_LIMIT guests.
 * @throws PandoError MEASURE_NO_PAGEMAP
 */
export async function mapGuests(
  vms: readonly FleetVm[],
  { kernel, initrd, memory }: MappedImages,
): Promise<MappedGuest[]> {
  const images = openImages({ kernel, initrd, memory, immutable: true });
  images.close();
  const imageParts = images.parts.map(({ part, guestAddress, length }) => ({
    name: part,
    start: guestAddress,
    length,
  }));
  const maps: MappedGuest[] = [];
  const pids = new Set(vms.map((vm) => vm.pid));
  pids.delete(NOT_MADE);
  for (const pid of pids) {
    const held = vms.filter((vm) => vm.pid === pid);
    const first = held[0]!;
    const { accelerator, index } = first;
    const shape = { controlBytes: controlArea(accelerator).bytes, ramBytes: memory };
    const mappings = readMappings(pid);
    // Of several VMs in one process it is not known whose RAM is where.
    const tables = held.length === 1 ? await tablesOf(first, mappings, shape) : [];
    const parts = [...imageParts, ...tables];
    const states = guestMaps(pid, mappings, shape, MAP_LIMIT - maps.length);
    for (const [number, pages] of states.entries()) {
      const title =
        held.length === 1 ? `VM ${index}` : `VM at place ${number + 1} of process ${pid}`;
      const cells = mapCells(pages, PAGES_PER_CELL);
      const counts = countPages(pages, parts, 'rest');
      maps.push({ title, pagesPerCell: PAGES_PER_CELL, cells, parts, counts });
    }
  }
  return maps;
}

/** Empty when no VM has a balloon. */
function balloonSection({ vms }: RunReport): string[] {
  const rows = vms.flatMap(({ id, memory }) => {
    if (memory?.balloon === undefined) return [];
    const { discarded, statistics = {} } = memory.balloon;
    const { free, available, caches, total } = statistics;
    const cells = [discarded, free, available, caches, total].map((bytes) =>
      bytes === undefined ? '–' : mebibytes(bytes).replace(/ MiB$/, ''),
    );
    return [[`VM ${id}`, ...cells]];
  });
  if (rows.length === 0) return [];
  const columns = ['VM', 'Given back', 'Free', 'Available', 'Caches', 'Total'];
  return [
    table(
      'Balloon, MiB',
      columns,
      rows,
      'Given back: all that the guest has reported free so far, by the host. The rest is what the guest says itself.',
    ),
  ];
}

function sections(report: RunReport, maps: readonly MappedGuest[]): string[] {
  const stages = report.vms.flatMap((vm) =>
    vm.stages.map(({ name, ms, source }) => [`VM ${vm.id}`, name, ms.toFixed(1), source]),
  );
  const parts = maps.flatMap(({ title, counts }) =>
    counts.map(({ name, total, shared, own, untouched }) => [
      `${title}, ${name}`,
      ...[total, shared, own, untouched].map(String),
    ]),
  );
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
      "/proc/PID/pagemap; page tables, struct page and user space from the guest's own tables, by /proc/PID/mem, for a VM that has its process to itself. Shared: a file's own page; untouched: not in the process's page table, so that it costs nothing; a mapped page is the file's once it is read.",
    ),
    ...balloonSection(report),
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
export function runPage(report: RunReport, maps: readonly MappedGuest[], command: string): string {
  const { host } = report;
  return htmlPage('Pando: a run', 'run', [
    ...maps.map((map) => plotSection(guestMapPlot(map))),
    '<p class="source">Source of the maps: /proc/PID/pagemap, as the run ended.</p>',
    ...sections(report, maps),
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

/** The files of a run's folder: the page, the measurements, and each map as SVG and PNG. */
export function runFiles(
  report: RunReport,
  maps: readonly MappedGuest[],
  command: string,
): ReportFile[] {
  return [
    ['run.html', runPage(report, maps, command)],
    ['run.json', formatReport(report)],
    ...maps.flatMap((map, index): ReportFile[] => {
      const drawing = guestMapPlot(map);
      return [
        [`guest-memory-${index}.svg`, toSvg(drawing, true)],
        [`guest-memory-${index}.png`, toPng(drawing)],
      ];
    }),
  ];
}
