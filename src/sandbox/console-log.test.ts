import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ConsoleLog } from './console-log.js';

const texts = (log: ConsoleLog, after?: number): string[] =>
  log.lines(after).map(({ text }) => text);

test('lines are numbered, whatever pieces their bytes come in', () => {
  const time = new Date(5);
  const log = new ConsoleLog(() => time);
  const bytes = Buffer.from('one\r\n\ntwö\nopen');
  for (const byte of bytes) log.add(Uint8Array.of(byte));
  assert.deepEqual(log.lines(), [
    { number: 1, time, text: 'one' },
    { number: 2, time, text: '' },
    { number: 3, time, text: 'twö' },
  ]);
  assert.deepEqual(texts(log, 2), ['twö']);
  assert.deepEqual(texts(log, 3), []);
  log.add(Buffer.from('ed\n'));
  assert.deepEqual(texts(log, 3), ['opened']);
});

test('the end is kept, however much comes and however long its lines are', () => {
  const log = new ConsoleLog();
  for (let i = 1; i <= 100_000; i++) log.add(Buffer.from(`line ${i}\n`));
  const kept = log.lines();
  assert.equal(kept.at(-1)?.text, 'line 100000');
  assert.equal(kept[0]?.text, `line ${kept[0]?.number}`);
  assert.ok(kept.length > 1000 && kept.length < 10_000, `${kept.length} lines`);
  assert.deepEqual(texts(log, 99_999), ['line 100000']);
  assert.equal(log.lines(5).length, kept.length, 'those that have gone are not missed');

  const empty = new ConsoleLog();
  empty.add(Buffer.alloc(2 ** 20, '\n'));
  assert.ok(empty.lines().length < 10_000);
  const long = new ConsoleLog();
  for (let i = 0; i < 64; i++) long.add(Buffer.alloc(65_536, 'x'));
  const size = texts(long).join('').length;
  assert.ok(size > 100_000 && size <= 256 * 1024, `${size} characters`);
});
