import assert from 'node:assert/strict';
import { test } from 'node:test';
import { tableRanges } from './guest-tables.js';

const PAGE = 4096;
const RAM = 64 << 20;

/** Guest RAM in which tables are written entry by entry. */
function ram() {
  const memory = new Map<number, BigUint64Array>();
  const table = (address: number): BigUint64Array => {
    const found = memory.get(address) ?? new BigUint64Array(512);
    memory.set(address, found);
    return found;
  };
  return {
    set: (address: number, index: number, entry: bigint) => {
      table(address)[index] = entry;
    },
    read: (address: number) => new Uint8Array(table(address).buffer),
  };
}

test('tables, descriptors of pages and user pages are told apart', () => {
  const { set, read } = ram();
  // User space: one page at 0x9000, by tables at 0x1000 to 0x4000.
  set(0x1000, 0, 0x2007n);
  set(0x2000, 0, 0x3007n);
  set(0x3000, 0, 0x4007n);
  set(0x4000, 5, 0x8000_0000_0000_9067n);
  // vmemmap: a page of 2 MiB at 4 MiB.
  set(0x1000, 468, 0x5003n);
  set(0x5000, 0, 0x6003n);
  set(0x6000, 1, 0x4000e3n);
  // The direct map: a page of 1 GiB, and an entry that is not present.
  set(0x1000, 273, 0x7003n);
  set(0x7000, 0, 0xe3n);
  set(0x7000, 1, 0xdead_b000n);
  assert.deepEqual(tableRanges(read, 0x1000n, RAM), [
    { name: 'page tables', start: 0x1000, length: 7 * PAGE },
    { name: 'user space', start: 0x9000, length: PAGE },
    { name: 'struct page', start: 0x400000, length: 512 * PAGE },
  ]);
});

test('tables that lead into themselves or out of RAM end the walk', () => {
  const { set, read } = ram();
  for (let index = 0; index < 512; index++) set(0x1000, index, 0x1003n);
  set(0x1000, 7, 0xf_ffff_0003n);
  const ranges = tableRanges(read, 0x1003n, RAM);
  assert.deepEqual(ranges, [{ name: 'page tables', start: 0x1000, length: PAGE }]);
});
