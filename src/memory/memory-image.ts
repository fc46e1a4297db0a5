/**
 * Guest RAM as files: which bytes of which file are behind which run of pages. What no run covers is
 * zeros. A VM maps it private and copy-on-write (mmap(2)), so that all VMs of one image share its pages.
 *
 * Capturing copies the pages that the VM has of its own; pages that are still a file's own are named by
 * that file. A host has mappings for so many runs only, so the shortest gaps between copied pages are copied,
 * too, until there are as few runs as wanted.
 */
import { readSync, writeSync } from 'node:fs';
import { HIGH_MEMORY_START, LOW_MEMORY_LIMIT, PAGE_SIZE } from '../arch/layout.js';
import { PandoError } from '../error.js';
import { mapFileOver, mapZeroOver } from '../host/mmap.js';
import { PAGE_OWN } from '../host/pagemap.js';
import type { GuestRam } from './guest-ram.js';
import { isZeroPage } from './zero-pages.js';

/** Pages of guest RAM. */
export interface PageRange {
  /** First page, counted through RAM without its hole. */
  readonly page: number;
  readonly pages: number;
}

/** Pages of one file in guest RAM. */
export interface MemoryRun extends PageRange {
  /** Index of the file, as its owner counts them. */
  readonly file: number;
  /** First page of the file. */
  readonly filePage: number;
}

/** Pages of the longest gap between copied pages that are copied, too. */
const GAP_LIMIT = 4096;
/** Pages that are written at a time. */
const CHUNK = 1024;

const PAGE_ZERO = 0;
const PAGE_COPIED = 1;
/** + the index of a file. */
const PAGE_OF_FILE = 2;

/** The guest physical address of a page of RAM. */
function addressOfPage(page: number): number {
  const offset = page * PAGE_SIZE;
  return offset < LOW_MEMORY_LIMIT ? offset : offset - LOW_MEMORY_LIMIT + HIGH_MEMORY_START;
}

/** Bytes of pages; `pages` may end at the hole, not cross it. */
export function pageBytes(guest: GuestRam, page: number, pages: number): Uint8Array {
  return guest.bytes(addressOfPage(page), pages * PAGE_SIZE);
}

const LOW_PAGES = LOW_MEMORY_LIMIT / PAGE_SIZE;

/** Calls `use` with pieces of a run that do not cross RAM's hole and have at most so many pages. */
export function forEachPiece(
  page: number,
  pages: number,
  most: number,
  use: (page: number, pages: number) => void,
): void {
  for (let at = page; at < page + pages; ) {
    const limit = at < LOW_PAGES ? Math.min(page + pages, LOW_PAGES) : page + pages;
    const count = Math.min(most, limit - at);
    use(at, count);
    at += count;
  }
}

/**
 * What a VM's RAM consists of. No thread runs the guest.
 *
 * @param states of its pages (pagemap.ts)
 * @param mapped the runs that are mapped, whose untouched pages are their files' own; pages of files from
 * `copied` on, which no other guest can map, are copied
 * @param copied index that the file of copied pages gets
 * @param wanted runs that there are at most, if the pages allow it
 * @returns runs in order, those of the file `copied` with `filePage` from 0 on
 */
export function planCapture(
  guest: GuestRam,
  states: Uint8Array,
  mapped: readonly MemoryRun[],
  copied: number,
  wanted: number,
): MemoryRun[] {
  const origin = new Uint32Array(states.length);
  const kinds = new Uint8Array(states.length);
  for (const run of mapped) {
    for (let i = 0; i < run.pages; i++) {
      const page = run.page + i;
      if (states[page] === PAGE_OWN) continue;
      kinds[page] = run.file < copied ? PAGE_OF_FILE + run.file : PAGE_COPIED;
      origin[page] = run.filePage + i;
    }
  }
  for (let page = states.indexOf(PAGE_OWN); page >= 0; page = states.indexOf(PAGE_OWN, page + 1)) {
    kinds[page] = isZeroPage(pageBytes(guest, page, 1)) ? PAGE_ZERO : PAGE_COPIED;
  }
  return fewerRuns(runsOf(kinds, origin, copied), copied, wanted);
}

