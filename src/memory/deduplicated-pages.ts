/**
 * Pages that guests of one image write alike, kept once. A kernel patches its code, frees its start-up
 * data and sets up its tables in every boot with the same bytes, for nothing but time differs from boot
 * to boot. The first guest leaves its pages in a file; a guest that has booted compares its own pages
 * with those, and maps the file's private and copy-on-write (mmap(2), MAP_PRIVATE) where every byte is
 * the same. The guest cannot tell: what it reads is what it wrote.
 *
 * The file is as long as guest RAM, a page at its guest address, holes elsewhere. It gets its name whole
 * and is never written afterwards. A file that has little in common with a guest is replaced by that
 * guest's; who has the old one mapped keeps it.
 */
import { randomBytes } from 'node:crypto';
import {
  closeSync,
  existsSync,
  fchmodSync,
  fstatSync,
  ftruncateSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  utimesSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { PAGE_SIZE } from '../arch/layout.js';
import { errnoOf, HostError } from '../host/errno.js';
import { mapFileOver, mapZeroOver, probeFileMapping } from '../host/mmap.js';
import { PAGE_OWN, readPageStates } from '../host/pagemap.js';
import type { GuestRam } from './guest-ram.js';
import type { ImageRange } from './image-pages.js';

/** Pages that are compared at a time. */
const CHUNK = 256;
/** A mapping costs the host more than a page or two are worth. */
const RUN_LEAST = 3;
/** A file of which a guest has less than this share in common with its own pages is replaced. */
const WORTH_KEEPING = 0.25;
/** Share of the host's limit of mappings that this process may come to. */
const MAPPINGS_SHARE = 0.5;

/** Pages from `start` to before `end`. */
interface Run {
  readonly start: number;
  readonly end: number;
}

/** One VM's part in it. */
export class DeduplicatedPages {
  readonly #guest: GuestRam;
  readonly #path: string;
  readonly #written: () => void;
  #ranges: ImageRange[] = [];

  /**
   * @param path of the file; guests that name the same one have the same RAM size and kernel
   * @param written called when this guest has left its pages there
   */
  constructor(guest: GuestRam, path: string, written: () => void = () => {}) {
    this.#guest = guest;
    this.#path = path;
    this.#written = written;
  }

  /** What is mapped from the file now: dropping such a page brings the file's bytes back, not zeros. */
  get ranges(): readonly ImageRange[] {
    return this.#ranges;
  }

  /** Guest RAM has been cleared: nothing is mapped any more. */
  forget(): void {
    this.#ranges = [];
  }

  /**
   * Maps what is alike. No thread runs the guest meanwhile. A host that gives no account of pages, no
   * room for the file or no mapping of it has no pages shared, and nothing else changes.
   * @returns how many pages are the file's now that were the guest's own
   */
  share(): number {
    try {
      const pages = this.#guest.ramBytes / PAGE_SIZE;
      const own = runsOf(readPageStates(this.#guest.ramHostAddress, pages), 1);
      return this.#shareWith(own, false);
    } catch (error) {
      if (error instanceof HostError || errnoOf(error) !== undefined) return 0;
      throw error;
    }
  }

  #shareWith(own: readonly Run[], replaced: boolean): number {
    const fd = this.#open(own);
    try {
      const alike = this.#compare(fd, own);
      const total = own.reduce((sum, { start, end }) => sum + end - start, 0);
      // What a guest has of its own beside what it shares already differs from the file by nature.
      const first = this.#ranges.length === 0;
      if (first && !replaced && alike.count < total * WORTH_KEEPING) {
        this.#write(own, renameSync);
        return this.#shareWith(own, true);
      }
      return this.#map(fd, runsOf(alike.states, RUN_LEAST));
    } finally {
      closeSync(fd);
    }
  }

  /** The file, made of this guest's pages when there is none of the right size. */
  #open(own: readonly Run[]): number {
    for (let attempt = 0; ; attempt++) {
      try {
        const fd = openSync(this.#path, 'r');
        if (fstatSync(fd).size === this.#guest.ramBytes) {
          this.#touch();
          return fd;
        }
        closeSync(fd);
        this.#write(own, renameSync);
      } catch (error) {
        if (errnoOf(error) !== 'ENOENT' || attempt > 0) throw error;
        this.#write(own, linkSync);
      }
    }
  }

  /** The file's time tells when it was last of use; another user's store keeps it as it is. */
  #touch(): void {
    try {
      utimesSync(this.#path, new Date(), new Date());
    } catch (error) {
      if (errnoOf(error) === undefined) throw error;
    }
  }

  /** @param publish gives the file its name: linkSync leaves one that is there, renameSync replaces it */
  #write(own: readonly Run[], publish: (from: string, to: string) => void): void {
    // Not recursive: the store is there, and Node 20 never comes back where a parent takes no folders.
    if (!existsSync(dirname(this.#path))) mkdirSync(dirname(this.#path));
    const temporary = `${this.#path}.${process.pid}-${randomBytes(4).toString('hex')}`;
    const fd = openSync(temporary, 'wx', 0o600);
    try {
      for (const { start, end } of own) {
        const bytes = this.#guest.bytes(start * PAGE_SIZE, (end - start) * PAGE_SIZE);
        for (let at = 0; at < bytes.length; ) {
          at += writeSync(fd, bytes, at, bytes.length - at, start * PAGE_SIZE + at);
        }
      }
      ftruncateSync(fd, this.#guest.ramBytes);
      fchmodSync(fd, 0o400);
      publish(temporary, this.#path);
      this.#written();
    } catch (error) {
      // Another guest was first: its file serves.
      if (errnoOf(error) !== 'EEXIST') throw error;
    } finally {
      closeSync(fd);
      rmSync(temporary, { force: true });
    }
  }

  /** Which own pages have the file's bytes. */
  #compare(fd: number, own: readonly Run[]): { states: Uint8Array; count: number } {
    const states = new Uint8Array(this.#guest.ramBytes / PAGE_SIZE);
    const chunk = Buffer.alloc(CHUNK * PAGE_SIZE);
    let count = 0;
    for (const { start, end } of own) {
      for (let first = start; first < end; first += CHUNK) {
        const length = Math.min(CHUNK, end - first) * PAGE_SIZE;
        const got = readSync(fd, chunk, 0, length, first * PAGE_SIZE);
        const { buffer, byteOffset } = this.#guest.bytes(first * PAGE_SIZE, length);
        const mine = Buffer.from(buffer, byteOffset, length);
        for (let at = 0; at + PAGE_SIZE <= got; at += PAGE_SIZE) {
          if (chunk.compare(mine, at, at + PAGE_SIZE, at, at + PAGE_SIZE) !== 0) continue;
          states[first + at / PAGE_SIZE] = PAGE_OWN;
          count++;
        }
      }
    }
    return { states, count };
  }

  /** Maps runs whose bytes are the file's. */
  #map(fd: number, runs: readonly Run[]): number {
    if (probeFileMapping(fd, PAGE_SIZE) !== undefined) return 0;
    let room = mappingsLeft();
    let mapped = 0;
    for (const { start, end } of runs) {
      // A mapping in the middle of another makes two more.
      room -= 2;
      if (room < 0) break;
      const guestAddress = start * PAGE_SIZE;
      const length = (end - start) * PAGE_SIZE;
      const address = this.#guest.hostRange(guestAddress, length);
      if (mapFileOver(address, length, fd, guestAddress) !== undefined) {
        // A refused fixed mapping may have left a hole; the file has what was there.
        mapZeroOver(address, length);
        readSync(fd, this.#guest.bytes(guestAddress, length), 0, length, guestAddress);
        break;
      }
      mapped += end - start;
      this.#ranges.push({
        source: 'kernel',
        part: 'rest',
        guestAddress,
        length,
        fileOffset: guestAddress,
        how: 'mapped',
        reason: undefined,
      });
    }
    return mapped;
  }
}

/** Runs of own pages that are at least so long. */
function runsOf(states: Uint8Array, least: number): Run[] {
  const runs: Run[] = [];
  for (let page = 0; page < states.length; page++) {
    if (states[page] !== PAGE_OWN) continue;
    const start = page;
    while (states[page + 1] === PAGE_OWN) page++;
    if (page + 1 - start >= least) runs.push({ start, end: page + 1 });
  }
  return runs;
}

/** How many mappings this process may still make (proc(5), vm.max_map_count). */
function mappingsLeft(): number {
  const limit = Number(readFileSync('/proc/sys/vm/max_map_count', 'latin1'));
  const now = readFileSync('/proc/self/maps', 'latin1').split('\n').length;
  return limit * MAPPINGS_SHARE - now;
}
