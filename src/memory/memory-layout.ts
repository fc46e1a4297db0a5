/**
 * What a guest's RAM is mapped from: files, each held by all guests that map it, and the runs of pages
 * (memory-image.ts). A capture gives a new layout, which the captured guest takes over itself.
 */
import { closeSync, readFileSync, readSync, writeSync } from 'node:fs';
import { PAGE_SIZE } from '../arch/layout.js';
import { HostError } from '../host/errno.js';
import { createMemoryFile, sealMemoryFile } from '../host/memfd.js';
import type { GuestRam } from './guest-ram.js';
import {
  type MemoryRun,
  mapRuns,
  type PageRange,
  remapRuns,
  withinRanges,
} from './memory-image.js';
import { Precopy } from './precopy.js';

/** An open file that several guests map. */
export class SharedFile {
  #holders = 1;

  /**
   * @param sha256 of a file of the store; undefined for one that only this process has
   * @param release closes it, once nobody holds it
   */
  constructor(
    readonly fd: number,
    /** Bytes. */
    readonly size: number,
    readonly sha256: string | undefined,
    private readonly release: () => void,
  ) {}

  /** Its first bytes; fewer of a shorter one. */
  head(length: number): Buffer {
    const bytes = Buffer.alloc(length);
    return bytes.subarray(0, readSync(this.fd, bytes, 0, length, 0));
  }

  hold(): this {
    this.#holders++;
    return this;
  }

