import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { DeduplicatedPages } from './deduplicated-pages.js';
import { GuestMemory } from './guest-memory.js';
import { accountSharing } from './sharing.js';
import { discardZeroPages } from './zero-pages.js';

const PAGE = 4096;
const RAM = 1 << 20;
const folder = mkdtempSync(join(tmpdir(), 'pando-deduplicated-'));
after(() => rmSync(folder, { recursive: true }));

/** Guest RAM with pages that hold their number, as a boot would leave them. */
function guest(pages: number): GuestMemory {
  const memory = GuestMemory.create({ ramBytes: RAM, controlBytes: 1 << 16 });
  for (let page = 0; page < pages; page++) memory.bytes(page * PAGE, PAGE).fill(page + 1);
  return memory;
}

const own = (memory: GuestMemory): number => accountSharing(memory, []).parts.rest.own;

/** The first pages, which the guest has written: reading others makes pages where the host has no page of zeros. */
const copy = (memory: GuestMemory, pages: number): Buffer =>
  Buffer.from(memory.bytes(0, pages * PAGE));

test('a second guest maps the pages that it has alike, and keeps the others', () => {
  const path = join(folder, 'deduplicated', 'alike');
  const [one, two] = [guest(64), guest(64)];
  assert.equal(new DeduplicatedPages(one, path).share(), 64);
  assert.equal(own(one), 0);
  assert.equal(statSync(path).mode & 0o777, 0o400);
  assert.equal(statSync(path).size, RAM);
  two.bytes(20 * PAGE + 5, 1)[0] = 99;
  two.bytes(23 * PAGE, 1)[0] = 99;
  two.bytes(100 * PAGE, 1)[0] = 99;
  const before = copy(two, 64);
  const booted = new DeduplicatedPages(two, path);
  // Pages 21 and 22 lie alone between two that differ.
  assert.equal(booted.share(), 60);
  assert.equal(own(two), 5);
  assert.deepEqual(copy(two, 64), before);
  assert.equal(booted.share(), 0, 'what is left differs, and does not replace the file');
  assert.equal(statSync(path).size, RAM);
  assert.equal(readFileSync(path)[20 * PAGE + 5], 21);
  assert.deepEqual(
    readdirSync(join(folder, 'deduplicated')),
    ['alike'],
    'nothing temporary is left',
  );

  two.bytes(3 * PAGE, PAGE).fill(0);
  assert.equal(
    one.bytes(3 * PAGE, 1)[0],
    4,
    'a write reaches neither the file nor the other guest',
  );
  assert.equal(readFileSync(path)[3 * PAGE], 4);
  assert.equal(discardZeroPages(two, booted.ranges), 0, 'a page of zeros over the file stays');
  assert.equal(two.bytes(3 * PAGE, 1)[0], 0);
  two.clear();
  booted.forget();
  assert.deepEqual(booted.ranges, []);
  assert.ok(copy(two, 64).every((byte) => byte === 0));
  one.release();
  two.release();
});

test('a file that has nothing in common, or another size, is replaced', () => {
  const path = join(folder, 'other');
  const [one, two] = [guest(32), guest(32)];
  assert.equal(new DeduplicatedPages(one, path).share(), 32);
  for (let page = 0; page < 32; page++) two.bytes(page * PAGE, 1)[0] = 200;
  const [first, second] = [copy(one, 32), copy(two, 32)];
  assert.equal(new DeduplicatedPages(two, path).share(), 32);
  assert.deepEqual(copy(two, 32), second);
  assert.deepEqual(copy(one, 32), first, 'who has the old file mapped keeps it');
  assert.equal(readFileSync(path)[0], 200);
  const larger = GuestMemory.create({ ramBytes: 2 * RAM, controlBytes: 1 << 16 });
  larger.bytes(0, 8 * PAGE).fill(7);
  assert.equal(new DeduplicatedPages(larger, path).share(), 8);
  assert.equal(statSync(path).size, 2 * RAM);
  for (const memory of [one, two, larger]) memory.release();
});

test('where no file can be written nothing is shared', () => {
  const memory = guest(8);
  assert.equal(
    new DeduplicatedPages(memory, join(fileURLToPath(import.meta.url), 'deduplicated')).share(),
    0,
  );
  assert.equal(own(memory), 8);
  memory.release();
});
