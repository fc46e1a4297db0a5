/** GET and POST /files: the bytes of files, as E2B's clients send and fetch them. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { posix } from 'node:path';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { Busboy } from '@fastify/busboy';
import type { HostedSandbox } from '../hosted-sandbox.js';
import { header, RequestError, sendJson } from '../http.js';
import { makeOwned } from './ownership.js';

/** Parts of a form: as many files as one request may have. */
const FILES_MAX = 10_000;

interface Written {
  readonly name: string;
  readonly path: string;
  readonly type: 'file';
}

/** Sends a file. @throws RequestError, PandoError GUEST_… */
export async function download(
  hosted: HostedSandbox,
  query: URLSearchParams,
  response: ServerResponse,
): Promise<void> {
  const { files } = hosted.sandbox;
  const name = query.get('path') ?? '';
  if (name === '') throw new RequestError(400, 'a request without a path');
  const path = await hosted.users.path(name, query.get('username') ?? undefined);
  const { kind, size } = await files.stat(path);
  if (kind === 'directory') throw new RequestError(400, `${path} is a directory`);
  if (kind !== 'file') throw new RequestError(400, `${path} is no regular file`);
  // A file of /proc has no size, but bytes.
  const sized = size > 0;
  const bytes = await files.createReadStream(path, sized ? { length: size } : {});
  const quoted = encodeURIComponent(posix.basename(path));
  response.writeHead(200, {
    'content-type': 'application/octet-stream',
    'content-disposition': `inline; filename*=UTF-8''${quoted}`,
    'x-content-type-options': 'nosniff',
    ...(sized && { 'content-length': size }),
  });
  await pipeline(bytes, response);
}

/** The bytes of a stream, as long as they are no more than a limit. */
async function* limited(bytes: Readable, limit: number): AsyncGenerator<Uint8Array, void, void> {
  let size = 0;
  // What comes behind is read all the same, by whoever owns the stream.
  for await (const piece of bytes.iterator({ destroyOnReturn: false })) {
    size += (piece as Buffer).length;
    if (size > limit) throw new RequestError(413, `a file of more than ${limit} bytes`);
    yield piece as Buffer;
  }
}

async function write(
  hosted: HostedSandbox,
  name: string,
  user: string | undefined,
  bytes: Readable,
  limit: number,
): Promise<Written> {
  if (name === '') throw new RequestError(400, 'a file without a path');
  const path = await hosted.users.path(name, user);
  await makeOwned(hosted, path, user, () =>
    hosted.sandbox.files.writeFile(path, limited(bytes, limit)),
  );
  return { name: posix.basename(path), path, type: 'file' };
}

/** The files of a form, each with its path as the file's name. */
async function writeForm(
  hosted: HostedSandbox,
  query: URLSearchParams,
  request: IncomingMessage,
  body: Readable,
  limit: number,
): Promise<Written[]> {
  const user = query.get('username') ?? undefined;
  const type = header(request, 'content-type') ?? '';
  const writes: Promise<Written>[] = [];
  const form = Busboy({
    headers: { ...request.headers, 'content-type': type },
    preservePath: true,
    limits: { files: FILES_MAX, fields: 0, fileSize: limit + 1 },
  });
  form.on('file', (field, part, name) => {
    if (field !== 'file') {
      part.resume();
      return;
    }
    part.on('error', () => undefined);
    const written = write(hosted, query.get('path') || name, user, part, limit);
    // What is not written is read all the same: the next part comes after it.
    written.catch(() => part.resume());
    writes.push(written);
  });
  form.on('filesLimit', () => form.destroy(new RequestError(413, `more than ${FILES_MAX} files`)));
  try {
    await pipeline(body, form);
  } catch (error) {
    await Promise.allSettled(writes);
    throw error instanceof RequestError ? error : new RequestError(400, 'a form that is not whole');
  }
  return Promise.all(writes);
}

/** Receives files. @throws RequestError, PandoError GUEST_… */
export async function upload(
  hosted: HostedSandbox,
  query: URLSearchParams,
  request: IncomingMessage,
  response: ServerResponse,
  limit: number,
): Promise<void> {
  const type = header(request, 'content-type') ?? '';
  const encoding = header(request, 'content-encoding') ?? 'identity';
  let body: Readable = request;
  if (encoding === 'gzip') {
    const gunzip = createGunzip();
    // Its reader gets the error, also one that begins later.
    gunzip.on('error', () => undefined);
    request.on('error', (error) => gunzip.destroy(error));
    body = request.pipe(gunzip);
  } else if (encoding !== 'identity') throw new RequestError(400, `the encoding ${encoding}`);
  const user = query.get('username') ?? undefined;
  const written = type.startsWith('multipart/form-data')
    ? await writeForm(hosted, query, request, body, limit)
    : [await write(hosted, query.get('path') ?? '', user, body, limit)];
  sendJson(response, 200, written);
}
