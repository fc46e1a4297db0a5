/**
 * Reads cpio archives in the newc format, with or without checksums, and initrds made of several
 * (Linux, "initramfs buffer format": archives concatenated, each plain or compressed, zeros between).
 */
import { PandoError } from '../error.js';
import { type ByteSource, BytesSource } from './byte-source.js';
import { decompress, detectCompression, MAGIC_BYTES } from './decompress/decompress.js';

const NEWC_HEADER_SIZE = 110;
/** Name of the entry that ends an archive. */
export const CPIO_TRAILER = 'TRAILER!!!';
/** Longest name, terminating NUL included (PATH_MAX). */
export const CPIO_NAME_LIMIT = 4096;
/** Type bits of `mode` (POSIX <sys/stat.h>). */
const S_IFMT = 0o170000;
export const S_IFIFO = 0o010000;
export const S_IFCHR = 0o020000;
export const S_IFDIR = 0o040000;
export const S_IFBLK = 0o060000;
export const S_IFREG = 0o100000;
export const S_IFLNK = 0o120000;

const MAGIC_NEWC = '070701';
const MAGIC_CRC = '070702';
const MAGIC_SIZE = 6;
const FIELD_SIZE = 8;
/** Compressed archives may hold compressed archives; nobody needs more than this. */
const MAX_DEPTH = 4;
const ZERO_CHUNK = 65536;

/** One entry; numbers as in the header. */
export interface CpioEntry {
  readonly name: string;
  readonly ino: number;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly nlink: number;
  readonly mtime: number;
  readonly size: number;
  readonly rdevMajor: number;
  readonly rdevMinor: number;
  /** Offset of the header in its source. */
  readonly offset: number;
  /** Reads the content (a symbolic link's target, for links), when it is wanted. */
  readonly read: () => Uint8Array;
}

const align4 = (value: number) => Math.ceil(value / 4) * 4;

function truncated(what: string, offset: number, needed: number, size: number): PandoError {
  return new PandoError(
    'CPIO_TRUNCATED',
    `cpio ${what} at offset ${offset} needs ${needed} bytes, the archive ends at ${size}`,
    { remedy: 'the initrd is truncated: make or fetch it again' },
  );
}

interface RawEntry extends CpioEntry {
  readonly next: number;
  readonly check: number | undefined;
}

function readEntry(source: ByteSource, offset: number): RawEntry {
  if (offset + NEWC_HEADER_SIZE > source.size) {
    throw truncated('header', offset, NEWC_HEADER_SIZE, source.size);
  }
  const header = String.fromCharCode(...source.read(offset, NEWC_HEADER_SIZE));
  const magic = header.slice(0, MAGIC_SIZE);
  if (magic !== MAGIC_NEWC && magic !== MAGIC_CRC) {
    throw new PandoError(
      'CPIO_BAD_MAGIC',
      `cpio header at offset ${offset} has the magic ${JSON.stringify(magic)}, newc has 070701 or 070702`,
    );
  }
  const field = (index: number) => {
    const at = MAGIC_SIZE + FIELD_SIZE * index;
    const digits = header.slice(at, at + FIELD_SIZE);
    if (!/^[0-9a-fA-F]{8}$/.test(digits)) {
      throw new PandoError(
        'CPIO_BAD_FIELD',
        `cpio header field at offset ${offset + at} is ${JSON.stringify(digits)}, not eight hex digits`,
      );
    }
    return Number.parseInt(digits, 16);
  };
  const size = field(6);
  const nameSize = field(11);
  if (nameSize < 2 || nameSize > CPIO_NAME_LIMIT) {
    throw new PandoError(
      'CPIO_BAD_NAME',
      `cpio name at offset ${offset + NEWC_HEADER_SIZE} is ${nameSize} bytes, 2 to ${CPIO_NAME_LIMIT} are possible`,
    );
  }
  const nameAt = offset + NEWC_HEADER_SIZE;
  if (nameAt + nameSize > source.size) throw truncated('name', nameAt, nameSize, source.size);
  const nameBytes = source.read(nameAt, nameSize);
  if (nameBytes.indexOf(0) !== nameSize - 1) {
    throw new PandoError(
      'CPIO_BAD_NAME',
      `cpio name at offset ${nameAt} does not end with the first NUL at byte ${nameSize - 1}`,
    );
  }
  const dataAt = offset + align4(NEWC_HEADER_SIZE + nameSize);
  if (size > 0 && dataAt + size > source.size)
    throw truncated('content', dataAt, size, source.size);
  return {
    name: new TextDecoder().decode(nameBytes.subarray(0, -1)),
    ino: field(0),
    mode: field(1),
    uid: field(2),
    gid: field(3),
    nlink: field(4),
    mtime: field(5),
    size,
    rdevMajor: field(9),
    rdevMinor: field(10),
    offset,
    read: () => source.read(dataAt, size),
    next: dataAt + align4(size),
    check: magic === MAGIC_CRC ? field(12) : undefined,
  };
}

