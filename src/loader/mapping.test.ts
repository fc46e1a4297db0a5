import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BytesSource } from './byte-source.js';
import { isZeroAfter, type PlacementSplit, splitPlacement as split } from './mapping.js';
import type { Placement } from './plan.js';

const base: Placement = {
  source: 'kernel',
  part: 'text',
  fileOffset: 0x1000,
  fileLength: 0x3000,
  guestAddress: 0x100000,
  zeroLength: 0,
};

/** Splits one placement of a file of ones, alone in the guest but for `others`. */
function splitPlacement(
  placement: Placement,
  fileSize: number,
  others: readonly Placement[] = [],
): PlacementSplit {
  const source = new BytesSource(new Uint8Array(fileSize).fill(1));
  return split(placement, [placement, ...others], (offset) => isZeroAfter(source, offset));
}

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

test('the page that the file ends in is mapped, unless another placement is in it', () => {
  const initrd: Placement = {
    ...base,
    source: 'initrd',
    part: 'initrd',
    fileOffset: 0,
    fileLength: 0x1234,
    zeroLength: 0xdcc,
  };
  const own = splitPlacement(initrd, 0x1234);
  assert.equal(own.mapped?.length, 0x1234);
  assert.deepEqual(own.read, []);
  const neighbour = { ...base, guestAddress: 0x102000 };
  assert.equal(splitPlacement(initrd, 0x1234, [neighbour]).mapped?.length, 0x1234);
  const intruder = { ...base, guestAddress: 0x101800 };
  const shared = splitPlacement({ ...initrd, zeroLength: 0 }, 0x1234, [intruder]);
  assert.equal(shared.mapped?.length, 0x1000);
  assert.deepEqual(
    shared.read.map(({ length }) => length),
    [0x234],
  );
});

test('a last page is mapped only when the file goes on with zeros', () => {
  const placement = { ...base, fileOffset: 0, fileLength: 0x1234 };
  const bytes = new Uint8Array(0x3000);
  const source = new BytesSource(bytes);
  const mappedOf = () =>
    split(placement, [placement], (offset) => isZeroAfter(source, offset)).mapped?.length;
  assert.equal(mappedOf(), 0x1234);
  bytes[0x2000] = 1;
  assert.equal(mappedOf(), 0x1234);
  bytes[0x1fff] = 1;
  assert.equal(mappedOf(), 0x1000);
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
