/**
 * Guests' memory in another process, found and counted from outside: /proc/PID/smaps tells where it is,
 * /proc/PID/pagemap (Linux, admin-guide/mm/pagemap.rst) whose each page is. 64 bits a page; the flag
 * bits need no privilege beyond that to look at the process.
 */
import { closeSync, openSync, readSync } from 'node:fs';
import { PandoError } from '../error.js';
import { errnoOf } from '../host/errno.js';
import type { Mapping } from '../host/smaps.js';

const PAGE_SIZE = 4096;

/** State of a page. */
export const GUEST_PAGE_UNTOUCHED = 0;
/** Present, and a file's own. */
export const GUEST_PAGE_SHARED = 1;
/** Present or swapped out, and the process's own. */
export const GUEST_PAGE_OWN = 2;

// Bits of the upper half of an entry: 63 present, 62 swapped, 61 file page, 56 mapped by nobody else.
const PRESENT = 1 << 31;
const SWAPPED = 1 << 30;
const FILE = 1 << 29;
const EXCLUSIVE = 1 << 24;

/** What the upper half of an entry means; an anonymous page that many have is the page of zeros. */
export function pageState(high: number): number {
  if ((high & PRESENT) === 0) return (high & SWAPPED) === 0 ? GUEST_PAGE_UNTOUCHED : GUEST_PAGE_OWN;
  if ((high & FILE) !== 0) return GUEST_PAGE_SHARED;
  return (high & EXCLUSIVE) === 0 ? GUEST_PAGE_UNTOUCHED : GUEST_PAGE_OWN;
}

/**
 * State of each page of a range of a process.
 *
 * @param address page-aligned host address
 * @throws PandoError MEASURE_NO_PAGEMAP
 */
export function pageStates(pid: number, address: number, bytes: number): Uint8Array {
  const path = `/proc/${pid}/pagemap`;
  const states = new Uint8Array(bytes / PAGE_SIZE);
  const entries = new Uint32Array(2 * 0x10000);
  let fd: number | undefined;
  try {
    fd = openSync(path, 'r');
    for (let page = 0; page < states.length; ) {
      const wanted = Math.min(0x10000, states.length - page) * 8;
      const got = readSync(fd, entries, 0, wanted, (address / PAGE_SIZE + page) * 8) >>> 3;
      if (got === 0) throw new PandoError('MEASURE_NO_PAGEMAP', `${path} ends at page ${page}`);
      for (let i = 0; i < got; i++) states[page + i] = pageState(entries[2 * i + 1] ?? 0);
      page += got;
    }
  } catch (cause) {
    const name = errnoOf(cause);
    if (name === undefined) throw cause;
    throw new PandoError('MEASURE_NO_PAGEMAP', `${path}: ${name}`, { cause });
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
  return states;
}

/**
 * Where mappings that lie end to end make up exactly `bytes`: a guest's memory, whatever files are mapped
 * over parts of it and whatever lies beside it. Of several places that overlap, the first.
 *
 * @returns host addresses, ascending
 */
export function findRegions(mappings: readonly Mapping[], bytes: number): number[] {
  const found: number[] = [];
  const writable = mappings.filter(({ permissions }) => permissions === 'rw-p');
  for (let first = 0; first < writable.length; first++) {
    const start = writable[first]!.start;
    let end = start;
    for (let last = first; writable[last]?.start === end && end - start < bytes; last++) {
      end = writable[last]!.end;
      if (end - start !== bytes) continue;
      found.push(start);
      first = last;
    }
  }
  return found;
}

/** A named range of a guest's memory, in bytes from its first one. */
export interface NamedRange {
  readonly name: string;
  readonly start: number;
  readonly length: number;
}

/** Pages of one name. */
export interface RangePages {
  readonly name: string;
  readonly total: number;
  readonly shared: number;
  readonly own: number;
  readonly untouched: number;
}

/** Counts pages by name; a page of two names counts for the first, one of none for `rest`. */
export function countPages(
  states: Uint8Array,
  ranges: readonly NamedRange[],
  rest: string,
): RangePages[] {
  const names = [...new Set(ranges.map(({ name }) => name).filter((name) => name !== rest)), rest];
  const owners = new Uint8Array(states.length).fill(names.indexOf(rest));
  for (const { name, start, length } of [...ranges].reverse()) {
    owners.fill(
      names.indexOf(name),
      Math.floor(start / PAGE_SIZE),
      Math.ceil((start + length) / PAGE_SIZE),
    );
  }
  const counts = names.map(() => [0, 0, 0]);
  for (let page = 0; page < states.length; page++) {
    const count = counts[owners[page] ?? 0];
    if (count !== undefined) count[states[page] ?? 0]!++;
  }
  return names.map((name, index) => {
    const [untouched = 0, shared = 0, own = 0] = counts[index] ?? [];
    return { name, total: untouched + shared + own, shared, own, untouched };
  });
}
