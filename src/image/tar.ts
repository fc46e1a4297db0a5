/**
 * Reads files out of a tar stream: POSIX.1-1988 "ustar" interchange format (IEEE Std 1003.1,
 * pax, "ustar Interchange Format"), with GNU's and pax's records for long names skipped over, for
 * what is looked for here has short ones. Nothing is written to the file system.
 */
import { PandoError } from '../error.js';

const BLOCK = 512;
/** Field: [offset, length] in the header block. */
const NAME = [0, 100] as const;
const SIZE = [124, 12] as const;
const CHECKSUM = [148, 8] as const;
const TYPE = 156;
const MAGIC = [257, 5] as const;
const PREFIX = [345, 155] as const;

const TYPE_REGULAR = new Set(['0', '\0', '7']);

/** A regular file of the archive. */
export interface TarFile {
  /** Path without a leading "./". */
  readonly path: string;
  readonly bytes: Uint8Array;
}

function malformed(offset: number, what: string): PandoError {
  return new PandoError('TAR_MALFORMED', `tar archive: ${what} at offset ${offset}`, {
    remedy: 'get the package again',
  });
}

function text(block: Uint8Array, [offset, length]: readonly [number, number]): string {
  const field = block.subarray(offset, offset + length);
  const end = field.indexOf(0);
  return Buffer.from(end < 0 ? field : field.subarray(0, end)).toString('utf8');
}

/** Octal digits, or base 256 when the top bit is set (GNU, for files of 8 GiB and more). */
function number(block: Uint8Array, field: readonly [number, number], at: number): number {
  if ((block[field[0]]! & 0x80) !== 0) throw malformed(at, 'a size of 8 GiB or more');
  const digits = text(block, field).trim();
  if (!/^[0-7]{1,12}$/.test(digits)) throw malformed(at, `number ${JSON.stringify(digits)}`);
  return Number.parseInt(digits, 8);
}

/** The sum of the header's bytes, its own field counted as spaces. */
function checksum(block: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < BLOCK; i++) {
    const inField = i >= CHECKSUM[0] && i < CHECKSUM[0] + CHECKSUM[1];
    sum += inField ? 0x20 : block[i]!;
  }
  return sum;
}

interface Header {
  readonly path: string;
  readonly size: number;
  readonly regular: boolean;
}

/** @returns undefined for the zero block that ends an archive */
function parseHeader(block: Uint8Array, at: number): Header | undefined {
  if (block.every((byte) => byte === 0)) return undefined;
  if (number(block, CHECKSUM, at) !== checksum(block)) throw malformed(at, 'wrong header checksum');
  if (text(block, MAGIC).slice(0, 5) !== 'ustar') throw malformed(at, 'no ustar magic');
  const prefix = text(block, PREFIX);
  const name = text(block, NAME);
  return {
    path: (prefix === '' ? name : `${prefix}/${name}`).replace(/^(\.\/)+/, ''),
    size: number(block, SIZE, at),
    regular: TYPE_REGULAR.has(String.fromCharCode(block[TYPE]!)),
  };
}

/**
 * Reads the first regular file that `wanted` accepts; the rest of the stream is not read.
 * @param limit most bytes that file may have
 * @returns undefined when the archive ends without it
 * @throws PandoError TAR_MALFORMED (bad header, truncated archive), TAR_FILE_TOO_LARGE
 */
export async function readTarFile(
  stream: AsyncIterable<Uint8Array>,
  wanted: (path: string) => boolean,
  limit: number,
): Promise<TarFile | undefined> {
  const header = new Uint8Array(BLOCK);
  let filled = 0;
  /** Offset in the archive of the next byte. */
  let at = 0;
  /** Bytes of content and padding left to pass over. */
  let skip = 0;
  let target: { path: string; bytes: Uint8Array; filled: number } | undefined;

  for await (const piece of stream) {
    for (let i = 0; i < piece.length; ) {
      if (target !== undefined) {
        const take = Math.min(piece.length - i, target.bytes.length - target.filled);
        target.bytes.set(piece.subarray(i, i + take), target.filled);
        target.filled += take;
        i += take;
        at += take;
        if (target.filled === target.bytes.length) return target;
        continue;
      }
      if (skip > 0) {
        const take = Math.min(piece.length - i, skip);
        skip -= take;
        i += take;
        at += take;
        continue;
      }
      const take = Math.min(piece.length - i, BLOCK - filled);
      header.set(piece.subarray(i, i + take), filled);
      filled += take;
      i += take;
      at += take;
      if (filled < BLOCK) continue;
      filled = 0;
      const entry = parseHeader(header, at - BLOCK);
      if (entry === undefined) return undefined;
      if (entry.regular && wanted(entry.path)) {
        if (entry.size > limit) {
          throw new PandoError(
            'TAR_FILE_TOO_LARGE',
            `tar archive: ${entry.path} has ${entry.size} bytes, the limit is ${limit}`,
          );
        }
        target = { path: entry.path, bytes: new Uint8Array(entry.size), filled: 0 };
        if (entry.size === 0) return target;
      } else {
        skip = Math.ceil(entry.size / BLOCK) * BLOCK;
      }
    }
  }
  throw malformed(at, target === undefined ? 'no end block' : `${target.path} is truncated`);
}
