/** Archives of builds, as clients send them. */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { after, test } from 'node:test';
import { RequestError } from '../http.js';
import { Uploads } from './uploads.js';

const folder = mkdtempSync(join(tmpdir(), 'pando-uploads-'));
after(() => {
  const left = readdirSync(folder);
  rmSync(folder, { recursive: true });
  assert.deepEqual(left, []);
});

const request = (...pieces: string[]) =>
  Readable.from(pieces.map((piece) => Buffer.from(piece))) as IncomingMessage;

const refused = (status: number) => (error: unknown) =>
  error instanceof RequestError && error.status === status;

test('an archive comes by its link, once for all steps that copy it', async () => {
  const uploads = new Uploads(100, folder);
  const { token, present } = uploads.link('template', 'ab12');
  assert.equal(present, false);
  assert.equal(uploads.file('template', 'ab12'), undefined);
  await uploads.receive(token, request('some ', 'bytes'));
  assert.deepEqual(uploads.link('template', 'ab12'), { token, present: true });
  const path = uploads.file('template', 'ab12');
  assert.equal(readFileSync(path!, 'utf8'), 'some bytes');
  assert.equal(uploads.file('other', 'ab12'), undefined, 'of another template');
  await uploads.receive(token, request('again'));
  assert.equal(readFileSync(path!, 'utf8'), 'again');
  await uploads.forget('template');
  assert.equal(existsSync(path!), false);
  await assert.rejects(uploads.receive(token, request('late')), refused(404));
  await uploads.close();
});

test('all archives together have a limit; one that is cut leaves nothing', async () => {
  const uploads = new Uploads(10, folder);
  const one = uploads.link('a', '1').token;
  const two = uploads.link('b', '2').token;
  await uploads.receive(one, request('123456'));
  await assert.rejects(uploads.receive(two, request('123', '456')), refused(413));
  assert.equal(uploads.file('b', '2'), undefined);
  await uploads.forget('a');
  await uploads.receive(two, request('123', '456'));
  const cut = Readable.from(
    (function* () {
      yield Buffer.from('12');
      throw new Error('cut');
    })(),
  ) as IncomingMessage;
  await assert.rejects(uploads.receive(two, cut), /cut/);
  assert.equal(uploads.file('b', '2'), undefined);
  await uploads.receive(two, request('0123456789'));
  await uploads.close();
});

test('a link that is not one, or in use', async () => {
  const uploads = new Uploads(10, folder);
  await assert.rejects(uploads.receive('../../etc/passwd', request('x')), refused(404));
  const { token } = uploads.link('a', '1');
  const slow = new Readable({ read: () => undefined }) as IncomingMessage;
  const coming = uploads.receive(token, slow);
  await assert.rejects(uploads.receive(token, request('x')), refused(409));
  slow.push('x');
  slow.push(null);
  await coming;
  await uploads.close();
});
