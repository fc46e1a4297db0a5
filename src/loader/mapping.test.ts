import assert from 'node:assert/strict';
import { test } from 'node:test';
import { splitPlacement } from './mapping.js';
import type { Placement } from './plan.js';

const base: Placement = {
  source: 'kernel',
  part: 'text',
  fileOffset: 0x1000,
  fileLength: 0x3000,
  guestAddress: 0x100000,
  zeroLength: 0,
};

test('whole pages are mapped', () => {
  const split = splitPlacement(base, 0x10000);
  assert.deepEqual(split.mapped, { fileOffset: 0x1000, guestAddress: 0x100000, length: 0x3000 });
  assert.deepEqual(split.read, []);
});

test('parts of the first and last page are read', () => {
  const split = splitPlacement(
    { ...base, fileOffset: 0x1010, guestAddress: 0x100010, fileLength: 0x2000 },
    0x10000,
  );
  assert.deepEqual(split.mapped, { fileOffset: 0x2000, guestAddress: 0x101000, length: 0x1000 });
  assert.deepEqual(split.read, [
    { fileOffset: 0x1010, guestAddress: 0x100010, length: 0xff0 },
    { fileOffset: 0x3000, guestAddress: 0x102000, length: 0x10 },
  ]);
});

test('an incongruent placement is read whole', () => {
  const split = splitPlacement({ ...base, guestAddress: 0x100001 }, 0x10000);
  assert.equal(split.congruent, false);
  assert.equal(split.mapped, undefined);
  assert.deepEqual(split.read, [{ fileOffset: 0x1000, guestAddress: 0x100001, length: 0x3000 }]);
});

test('the page that the file ends in is mapped only when its rest belongs to the placement', () => {
  const initrd: Placement = {
    ...base,
    source: 'initrd',
    part: 'initrd',
    fileOffset: 0,
    fileLength: 0x1234,
  };
  const own = splitPlacement({ ...initrd, zeroLength: 0xdcc }, 0x1234);
  assert.equal(own.mapped?.length, 0x1234);
  assert.deepEqual(own.read, []);
  const shared = splitPlacement(initrd, 0x1234);
  assert.equal(shared.mapped?.length, 0x1000);
  assert.deepEqual(
    shared.read.map(({ length }) => length),
    [0x234],
  );
  const longer = splitPlacement({ ...initrd, zeroLength: 0xdcc }, 0x1235);
  assert.equal(longer.mapped?.length, 0x1000);
});

test('a placement without file bytes has nothing to map or read', () => {
  const split = splitPlacement({ ...base, fileLength: 0, zeroLength: 0x5000 }, 0x10000);
  assert.equal(split.mapped, undefined);
  assert.deepEqual(split.read, []);
  assert.equal(split.zeroLength, 0x5000);
});

test('less than a page inside one page is read once', () => {
  const split = splitPlacement(
    { ...base, fileOffset: 0x1010, guestAddress: 0x100010, fileLength: 0x20 },
    0x10000,
  );
  assert.deepEqual(split.read, [{ fileOffset: 0x1010, guestAddress: 0x100010, length: 0x20 }]);
});
