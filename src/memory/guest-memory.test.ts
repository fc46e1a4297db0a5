import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { addressOf, viewOf } from '../host/libc.js';
import { readMappings, readProcessMemory } from '../measure/process-memory.js';
import { collectGarbage } from '../platform/testing/garbage.js';
import { GuestMemory } from './guest-memory.js';

const MIB = 1 << 20;
const controlBytes = 16 * MIB;

/** What the kernel holds resident of a guest's whole buffer, in bytes. */
function residentBytes(guest: GuestMemory): number {
  const start = Number(guest.hostAddress);
  const range = { start, end: start + guest.buffer.byteLength };
  return readMappings('self', { ranges: [range] }).reduce(
    (sum, mapping) => sum + (mapping.figures.get('Rss') ?? 0),
    0,
  );
}

test('guest physical address 0 follows the control area', () => {
  const guest = GuestMemory.create({ ramBytes: 8 * MIB, controlBytes });
  assert.equal(guest.buffer.byteLength, 24 * MIB);
  guest.bytes(0, 4).set([1, 2, 3, 4]);
  assert.deepEqual([...new Uint8Array(guest.buffer, controlBytes, 4)], [1, 2, 3, 4]);
  assert.deepEqual([...viewOf(guest.ramHostAddress, 4)], [1, 2, 3, 4]);
  assert.equal(addressOf(guest.bytes(4096, 1)), guest.hostRange(4096, 1));
  assert.equal(guest.hostAddress % 4096n, 0n);
});

test('ranges outside guest RAM are refused', () => {
  const guest = GuestMemory.create({ ramBytes: MIB, controlBytes });
  assert.equal(guest.bytes(MIB, 0).length, 0);
  const outside: [number, number][] = [
    [MIB - 1, 2],
    [-1, 1],
    [0, -1],
    [MIB + 1, 0],
    [0, Number.NaN],
    [2 ** 53, 1],
  ];
  for (const [gpa, length] of outside)
    assert.throws(() => guest.bytes(gpa, length), { code: 'GUEST_ADDRESS_RANGE' });
});

test('sizes are whole 64 KiB pages up to 3 GiB', () => {
  for (const ramBytes of [0, -MIB, 4096, MIB + 1, 3 * 1024 * MIB + 65536, Number.NaN])
    assert.throws(() => GuestMemory.create({ ramBytes, controlBytes }), { code: 'GUEST_RAM_SIZE' });
  const largest = GuestMemory.create({ ramBytes: 3 * 1024 * MIB, controlBytes });
  const last = largest.bytes(3 * 1024 * MIB - 1, 1);
  last[0] = 9;
  assert.equal(viewOf(largest.ramHostAddress + BigInt(3 * 1024 * MIB - 1), 1)[0], 9);
});

test('a worker attaches to the same bytes', async () => {
  const guest = GuestMemory.create({ ramBytes: MIB, controlBytes });
  const url = new URL('./guest-memory.js', import.meta.url).href;
  const source = `
    const { parentPort, workerData } = require('node:worker_threads');
    import(${JSON.stringify(url)}).then(({ GuestMemory }) => {
      const guest = GuestMemory.attach(workerData.memory, ${controlBytes});
      guest.bytes(100, 1)[0] = 77;
      parentPort.postMessage([guest.ramBytes, guest.hostAddress]);
    });`;
  const worker = new Worker(source, { eval: true, workerData: { memory: guest.memory } });
  const answer = await new Promise((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', reject);
  });
  assert.deepEqual(answer, [MIB, guest.hostAddress]);
  assert.equal(guest.bytes(100, 1)[0], 77);
  await worker.terminate();
});

test('an unshared memory is refused', () => {
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 1 });
  assert.throws(() => GuestMemory.attach(memory, 0), { code: 'GUEST_MEMORY_NOT_SHARED' });
});

test('clearing leaves the control area alone, releasing gives back everything', () => {
  const guest = GuestMemory.create({ ramBytes: 32 * MIB, controlBytes });
  const control = new Uint8Array(guest.buffer, 0, controlBytes);
  assert.equal(residentBytes(guest), 0);
  guest.bytes(0, 32 * MIB).fill(1);
  control.fill(2);
  assert.equal(residentBytes(guest), 48 * MIB);
  guest.clear();
  assert.equal(residentBytes(guest), 16 * MIB);
  assert.equal(guest.bytes(5 * MIB, 1)[0], 0);
  assert.equal(control[controlBytes - 1], 2);
  guest.release();
  assert.equal(residentBytes(guest), 0);
  assert.equal(control[0], 0);
});

test('200 guests that come and go leave no mapping and no memory behind', async () => {
  const mappings = (): number => readFileSync('/proc/self/maps', 'latin1').split('\n').length;
  const settle = async (): Promise<void> => {
    for (let i = 0; i < 4; i++) {
      collectGarbage();
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  };
  const cycle = (): void => {
    const guest = GuestMemory.create({ ramBytes: 16 * MIB, controlBytes });
    guest.bytes(0, 4 * MIB).fill(1);
    guest.release();
  };
  cycle();
  await settle();
  const before = { mappings: mappings(), rss: readProcessMemory().rss };
  for (let i = 0; i < 200; i++) cycle();
  await settle();
  const after = { mappings: mappings(), rss: readProcessMemory().rss };
  // V8's heaps come and go; one mapping, or 4 MiB, that each guest left would be 200, or 800.
  assert.ok(after.mappings <= before.mappings + 100, `${before.mappings} to ${after.mappings}`);
  assert.ok(after.rss <= before.rss + 64 * MIB, `${before.rss} to ${after.rss}`);
});

test('what was released is refused, and comes to the next of its size as zeros', () => {
  const first = GuestMemory.create({ ramBytes: 3 * MIB, controlBytes });
  first.bytes(5, 1)[0] = 9;
  new Uint8Array(first.buffer)[7] = 9;
  first.release();
  first.release();
  assert.throws(() => first.bytes(5, 1), { code: 'GUEST_RAM_RELEASED' });
  const second = GuestMemory.create({ ramBytes: 3 * MIB, controlBytes });
  const third = GuestMemory.create({ ramBytes: 3 * MIB, controlBytes });
  assert.equal(second.buffer, first.buffer);
  assert.notEqual(third.buffer, second.buffer);
  assert.equal(second.bytes(5, 1)[0], 0);
  assert.equal(new Uint8Array(second.buffer)[7], 0);
  first.clear();
  second.bytes(0, 1)[0] = 4;
  first.release();
  assert.equal(second.bytes(0, 1)[0], 4, 'whoever released it has no say any more');
  second.release();
  third.release();
});