/** Makes copied pages of what lies between two copied runs, the shortest gaps first, until there are few runs. */
function fewerRuns(runs: readonly MemoryRun[], copied: number, wanted: number): MemoryRun[] {
  if (runs.length <= wanted) return [...runs];
  const copies = [...runs.keys()].filter((index) => runs[index]!.file === copied);
  const gaps = copies.slice(1).map((index, before) => {
    const { page, pages } = runs[copies[before]!]!;
    return { index, pages: runs[index]!.page - page - pages, runs: index - copies[before]! };
  });
  gaps.sort((a, b) => a.pages - b.pages);
  /** Indices of copied runs that the copied run before reaches up to. */
  const joined = new Set<number>();
  let left = runs.length;
  for (const gap of gaps) {
    if (left <= wanted || gap.pages > GAP_LIMIT) break;
    joined.add(gap.index);
    left -= gap.runs;
  }
  const fewer: MemoryRun[] = [];
  let filePage = 0;
  for (const [index, run] of runs.entries()) {
    if (run.file !== copied) {
      fewer.push(run);
      continue;
    }
    let first = run.page;
    if (joined.has(index)) {
      while (fewer.at(-1)?.file !== copied) fewer.pop();
      first = fewer.pop()!.page;
    }
    fewer.push({ page: first, pages: run.page + run.pages - first, file: copied, filePage: 0 });
  }
  for (const [index, run] of fewer.entries()) {
    if (run.file !== copied) continue;
    fewer[index] = { ...run, filePage };
    filePage += run.pages;
  }
  return fewer;
}

function runsOf(kinds: Uint8Array, origin: Uint32Array, copied: number): MemoryRun[] {
  const runs: MemoryRun[] = [];
  // Most pages of a guest are zeros: four at a time.
  const words = new Uint32Array(kinds.buffer, 0, kinds.length >>> 2);
  let copies = 0;
  for (let page = 0; page < kinds.length; ) {
    const kind = kinds[page]!;
    let end = page + 1;
    if (kind === PAGE_ZERO) {
      while (end < kinds.length && kinds[end] === PAGE_ZERO) {
        end += (end & 3) === 0 && words[end >>> 2] === 0 ? 4 : 1;
      }
    } else if (kind === PAGE_COPIED) {
      while (end < kinds.length && kinds[end] === PAGE_COPIED) end++;
      runs.push({ page, pages: end - page, file: copied, filePage: copies });
      copies += end - page;
    } else {
      const first = origin[page]!;
      while (end < kinds.length && kinds[end] === kind && origin[end] === first + end - page) end++;
      runs.push({ page, pages: end - page, file: kind - PAGE_OF_FILE, filePage: first });
    }
    page = end;
  }
  return runs;
}

/** Runs in order without the pages of some ranges, in order, too. */
export function withoutRanges(
  runs: readonly MemoryRun[],
  ranges: readonly PageRange[],
): MemoryRun[] {
  return cutRuns(runs, ranges, false);
}

/** The parts of runs in order that are in some ranges, in order, too. */
export function withinRanges(
  runs: readonly MemoryRun[],
  ranges: readonly PageRange[],
): MemoryRun[] {
  return cutRuns(runs, ranges, true);
}

function cutRuns(
  runs: readonly MemoryRun[],
  ranges: readonly PageRange[],
  inside: boolean,
): MemoryRun[] {
  const parts: MemoryRun[] = [];
  let next = 0;
  for (const { page, pages, file, filePage } of runs) {
    const end = page + pages;
    const add = (from: number, to: number): void => {
      if (from < to)
        parts.push({ page: from, pages: to - from, file, filePage: filePage + from - page });
    };
    let at = page;
    while (next > 0 && ranges[next - 1]!.page + ranges[next - 1]!.pages > page) next -= 1;
    for (; next < ranges.length && ranges[next]!.page < end; next += 1) {
      const range = ranges[next]!;
      const [from, to] = [Math.max(range.page, at), Math.min(range.page + range.pages, end)];
      if (to <= at) continue;
      if (inside) add(from, to);
      else add(at, from);
      at = to;
    }
    if (!inside) add(at, end);
  }
  return parts;
}

