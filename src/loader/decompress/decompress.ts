/**
 * One door to all decompressors: the format is told by the first bytes, never by a name.
 */
import { PandoError } from '../../error.js';
import { decompressBzip2 } from './bzip2.js';
import type { DecompressBounds } from './codec.js';
import { decompressGzip } from './gzip.js';
import { decompressLz4, LZ4_LEGACY_MAGIC } from './lz4.js';
import { decompressLzma } from './lzma.js';
import { decompressXz, XZ_MAGIC } from './xz.js';
import { decompressZstd, ZSTD_MAGIC } from './zstd.js';

/** Formats that the kernel's build can compress with. */
export type CompressionFormat = 'gzip' | 'bzip2' | 'lzma' | 'xz' | 'lzo' | 'lz4' | 'zstd';

const littleEndian = (value: number) =>
  [value, value >>> 8, value >>> 16, value >>> 24].map((byte) => byte & 0xff);

/** What each format begins with; .lzma has no magic, but Linux's begins with lc 3, lp 0, pb 2. */
const MAGICS: readonly (readonly [CompressionFormat, readonly number[]])[] = [
  ['gzip', [0x1f, 0x8b]],
  ['bzip2', [0x42, 0x5a, 0x68]],
  ['lzma', [0x5d, 0x00, 0x00]],
  ['xz', XZ_MAGIC],
  ['lzo', [0x89, 0x4c, 0x5a, 0x4f, 0x00, 0x0d, 0x0a, 0x1a, 0x0a]],
  ['lz4', littleEndian(LZ4_LEGACY_MAGIC)],
  ['zstd', littleEndian(ZSTD_MAGIC)],
];

/** Longest magic: how many bytes `detectCompression` looks at. */
export const MAGIC_BYTES = 9;

/** The format that `bytes` begin with, or undefined when it is none of these. */
export function detectCompression(bytes: Uint8Array): CompressionFormat | undefined {
  return MAGICS.find(([, magic]) => magic.every((byte, index) => bytes[index] === byte))?.[0];
}

const DECODERS: Record<
  Exclude<CompressionFormat, 'lzo'>,
  (input: Uint8Array, bounds: DecompressBounds) => Uint8Array
> = {
  gzip: decompressGzip,
  bzip2: decompressBzip2,
  lzma: decompressLzma,
  xz: decompressXz,
  lz4: decompressLz4,
  zstd: decompressZstd,
};

/**
 * Unpacks `input`, all of which belongs to the stream.
 * @throws PandoError COMPRESSION_UNSUPPORTED (LZO), DECOMPRESS_TRUNCATED, DECOMPRESS_CORRUPT,
 *   DECOMPRESS_CHECKSUM, DECOMPRESS_TOO_LARGE, DECOMPRESS_UNSUPPORTED
 */
export function decompress(
  format: CompressionFormat,
  input: Uint8Array,
  bounds: DecompressBounds,
): Uint8Array {
  if (format === 'lzo') {
    throw new PandoError('COMPRESSION_UNSUPPORTED', 'LZO compression is not supported', {
      remedy: 'use an image compressed with gzip, xz, zstd, LZ4, bzip2 or LZMA',
    });
  }
  return DECODERS[format](input, bounds);
}
