import assert from 'node:assert/strict';
import type { IncomingMessage } from 'node:http';
import { test } from 'node:test';
import { RequestError } from './http.js';
import { ApiKeys, sameSecret } from './keys.js';

const request = (headers: Record<string, string>) => ({ headers }) as unknown as IncomingMessage;
const unauthorized = (error: unknown) => error instanceof RequestError && error.status === 401;

test('without keys any will do, but one must be there', () => {
  const keys = new ApiKeys([]);
  assert.equal(keys.ownerOf(request({ 'x-api-key': 'anything' })), 'local');
  assert.throws(() => keys.ownerOf(request({})), unauthorized);
});

test('a key is an owner; others, and parts of one, are refused', () => {
  const keys = new ApiKeys(['first', 'second']);
  const owner = keys.ownerOf(request({ 'x-api-key': 'first' }));
  assert.equal(keys.ownerOf(request({ authorization: 'Bearer first' })), owner);
  assert.notEqual(keys.ownerOf(request({ 'x-api-key': 'second' })), owner);
  for (const key of ['', 'firs', 'firstt', 'FIRST', 'first,second']) {
    assert.throws(() => keys.ownerOf(request({ 'x-api-key': key })), unauthorized);
  }
});

test('secrets of any lengths are compared', () => {
  assert.equal(sameSecret('a', 'a'), true);
  assert.equal(sameSecret('a', 'ab'), false);
  assert.equal(sameSecret('', 'a'), false);
});
