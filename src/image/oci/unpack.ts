/**
 * The compression of a layer as it comes, told by its first bytes: gzip, zstd or none. What the media
 * type says is not needed, and is wrong in old archives (OCI Image Format Specification, layer.md).
 */

import { createRequire } from 'node:module';
import { Readable } from 'node:stream';
import { createGunzip, type Gunzip } from 'node:zlib';
import { PandoError } from '../../error.js';
import { decompress, detectCompression, MAGIC_BYTES } from '../../loader/decompress/decompress.js';

/** Where Node has no zstd of its own, a layer is unpacked in memory, up to this many bytes. */
const IN_MEMORY_LIMIT = 2 ** 31;

/** Node 22.15 and later have it; the types are of Node 20, and an import by its name fails there. */
const { createZstdDecompress: nativeZstd } = createRequire(import.meta.url)('node:zlib') as {
  readonly createZstdDecompress?: () => Gunzip;
};

/** The pieces again, the first at least as long as `least` or all that there is. */
async function* headFirst(
  stream: AsyncIterable<Uint8Array>,
  least: number,
): AsyncGenerator<Uint8Array> {
  let head: Uint8Array | undefined = new Uint8Array(0);
  for await (const piece of stream) {
    if (head === undefined) {
      yield piece;
      continue;
    }
    head = Buffer.concat([head, piece]);
    if (head.length < least) continue;
    yield head;
    head = undefined;
  }
  if (head !== undefined && head.length > 0) yield head;
}

async function whole(stream: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  let size = 0;
  for await (const piece of stream) {
    pieces.push(piece);
    size += piece.length;
    if (size > IN_MEMORY_LIMIT) {
      throw new PandoError(
        'LAYER_TOO_LARGE',
        `a zstd layer has more than ${IN_MEMORY_LIMIT} bytes`,
        {
          remedy: 'use a Node.js that has zstd, 22.15 or later',
        },
      );
    }
  }
  return Buffer.concat(pieces);
}

/** Passes a stream through one of zlib's; errors of both sides reach the reader. */
async function* through(
  source: AsyncIterable<Uint8Array>,
  codec: Gunzip,
  format: string,
): AsyncGenerator<Uint8Array> {
  const readable = Readable.from(source, { objectMode: false });
  let upstream: unknown;
  readable.on('error', (cause) => {
    upstream = cause;
    codec.destroy();
  });
  readable.pipe(codec);
  try {
    for await (const piece of codec) yield piece as Uint8Array;
    if (upstream !== undefined) throw upstream;
  } catch (cause) {
    if (upstream !== undefined) throw upstream;
    const code = (cause as NodeJS.ErrnoException).code ?? '';
    if (!/^(Z_|ZSTD|ERR_)/.test(code)) throw cause;
    throw new PandoError('LAYER_COMPRESSION_DAMAGED', `a ${format} layer: ${String(cause)}`, {
      remedy: 'pull again',
      cause,
    });
  } finally {
    readable.destroy();
    codec.destroy();
  }
}

/**
 * A layer's archive.
 * @throws PandoError LAYER_COMPRESSION_DAMAGED, LAYER_COMPRESSION_UNKNOWN, LAYER_TOO_LARGE, DECOMPRESS_*
 */
export async function* unpackLayer(stream: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const pieces = headFirst(stream, MAGIC_BYTES);
  const { value: head, done } = await pieces.next();
  if (done === true) return;
  const rest = (async function* () {
    yield head;
    yield* pieces;
  })();
  const format = detectCompression(head);
  if (format === undefined) yield* rest;
  else if (format === 'gzip') yield* through(rest, createGunzip(), format);
  else if (format === 'zstd') {
    if (nativeZstd !== undefined) yield* through(rest, nativeZstd(), format);
    else yield decompress('zstd', await whole(rest), { limit: IN_MEMORY_LIMIT });
  } else {
    throw new PandoError('LAYER_COMPRESSION_UNKNOWN', `a layer is compressed with ${format}`, {
      remedy: 'images have layers of gzip, zstd or no compression',
    });
  }
}
