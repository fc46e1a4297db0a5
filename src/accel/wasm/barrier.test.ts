/**
 * Locked instructions order what stands before and behind them (Intel SDM vol. 3, 9.2.3.9 "Loads and Stores Are
 * Not Reordered with Locked Instructions"): devices on other threads rely on it, as virtio's rings do (virtio 1.2,
 * 2.7.13). Without it a driver misses that it has to notify, and its device never looks again.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import * as L from './layout.js';
import { CODE, SmallGuest, type SmallOptions } from './testing/small-guest.js';

/** Words of the guest: what it writes, what the other thread writes, what the barrier works on; lines of their own. */
const OURS = 0x10000;
const THEIRS = 0x10100;
const TARGET = 0x10200;
/** What the guest saw of THEIRS in each round. */
const SEEN = 0x100000;
const ROUNDS = 200_000;

const word = (value: number): number[] => [0, 8, 16, 24].map((shift) => (value >>> shift) & 0xff);
/** ModRM with a displacement of 32 bits alone, for an opcode's `reg`. */
const at = (reg: number, address: number): number[] => [(reg << 3) | 4, 0x25, ...word(address)];

const BARRIERS: Readonly<Record<string, readonly number[]>> = {
  mfence: [0x0f, 0xae, 0xf0],
  'lock add': [0xf0, 0x83, ...at(0, TARGET), 0],
  'lock or, register': [0xf0, 0x09, ...at(2, TARGET)],
  'lock inc': [0xf0, 0xff, ...at(0, TARGET)],
  'lock not': [0xf0, 0xf7, ...at(2, TARGET)],
  'lock xadd': [0xf0, 0x0f, 0xc1, ...at(2, TARGET)],
  'lock cmpxchg': [0xf0, 0x0f, 0xb1, ...at(2, TARGET)],
  'lock cmpxchg8b': [0xf0, 0x0f, 0xc7, ...at(1, TARGET)],
  'lock bts': [0xf0, 0x0f, 0xba, ...at(5, TARGET), 1],
  xchg: [0x87, ...at(2, TARGET)],
};

const TIERS: Readonly<Record<string, SmallOptions>> = {
  interpreted: {},
  translated: { threshold: 20 },
  'in a wide region': { threshold: 20, wideThreshold: 50 },
};

/** Counts R8 up: writes it to OURS, has a barrier, reads THEIRS and keeps it. */
function loop(barrier: readonly number[]): number[] {
  const body = [
    ...[0x41, 0xff, 0xc0], // inc r8d
    ...[0x44, 0x89, ...at(0, OURS)], // mov [OURS], r8d
    ...barrier,
    ...[0x8b, ...at(3, THEIRS)], // mov ebx, [THEIRS]
    ...[0x42, 0x89, 0x1c, 0x87], // mov [rdi + r8 * 4], ebx
  ];
  return [0xbf, ...word(SEEN), ...body, 0xe9, ...word(-(body.length + 5))];
}

/** Does the same the other way round until it is told to end, then says what it saw. */
const OTHER = `
  const { parentPort, workerData } = require('node:worker_threads');
  const { memory, ours, theirs, rounds } = workerData;
  const words = new Int32Array(memory);
  const seen = new Int32Array(rounds);
  for (let round = 1; round < rounds; round += 1) {
    Atomics.store(words, theirs, round);
    seen[round] = Atomics.load(words, ours);
    if (seen[round] >= workerData.last) break;
  }
  parentPort.postMessage(seen);`;

for (const [how, options] of Object.entries(TIERS)) {
  for (const [name, barrier] of Object.entries(BARRIERS)) {
    test(`${name} orders a store before a load, ${how}`, async () => {
      const code = loop(barrier);
      const guest = new SmallGuest(code, options);
      const { buffer } = guest.view;
      const other = new Worker(OTHER, {
        eval: true,
        workerData: {
          memory: buffer,
          ours: (L.GUEST_BASE + OURS) / 4,
          theirs: (L.GUEST_BASE + THEIRS) / 4,
          rounds: 4_000_000,
          last: ROUNDS,
        },
      });
      const result = once(other, 'message');
      // On a busy machine it may have its turn when the guest has done its rounds.
      const theirs = new Int32Array(buffer, L.GUEST_BASE + THEIRS, 1);
      while (Atomics.load(theirs, 0) === 0) await new Promise(setImmediate);
      guest.advance(BigInt(ROUNDS * 6 + 100));
      const [theyLooked] = (await result) as [Int32Array];
      const weLooked = new Int32Array(buffer, L.GUEST_BASE + SEEN, ROUNDS);
      let missed = 0;
      let met = 0;
      for (let round = 1; round < ROUNDS; round += 1) {
        const saw = weLooked[round]!;
        if (saw > 0) met += 1;
        // Their next round was not there yet when we looked: when they looked, ours was.
        if (saw + 1 < theyLooked.length && theyLooked[saw + 1]! < round && theyLooked[saw + 1]! > 0)
          missed += 1;
      }
      assert.equal(guest.view.getUint8(L.GUEST_BASE + CODE), code[0]);
      assert.equal(met, ROUNDS - 1);
      assert.equal(missed, 0);
    });
  }
}
