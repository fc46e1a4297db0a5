/** gzip (RFC 1952), by Node's zlib, with its errors turned into the loader's. */
import { constants, gunzipSync } from 'node:zlib';
import { checksumMismatch, corrupt, type DecompressBounds, tooLarge, truncated } from './codec.js';

const FORMAT = 'gzip';

/**
 * Unpacks one or more gzip members.
 * @throws PandoError DECOMPRESS_TRUNCATED, DECOMPRESS_CORRUPT, DECOMPRESS_CHECKSUM,
 *   DECOMPRESS_TOO_LARGE
 */
export function decompressGzip(input: Uint8Array, bounds: DecompressBounds): Uint8Array {
  try {
    return gunzipSync(input, { maxOutputLength: Math.max(1, bounds.limit) });
  } catch (cause) {
    if (!(cause instanceof Error) || !('code' in cause)) throw cause;
    if (cause.code === 'ERR_BUFFER_TOO_LARGE') throw tooLarge(FORMAT, bounds.limit);
    if ('errno' in cause && cause.errno === constants.Z_BUF_ERROR) {
      throw truncated(FORMAT, input.length, input.length);
    }
    if (/check$/.test(cause.message)) throw checksumMismatch(FORMAT, 0, cause.message);
    throw corrupt(FORMAT, 0, cause.message);
  }
}
