import assert from 'node:assert/strict';
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
  assert.throws(() => memory.bytes(0, 1));
});

test('a size that is no multiple of the page size is refused', () => {
  assert.throws(
    () => MappedMemory.create({ ramBytes: 4097, controlBytes: 0 }),
    (error) => error instanceof PandoError && error.code === 'GUEST_RAM_SIZE',
  );
});
