import assert from 'node:assert/strict';
import { test } from 'node:test';
import { OutputLog } from './output-log.js';

async function textOf(log: OutputLog, lines?: number, signal?: AbortSignal): Promise<string> {
  let text = '';
  for await (const { stream, data } of log.read(lines, signal)) {
    text += `${stream === 'stderr' ? '!' : ''}${Buffer.from(data)}`;
  }
  return text;
}

test('the last lines, whatever pieces they came in; one without an end counts', async () => {
  const log = new OutputLog();
  assert.equal(await textOf(log), '');
  for (const piece of ['one\ntw', 'o\n', '\n']) log.add('stdout', Buffer.from(piece));
  log.add('stderr', Buffer.from('four'));
  assert.equal(await textOf(log), 'one\ntwo\n\n!four');
  const last = await Promise.all([0, 1, 2, 3, 4, 5].map((lines) => textOf(log, lines)));
  assert.deepEqual(last, ['', '!four', '\n!four', 'two\n\n!four', last[5], 'one\ntwo\n\n!four']);
  log.add('stderr', Buffer.from('\n'));
  assert.equal(await textOf(log, 1), '!four!\n');
});

test('a follower hears all until the end, or until it goes', async () => {
  const log = new OutputLog();
  log.add('stdout', Buffer.from('old\nnew\n'));
  const gone = new AbortController();
  const following = textOf(log, 1, new AbortController().signal);
  const leaving = textOf(log, 0, gone.signal);
  log.add('stdout', Buffer.from('more\n'));
  await new Promise((resolve) => setImmediate(resolve));
  gone.abort();
  log.add('stderr', Buffer.from('last\n'));
  log.end();
  assert.equal(await following, 'new\nmore\n!last\n');
  assert.equal(await leaving, 'more\n');
  assert.equal(await textOf(log, 1, new AbortController().signal), '!last\n', 'after the end');
});

test('what is kept is bounded, also by small pieces, and is the end', async () => {
  const log = new OutputLog();
  const bytes = Buffer.alloc(100_000, 'x');
  const slow = log.read(undefined, new AbortController().signal);
  log.add('stdout', Buffer.from('first'));
  assert.equal(Buffer.from((await slow.next()).value!.data).toString(), 'first');
  for (let i = 0; i < 30; i += 1) log.add('stdout', bytes);
  log.add('stdout', Buffer.from('end'));
  const kept = await textOf(log);
  assert.ok(kept.length > 900_000 && kept.length <= 2 ** 20, `${kept.length}`);
  assert.ok(kept.endsWith('xend'));
  assert.equal((await slow.next()).value!.data.length, bytes.length, 'a slow reader goes on');
  for (let i = 0; i < 50_000; i += 1) log.add('stdout', Buffer.from('.'));
  assert.ok((await textOf(log)).length < 10_000);
  log.add('stdout', Buffer.alloc(2 ** 21, 'y'));
  assert.equal((await textOf(log)).length, 2 ** 20);
});
