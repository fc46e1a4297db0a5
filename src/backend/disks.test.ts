import assert from 'node:assert/strict';
import {
  closeSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { PandoError } from '../error.js';
import { blockSource, closeDisk, type DiskMode, openDisk } from './open-disk.js';

const folder = mkdtempSync(join(tmpdir(), 'pando-disks-'));
after(() => rmSync(folder, { recursive: true }));

/** A file whose bytes tell where they are. */
function image(name: string, bytes: number): string {
  const path = join(folder, name);
  writeFileSync(
    path,
    Uint8Array.from({ length: bytes }, (_, i) => (i >> 9) ^ (i & 0xff)),
  );
  return path;
}

async function withDisk(
  path: string,
  mode: DiskMode,
  body: (disk: ReturnType<typeof blockSource>) => Promise<void>,
): Promise<void> {
  const handle = openDisk(path, mode);
  try {
    await body(blockSource(handle));
  } finally {
    closeDisk(handle);
  }
}

describe('disks', () => {
  for (const mode of ['rw', 'cow'] as const) {
    test(`${mode}: random reads and writes agree with a disk in memory`, async () => {
      const bytes = 37 * 512;
      const path = image(`random-${mode}`, bytes);
      const model = readFileSync(path);
      let seed = 7;
      const random = (limit: number): number => {
        seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
        return Math.floor((seed / 2 ** 32) * limit);
      };
      await withDisk(path, mode, async (disk) => {
        assert.equal(disk.bytes, bytes);
        for (let step = 0; step < 400; step += 1) {
          const at = random(37) * 512;
          const length = (1 + random(Math.min(12, 37 - at / 512))) * 512;
          const cut = random(length);
          const data = new Uint8Array(length).fill(step);
          switch (random(5)) {
            case 0:
              disk.write(at, [data.subarray(0, cut), data.subarray(cut)]);
              model.set(data, at);
              break;
            case 1:
              await disk.writeSlowly(at, data);
              model.set(data, at);
              break;
            case 2:
              await disk.zero(at, length, step % 2 === 0);
              model.fill(0, at, at + length);
              break;
            case 3:
              await disk.readSlowly(at, data);
              assert.deepEqual(data, new Uint8Array(model.subarray(at, at + length)));
              break;
            default:
              disk.read(at, [data.subarray(0, cut), data.subarray(cut)]);
              assert.deepEqual(data, new Uint8Array(model.subarray(at, at + length)));
          }
        }
        await disk.flush();
      });
      const now = readFileSync(path);
      if (mode === 'rw') assert.deepEqual(now, model);
      else assert.deepEqual(now, readFileSync(image('fresh', bytes)), 'the file is as it was');
    });
  }

  test('a discarded range has no room in the file any more', async () => {
    const path = image('holes', 1 << 20);
    await withDisk(path, 'rw', async (disk) => {
      const before = statSync(path).blocks;
      await disk.zero(1 << 18, 1 << 19, true);
      assert.ok(statSync(path).blocks < before, `${before} blocks before`);
    });
  });

  test('a file that ends too early is an error of the request', async () => {
    const path = image('short', 8192);
    await withDisk(path, 'rw', async (disk) => {
      truncateSync(path, 4096);
      assert.throws(() => disk.read(4096, [new Uint8Array(512)]), { code: 'DISK_SHORT' });
      await assert.rejects(disk.readSlowly(4096, new Uint8Array(512)), { code: 'DISK_SHORT' });
    });
  });

  test('what is no disk is refused by a code', () => {
    const small = image('small', 100);
    for (const [path, code] of [
      [join(folder, 'missing'), 'DISK_UNREADABLE'],
      [folder, 'DISK_KIND'],
      [small, 'DISK_SIZE'],
    ] as const) {
      assert.throws(
        () => openDisk(path, 'ro'),
        (error) => error instanceof PandoError && error.code === code,
      );
    }
    const next = openSync(small, 'r');
    closeSync(next);
    assert.throws(() => openDisk(small, 'ro'));
    const again = openSync(small, 'r');
    closeSync(again);
    assert.equal(again, next, 'no descriptor is left');
  });
});
