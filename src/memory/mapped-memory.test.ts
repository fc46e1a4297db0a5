import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { PandoError } from '../error.js';
import { MappedMemory } from './mapped-memory.js';

const GIB = 2 ** 30;

test('RAM above the hole for devices lies from 4 GiB on, right behind the rest in the host', () => {
  const memory = MappedMemory.create({ ramBytes: 5 * GIB, controlBytes: 0x10000 });
  try {
    memory.bytes(4 * GIB, 4).set([1, 2, 3, 4]);
    assert.equal(memory.hostRange(4 * GIB, 4) - memory.ramHostAddress, BigInt(3 * GIB));
    assert.deepEqual([...memory.bytes(4 * GIB + 1, 2)], [2, 3]);
    assert.equal(memory.bytes(6 * GIB - 8, 8).length, 8);
    for (const [gpa, length] of [
      [3 * GIB, 1],
      [3 * GIB - 1, 2],
      [4 * GIB - 1, 1],
      [6 * GIB - 1, 2],
      [-1, 1],
    ] as const) {
      assert.throws(
        () => memory.bytes(gpa, length),
        (error) => error instanceof PandoError && error.code === 'GUEST_ADDRESS_RANGE',
      );
    }
    memory.clear();
    assert.equal(memory.bytes(4 * GIB, 1)[0], 0);
  } finally {
    memory.release();
  }
  memory.release();
  assert.throws(() => memory.bytes(0, 1), { code: 'GUEST_RAM_RELEASED' });
});

test('a size that is no multiple of the page size is refused', () => {
  assert.throws(
    () => MappedMemory.create({ ramBytes: 4097, controlBytes: 0 }),
    (error) => error instanceof PandoError && error.code === 'GUEST_RAM_SIZE',
  );
});

test('RAM begins where large pages do, and a control area comes back as zeros', () => {
  const first = MappedMemory.create({ ramBytes: 4096, controlBytes: 0x20000 });
  assert.equal(first.ramHostAddress % BigInt(2 << 20), 0n);
  new Uint8Array(first.buffer).fill(1);
  first.release();
  const second = MappedMemory.create({ ramBytes: 8192, controlBytes: 0x20000 });
  assert.equal(second.buffer, first.buffer);
  assert.ok(new Uint8Array(second.buffer).every((byte) => byte === 0));
  second.release();
});

test('mapping and releasing leaves the address space as it was', () => {
  const lines = (): number => readFileSync('/proc/self/maps', 'latin1').split('\n').length;
  const cycle = (): void => {
    const memory = MappedMemory.create({ ramBytes: 64 << 20, controlBytes: 0x10000 });
    memory.bytes(0, 4096).fill(1);
    memory.release();
  };
  cycle();
  const before = lines();
  for (let i = 0; i < 200; i += 1) cycle();
  assert.ok(lines() < before + 20, `${before} to ${lines()}`);
});
