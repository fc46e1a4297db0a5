/**
 * The file of a capture, filled while the guest runs: a guest that is captured stands still while its pages
 * are compared with their copies, not while they are copied. A page that is new in the file costs the
 * host memory, which takes it many times as long as the comparison of two pages.
 *
 * `update` makes the file right for the moment in which it is called, if no thread runs the guest then. What
 * the guest has mapped must not become another file's between two updates.
 */
import { closeSync, ftruncateSync } from 'node:fs';
import { PAGE_SIZE } from '../arch/layout.js';
import { allocateRange } from '../host/fallocate.js';
import { viewOf } from '../host/libc.js';
import { createMemoryFile, sealMemoryFile } from '../host/memfd.js';
import { mapForReading, unmap } from '../host/mmap.js';
import { PAGE_OWN, readOwnPages } from '../host/pagemap.js';
import type { GuestRam } from './guest-ram.js';
import {
  forEachPiece,
  type MemoryRun,
  type PageRange,
  pageBytes,
  planCapture,
  withoutRanges,
  writeCapture,
  writePages,
} from './memory-image.js';
import { isZeroPage } from './zero-pages.js';

/** Pages of the file that are there before they are needed. */
const RESERVE = 512;
/** Pages that are compared at a time; those of a piece that differs are looked at by halves. */
const PIECE = 64;

/** Pages that have become a guest's own since the file's runs were planned. */
interface LatePages extends PageRange {
  readonly zeros: boolean;
}

export class Precopy {
  readonly #guest: GuestRam;
  /** Number of the file in its runs. */
  readonly #file: number;
  readonly #fd: number;
  #runs: readonly MemoryRun[];
  /** Pages that were the guest's own at some update. */
  #own: Uint8Array;
  #pages: number;
  /** Where the file is mapped, and how many pages of it. */
  #address = 0n;
  #mapped = 0;
  /** The same: to make a view takes as long as to compare ten pages. */
  #view: Buffer = Buffer.alloc(0);
  #finished = false;

