/**
 * Header blocks and extended header records of tar archives: the ustar and pax interchange formats
 * (IEEE Std 1003.1-2017, pax), numbers in base 256 and long names as GNU tar writes them (GNU tar
 * manual, "Basic Tar Format"), extended attributes as `SCHILY.xattr.` records (star(5)).
 */
import { PandoError } from '../error.js';

export const TAR_BLOCK = 512;

/** Field: [offset, length] in the header block. */
type Field = readonly [offset: number, length: number];
const NAME: Field = [0, 100];
const MODE: Field = [100, 8];
const UID: Field = [108, 8];
const GID: Field = [116, 8];
const SIZE: Field = [124, 12];
const MTIME: Field = [136, 12];
const CHECKSUM: Field = [148, 8];
const TYPE = 156;
const LINK_NAME: Field = [157, 100];
const MAGIC: Field = [257, 5];
const MAJOR: Field = [329, 8];
const MINOR: Field = [337, 8];
const PREFIX: Field = [345, 155];
/** What follows the magic tells POSIX's format, which has a prefix, from GNU's, which has not. */
const VERSION = 262;

const XATTR_RECORD = 'SCHILY.xattr.';

/** A header block as it stands. Names are byte strings: one character a byte. */
export interface TarHeader {
  readonly name: string;
  readonly linkName: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  /** Seconds since 1970. */
  readonly mtime: number;
  readonly type: string;
  readonly major: number;
  readonly minor: number;
}

/** An error about an archive's structure. */
export function tarMalformed(offset: number, what: string): PandoError {
  return new PandoError('TAR_MALFORMED', `tar archive: ${what} at offset ${offset}`, {
    remedy: 'get the archive again',
  });
}

function text(block: Uint8Array, [offset, length]: Field): string {
  const field = block.subarray(offset, offset + length);
  const end = field.indexOf(0);
  return Buffer.from(end < 0 ? field : field.subarray(0, end)).toString('latin1');
}

/** Octal digits, or a signed big-endian number when the top bit is set; empty is 0. */
function number(block: Uint8Array, field: Field, at: number): number {
  const [offset, length] = field;
  const first = block[offset]!;
  let value: number;
  if ((first & 0x80) !== 0) {
    // 0x80 begins a positive number, 0xff a negative one in two's complement.
    value = first === 0xff ? -1 : first & 0x7f;
    for (let index = 1; index < length; index++) value = value * 256 + block[offset + index]!;
  } else {
    const digits = text(block, field).trim();
    if (!/^[0-7]{0,12}$/.test(digits)) throw tarMalformed(at, `number ${JSON.stringify(digits)}`);
    value = digits === '' ? 0 : Number.parseInt(digits, 8);
  }
  if (Number.isSafeInteger(value)) return value;
  throw tarMalformed(at, 'a number of more than 53 bits');
}

/** The sum of the header's bytes, its own field counted as spaces. */
function checksum(block: Uint8Array): number {
  let sum = 0;
  for (let index = 0; index < TAR_BLOCK; index++) {
    const inField = index >= CHECKSUM[0] && index < CHECKSUM[0] + CHECKSUM[1];
    sum += inField ? 0x20 : block[index]!;
  }
  return sum;
}

/**
 * @param at the block's offset in the archive
 * @returns undefined for the zero block that ends an archive
 * @throws PandoError TAR_MALFORMED
 */
export function parseTarHeader(block: Uint8Array, at: number): TarHeader | undefined {
  if (block.every((byte) => byte === 0)) return undefined;
  if (number(block, CHECKSUM, at) !== checksum(block)) {
    throw tarMalformed(at, 'wrong header checksum');
  }
  if (text(block, MAGIC) !== 'ustar') throw tarMalformed(at, 'no ustar magic');
  const prefix = block[VERSION] === 0 ? text(block, PREFIX) : '';
  const name = text(block, NAME);
  const size = number(block, SIZE, at);
  if (size < 0) throw tarMalformed(at, `size ${size}`);
  return {
    name: prefix === '' ? name : `${prefix}/${name}`,
    linkName: text(block, LINK_NAME),
    mode: number(block, MODE, at),
    uid: number(block, UID, at),
    gid: number(block, GID, at),
    size,
    mtime: number(block, MTIME, at),
    type: String.fromCharCode(block[TYPE]!),
    major: number(block, MAJOR, at),
    minor: number(block, MINOR, at),
  };
}

