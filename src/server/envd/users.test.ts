/** Users of guests, as their files have them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Sandbox } from '../../sandbox/sandbox.js';
import { RequestError } from '../http.js';
import { GuestUsers } from './users.js';

function usersOf(files: Readonly<Record<string, string>>, fallback = 'root'): GuestUsers {
  const sandbox = {
    files: {
      exists: async (path: string) => path in files,
      readFile: async (path: string) => files[path],
    },
  };
  return new GuestUsers(sandbox as unknown as Sandbox, fallback);
}

test('a user has a home and numbers; the one that nobody names is the sandbox’s', async () => {
  const users = usersOf(
    { '/etc/passwd': 'root:x:0:0::/root:/bin/sh\nwww:x:33:44::/srv:/x\n' },
    'www',
  );
  const www = { name: 'www', home: '/srv', uid: 33, gid: 44 };
  assert.deepEqual([await users.find(undefined), await users.find('')], [www, www]);
  assert.equal((await users.find('root')).home, '/root');
  assert.deepEqual(await users.find('70'), { name: '70', home: '/', uid: 70, gid: 0 });
  assert.equal(await users.path('~/file', 'www'), '/srv/file');
  await assert.rejects(users.find('none'), RequestError);
});

test('an image without a list of users has root all the same', async () => {
  const users = usersOf({});
  assert.deepEqual(await users.find('root'), { name: '0', home: '/', uid: 0, gid: 0 });
  await assert.rejects(users.find('www'), RequestError);
});
