import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { libc } from '../host/libc.js';

const MIB = 2 ** 20;
/** Below the most that glibc takes from its heap. */
const SIZE = 24 * MIB;

/** Prints resident bytes, twice: with a buffer, once that is freed, and after a trim. */
const PROGRAM = `
  const { keepHeap, trimHeap } = await import(${JSON.stringify(new URL('./heap.js', import.meta.url).href)});
  const figures = [];
  const note = () => figures.push(process.memoryUsage.rss());
  keepHeap();
  const before = process.memoryUsage().arrayBuffers;
  for (let turn = 0; turn < 2; turn++) {
    let buffer = new Uint8Array(${SIZE}).fill(1);
    note();
    buffer = undefined;
    while (process.memoryUsage().arrayBuffers > before) {
      await new Promise((resolve) => setImmediate(resolve));
      gc();
    }
    note();
    trimHeap();
    note();
  }
  console.log(JSON.stringify(figures));
`;

test('freed memory stays until the heap is trimmed', {
  skip: libc().mallopt === undefined && 'the C library has no mallopt',
}, () => {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    ['--expose-gc', '--input-type=module', '--eval', PROGRAM],
    { env: { ...process.env, MALLOC_ARENA_MAX: '1' }, encoding: 'utf8', timeout: 60_000 },
  );
  assert.equal(status, 0, stderr);
  const figures = JSON.parse(stdout) as number[];
  const part = SIZE / 2;
  for (const turn of [figures.slice(0, 3), figures.slice(3)]) {
    const [full, freed, trimmed] = turn;
    assert.ok(freed! > full! - part, stdout);
    assert.ok(trimmed! < freed! - part, stdout);
  }
});
