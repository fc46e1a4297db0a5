/** Archives of builds, as clients send them. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import { RequestError } from '../http.js';
import { Uploads } from './uploads.js';

const request = (...pieces: string[]) =>
  Readable.from(pieces.map((piece) => Buffer.from(piece))) as IncomingMessage;

const refused = (status: number) => (error: unknown) =>
  error instanceof RequestError && error.status === status;

test('an archive comes by its link, once for all steps that copy it', async () => {
  const uploads = new Uploads(100);
  const { token, present } = uploads.link('template', 'ab12');
  assert.equal(present, false);
  assert.equal(await uploads.file('template', 'ab12'), undefined);
  await uploads.receive(token, request('some ', 'bytes'));
  assert.deepEqual(uploads.link('template', 'ab12'), { token, present: true });
  const path = await uploads.file('template', 'ab12');
  assert.equal(readFileSync(path!, 'utf8'), 'some bytes');
  assert.equal(await uploads.file('other', 'ab12'), undefined, 'of another template');
  await uploads.receive(token, request('again'));
  assert.equal(readFileSync(path!, 'utf8'), 'again');
  await uploads.forget('template');
  assert.equal(existsSync(path!), false);
  await assert.rejects(uploads.receive(token, request('late')), refused(404));
  await uploads.close();
});

test('all archives together have a limit; one that is cut leaves nothing', async () => {
  const uploads = new Uploads(10);
  const one = uploads.link('a', '1').token;
  const two = uploads.link('b', '2').token;
  await uploads.receive(one, request('123456'));
  await assert.rejects(uploads.receive(two, request('123', '456')), refused(413));
  assert.equal(await uploads.file('b', '2'), undefined);
  await uploads.forget('a');
  await uploads.receive(two, request('123', '456'));
  const cut = Readable.from(
    (function* () {
      yield Buffer.from('12');
      throw new Error('cut');
    })(),
  ) as IncomingMessage;
  await assert.rejects(uploads.receive(two, cut), /cut/);
  assert.equal(await uploads.file('b', '2'), undefined);
  await uploads.receive(two, request('0123456789'));
  await uploads.close();
});

test('a link that is not one, or in use', async () => {
  const uploads = new Uploads(10);
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
