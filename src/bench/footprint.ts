/** `pando bench footprint`: boots instances up to each count, waits until their memory is still, and measures it. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { ProgressSink } from '../image/progress.js';
import type { RangePages } from '../measure/guest-pages.js';
import { readMappings, readProcessMemory } from '../measure/process-memory.js';
import {
  type GuestPages,
  type GuestShape,
  guestMaps,
  MEMORY_KINDS,
  type MemoryKind,
  mapCells,
  whereabouts,
} from '../measure/whereabouts.js';
import { deduplicatedPath } from '../run/boot-gains.js';
import { controlArea } from '../run/control-area.js';
import { defaultCpu } from '../vm/options.js';
import { createFleet, USER_SPACE_STAGE } from './fleet.js';
import type {
  FootprintCell,
  FootprintReport,
  FootprintSeries,
  GuestMap,
  MeanPages,
  SeriesName,
} from './footprint-report.js';
import { type FootprintFlags, parseFootprintOptions } from './options.js';
import { type OpenSubject, openSubject, seriesOf } from './subject.js';
import { warmUp } from './warm-up.js';

/** Memory is still when it stays within this share for the settling time. */
const STILLNESS = 0.002;
const POLL_MS = 500;
/** Settling is given up after this many settling times. */
const PATIENCE = 10;
const PAGES_PER_CELL = 32;

/** Everything that guests' memory is mapped from. */
function imageFiles({ vm, images, accelerator }: OpenSubject): string[] {
  const { kernel, initrd } = images;
  const deduplicated = deduplicatedPath(kernel, {
    accelerator,
    memory: vm.memory ?? 0,
    cpus: 1,
    cpu: defaultCpu(accelerator),
  });
  return [kernel.path, initrd?.path, deduplicated].filter((path) => path !== undefined);
}

/** How a system lays out its guests' memory. */
function shapeOf(series: SeriesName, opened: OpenSubject): GuestShape {
  const { vm, images, accelerator } = opened;
  const area = series.system === 'pando' ? controlArea(accelerator) : undefined;
  return {
    controlBytes: area?.bytes ?? 0,
    ramBytes: vm.memory ?? 0,
    parts: images.parts.map(({ part, guestAddress, length }) => ({
      name: part,
      start: guestAddress,
      length,
    })),
    control: area?.parts ?? [],
    images: imageFiles(opened),
  };
}

function totalUss(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => sum + readProcessMemory(pid).uss, 0);
}

/** Waits until the USS of all processes together stays the same for `settleMs`. */
async function settle(
  pids: readonly number[],
  settleMs: number,
): Promise<{ settled: number; still: boolean }> {
  const start = performance.now();
  let since = start;
  let reference = totalUss(pids);
  for (;;) {
    await sleep(POLL_MS);
    const now = performance.now();
    const uss = totalUss(pids);
    if (Math.abs(uss - reference) > reference * STILLNESS) {
      reference = uss;
      since = now;
    }
    const still = now - since >= settleMs;
    if (still || now - start >= settleMs * PATIENCE) {
      return { settled: (now - start) / 1000, still };
    }
  }
}

/** Means over all guests, by name. */
export function meanPages(
  guests: readonly GuestPages[],
  pick: (guest: GuestPages) => readonly RangePages[],
): MeanPages[] {
  const first = guests[0];
  if (first === undefined) return [];
  return pick(first).map(({ name, total }, index) => {
    const mean = (figure: (pages: RangePages) => number): number =>
      guests.reduce((sum, guest) => sum + figure(pick(guest)[index]!), 0) / guests.length;
    return { name, total, shared: mean(({ shared }) => shared), own: mean(({ own }) => own) };
  });
}

/** Measures running instances. */
function measure(
  instances: number,
  pids: readonly number[],
  shape: GuestShape,
  rest: { settled: number; still: boolean },
): FootprintCell {
  const processes = pids.map((pid) => {
    const { uss, pss, rss } = readProcessMemory(pid);
    return { pid, uss, pss, rss };
  });
  const places = pids.map((pid) => whereabouts(pid, readMappings(pid), shape));
  const guests = places.flatMap((place) => place.guests);
  const kinds = Object.fromEntries(
    MEMORY_KINDS.map((kind) => [kind, places.reduce((sum, place) => sum + place.kinds[kind], 0)]),
  ) as Record<MemoryKind, number>;
  const sum = (figure: 'uss' | 'pss' | 'rss'): number =>
    processes.reduce((total, process) => total + process[figure], 0);
  return {
    instances,
    uss: sum('uss'),
    pss: sum('pss'),
    rss: sum('rss'),
    kinds,
    processes,
    ram: meanPages(guests, ({ ram }) => ram),
    control: meanPages(guests, ({ control }) => control),
    ...rest,
  };
}

/**
 * Boots and measures everything that the flags ask for.
 * @param say takes a line of progress
 * @throws PandoError
 */
export async function benchFootprint(
  flags: FootprintFlags,
  command: string,
  say: ProgressSink,
): Promise<FootprintReport> {
  const options = parseFootprintOptions(flags);
  const opened = await openSubject(flags, options, command, USER_SPACE_STAGE);
  try {
    const names = seriesOf(options.isolate, options.load, options.against, opened.accelerator);
    const series: FootprintSeries[] = [];
    const maps: GuestMap[] = [];
    const most = options.instances.at(-1) ?? 0;
    let done = 0;
    await warmUp(opened, options.timeoutMs, say);
    for (const name of names) {
      const shape = shapeOf(name, opened);
      const cells: FootprintCell[] = [];
      const fleet = createFleet(name, opened.vm, options.timeoutMs, say);
      try {
        for (const instances of options.instances) {
          const booted = (count: number): void =>
            say(`${name.title}: ${count} of ${instances}`, (done + count) / (names.length * most));
          booted(cells.at(-1)?.instances ?? 0);
          await fleet.grow(instances, booted);
          const rest = await settle(fleet.pids, options.settleMs);
          cells.push(measure(instances, fleet.pids, shape, rest));
          if (cells.length === 1) maps.push(...mapOf(name, fleet.pids[0]!, shape));
        }
      } finally {
        await fleet.close();
      }
      done += most;
      series.push({ ...name, cells });
    }
    return { kind: 'footprint', host: opened.host, subject: opened.subject, series, maps };
  } finally {
    opened.images.close();
  }
}

/** The map of a process's first guest. */
function mapOf(name: SeriesName, pid: number, shape: GuestShape): GuestMap[] {
  return guestMaps(pid, readMappings(pid), shape, 1).map((states) => ({
    title: name.title,
    pagesPerCell: PAGES_PER_CELL,
    cells: mapCells(states, PAGES_PER_CELL),
    parts: shape.parts,
  }));
}