  close(): void {
    if (--this.#holders === 0) this.release();
  }
}

/**
 * A file in memory that nobody can change any more.
 * @param pieces its bytes, one behind the other
 * @throws HostError when there is no memory for it
 */
export function sealedFile(name: string, pieces: readonly Uint8Array[]): SharedFile {
  const fd = createMemoryFile(name);
  try {
    let size = 0;
    for (const bytes of pieces) {
      for (let at = 0; at < bytes.length; ) {
        at += writeSync(fd, bytes, at, bytes.length - at, size + at);
      }
      size += bytes.length;
    }
    sealMemoryFile(fd);
    return new SharedFile(fd, size, undefined, () => closeSync(fd));
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** Files of captures beyond this number become one before the next capture. */
const CAPTURES_LIMIT = 8;
/** Pages that are copied at a time from file to file. */
const CHUNK = 256;

/** Runs that a captured memory has at most, if its pages allow it, when it is to be mapped often. */
const RUNS_OF_SNAPSHOT = 48;
/**
 * The same for a clone. The guest itself maps its runs anew while it stands: with a thousand there is no time for most,
 * whose pages each later capture compares and copies again.
 */
const RUNS_OF_CLONE = 128;
/** One guest may take up such a part of the mappings that are left to the process. */
const SHARE_OF_MAPPINGS = 64;
/** Milliseconds in which a guest that stands still for a clone maps what was copied; the rest is for later captures. */
const REMAP_MS = 4;
/** So few pages, of those that a guest has written meanwhile, are left for when it stands still. */
const LATE_PAGES = 128;
/** A guest may write as fast as its pages are copied. */
const UPDATES_LIMIT = 4;
/** Mappings that are none of guests' RAM: V8's, threads', libraries'. */
const OTHER_MAPPINGS = 5000;
const MAPPINGS_BY_DEFAULT = 65_530;

/** Mappings that a process may have (vm.max_map_count, proc_sys_vm(5)). */
let mappingsLimit: number | undefined;
/** Runs that guests of this process map. */
let mappedRuns = 0;

function readMappingsLimit(): number {
  try {
    return Number(readFileSync('/proc/sys/vm/max_map_count', 'latin1'));
  } catch {
    return MAPPINGS_BY_DEFAULT;
  }
}

function runsOfClone(): number {
  mappingsLimit ??= readMappingsLimit();
  // Each run may leave a mapping of zeros behind it.
  const left = (mappingsLimit - OTHER_MAPPINGS) / 2 - mappedRuns;
  const share = Math.floor(left / SHARE_OF_MAPPINGS);
  return Math.min(Math.max(share, RUNS_OF_SNAPSHOT), RUNS_OF_CLONE);
}

/** Copies pages from one file to another. */
function copyPages(
  from: number,
  fromPage: number,
  to: number,
  toPage: number,
  pages: number,
): void {
  const buffer = Buffer.allocUnsafe(Math.min(pages, CHUNK) * PAGE_SIZE);
  const end = pages * PAGE_SIZE;
  for (let at = 0; at < end; ) {
    const wanted = Math.min(buffer.length, end - at);
    const length = readSync(from, buffer, 0, wanted, fromPage * PAGE_SIZE + at);
    if (length === 0) throw new HostError('read of captured pages', 'EIO');
    for (let written = 0; written < length; ) {
      const position = toPage * PAGE_SIZE + at + written;
      written += writeSync(to, buffer, written, length - written, position);
    }
    at += length;
  }
}

export class MemoryLayout {
  /** Runs that a guest maps from here. */
  #mapped = 0;
  /** What its guest does not map yet: it has the same bytes of its own, or from other files. */
  readonly #stale: readonly PageRange[];

  /** Takes over the holds of `files`. The runs of a file that is not among them are copied by a capture. */
  constructor(
    readonly files: readonly SharedFile[],
    readonly runs: readonly MemoryRun[],
    stale: readonly PageRange[] = [],
  ) {
    this.#stale = stale;
  }

  /** The same for one more guest. */
  share(): MemoryLayout {
    return new MemoryLayout(
      this.files.map((file) => file.hold()),
      this.runs,
    );
  }

  /** Maps it over a guest's RAM, which is zeros. */
  map(guest: GuestRam): void {
    const fds = this.files.map(({ fd }) => fd);
    this.#count();
    mapRuns(guest, this.runs, fds);
  }

  #count(): void {
    this.#mapped = this.runs.length;
    mappedRuns += this.#mapped;
  }

  /** Guests keep what they have mapped. */
  close(): void {
    mappedRuns -= this.#mapped;
    this.#mapped = 0;
    for (const file of this.files) file.close();
  }

  /** Ranges of RAM whose pages show a file again when they are dropped. */
  get ranges(): readonly {
    readonly guestAddress: number;
    readonly length: number;
    readonly how: 'mapped';
  }[] {
    return this.runs.map(({ page, pages }) => ({
      guestAddress: page * PAGE_SIZE,
      length: pages * PAGE_SIZE,
      how: 'mapped',
    }));
  }

  /**
   * The same with one file in the place of many captures, for the next capture to begin with: it takes over this
   * one's guest, which may run. Undefined while there are few.
   * @throws HostError when there is no memory for it
   */
  compacted(): MemoryLayout | undefined {
    const captures = this.files.filter(({ sha256 }) => sha256 === undefined);
    if (captures.length < CAPTURES_LIMIT) return undefined;
    const fd = createMemoryFile('pando-capture');
    try {
      const kept = this.files.filter(({ sha256 }) => sha256 !== undefined);
      const runs: MemoryRun[] = [];
      let size = 0;
      for (const { page, pages, file, filePage } of this.runs) {
        const from = this.files[file]!;
        if (from.sha256 !== undefined) {
          runs.push({ page, pages, file: kept.indexOf(from), filePage });
          continue;
        }
        copyPages(from.fd, filePage, fd, size, pages);
        const last = runs.at(-1);
        // Runs that were of several files are one, so that guests have fewer mappings.
        if (last?.file === kept.length && last.page + last.pages === page) {
          runs[runs.length - 1] = { ...last, pages: last.pages + pages };
        } else runs.push({ page, pages, file: kept.length, filePage: size });
        size += pages;
      }
      sealMemoryFile(fd);
      const together = new SharedFile(fd, size * PAGE_SIZE, undefined, () => closeSync(fd));
      const files = [...kept.map((file) => file.hold()), together];
      const stale = runs.filter(({ file }) => file === kept.length);
      const layout = new MemoryLayout(files, runs, stale);
      layout.#count();
      return layout;
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }

  /**
   * Copies what the guest has changed, while it runs. The caller closes the copy.
   * @throws HostError when there is no memory for it
   */
  precopy(guest: GuestRam): Precopy {
    const copy = new Precopy(guest, this.runs, this.files.length, runsOfClone());
    try {
      let late = copy.pages;
      for (let updates = 0; late > LATE_PAGES && updates < UPDATES_LIMIT; updates += 1) {
        late = copy.update();
      }
      copy.reserve();
      return copy;
    } catch (error) {
      copy.close();
      throw error;
    }
  }

  /**
   * Copies what the guest has changed into a file in memory. No thread runs it. The guest is then mapped
   * from there, too: what it writes from now on is its own again.
   * @param often whether many are to map it, so that fewer runs are worth more pages and time
   * @param copy what has been copied while the guest ran
   * @throws HostError when there is no memory for it
   */
  capture(guest: GuestRam, often = false, copy?: Precopy): MemoryLayout {
    const limit = often ? Number.POSITIVE_INFINITY : REMAP_MS;
    if (copy !== undefined) {
      copy.update();
      return this.#captured(guest, copy, limit);
    }
    const wanted = often ? RUNS_OF_SNAPSHOT : runsOfClone();
    const whole = new Precopy(guest, this.runs, this.files.length, wanted);
    try {
      return this.#captured(guest, whole, limit);
    } finally {
      whole.close();
    }
  }

  /** @param limit milliseconds for what the guest maps anew */
  #captured(guest: GuestRam, copy: Precopy, limit: number): MemoryLayout {
    const index = this.files.length;
    const { fd, runs } = copy;
    const used = new Set(runs.map(({ file }) => file));
    const kept = this.files.flatMap((file, at) => (used.has(at) ? [{ file, at }] : []));
    const numbers = new Map([...kept.map(({ at }) => at), index].map((at, to) => [at, to]));
    const renumbered = runs.map((run) => ({ ...run, file: numbers.get(run.file)! }));
    const last = kept.length;
    const older = renumbered.filter(({ file }) => file !== last);
    // What has been waiting is first, for it keeps files that nobody else has; then as many pages as possible.
    const changed = [
      ...withinRanges(older, this.#stale).sort(longestFirst),
      ...renumbered.filter(({ file }) => file === last).sort(longestFirst),
    ];
    const left = remapRuns(guest, changed, [...kept.map(({ file }) => file.fd), fd], limit);
    const captured = new SharedFile(fd, copy.finish(), undefined, () => closeSync(fd));
    const files = [...kept.map(({ file }) => file.hold()), captured];
    const layout = new MemoryLayout(files, renumbered, left.sort(inOrder));
    layout.#count();
    return layout;
  }
}

function longestFirst(one: PageRange, other: PageRange): number {
  return other.pages - one.pages;
}

function inOrder(one: PageRange, other: PageRange): number {
  return one.page - other.page;
}