/** Writes pages to a file, from its page `filePage` on. */
export function writePages(
  guest: GuestRam,
  { page, pages }: PageRange,
  fd: number,
  filePage: number,
): void {
  forEachPiece(page, pages, CHUNK, (first, count) => {
    const bytes = pageBytes(guest, first, count);
    const position = (filePage + first - page) * PAGE_SIZE;
    for (let at = 0; at < bytes.length; )
      at += writeSync(fd, bytes, at, bytes.length - at, position + at);
  });
}

/** Writes the pages of the runs of one file to it. @returns pages written */
export function writeCapture(
  guest: GuestRam,
  runs: readonly MemoryRun[],
  file: number,
  fd: number,
): number {
  let written = 0;
  for (const run of runs) {
    if (run.file !== file) continue;
    writePages(guest, run, fd, run.filePage);
    written += run.pages;
  }
  return written;
}

/**
 * Maps runs over guest RAM, private and copy-on-write; other pages stay as they are.
 * @param fds descriptor of each file
 * @throws PandoError SNAPSHOT_MAPPING_REFUSED
 */
export function mapRuns(guest: GuestRam, runs: readonly MemoryRun[], fds: readonly number[]): void {
  for (const { page, pages, file, filePage } of runs) {
    const address = guest.ramHostAddress + BigInt(page) * BigInt(PAGE_SIZE);
    const refused = mapFileOver(address, pages * PAGE_SIZE, fds[file]!, filePage * PAGE_SIZE);
    if (refused === undefined) continue;
    throw new PandoError(
      'SNAPSHOT_MAPPING_REFUSED',
      `the host refuses to map ${pages} pages of a snapshot at page ${page} of guest RAM: ${refused}`,
      { remedy: 'run fewer VMs in a process, or raise vm.max_map_count' },
    );
  }
}

/**
 * Maps runs over the very pages that they are equal to, for some time. Where the host refuses, the pages stay
 * the guest's own: a refused fixed mapping may have left a hole, and the file has what was there.
 * @param fds descriptor of each file
 * @param limit milliseconds
 * @returns the runs that there was no time for
 */
export function remapRuns(
  guest: GuestRam,
  runs: readonly MemoryRun[],
  fds: readonly number[],
  limit: number,
): MemoryRun[] {
  const end = performance.now() + limit;
  for (const [index, { page, pages, file, filePage }] of runs.entries()) {
    if (performance.now() >= end) return runs.slice(index);
    const address = guest.ramHostAddress + BigInt(page) * BigInt(PAGE_SIZE);
    const length = pages * PAGE_SIZE;
    const fd = fds[file]!;
    if (mapFileOver(address, length, fd, filePage * PAGE_SIZE) === undefined) continue;
    mapZeroOver(address, length);
    forEachPiece(page, pages, CHUNK, (first, count) => {
      const position = (filePage + first - page) * PAGE_SIZE;
      readSync(fd, pageBytes(guest, first, count), 0, count * PAGE_SIZE, position);
    });
  }
  return [];
}

/**
 * Checks runs that come from a file: in order, without overlap, within RAM and within their files.
 * @param filePages pages of each file
 * @throws PandoError SNAPSHOT_RUNS_INVALID
 */
export function checkRuns(
  runs: readonly MemoryRun[],
  ramPages: number,
  filePages: readonly number[],
): void {
  let end = 0;
  for (const [index, run] of runs.entries()) {
    const { page, pages, file, filePage } = run;
    const size = filePages[file] ?? -1;
    const whole = [page, pages, file, filePage].every((value) => Number.isSafeInteger(value));
    if (whole && page >= end && pages > 0 && page + pages <= ramPages && filePage >= 0) {
      end = page + pages;
      if (filePage + pages <= size) continue;
    }
    throw new PandoError(
      'SNAPSHOT_RUNS_INVALID',
      `run ${index} of the snapshot (${pages} pages at ${page}, from page ${filePage} of file ${file}) ` +
        `does not fit RAM of ${ramPages} pages, its file of ${size}, or overlaps another`,
      { remedy: 'make the snapshot again: this one is damaged' },
    );
  }
}
