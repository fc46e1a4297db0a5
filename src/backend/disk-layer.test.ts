/** Copy-on-write disks that go on from captures, compared with disks in memory. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { PandoError } from '../error.js';
import { checkLayer, LAYER_ZEROS, layerRuns } from './disk-layer.js';
import {
  blockSource,
  captureDisk,
  closeDisk,
  closeLayer,
  openDisk,
  reopenDisk,
} from './open-disk.js';

const folder = mkdtempSync(join(tmpdir(), 'pando-layer-'));
after(() => rmSync(folder, { recursive: true }));

const SECTORS = 8 * 40 + 3;

test('generations of random writes, captured and gone on from, agree with memory', async () => {
  const path = join(folder, 'disk');
  writeFileSync(
    path,
    Uint8Array.from({ length: SECTORS * 512 }, (_, i) => (i >> 9) ^ i),
  );
  const original = readFileSync(path);
  let seed = 3;
  const random = (limit: number): number => {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
    return Math.floor((seed / 2 ** 32) * limit);
  };
  let handle = openDisk(path, 'cow');
  const model = Buffer.from(original);
  for (let generation = 0; generation < 6; generation += 1) {
    const disk = blockSource(handle);
    for (let step = 0; step < 20; step += 1) {
      const at = random(SECTORS);
      const length = 1 + random(Math.min(20, SECTORS - at));
      const [start, bytes] = [at * 512, length * 512];
      if (random(3) === 0) {
        await disk.zero(start, bytes, true);
        model.fill(0, start, start + bytes);
        continue;
      }
      const data = Buffer.alloc(bytes, 1 + random(255));
      if (random(2) === 0) disk.write(start, [data]);
      else await disk.writeSlowly(start, data);
      data.copy(model, start);
    }
    const layer = captureDisk(handle);
    assert.ok(layer);
    checkLayer(layer, handle.kind === 'cow' ? handle.base.bytes : 0);
    const next = reopenDisk(handle, layer);
    closeLayer(layer);
    // The first one goes on, and the second does not see it.
    disk.write(0, [Buffer.alloc(4096, 0xee)]);
    closeDisk(handle);
    handle = next;
    const copy = blockSource(handle);
    const whole = Buffer.alloc(SECTORS * 512);
    copy.read(0, [whole.subarray(0, 5000), whole.subarray(5000)]);
    assert.ok(whole.equals(model), `generation ${generation}`);
    await copy.readSlowly(512, whole.subarray(512));
    assert.ok(whole.equals(model), `generation ${generation}, slowly`);
  }
  closeDisk(handle);
  assert.ok(readFileSync(path).equals(original));
});

test('runs that do not fit their disk or their file are refused', () => {
  const refused = (words: number[], bytes = 4 * 4096): void => {
    const runs = layerRuns(new Uint8Array(Uint32Array.from(words).buffer));
    assert.throws(
      () => checkLayer({ bytes, runs }, 10 * 4096),
      (error: unknown) => error instanceof PandoError && error.code === 'SNAPSHOT_DISK_INVALID',
    );
  };
  refused([0, 11, 0]);
  refused([0, 5, 0]);
  refused([9, 2, LAYER_ZEROS]);
  refused([4, 1, 0, 3, 1, 1]);
  refused([4, 0, 0]);
  refused([0, 1]);
  refused([0, 1, 0], 4095);
  const runs = layerRuns(new Uint8Array(Uint32Array.of(0, 4, 0, 5, 5, LAYER_ZEROS).buffer));
  checkLayer({ bytes: 4 * 4096, runs }, 10 * 4096);
});