  /**
   * Copies all pages.
   * @param mapped see `planCapture`, as are `file` and `wanted`
   * @throws HostError when there is no memory for it
   */
  constructor(guest: GuestRam, mapped: readonly MemoryRun[], file: number, wanted: number) {
    this.#guest = guest;
    this.#file = file;
    this.#own = readOwnPages(guest.ramHostAddress, guest.ramBytes / PAGE_SIZE);
    this.#runs = planCapture(guest, this.#own, mapped, file, wanted);
    this.#fd = createMemoryFile('pando-capture');
    try {
      this.#pages = writeCapture(guest, this.#runs, file, this.#fd);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  get fd(): number {
    return this.#fd;
  }

  /** What RAM consists of as of the last update. */
  get runs(): readonly MemoryRun[] {
    return this.#runs;
  }

  /** Pages of the file. */
  get pages(): number {
    return this.#pages;
  }

  /** Takes memory for pages to come, and maps the file: the next update does neither. */
  reserve(): void {
    allocateRange(this.#fd, this.#pages * PAGE_SIZE, RESERVE * PAGE_SIZE);
    if (this.#mapped < this.#pages) this.#map(this.#pages);
  }

  #map(pages: number): void {
    if (this.#mapped > 0) unmap(this.#address, this.#mapped * PAGE_SIZE);
    this.#mapped = 0;
    if (pages === 0) return;
    this.#address = mapForReading(pages * PAGE_SIZE, this.#fd);
    this.#mapped = pages;
    this.#view = Buffer.from(viewOf(this.#address, pages * PAGE_SIZE).buffer);
  }

  /**
   * Writes the pages that differ from the file, and those that are not in it.
   * @returns how many were not in it
   */
  update(): number {
    if (this.#mapped < this.#pages) this.#map(this.#pages);
    const states = readOwnPages(this.#guest.ramHostAddress, this.#own.length);
    // A page that the guest has given back since is looked at, too.
    const own = this.#own;
    for (let page = own.indexOf(PAGE_OWN); page >= 0; ) {
      let end = page + 1;
      while (own[end] === PAGE_OWN) end += 1;
      states.fill(PAGE_OWN, page, end);
      page = own.indexOf(PAGE_OWN, end);
    }
    this.#own = states;
    const copied = this.#runs.filter(({ file }) => file === this.#file);
    const late: LatePages[] = [];
    const size = this.#pages;
    let next = 0;
    for (let page = states.indexOf(PAGE_OWN); page >= 0; ) {
      while (next < copied.length && copied[next]!.page + copied[next]!.pages <= page) next += 1;
      const run = copied[next];
      const inside = run !== undefined && run.page <= page;
      const limit = inside ? run.page + run.pages : (run?.page ?? states.length);
      let end = page + 1;
      while (end < limit && states[end] === PAGE_OWN) end += 1;
      if (inside) this.#compare(page, end - page, run.filePage + page - run.page);
      else this.#late(page, end, late);
      page = states.indexOf(PAGE_OWN, end);
    }
    this.#insert(late, size);
    return this.#pages - size;
  }

  /** Writes pages that are not those of the file from `filePage` on. */
  #compare(page: number, pages: number, filePage: number): void {
    const copy = this.#view;
    forEachPiece(page, pages, PIECE, (first, count) => {
      const { buffer, byteOffset, length } = pageBytes(this.#guest, first, count);
      const mine = Buffer.from(buffer, byteOffset, length);
      const from = filePage + first - page;
      const look = (at: number, end: number): void => {
        const start = (from + at) * PAGE_SIZE;
        const stop = (from + end) * PAGE_SIZE;
        if (copy.compare(mine, at * PAGE_SIZE, end * PAGE_SIZE, start, stop) === 0) return;
        if (end - at === 1) {
          writePages(this.#guest, { page: first + at, pages: 1 }, this.#fd, from + at);
          return;
        }
        const middle = (at + end) >>> 1;
        look(at, middle);
        look(middle, end);
      };
      look(0, count);
    });
  }

  /** Writes pages behind those of the file, unless they are zeros. */
  #late(start: number, end: number, late: LatePages[]): void {
    const zeros = (page: number): boolean => isZeroPage(pageBytes(this.#guest, page, 1));
    for (let page = start; page < end; ) {
      const empty = zeros(page);
      let after = page + 1;
      while (after < end && zeros(after) === empty) after += 1;
      const range = { page, pages: after - page, zeros: empty };
      late.push(range);
      if (!empty) {
        writePages(this.#guest, range, this.#fd, this.#pages);
        this.#pages += range.pages;
      }
      page = after;
    }
  }

  /** @param filePage where the first of the late pages that are no zeros is in the file */
  #insert(late: readonly LatePages[], filePage: number): void {
    let at = filePage;
    const written: MemoryRun[] = [];
    for (const { page, pages, zeros } of late) {
      if (zeros) continue;
      written.push({ page, pages, file: this.#file, filePage: at });
      at += pages;
    }
    const runs = [...withoutRanges(this.#runs, late), ...written];
    this.#runs = runs.sort((one, other) => one.page - other.page);
  }

  /**
   * Ends the file, whose descriptor is the caller's from now on. `close` seals it: the kernel may wait for other
   * processors before it does.
   * @returns its bytes
   */
  finish(): number {
    const size = this.#pages * PAGE_SIZE;
    ftruncateSync(this.#fd, size);
    this.#finished = true;
    return size;
  }

  /**
   * Gives back what it has; the file, too, unless it has been finished. The guest may run.
   * @throws HostError when the file cannot be sealed
   */
  close(): void {
    this.#map(0);
    if (this.#finished) sealMemoryFile(this.#fd);
    else closeSync(this.#fd);
  }
}