/** newc with checksums stores the sum of the content's bytes, modulo 2^32, of regular files. */
function verifySum(entry: RawEntry): void {
  if (entry.check === undefined || (entry.mode & S_IFMT) !== S_IFREG) return;
  const sum = entry.read().reduce((total, byte) => (total + byte) >>> 0, 0);
  if (sum !== entry.check) {
    throw new PandoError(
      'CPIO_CHECKSUM',
      `content of ${entry.name}, header at offset ${entry.offset}, sums to ${sum}, not ${entry.check}`,
    );
  }
}

/**
 * The entries of one archive, its trailer not included.
 * @param start offset of the first header; alignment counts from here
 * @returns (as the generator's result) the offset behind the trailer
 * @throws PandoError CPIO_TRUNCATED, CPIO_BAD_MAGIC, CPIO_BAD_FIELD, CPIO_BAD_NAME, CPIO_CHECKSUM
 */
export function* readCpio(source: ByteSource, start = 0): Generator<CpioEntry, number> {
  for (let at = start; ; ) {
    const entry = readEntry(source, at);
    if (entry.name === CPIO_TRAILER) return Math.min(entry.next, source.size);
    verifySum(entry);
    yield entry;
    at = entry.next;
  }
}

function skipZeros(source: ByteSource, from: number): number {
  for (let at = from; at < source.size; at += ZERO_CHUNK) {
    const bytes = source.read(at, Math.min(ZERO_CHUNK, source.size - at));
    const index = bytes.findIndex((byte) => byte !== 0);
    if (index !== -1) return at + index;
  }
  return source.size;
}

/**
 * The entries of an initrd: archives in the order in which the kernel unpacks them. What is compressed
 * has to be the last part, since only its end tells where it ends.
 * @param limit how many bytes a compressed part may unpack to
 * @throws PandoError INITRD_FORMAT_UNKNOWN, INITRD_NESTED_TOO_DEEP, and what `readCpio` and `decompress`
 *   throw
 */
export function* readInitrd(source: ByteSource, limit: number, depth = 0): Generator<CpioEntry> {
  for (let at = skipZeros(source, 0); at < source.size; at = skipZeros(source, at)) {
    const magic = source.read(at, Math.min(MAGIC_BYTES, source.size - at));
    if (magic[0] === 0x30) {
      at = yield* readCpio(source, at);
      continue;
    }
    const format = detectCompression(magic);
    if (format === undefined) {
      throw new PandoError(
        'INITRD_FORMAT_UNKNOWN',
        `bytes at offset ${at} of the initrd begin with ${Buffer.from(magic).toString('hex')}: ` +
          'neither a newc archive nor a compressed one',
        { remedy: 'make the initrd with cpio -H newc, or with `pando image initrd`' },
      );
    }
    if (depth === MAX_DEPTH) {
      throw new PandoError(
        'INITRD_NESTED_TOO_DEEP',
        `the initrd is compressed more than ${MAX_DEPTH} times`,
      );
    }
    const unpacked = decompress(format, source.read(at, source.size - at), { limit });
    yield* readInitrd(new BytesSource(unpacked), limit, depth + 1);
    return;
  }
}