/** Records of a pax extended header, by their keyword; an empty value takes a record back. */
export function parsePaxRecords(bytes: Uint8Array, at: number): Map<string, Uint8Array> {
  const records = new Map<string, Uint8Array>();
  for (let from = 0; from < bytes.length; ) {
    const space = bytes.indexOf(0x20, from);
    const digits = Buffer.from(bytes.subarray(from, Math.max(from, space))).toString('latin1');
    const end = from + Number(digits);
    const whole = /^[1-9]\d{0,7}$/.test(digits) && end <= bytes.length && bytes[end - 1] === 0x0a;
    const equals = bytes.indexOf(0x3d, space);
    if (!whole || equals < 0 || equals >= end) {
      throw tarMalformed(at, `a pax record at ${from} of its header`);
    }
    const keyword = Buffer.from(bytes.subarray(space + 1, equals)).toString('latin1');
    records.set(keyword, bytes.slice(equals + 1, end - 1));
    from = end;
  }
  return records;
}

/** Whole seconds, rounded down, and nanoseconds of a decimal number of seconds. */
function parseTime(value: string, at: number): { seconds: number; nanoseconds: number } {
  const match = /^(-?)(\d{1,12})(?:\.(\d*))?$/.exec(value);
  if (match === null) throw tarMalformed(at, `time ${JSON.stringify(value)}`);
  const fraction = Number((match[3] ?? '').slice(0, 9).padEnd(9, '0'));
  if (match[1] === '') return { seconds: Number(match[2]), nanoseconds: fraction };
  if (fraction === 0) return { seconds: 0 - Number(match[2]), nanoseconds: 0 };
  return { seconds: -Number(match[2]) - 1, nanoseconds: 1e9 - fraction };
}

/** What extended headers say about the entry that they precede. */
export interface TarExtensions {
  readonly name?: string;
  readonly linkName?: string;
  readonly size?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly mtime?: { readonly seconds: number; readonly nanoseconds: number };
  /** By full name. */
  readonly xattrs: ReadonlyMap<string, Uint8Array>;
}

/**
 * Reads what is known of records; others are passed over, as POSIX has it.
 * @throws PandoError TAR_MALFORMED, TAR_UNSUPPORTED for sparse files
 */
export function readExtensions(
  records: ReadonlyMap<string, Uint8Array>,
  at: number,
): TarExtensions {
  const xattrs = new Map<string, Uint8Array>();
  const texts = new Map<string, string>();
  for (const [keyword, value] of records) {
    if (keyword.startsWith('GNU.sparse.')) {
      throw new PandoError('TAR_UNSUPPORTED', `tar archive: a sparse file at offset ${at}`, {
        remedy: 'make the archive without --sparse',
      });
    }
    if (keyword.startsWith(XATTR_RECORD)) xattrs.set(keyword.slice(XATTR_RECORD.length), value);
    else texts.set(keyword, Buffer.from(value).toString('latin1'));
  }
  const string = (keyword: string) => texts.get(keyword) || undefined;
  const integer = (keyword: string): number | undefined => {
    const digits = string(keyword);
    if (digits === undefined) return undefined;
    if (/^\d{1,15}$/.test(digits)) return Number(digits);
    throw tarMalformed(at, `pax record ${keyword}=${JSON.stringify(digits)}`);
  };
  const time = string('mtime');
  return {
    ...present('name', string('path')),
    ...present('linkName', string('linkpath')),
    ...present('size', integer('size')),
    ...present('uid', integer('uid')),
    ...present('gid', integer('gid')),
    ...present('mtime', time === undefined ? undefined : parseTime(time, at)),
    xattrs,
  };
}

function present<K extends string, T>(key: K, value: T | undefined): { [P in K]?: T } {
  return value === undefined ? {} : ({ [key]: value } as { [P in K]?: T });
}
