/** Files by HTTP, with an agent on the host. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { sendError } from '../http.js';
import { HostSandbox } from '../testing/host-sandbox.js';
import { download, upload } from './file-transfer.js';

const LIMIT = 100_000;
const guest = new HostSandbox();
const hosted = guest.hosted();
const { folder } = guest.host;
const server = createServer((request, response) => {
  const query = new URL(request.url ?? '', 'http://localhost').searchParams;
  const answer =
    request.method === 'GET'
      ? download(hosted, query, response)
      : upload(hosted, query, request, response, LIMIT);
  answer.catch((error: unknown) => sendError(response, error));
});
let url = '';

before(async () => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/files`;
});
after(async () => {
  server.close();
  await guest.close();
});

const at = (path: string) => `${url}?path=${encodeURIComponent(path)}`;
const bytes = (path: string, body: Uint8Array, headers = {}) =>
  fetch(at(path), {
    method: 'POST',
    headers: { 'content-type': 'application/octet-stream', ...headers },
    body: new Blob([new Uint8Array(body)]),
  });

test('bytes as they are, and compressed', async () => {
  const path = join(folder, 'a/b/plain');
  const response = await bytes(path, Buffer.from('text'));
  assert.deepEqual(await response.json(), [{ name: 'plain', path, type: 'file' }]);
  assert.equal(readFileSync(path, 'utf8'), 'text');
  await bytes(path, gzipSync('zipped'), { 'content-encoding': 'gzip' });
  assert.equal(await (await fetch(at(path))).text(), 'zipped');
  assert.equal((await bytes(path, Buffer.from('x'), { 'content-encoding': 'br' })).status, 400);
  const damaged = await bytes(path, Buffer.from('no gzip'), { 'content-encoding': 'gzip' });
  assert.ok(!damaged.ok);
});

test('what is too large is refused, also when it grows as it is unpacked', async () => {
  const large = Buffer.alloc(LIMIT + 1);
  const path = join(folder, 'large');
  assert.equal((await bytes(path, large)).status, 413);
  const packed = await bytes(path, gzipSync(large), { 'content-encoding': 'gzip' });
  assert.equal(packed.status, 413);
  const form = new FormData();
  form.append('file', new Blob([large]), path);
  assert.equal((await fetch(url, { method: 'POST', body: form })).status, 413);
  assert.equal(
    (await bytes(path, large.subarray(1))).status,
    200,
    'the limit itself is none too many',
  );
});

test('a form with many files; a part that fails, and one that is no file', async () => {
  const form = new FormData();
  form.append('note', new Blob(['ignored']), 'note');
  for (const name of ['one', 'two']) form.append('file', new Blob([name]), join(folder, name));
  form.append(
    'file',
    new Blob(['up']),
    join(folder, 'x/../../', folder.split('/').at(-1)!, 'three'),
  );
  const response = await fetch(url, { method: 'POST', body: form });
  const written = (await response.json()) as { path: string }[];
  assert.deepEqual(
    written.map(({ path }) => path),
    ['one', 'two', 'three'].map((name) => join(folder, name)),
  );
  form.append('file', new Blob(['x']), folder);
  assert.equal((await fetch(url, { method: 'POST', body: form })).status, 400, 'a folder');
  const cut = { method: 'POST', headers: { 'content-type': 'multipart/form-data; boundary=x' } };
  assert.equal((await fetch(url, { ...cut, body: '--x\r\nContent-Disp' })).status, 400);
});

test('what is no file is not sent', async () => {
  assert.equal((await fetch(at(join(folder, 'none')))).status, 404);
  assert.equal((await fetch(at(folder))).status, 400);
  assert.equal((await fetch(at('/dev/zero'))).status, 400, 'a device has no end');
  assert.equal((await fetch(url)).status, 400);
  assert.equal((await fetch(at('/etc/a\0b'))).status, 400);
  assert.match(await (await fetch(at('/proc/self/status'))).text(), /^Name:/, 'no size, but bytes');
  assert.equal(existsSync(join(folder, 'none')), false);
});
