import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  fstatSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { readMappings } from '../measure/process-memory.js';
import { GuestMemory } from './guest-memory.js';
import { placeImages } from './place-images.js';
import { type SealedImage, sealImage } from './seal-image.js';

const MIB = 1 << 20;
const folder = mkdtempSync(join(tmpdir(), 'pando-seal-'));
after(() => rmSync(folder, { recursive: true }));

function write(name: string, byte: number, size = MIB): string {
  const path = join(folder, name);
  writeFileSync(path, new Uint8Array(size).fill(byte));
  return path;
}

function boot(image: SealedImage): GuestMemory {
  const guest = GuestMemory.create({ ramBytes: 4 * MIB, controlBytes: 0 });
  const plan = [
    {
      source: 'kernel',
      part: 'text',
      fileOffset: 0,
      fileLength: image.size,
      guestAddress: MIB,
      zeroLength: 0,
    },
  ] as const;
  const { ranges } = placeImages(guest, plan, { kernel: image }, 'map');
  assert.deepEqual(
    ranges.map((range) => range.how),
    ['mapped'],
  );
  return guest;
}

const holds = (guest: GuestMemory, byte: number, size = MIB): boolean =>
  guest.bytes(MIB, size).every((value) => value === byte);

const openFiles = (): number => readdirSync('/proc/self/fd').length;

test('truncation and replacement of the source do not reach a VM', () => {
  const path = write('kernel', 3);
  const image = sealImage(path);
  assert.equal(image.kind, 'copied');
  const guest = boot(image);
  truncateSync(path, 0);
  assert.ok(holds(guest, 3));
  renameSync(write('other', 4), path);
  const restarted = boot(image);
  assert.ok(holds(restarted, 3));
  image.close();
  assert.ok(holds(guest, 3));
});

test('VMs given the same file hold one copy, until its last holder closes', () => {
  const path = write('shared', 5);
  const before = openFiles();
  const [one, two] = [sealImage(path), sealImage(path)];
  assert.equal(one.fd, two.fd);
  assert.equal(openFiles(), before + 1);
  const [first, second] = [boot(one), boot(two)];
  assert.ok(holds(first, 5) && holds(second, 5));
  const inode = Number(fstatSync(one.fd).ino);
  const mapped = readMappings('self', { inode }).filter((m) => m.path.includes('pando-image'));
  assert.equal(mapped.length, 2);
  one.close();
  one.close();
  assert.equal(fstatSync(two.fd).size, MIB);
  two.close();
  assert.equal(openFiles(), before);
});

test('a file written again at once, with the same size, gets a copy of its own', () => {
  const path = write('rewritten', 6);
  const one = sealImage(path);
  write('rewritten', 7);
  const two = sealImage(path);
  assert.notEqual(one.fd, two.fd);
  assert.ok(holds(boot(one), 6));
  assert.ok(holds(boot(two), 7));
  one.close();
  two.close();
});

test('a file known to be immutable, or sealed already, is used as it is', () => {
  const path = write('immutable', 8);
  const stored = sealImage(path, { immutable: true });
  assert.equal(stored.kind, 'immutable');
  assert.equal(stored.path, path);
  const copy = sealImage(path);
  const again = sealImage(copy.path);
  assert.equal(again.kind, 'immutable');
  assert.equal(fstatSync(again.fd).ino, fstatSync(copy.fd).ino);
  stored.close();
  copy.close();
  assert.ok(holds(boot(again), 8));
  again.close();
});

test('another process opens the very same copy', () => {
  const copy = sealImage(write('handed-on', 9));
  const script = `const s = require('fs').statSync(${JSON.stringify(copy.path)}); console.log(s.ino, s.size)`;
  const seen = execFileSync(process.execPath, ['-e', script], { encoding: 'latin1' });
  assert.equal(seen.trim(), `${fstatSync(copy.fd).ino} ${MIB}`);
  copy.close();
});

test('an odd size is copied to the byte, an empty file to nothing', () => {
  const size = 5 * MIB + 123;
  const image = sealImage(write('odd', 10, size));
  assert.equal(image.size, size);
  assert.deepEqual(readFileSync(image.path), Buffer.alloc(size, 10));
  image.close();
  const empty = sealImage(write('empty', 0, 0));
  assert.equal(empty.size, 0);
  empty.close();
});

test('what is no regular file is refused, and nothing stays open', () => {
  const before = openFiles();
  assert.throws(() => sealImage(folder), { code: 'IMAGE_NOT_REGULAR' });
  assert.throws(() => sealImage('/dev/null'), { code: 'IMAGE_NOT_REGULAR' });
  assert.throws(() => sealImage(join(folder, 'missing')), { code: 'IMAGE_NOT_FOUND' });
  assert.throws(() => sealImage(join(folder, 'missing', '\0')), { code: 'IMAGE_NOT_READABLE' });
  assert.equal(openFiles(), before);
});
