/** What `pando bench footprint` finds out: JSON, tables and plots are made of these. */

import type { MapCell, MemoryKind } from '../measure/whereabouts.js';
import { slope } from './statistics.js';

/** The machine and the programs. */
export interface BenchHost {
  readonly processor: string;
  readonly cores: number;
  /** Bytes. */
  readonly memory: number;
  readonly kernel: string;
  readonly node: string;
  readonly pando: string;
  /** First line of `--version`; null when QEMU was not asked for. */
  readonly qemu: string | null;
}

/** What was booted, and how one does it again. */
export interface BenchSubject {
  /** The command. */
  readonly command: string;
  readonly kernel: string;
  readonly initrd: string | null;
  readonly commandLine: string;
  /** Guest RAM in bytes. */
  readonly memory: number;
  /** QEMU's whole command line; null when it was not asked for. */
  readonly qemuCommand: string | null;
  /** When the bench began, ISO 8601. */
  readonly date: string;
}

/** One system in one mode. */
export interface SeriesName {
  readonly key: string;
  readonly title: string;
  readonly system: 'pando' | 'qemu';
  readonly accelerator: 'wasm' | 'kvm' | 'tcg';
  readonly load: 'map' | 'read' | null;
  readonly isolate: 'shared' | 'process';
}

/** Pages of one part, on the average of all guests. */
export interface MeanPages {
  readonly name: string;
  readonly total: number;
  readonly shared: number;
  readonly own: number;
}

/** N instances of one series; bytes of all of them together. */
export interface FootprintCell {
  readonly instances: number;
  readonly uss: number;
  readonly pss: number;
  readonly rss: number;
  readonly kinds: Readonly<Record<MemoryKind, number>>;
  readonly processes: readonly {
    readonly pid: number;
    readonly uss: number;
    readonly pss: number;
    readonly rss: number;
  }[];
  readonly ram: readonly MeanPages[];
  readonly control: readonly MeanPages[];
  /** How long the memory was waited for, in seconds, and whether it became still. */
  readonly settled: number;
  readonly still: boolean;
}

export interface FootprintSeries extends SeriesName {
  readonly cells: readonly FootprintCell[];
}

/** A guest's RAM as cells of equal size. */
export interface GuestMap {
  readonly title: string;
  readonly pagesPerCell: number;
  readonly cells: readonly MapCell[];
  /** Parts by guest address, in bytes. */
  readonly parts: readonly {
    readonly name: string;
    readonly start: number;
    readonly length: number;
  }[];
}

export interface FootprintReport {
  readonly kind: 'footprint';
  readonly host: BenchHost;
  readonly subject: BenchSubject;
  readonly series: readonly FootprintSeries[];
  readonly maps: readonly GuestMap[];
}

/** Where all figures of a footprint come from. */
export const FOOTPRINT_SOURCES =
  'USS, PSS and RSS of every process that holds instances from /proc/PID/smaps_rollup; ' +
  'kinds of memory from /proc/PID/smaps and /proc/PID/pagemap';

/** Bytes that one more instance costs: the slope of the line through all instance counts. */
export function marginalCost(cells: readonly FootprintCell[], figure: 'uss' | 'pss'): number {
  return slope(cells.map((cell) => [cell.instances, cell[figure]] as const));
}

/** Bytes of one more instance beyond its guest's own pages. */
export function marginalBeyondGuest(cells: readonly FootprintCell[]): number {
  return slope(
    cells.map((cell) => [cell.instances, cell.uss - cell.kinds.guest - cell.kinds.image] as const),
  );
}

/** Rows of the table of memory: each system at each count, USS and PSS each and in all, when it was still. */
export function memoryRows(report: FootprintReport, mib: (bytes: number) => string): string[][] {
  return report.series.flatMap(({ title, cells }) =>
    cells.map((cell) => [
      title,
      String(cell.instances),
      mib(cell.uss / cell.instances),
      mib(cell.pss / cell.instances),
      mib(cell.uss),
      mib(cell.pss),
      `${cell.still ? '' : 'not in '}${cell.settled.toFixed(0)} s`,
    ]),
  );
}

/** Rows of the table of one more instance: USS, PSS, and USS beyond the guest's pages. */
export function marginalRows(report: FootprintReport, mib: (bytes: number) => string): string[][] {
  return report.series.map(({ title, cells }) => [
    title,
    mib(marginalCost(cells, 'uss')),
    mib(marginalCost(cells, 'pss')),
    mib(marginalBeyondGuest(cells)),
  ]);
}
