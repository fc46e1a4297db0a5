import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { PAGE_OWN, PAGE_SHARED, PAGE_UNTOUCHED, pageState } from '../host/pagemap.js';
import { parseSmaps } from '../host/smaps.js';
import { countPages, findRegions, pageStates } from './guest-pages.js';

const SMAPS = `00100000-00110000 rw-p 00000000 00:00 0
00110000-00130000 rw-p 00001000 fe:00 77 /image
00130000-00140000 rw-p 00000000 00:00 0
00140000-00200000 ---p 00000000 00:00 0
00200000-00240000 rw-p 00000000 00:00 0
00240000-00250000 r--p 00000000 fe:00 78 /lib
00250000-00290000 rw-p 00000000 00:00 0
00290000-002a0000 rw-p 00000000 00:00 0 [heap]
`;

test('regions are mappings end to end of the right length, whatever is mapped in them', () => {
  const mappings = parseSmaps(SMAPS);
  assert.deepEqual(findRegions(mappings, 0x40000), [0x100000, 0x200000, 0x250000]);
  assert.deepEqual(findRegions(mappings, 0x50000), [0x250000]);
  assert.deepEqual(findRegions(mappings, 0x20000), [0x110000], 'beside others');
  assert.deepEqual(findRegions(mappings, 0x38000), []);
  assert.deepEqual(findRegions([], 0x40000), []);
});

test('entries of pagemap', () => {
  assert.equal(pageState(0), PAGE_UNTOUCHED);
  assert.equal(pageState(0x8100_0000), PAGE_OWN);
  assert.equal(pageState(0xa000_0000), PAGE_SHARED);
  assert.equal(pageState(0xa100_0000), PAGE_SHARED);
  assert.equal(pageState(0x4000_0000), PAGE_OWN);
  assert.equal(pageState(0x8000_0000), PAGE_UNTOUCHED, 'the page of zeros');
});

test('pages count once, for the first name', () => {
  const states = Uint8Array.from([0, 1, 2, 2, 1, 0]);
  const ranges = [
    { name: 'text', start: 4096, length: 5000 },
    { name: 'data', start: 9096, length: 4096 },
  ];
  assert.deepEqual(countPages(states, ranges, 'rest'), [
    { name: 'text', total: 2, shared: 1, own: 1, untouched: 0 },
    { name: 'data', total: 1, shared: 0, own: 1, untouched: 0 },
    { name: 'rest', total: 3, shared: 1, own: 0, untouched: 2 },
  ]);
});

test('this process has pages of its own on its stack', () => {
  const stack = parseSmaps(readFileSync('/proc/self/smaps', 'latin1')).find(
    ({ path }) => path === '[stack]',
  );
  assert.ok(stack);
  const states = pageStates(process.pid, stack.start, stack.end - stack.start);
  assert.ok(states.includes(PAGE_OWN));
});

test('a process that is gone is a coded error', () => {
  assert.throws(() => pageStates(2 ** 22 + 1, 0, 4096), { code: 'MEASURE_NO_PAGEMAP' });
});
