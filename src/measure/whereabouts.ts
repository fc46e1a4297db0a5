/**
 * Where the private memory of a process with guests in it is: guests' own pages, engine, runtime. All of
 * it is seen from outside the process, so a peer's is divided by the same rules.
 */

import { PAGE_OWN, PAGE_SHARED } from '../host/pagemap.js';
import type { Mapping } from '../host/smaps.js';
import {
  countPages,
  findRegions,
  type NamedRange,
  pageStates,
  type RangePages,
} from './guest-pages.js';
import { figuresOf } from './process-memory.js';

/** Kinds of memory, in the order of the tables and plots. All but the last add up to USS. */
export const MEMORY_KINDS = ['guest', 'image', 'engine', 'code', 'heap'] as const;
export type MemoryKind = (typeof MEMORY_KINDS)[number];

/** What the kinds are, for legends. */
export const KIND_TITLES: Readonly<Record<MemoryKind, string>> = {
  guest: 'guest pages of its own',
  image: 'image files, mapped by nobody else',
  engine: 'engine: decoded or translated code, state',
  code: 'program and libraries',
  heap: 'heaps and stacks of the program',
};

/** How a system lays its guests out. */
export interface GuestShape {
  /** Bytes before guest RAM that belong to the engine. */
  readonly controlBytes: number;
  /** Guest RAM in bytes. */
  readonly ramBytes: number;
  /** Parts of guest RAM by guest address. */
  readonly parts: readonly NamedRange[];
  /** Parts of the control area by offset. */
  readonly control: readonly NamedRange[];
  /** Files that guests' memory is made of. */
  readonly images: readonly string[];
}

/** One process with its guests. */
export interface Whereabouts {
  /** Bytes of USS by kind. */
  readonly kinds: Readonly<Record<MemoryKind, number>>;
  /** For each guest, ascending by host address. */
  readonly guests: readonly GuestPages[];
}

/** One guest's pages. */
export interface GuestPages {
  readonly ram: readonly RangePages[];
  readonly control: readonly RangePages[];
}

const PAGE = 4096;
const own = (pages: readonly RangePages[]): number =>
  pages.reduce((sum, range) => sum + range.own * PAGE, 0);

function privateBytes(mappings: readonly Mapping[]): number {
  return figuresOf(mappings).uss;
}

function isImage(mapping: Mapping, images: readonly string[]): boolean {
  return images.some((image) => mapping.path === image || mapping.path === `${image} (deleted)`);
}

/**
 * Divides a process's private memory.
 *
 * @param mappings of the process, from /proc/PID/smaps
 * @throws PandoError MEASURE_NO_PAGEMAP
 */
export function whereabouts(
  pid: number,
  mappings: readonly Mapping[],
  shape: GuestShape,
): Whereabouts {
  const { controlBytes, ramBytes } = shape;
  const regions = findRegions(mappings, controlBytes + ramBytes);
  const guests = regions.map((start) => ({
    ram: countPages(pageStates(pid, start + controlBytes, ramBytes), shape.parts, 'rest'),
    control: countPages(pageStates(pid, start, controlBytes), shape.control, 'unused'),
  }));
  const within = (mapping: Mapping): boolean =>
    regions.some(
      (start) => mapping.start >= start && mapping.end <= start + controlBytes + ramBytes,
    );
  const outside = mappings.filter((mapping) => !within(mapping));
  const images = mappings.filter(
    (mapping) => isImage(mapping, shape.images) && !(mapping.figures.get('Rss') === 0),
  );
  // Copies of file pages in a guest's memory are its own pages; those in the page cache may be dirty.
  const copied = (mapping: Mapping): number =>
    within(mapping) ? (mapping.figures.get('Anonymous') ?? 0) : 0;
  const imageBytes = images.reduce(
    (sum, mapping) => sum + Math.max(0, privateBytes([mapping]) - copied(mapping)),
    0,
  );
  const program = outside.filter((mapping) => !isImage(mapping, shape.images));
  const translated = program.filter(
    ({ permissions, inode }) => inode === 0 && permissions.includes('x'),
  );
  const code = program.filter(({ inode }) => inode !== 0);
  const rest = program.filter(
    (mapping) => !translated.includes(mapping) && !code.includes(mapping),
  );
  const sum = (pick: (guest: GuestPages) => readonly RangePages[]): number =>
    guests.reduce((total, guest) => total + own(pick(guest)), 0);
  return {
    kinds: {
      guest: sum(({ ram }) => ram),
      image: imageBytes,
      engine: sum(({ control }) => control) + privateBytes(translated),
      code: privateBytes(code),
      heap: privateBytes(rest),
    },
    guests,
  };
}

/**
 * The state of every page of guests' RAM, for maps.
 *
 * @param most how many guests of the process are looked at
 * @throws PandoError MEASURE_NO_PAGEMAP
 */
export function guestMaps(
  pid: number,
  mappings: readonly Mapping[],
  shape: Pick<GuestShape, 'controlBytes' | 'ramBytes'>,
  most: number,
): Uint8Array[] {
  return findRegions(mappings, shape.controlBytes + shape.ramBytes)
    .slice(0, most)
    .map((start) => pageStates(pid, start + shape.controlBytes, shape.ramBytes));
}

/** A guest's map in cells of several pages each: shares of own, shared and untouched pages. */
export interface MapCell {
  readonly own: number;
  readonly shared: number;
}

/** @param pagesPerCell how many pages a cell stands for; the last one may stand for fewer */
export function mapCells(states: Uint8Array, pagesPerCell: number): MapCell[] {
  return Array.from({ length: Math.ceil(states.length / pagesPerCell) }, (_, index) => {
    const pages = states.subarray(index * pagesPerCell, (index + 1) * pagesPerCell);
    const share = (state: number): number =>
      pages.reduce((count, page) => count + (page === state ? 1 : 0), 0) / pages.length;
    return { own: share(PAGE_OWN), shared: share(PAGE_SHARED) };
  });
}
