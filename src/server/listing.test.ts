import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { HostedSandbox } from './hosted-sandbox.js';
import { RequestError } from './http.js';
import { listed, pageOf } from './listing.js';

const sandbox = (
  id: string,
  at: number,
  metadata: Record<string, string> = {},
  state = 'running',
) =>
  ({
    id,
    state,
    startedAt: new Date(at),
    options: { template: 'base', metadata: new Map(Object.entries(metadata)) },
  }) as unknown as HostedSandbox;

const ids = (all: readonly HostedSandbox[], query: string) =>
  listed(all, new URLSearchParams(query)).items.map(({ id }) => id);

test('pages follow each other, whatever comes and goes between them', () => {
  const letters = ['a', 'b', 'c', 'd', 'e'];
  const page = (all: string[], query: Record<string, string>) =>
    pageOf(all, (letter) => letter, new URLSearchParams(query));
  const first = page(letters, { limit: '2' });
  assert.deepEqual(first.items, ['a', 'b']);
  const second = page(['a', 'c', 'd', 'e'], { limit: '2', nextToken: first.next ?? '' });
  assert.deepEqual(second.items, ['c', 'd']);
  const last = page(letters, { limit: '2', nextToken: second.next ?? '' });
  assert.deepEqual([last.items, last.next], [['e'], undefined]);
  for (const limit of ['0', '101', '-1', '1.5', 'x']) {
    assert.throws(
      () => page(letters, { limit }),
      (error) => error instanceof RequestError && error.status === 400,
    );
  }
});

test('filters and order', () => {
  const all = [
    sandbox('one', 1000, { 'a b': 'c&d=' }),
    sandbox('two', 2000, { 'a b': 'other' }, 'paused'),
    sandbox('three', 2000, { constructor: 'x' }),
  ];
  assert.deepEqual(ids(all, ''), ['three', 'two', 'one']);
  assert.deepEqual(ids(all, 'order=asc'), ['one', 'three', 'two']);
  // Each part is encoded, the pairs are, and the query is.
  const pairs = new URLSearchParams({ [encodeURIComponent('a b')]: encodeURIComponent('c&d=') });
  assert.deepEqual(ids(all, `metadata=${encodeURIComponent(pairs.toString())}`), ['one']);
  assert.deepEqual(ids(all, 'metadata=toString%3Dx'), [], 'names of objects are no metadata');
  assert.deepEqual(ids(all, 'metadata=constructor%3Dx'), ['three']);
  assert.deepEqual(ids(all, 'state=paused'), ['two']);
  const ended = [...all, sandbox('four', 3000, {}, 'exited')];
  assert.deepEqual(ids(ended, ''), ['three', 'two', 'one'], 'what has ended is asked for');
  assert.deepEqual(ids(ended, 'state=paused,exited'), ['four', 'two']);
  assert.deepEqual(ids(all, 'state=paused,running&startedAfter=1970-01-01T00:00:01.500Z'), [
    'three',
    'two',
  ]);
  assert.throws(() => ids(all, 'metadata=%2525zz%253D1'), RequestError);
});
