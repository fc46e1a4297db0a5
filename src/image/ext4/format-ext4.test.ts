import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { formatExt4 } from './format-ext4.js';
import { EXT4_LEAST } from './size.js';

const folder = mkdtempSync(join(tmpdir(), 'pando-ext4-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const FSCK = '/usr/sbin/fsck.ext4';
const skip = spawnSync(FSCK, ['-V']).status === 0 ? false : `${FSCK} is not installed`;
const MIB = 1 << 20;
const uuid = Buffer.from('00112233445566778899aabbccddeeff', 'hex');

/** Its super block. */
function head(path: string): Buffer {
  const bytes = Buffer.alloc(1024);
  const fd = openSync(path, 'r');
  readSync(fd, bytes, 0, bytes.length, 1024);
  closeSync(fd);
  return bytes;
}

/** The last group of some is too small, or has just room for its tables. */
const SIZES = [EXT4_LEAST, 128 * MIB, 129 * MIB, 131 * MIB + 4096, 10 * 1024 * MIB + 1234567];

test('fsck.ext4 finds a file system of any size clean', { skip }, async () => {
  for (const size of SIZES) {
    const path = join(folder, String(size));
    await formatExt4(path, size, uuid);
    const { status, stdout } = spawnSync(FSCK, ['-fn', path], { encoding: 'utf8' });
    assert.equal(status, 0, stdout);
    const { size: length, blocks } = statSync(path);
    assert.equal(length, size);
    assert.ok(blocks * 512 < MIB, `${blocks} blocks of 512 bytes are taken`);
    assert.deepEqual(head(path).subarray(0x68, 0x78), uuid);
    rmSync(path);
  }
});
