import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, it } from 'node:test';
import { blockSource, closeDisk, openDisk } from './open-disk.js';

const folder = mkdtempSync(join(tmpdir(), 'pando-joined-'));
after(() => rmSync(folder, { recursive: true, force: true }));

it('several files are one disk, read across their ends and never written', async () => {
  const sizes = [4096, 1024, 8192];
  const whole = Buffer.concat(sizes.map((size, index) => Buffer.alloc(size, index + 1)));
  const paths = sizes.map((size, index) => {
    const path = join(folder, `${index}`);
    writeFileSync(path, Buffer.alloc(size, index + 1));
    return path;
  });
  const handle = openDisk(paths, 'ro');
  try {
    const disk = blockSource(handle);
    assert.deepEqual([disk.bytes, disk.readOnly], [whole.length, true]);
    for (const at of [0, 512, 3584, 4096, 5120 - 512]) {
      const pieces = [new Uint8Array(512), new Uint8Array(4096), new Uint8Array(1024)];
      disk.read(at, pieces);
      assert.ok(Buffer.concat(pieces).equals(whole.subarray(at, at + 5632)), `read at ${at}`);
      const slowly = new Uint8Array(5632);
      await disk.readSlowly(at, slowly);
      assert.ok(whole.subarray(at, at + 5632).equals(slowly), `slow read at ${at}`);
    }
    assert.throws(() => disk.write(0, [new Uint8Array(512)]), { code: 'DISK_READ_ONLY' });
  } finally {
    closeDisk(handle);
  }
  assert.throws(() => openDisk(paths, 'rw'), { code: 'DISK_KIND' });
  assert.throws(() => openDisk([paths[0]!, join(folder, 'none')], 'ro'), {
    code: 'DISK_UNREADABLE',
  });
});
