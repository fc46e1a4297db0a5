/** The file of a capture is right after each update, whatever the guest has done with its pages. */
import assert from 'node:assert/strict';
import { closeSync, writeSync } from 'node:fs';
import { test } from 'node:test';
import { PAGE_SIZE } from '../arch/layout.js';
import { createMemoryFile } from '../host/memfd.js';
import { discard } from '../host/mmap.js';
import { MappedMemory } from './mapped-memory.js';
import { type MemoryRun, mapRuns } from './memory-image.js';
import { Precopy } from './precopy.js';

/** Pages of the file, and as many behind them that no file is mapped over. */
const PAGES = 128;
const RAM_BYTES = 2 * PAGES * PAGE_SIZE;
const FILE_RUN: MemoryRun = { page: 0, pages: PAGES, file: 0, filePage: 0 };

/** A guest of which a file is half the RAM. */
function withGuest(use: (guest: MappedMemory, fd: number) => void): void {
  const fd = createMemoryFile('pando-test');
  const guest = MappedMemory.create({ ramBytes: RAM_BYTES, controlBytes: 0 });
  try {
    writeSync(
      fd,
      new Uint8Array(PAGES * PAGE_SIZE).map((_, at) => 1 + (at >>> 12)),
    );
    mapRuns(guest, [FILE_RUN], [fd]);
    use(guest, fd);
  } finally {
    guest.release();
    closeSync(fd);
  }
}

test('pages that are written, given back and read at random are in the file as they are', () => {
  let seed = 11;
  const random = (limit: number): number => {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
    return Math.floor((seed / 2 ** 32) * limit);
  };
  withGuest((guest, fd) => {
    const act = (): void => {
      for (let step = 0; step < 60; step += 1) {
        const at = random(2 * PAGES) * PAGE_SIZE;
        const page = guest.bytes(at, PAGE_SIZE);
        const what = random(4);
        if (what === 0) discard(guest.hostRange(at, PAGE_SIZE), PAGE_SIZE);
        else if (what === 1) assert.equal(typeof page[random(PAGE_SIZE)], 'number');
        else if (what === 2) page[random(PAGE_SIZE)] = random(256);
        else page.fill(0);
      }
    };
    act();
    const copy = new Precopy(guest, [FILE_RUN], 1, 2 * PAGES);
    try {
      for (let round = 0; round < 40; round += 1) {
        act();
        copy.update();
        const other = MappedMemory.create({ ramBytes: RAM_BYTES, controlBytes: 0 });
        try {
          mapRuns(other, copy.runs, [fd, copy.fd]);
          const [mine, its] = [guest, other].map((one) => one.bytes(0, RAM_BYTES));
          assert.equal(Buffer.compare(mine!, its!), 0, `round ${round}`);
        } finally {
          other.release();
        }
      }
    } finally {
      copy.close();
    }
  });
});
