import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DeviceMemory, GuestAccessError } from './device-memory.js';

/** 8 KiB from 0, and 4 KiB from 4 GiB on. */
function setUp() {
  const low = new Uint8Array(0x2000);
  const high = new Uint8Array(0x1000);
  const told: [number, number][] = [];
  const memory = new DeviceMemory(
    [
      { address: 0, bytes: low },
      { address: 2 ** 32, bytes: high },
    ],
    (address, length) => told.push([address, length]),
  );
  return { low, high, told, memory };
}

test('a range is RAM as a whole, in one run of it, or refused', () => {
  const { memory, low, high } = setUp();
  memory.write(0x1ffe, Uint8Array.of(1, 2));
  memory.write(2 ** 32 + 0xfff, Uint8Array.of(3));
  assert.deepEqual([...low.subarray(0x1ffe)], [1, 2]);
  assert.equal(high[0xfff], 3);
  const refused: [address: number, length: number][] = [
    [0x1fff, 2],
    [0x2000, 1],
    [0x2001, 0],
    [2 ** 32 - 1, 2],
    [2 ** 32 + 0x1000, 1],
    [2 ** 32 + 0xfff, 2],
    [2 ** 64 - 4, 8],
    [Number.MAX_SAFE_INTEGER, 2],
    [0, 2 ** 33],
    [-1, 1],
    [0, -1],
    [Number.NaN, 1],
    [0.5, 0x2000],
  ];
  for (const [address, length] of refused) {
    assert.throws(() => memory.view(address, length), GuestAccessError, `${address}, ${length}`);
    assert.throws(() => memory.written(address, length), GuestAccessError);
  }
});

test('ring words are little-endian, aligned, and writes are told', () => {
  const { memory, low, told } = setUp();
  memory.storeU16(0x102, 0xabcd);
  memory.storeU32(0x104, 0x12345678);
  assert.deepEqual([...low.subarray(0x102, 0x108)], [0xcd, 0xab, 0x78, 0x56, 0x34, 0x12]);
  assert.equal(memory.loadU16(0x104), 0x5678);
  assert.equal(memory.loadU32(0x104), 0x12345678);
  for (const [load, address] of [
    ['loadU16', 0x101],
    ['loadU32', 0x102],
    ['loadU16', 0x2000],
    ['loadU32', 2 ** 32 + 0x1000],
  ] as const) {
    assert.throws(() => memory[load](address), GuestAccessError);
  }
  assert.deepEqual(told, [
    [0x102, 2],
    [0x104, 4],
  ]);
});
