/**
 * What a guest's RAM is mapped from: files, each held by all guests that map it, and the runs of pages
 * (memory-image.ts). A capture gives a new layout, which the captured guest takes over itself.
 */
import { closeSync } from 'node:fs';
import { PAGE_SIZE } from '../arch/layout.js';
import { createMemoryFile, sealMemoryFile } from '../host/memfd.js';
import type { GuestRam } from './guest-ram.js';
import { type MemoryRun, mapRuns, planCapture, remapRuns, writeCapture } from './memory-image.js';

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

  hold(): this {
    this.#holders++;
    return this;
  }

  close(): void {
    if (--this.#holders === 0) this.release();
  }
}

/** Files beyond this number are copied together at the next capture. */
const FILES_LIMIT = 8;

export class MemoryLayout {
  /** Takes over the holds of `files`. */
  constructor(
    readonly files: readonly SharedFile[],
    readonly runs: readonly MemoryRun[],
  ) {}

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
    mapRuns(guest, this.runs, fds);
  }

  /** Guests keep what they have mapped. */
  close(): void {
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
   * Copies what the guest has changed into a file in memory. No thread runs it. The guest is then mapped
   * from there, too: what it writes from now on is its own again.
   * @throws HostError when there is no memory for it
   */
  capture(guest: GuestRam): MemoryLayout {
    const few = this.files.length < FILES_LIMIT;
    const keeps = (index: number): boolean => {
      const file = this.files[index];
      return file !== undefined && (few || file.sha256 !== undefined);
    };
    const fd = createMemoryFile('pando-capture');
    try {
      const index = this.files.length;
      const runs = planCapture(guest, this.runs, keeps, index);
      const size = writeCapture(guest, runs, index, fd);
      sealMemoryFile(fd);
      const used = new Set(runs.map(({ file }) => file));
      const kept = this.files.flatMap((file, at) => (used.has(at) ? [{ file, at }] : []));
      const numbers = new Map([...kept.map(({ at }) => at), index].map((at, to) => [at, to]));
      const captured = new SharedFile(fd, size, undefined, () => closeSync(fd));
      const renumbered = runs.map((run) => ({ ...run, file: numbers.get(run.file)! }));
      const layout = new MemoryLayout(
        [...kept.map(({ file }) => file.hold()), captured],
        renumbered,
      );
      remapRuns(
        guest,
        renumbered.filter(({ file }) => file === kept.length),
        fd,
      );
      return layout;
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }
}
