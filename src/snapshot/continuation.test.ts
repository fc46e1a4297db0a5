/**
 * Guests that do this and that at random, and are captured somewhere and go on in another machine come to the state that they
 * come to without it: registers, RAM and devices, by a clock that counts instructions.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { busyGuest } from '../accel/conformance/testing/busy-guest.js';
import { coreModule } from '../accel/wasm/core-module.js';
import { Random } from '../accel/wasm/testing/states.js';
import { LockstepGuest } from '../debug/lockstep-guest.js';
import { storeFolders } from '../image/store-folders.js';
import { compareRam } from '../memory/compare-ram.js';
import type { MemoryLayout, SharedFile } from '../memory/memory-layout.js';
import { openImages } from '../run/images.js';
import { decodeMachine, encodeMachine } from './machine-file.js';

const CASES = 150;
const MEMORY = 24 << 20;
/** Turns before the capture at most, and behind it; instructions of a turn at most. */
const TURNS = 12;
const TURN = 4000;

/** Images of a store need no copy. */
const store = mkdtempSync(join(tmpdir(), 'pando-continuation-'));
const { objects, manifests } = storeFolders(store);
for (const folder of [objects, manifests]) mkdirSync(folder);
process.env.PANDO_STORE = store;

function turns(guest: LockstepGuest, lengths: readonly number[]): void {
  for (const length of lengths) {
    if (guest.ended) return;
    guest.beginTurn();
    if (!guest.ended) guest.advance(guest.count + BigInt(length));
  }
}

/** What two guests that are equal have alike, but for RAM. */
function shown(guest: LockstepGuest): object {
  const { parts, time } = guest.save();
  const bytes = parts.map(({ name, bytes }) => [name, Buffer.from(bytes).toString('hex')]);
  const { count, state, ended, output } = guest;
  return { count, state, ended, output, time, parts: Object.fromEntries(bytes) };
}

/** @returns whether a machine went on with what another had decoded */
function runCase(seed: number): boolean {
  const random = new Random(seed);
  const image = busyGuest(random).image();
  const kernel = join(objects, createHash('sha256').update(image).digest('hex'));
  writeFileSync(kernel, image);
  const images = openImages({ kernel, initrd: undefined, memory: MEMORY, immutable: true });
  const machine = { images, memory: MEMORY, commandLine: '' };
  const lengths = (most: number): number[] =>
    Array.from({ length: random.below(most) }, () => 1 + random.below(TURN));
  const guests: LockstepGuest[] = [];
  const layouts: MemoryLayout[] = [];
  const files: SharedFile[] = [];
  try {
    const whole = LockstepGuest.interpreted(machine);
    const first = LockstepGuest.interpreted(machine);
    guests.push(whole, first);
    const before = lengths(TURNS);
    turns(whole, before);
    turns(first, before);
    assert.equal(first.ended, false);
    const layout = first.capture();
    layouts.push(layout);
    const state = decodeMachine(encodeMachine(first.save()));
    // A machine goes on with what the first has decoded, or decodes its code again.
    const code = seed % 2 === 0 ? first.captureCode() : undefined;
    if (code !== undefined) files.push(code);
    const start = { layout, state, code };
    const second = LockstepGuest.restored(machine, start, { module: coreModule() });
    guests.push(second);
    first.output = whole.output;
    second.output = whole.output;
    const after = lengths(TURNS);
    for (const guest of [whole, first, second]) turns(guest, after);
    for (const guest of [first, second]) {
      assert.deepEqual(shown(guest), shown(whole));
      assert.deepEqual(compareRam(guest.memory, whole.memory).differences, []);
    }
    return code !== undefined;
  } finally {
    for (const guest of guests) guest.memory.release();
    for (const file of [...layouts, ...files]) file.close();
    images.close();
  }
}

test(`${CASES} busy guests go on from a capture as without it`, () => {
  let decoded = 0;
  try {
    for (let seed = 1; seed <= CASES; seed += 1) {
      try {
        if (runCase(seed)) decoded += 1;
      } catch (error) {
        throw new Error(`seed ${seed}: ${error instanceof Error ? error.stack : error}`, {
          cause: error,
        });
      }
    }
  } finally {
    rmSync(store, { recursive: true });
  }
  assert.ok(decoded > CASES / 4, `${decoded} went on with decoded code`);
});
