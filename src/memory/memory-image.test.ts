/** Captures of scattered pages: few runs, and the same bytes in whoever maps them. */
import assert from 'node:assert/strict';
import { closeSync, writeSync } from 'node:fs';
import { test } from 'node:test';
import { PAGE_SIZE } from '../arch/layout.js';
import { createMemoryFile } from '../host/memfd.js';
import { discardPages } from './discard-pages.js';
import { MappedMemory } from './mapped-memory.js';
import { type MemoryRun, mapRuns } from './memory-image.js';
import { MemoryLayout } from './memory-layout.js';

const PAGES = 4096;

test('scattered pages become few runs, which show what was captured, generation by generation, also when they change while they are copied; many files become one', () => {
  const ramBytes = 2 * PAGES * PAGE_SIZE;
  let seed = 5;
  const random = (limit: number): number => {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
    return Math.floor((seed / 2 ** 32) * limit);
  };
  const guest = MappedMemory.create({ ramBytes, controlBytes: 0 });
  const model = new Uint8Array(ramBytes);
  let layout = new MemoryLayout([], []);
  let together = 0;
  try {
    const write = (steps: number): void => {
      for (let step = 0; step < steps; step += 1) {
        const at = random(PAGES) * PAGE_SIZE + random(PAGE_SIZE);
        const value = step % 5 === 0 ? 0 : 1 + random(255);
        guest.bytes(at, 1)[0] = value;
        model[at] = value;
      }
    };
    for (let generation = 0; generation < 12; generation += 1) {
      const often = generation === 0;
      write(often ? 600 : 20);
      // A page that the guest writes, and gives back while it is copied.
      const fleeting = (PAGES + generation) * PAGE_SIZE;
      guest.bytes(fleeting, 1)[0] = 1;
      const begun = often ? undefined : layout.precopy(guest);
      discardPages(guest, fleeting, PAGE_SIZE);
      if (!often) write(20);
      const next = layout.capture(guest, often, begun);
      begun?.close();
      layout.close();
      layout = next;
      if (often) assert.ok(layout.runs.length <= 48, `${layout.runs.length} runs`);
      const compacted = layout.compacted();
      if (compacted !== undefined) {
        layout.close();
        layout = compacted;
        together += 1;
      }
      assert.ok(layout.files.length <= 8, `${layout.files.length} files`);
      const copy = MappedMemory.create({ ramBytes, controlBytes: 0 });
      try {
        layout.map(copy);
        assert.equal(Buffer.compare(copy.bytes(0, ramBytes), model), 0, `copy ${generation}`);
        assert.equal(Buffer.compare(guest.bytes(0, ramBytes), model), 0, `guest ${generation}`);
      } finally {
        copy.release();
      }
    }
    assert.ok(together > 0);
  } finally {
    layout.close();
    guest.release();
  }
});

test('pages of a file that no other guest can map are copied', () => {
  const ramBytes = 64 * PAGE_SIZE;
  const fd = createMemoryFile('pando-test');
  const guest = MappedMemory.create({ ramBytes, controlBytes: 0 });
  const copy = MappedMemory.create({ ramBytes, controlBytes: 0 });
  try {
    const content = new Uint8Array(16 * PAGE_SIZE).map((_, at) => 1 + Math.floor(at / PAGE_SIZE));
    writeSync(fd, content);
    const runs: MemoryRun[] = [{ page: 8, pages: 4, file: 0, filePage: 9 }];
    mapRuns(guest, runs, [fd]);
    guest.bytes(9 * PAGE_SIZE, 1)[0] = 77;
    const before = new MemoryLayout([], runs);
    const layout = before.capture(guest);
    before.close();
    layout.map(copy);
    layout.close();
    const shown = [8, 9, 10, 11, 12].map((page) => copy.bytes(page * PAGE_SIZE, 2).join());
    assert.deepEqual(shown, ['10,10', '77,11', '12,12', '13,13', '0,0']);
    assert.equal(Buffer.compare(guest.bytes(0, ramBytes), copy.bytes(0, ramBytes)), 0);
  } finally {
    guest.release();
    copy.release();
    closeSync(fd);
  }
});

test('a clone of a guest with scattered pages has few runs, for the guest maps them while it stands', () => {
  const ramBytes = PAGES * PAGE_SIZE;
  const guest = MappedMemory.create({ ramBytes, controlBytes: 0 });
  const first = new MemoryLayout([], []);
  let layout: MemoryLayout | undefined;
  try {
    for (let page = 0; page < PAGES; page += 8) guest.bytes(page * PAGE_SIZE, 1)[0] = 1;
    layout = first.capture(guest);
    assert.ok(layout.runs.length <= 128, `${layout.runs.length} runs`);
  } finally {
    layout?.close();
    first.close();
    guest.release();
  }
});
