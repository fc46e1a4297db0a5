import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fileSignature, isSigned } from './signature.js';

function signed(fields: Record<string, string>): URLSearchParams {
  const query = new URLSearchParams(fields);
  query.set('signature', fileSignature('token', 'read', query));
  return query;
}

test('a signature is good for its path, user, operation, token and time', () => {
  const query = signed({ path: '/a', username: 'user' });
  assert.equal(isSigned('token', 'read', query), true);
  assert.equal(isSigned('token', 'write', query), false);
  assert.equal(isSigned('other', 'read', query), false);
  for (const [name, value] of [
    ['path', '/b'],
    ['username', 'root'],
    ['signature', ''],
    ['signature_expiration', '9999999999'],
  ] as const) {
    const changed = new URLSearchParams(query);
    changed.set(name, value);
    assert.equal(isSigned('token', 'read', changed), false, name);
  }
  const now = Math.floor(Date.now() / 1000);
  const until = (time: string) => signed({ path: '/a', signature_expiration: time });
  assert.equal(isSigned('token', 'read', until(`${now + 3600}`)), true);
  assert.equal(isSigned('token', 'read', until(`${now - 1}`)), false);
  assert.equal(isSigned('token', 'read', until('never')), false);
  assert.equal(isSigned('token', 'read', new URLSearchParams({ path: '/a' })), false);
});
