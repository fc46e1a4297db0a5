import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Placement } from '../loader/plan.js';
import { checkPlacements, type ImageRange, READ_REASON, splitPlacement } from './image-pages.js';

const at = (
  guestAddress: number,
  fileOffset: number,
  fileLength: number,
  zeroLength = 0,
): Placement => ({
  source: 'kernel',
  part: 'text',
  guestAddress,
  fileOffset,
  fileLength,
  zeroLength,
});

/** The split as `how address+length` in hexadecimal. */
function split(placement: Placement, others: Placement[] = [], zeros = false): string[] {
  const terms = { all: [placement, ...others], unmappable: undefined, zeroAfter: () => zeros };
  return show(splitPlacement(placement, terms));
}
const show = (ranges: ImageRange[]): string[] =>
  ranges.map(
    (r) =>
      `${r.how} ${r.guestAddress.toString(16)}+${r.length.toString(16)} @${r.fileOffset.toString(16)}`,
  );

test('whole pages are mapped', () => {
  assert.deepEqual(split(at(0x100000, 0x1000, 0x3000)), ['mapped 100000+3000 @1000']);
});

test('partial pages at both ends are read', () => {
  assert.deepEqual(split(at(0x100800, 0x1800, 0x2000)), [
    'read 100800+800 @1800',
    'mapped 101000+1000 @2000',
    'read 102000+800 @3000',
  ]);
});

test('a last page that goes on with zeros is mapped whole, and BSS starts behind it', () => {
  assert.deepEqual(split(at(0x100000, 0, 0x1234), [], true), ['mapped 100000+2000 @0']);
  assert.deepEqual(split(at(0x100000, 0, 0x1234, 0x3000), [], true), [
    'mapped 100000+2000 @0',
    'zero 102000+2234 @0',
  ]);
  assert.deepEqual(split(at(0x100000, 0, 0x1234, 0x3000), [], false), [
    'mapped 100000+1000 @0',
    'read 101000+234 @1000',
    'zero 101234+3000 @0',
  ]);
});

test('a last page that another placement enters is read, even when zeros follow in the file', () => {
  const placement = at(0x100000, 0, 0x1234);
  assert.deepEqual(split(placement, [at(0x101800, 0x1800, 0x100)], true), [
    'mapped 100000+1000 @0',
    'read 101000+234 @1000',
  ]);
  assert.deepEqual(split(placement, [at(0x102000, 0x1800, 0x100)], true), [
    'mapped 100000+2000 @0',
  ]);
});

test('within one page nothing is mapped, unless it is the page', () => {
  assert.deepEqual(split(at(0x100100, 0x100, 0x80, 0x40), [], true), [
    'read 100100+80 @100',
    'zero 100180+40 @0',
  ]);
  assert.deepEqual(split(at(0x100000, 0x1000, 0x1000)), ['mapped 100000+1000 @1000']);
});

test('a placement without bytes of the file is zeros alone', () => {
  assert.deepEqual(split(at(0x100100, 0x100, 0, 0x2000), [], true), ['zero 100100+2000 @0']);
  assert.deepEqual(split(at(0x100100, 0x100, 0)), []);
});

test('incongruent and unmappable placements are read and say why', () => {
  const placement = at(0x100000, 0x234, 0x5000, 0x10);
  const terms = { all: [placement], unmappable: undefined, zeroAfter: () => true };
  const ranges = splitPlacement(placement, terms);
  assert.deepEqual(show(ranges), ['read 100000+5000 @234', 'zero 105000+10 @0']);
  assert.equal(ranges[0]?.reason, READ_REASON.incongruent);
  const refused = splitPlacement(at(0x100000, 0, 0x5000), { ...terms, unmappable: 'no' });
  assert.deepEqual(show(refused), ['read 100000+5000 @0']);
  assert.equal(refused[0]?.reason, 'no');
});

test('every byte of a placement is in exactly one range', () => {
  for (const start of [0x100000, 0x100001, 0x100fff])
    for (const length of [0, 1, 0xfff, 0x1000, 0x1001, 0x2fff, 0x3000])
      for (const zeroLength of [0, 1, 0x1000, 0x1fff])
        for (const shift of [0, 1])
          for (const zeros of [true, false]) {
            const placement = at(start, (start % 0x1000) + shift, length, zeroLength);
            const terms = { all: [placement], unmappable: undefined, zeroAfter: () => zeros };
            let next = start;
            for (const range of splitPlacement(placement, terms)) {
              assert.equal(range.guestAddress, next);
              next += range.length;
              if (range.how === 'mapped') {
                assert.equal(range.length % 0x1000, 0);
                assert.equal(range.guestAddress % 0x1000, 0);
                assert.equal(range.fileOffset % 0x1000, 0);
              }
            }
            const end = start + length + zeroLength;
            assert.ok(next === end || (next > end && next - end < 0x1000 && zeros));
          }
});

test('overlaps and placements past RAM are refused', () => {
  const code = (placements: Placement[], ram = 0x200000): string => {
    try {
      checkPlacements(placements, ram);
      return 'fine';
    } catch (error) {
      return (error as { code: string }).code;
    }
  };
  assert.equal(code([at(0x2000, 0, 0x1000), at(0x1000, 0, 0x1000)]), 'fine');
  assert.equal(code([at(0x2000, 0, 0x1000), at(0x1000, 0, 0x1001)]), 'IMAGE_OVERLAP');
  assert.equal(code([at(0x2000, 0, 0x1000), at(0x1000, 0, 0x800, 0x801)]), 'IMAGE_OVERLAP');
  assert.equal(code([at(0x1000, 0, 0x5000), at(0x2000, 0, 1), at(0x7000, 0, 1)]), 'IMAGE_OVERLAP');
  assert.equal(code([at(0x1ff000, 0, 0x1000)]), 'fine');
  assert.equal(code([at(0x1ff000, 0, 0x1000, 1)]), 'IMAGE_PAST_RAM');
});
