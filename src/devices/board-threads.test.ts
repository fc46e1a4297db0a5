import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { Board } from './board.js';
import { BOARD_TOTAL_BYTES } from './board-state.js';

/** More than the console ring holds, so that the transmitter must stall and go on. */
const BYTES = 100_000;

test('a guest on another thread that waits for THRE loses no byte, however slow the host is', async () => {
  const state = new SharedArrayBuffer(BOARD_TOTAL_BYTES);
  const board = new Board({
    state,
    byteOffset: 0,
    vcpus: 1,
    clock: { now: () => 0 },
    tscFrequency: 1e9,
    wallClock: () => 0,
  });
  board.reset();
  const worker = new Worker(
    `import { workerData } from 'node:worker_threads';
     const { Board } = await import(workerData.module);
     const board = new Board({ state: workerData.state, byteOffset: 0, vcpus: 1,
       clock: { now: () => 0 }, tscFrequency: 1e9, wallClock: () => 0 });
     const idle = new Int32Array(new SharedArrayBuffer(4));
     board.portOut(0x3fa, 1, 0x01);
     for (let i = 0; i < ${BYTES}; i += 1) {
       while ((board.portIn(0x3fd, 1) & 0x20) === 0) Atomics.wait(idle, 0, 0, 1);
       board.portOut(0x3f8, 1, i & 0xff);
     }`,
    {
      eval: true,
      execArgv: ['--input-type=module'],
      workerData: { state, module: new URL('./board.js', import.meta.url).href },
    },
  );
  const failed = new Promise<never>((_, reject) => {
    worker.once('error', reject);
  });
  let received = 0;
  let fullest = 0;
  const drain = async (): Promise<void> => {
    // Let the ring fill up first.
    while (board.serialOutput.length < board.serialOutput.capacity) await sleep(1);
    while (received < BYTES) {
      fullest = Math.max(fullest, board.serialOutput.length);
      for (const byte of board.serialOutput.read(10_000)) {
        assert.equal(byte, received & 0xff, `byte ${received}`);
        received += 1;
      }
      board.pumpOutput();
      await sleep(1);
    }
  };
  await Promise.race([drain(), failed]);
  await worker.terminate();
  assert.equal(received, BYTES);
  assert.equal(fullest, board.serialOutput.capacity);
});
