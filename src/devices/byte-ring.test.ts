import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { ByteRing, RING_HEADER_BYTES } from './byte-ring.js';
import { StateLock } from './state-lock.js';

function ring(capacity: number): ByteRing {
  return new ByteRing(new SharedArrayBuffer(RING_HEADER_BYTES + capacity), 0, capacity);
}

test('bytes come out in the order they went in, and an empty ring gives -1', () => {
  const r = ring(8);
  assert.equal(r.shift(), -1);
  assert.equal(r.write(Uint8Array.of(1, 2, 3)), 3);
  assert.equal(r.shift(), 1);
  assert.deepEqual([...r.read()], [2, 3]);
});

test('a full ring refuses bytes and loses none', () => {
  const r = ring(4);
  assert.equal(r.write(Uint8Array.of(1, 2, 3, 4, 5, 6)), 4);
  assert.equal(r.push(7), false);
  assert.equal(r.shift(), 1);
  assert.equal(r.push(7), true);
  assert.deepEqual([...r.read()], [2, 3, 4, 7]);
});

test('the indices wrap at 2^32 without losing count', () => {
  const buffer = new SharedArrayBuffer(RING_HEADER_BYTES + 4);
  new Uint32Array(buffer, 0, 2).fill(0xfffffffe);
  const r = new ByteRing(buffer, 0, 4);
  assert.equal(r.write(Uint8Array.of(1, 2, 3, 4)), 4);
  assert.equal(r.length, 4);
  assert.equal(r.push(5), false);
  assert.deepEqual([...r.read(3)], [1, 2, 3]);
  assert.deepEqual([...r.read(3)], [4]);
});

test('the lock keeps two threads from losing each other’s increments', async () => {
  const buffer = new SharedArrayBuffer(16);
  const lock = new StateLock(buffer, 0);
  const count = new Int32Array(buffer, 8, 1);
  const rounds = 20_000;
  const worker = new Worker(
    `import { workerData } from 'node:worker_threads';
     const { StateLock } = await import(workerData.module);
     const lock = new StateLock(workerData.buffer, 0);
     const count = new Int32Array(workerData.buffer, 8, 1);
     Atomics.store(new Int32Array(workerData.buffer), 3, 1);
     for (let i = 0; i < ${rounds}; i += 1) { lock.acquire(); count[0] = count[0] + 1; lock.release(); }`,
    {
      eval: true,
      execArgv: ['--input-type=module'],
      workerData: { buffer, module: new URL('./state-lock.js', import.meta.url).href },
    },
  );
  const ended = new Promise<number>((resolve, reject) => {
    worker.once('exit', resolve);
    worker.once('error', reject);
  });
  // Both must be running for there to be anything to lose.
  const flags = new Int32Array(buffer);
  while (Atomics.load(flags, 3) === 0) await new Promise((resolve) => setTimeout(resolve, 1));
  for (let i = 0; i < rounds; i += 1) {
    lock.acquire();
    count[0] = count[0]! + 1;
    lock.release();
  }
  assert.equal(await ended, 0);
  assert.equal(count[0], 2 * rounds);
});
