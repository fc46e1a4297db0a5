/** gzip (RFC 1952), by Node's zlib, with its errors turned into the loader's. */
import { constants, gunzipSync } from 'node:zlib';
import { PandoError } from '../../error.js';
import {
  BEGINNING_BYTES,
  checksumMismatch,
  corrupt,
  type DecompressBounds,
  tooLarge,
  truncated,
} from './codec.js';

const FORMAT = 'gzip';

/** deflate writes at most 1032 bytes for each that it reads (RFC 1951). */
const PEEK = 1024;

/** The first bytes of the output, as many as come of the first of the input. */
function beginning(input: Uint8Array): Uint8Array {
  for (let length = PEEK; ; length *= 4) {
    const peeked = gunzipSync(input.subarray(0, length), { finishFlush: constants.Z_SYNC_FLUSH });
    if (peeked.length >= BEGINNING_BYTES || length >= input.length) return peeked;
  }
}

/**
 * Unpacks one or more gzip members.
 * @throws PandoError DECOMPRESS_TRUNCATED, DECOMPRESS_CORRUPT, DECOMPRESS_CHECKSUM,
 *   DECOMPRESS_TOO_LARGE
 */
export function decompressGzip(input: Uint8Array, bounds: DecompressBounds): Uint8Array {
  try {
    bounds.accept?.(beginning(input));
    return gunzipSync(input, { maxOutputLength: Math.max(1, bounds.limit) });
  } catch (cause) {
    if (!(cause instanceof Error) || cause instanceof PandoError || !('code' in cause)) throw cause;
    if (cause.code === 'ERR_BUFFER_TOO_LARGE') throw tooLarge(FORMAT, bounds.limit);
    if ('errno' in cause && cause.errno === constants.Z_BUF_ERROR) {
      throw truncated(FORMAT, input.length, input.length);
    }
    if (/check$/.test(cause.message)) throw checksumMismatch(FORMAT, 0, cause.message);
    throw corrupt(FORMAT, 0, cause.message);
  }
}
