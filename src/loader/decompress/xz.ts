/**
 * The .xz container: streams of blocks with an index behind them (The .xz File Format 1.1.0). The index
 * is read first, from the end, so the output is allocated once and every block lands in its place.
 */
import { sha256 } from '../../platform/hash.js';
import { undoX86Filter } from './bcj-x86.js';
import {
  checksumMismatch,
  corrupt,
  type DecompressBounds,
  Output,
  tooLarge,
  truncated,
  unsupported,
} from './codec.js';
import { crc32, crc64 } from './crc.js';
import { decodeLzma2 } from './lzma2.js';

export const XZ_MAGIC = [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00] as const;

const FORMAT = 'xz';
/** Stream header and footer are both this long. */
const EDGE_SIZE = 12;
const FILTER_X86 = 0x04;
const FILTER_LZMA2 = 0x21;
const BLOCK_HAS_PACKED_SIZE = 0x40;
const BLOCK_HAS_SIZE = 0x80;
const BLOCK_RESERVED = 0x3c;
/** Multibyte integers hold 63 bits; more than 2^53 is more than any file. */
const INTEGER_BYTES = 9;

/** Bytes of the check after each block, by its ID (section 2.1.1.2). */
const CHECK_SIZES = [0, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64] as const;
const CHECK_NONE = 0;
const CHECK_CRC32 = 1;
const CHECK_CRC64 = 4;
const CHECK_SHA256 = 10;

interface IndexRecord {
  readonly unpaddedSize: number;
  readonly size: number;
}

interface XzStream {
  readonly start: number;
  readonly check: number;
  readonly records: readonly IndexRecord[];
}

const roundUp4 = (value: number) => Math.ceil(value / 4) * 4;

/** A cursor over a bounded range; running over its end is corruption of what contains it. */
class Cursor {
  readonly #input: Uint8Array;
  readonly #end: number;
  at: number;

  constructor(input: Uint8Array, at: number, end: number) {
    this.#input = input;
    this.at = at;
    this.#end = end;
  }

  byte(): number {
    if (this.at >= this.#end) throw corrupt(FORMAT, this.at, 'a header that passes its end');
    return this.#input[this.at++]!;
  }

  /** A multibyte integer (section 1.2): seven bits a byte, least significant first. */
  integer(): number {
    const start = this.at;
    let value = 0;
    for (let index = 0; index < INTEGER_BYTES; index++) {
      const byte = this.byte();
      value += (byte & 0x7f) * 2 ** (7 * index);
      if (byte < 0x80) {
        if (byte === 0 && index > 0) throw corrupt(FORMAT, start, 'an integer with a useless byte');
        if (!Number.isSafeInteger(value)) throw corrupt(FORMAT, start, 'an integer above 2^53');
        return value;
      }
    }
    throw corrupt(FORMAT, start, 'an integer of more than nine bytes');
  }

  /** Padding up to the end, which has to be zeros. */
  padding(): void {
    while (this.at < this.#end) {
      if (this.byte() !== 0) throw corrupt(FORMAT, this.at - 1, 'padding that is not zero');
    }
  }
}

function word(input: Uint8Array, at: number): number {
  return (
    (input[at]! | (input[at + 1]! << 8) | (input[at + 2]! << 16) | (input[at + 3]! << 24)) >>> 0
  );
}

function verifyCrc32(
  input: Uint8Array,
  from: number,
  to: number,
  stored: number,
  what: string,
): void {
  if (crc32(input.subarray(from, to)) !== word(input, stored)) {
    throw checksumMismatch(FORMAT, stored, `CRC-32 of the ${what}`);
  }
}

function readIndex(input: Uint8Array, start: number, end: number): IndexRecord[] {
  verifyCrc32(input, start, end - 4, end - 4, 'index');
  const cursor = new Cursor(input, start, end - 4);
  if (cursor.byte() !== 0) throw corrupt(FORMAT, start, 'no index indicator');
  const count = cursor.integer();
  // Each record has two bytes or more, so a count that the index cannot hold is refused up front.
  if (count > (end - start) / 2) throw corrupt(FORMAT, start, `an index of ${count} records`);
  const records = Array.from({ length: count }, () => ({
    unpaddedSize: cursor.integer(),
    size: cursor.integer(),
  }));
  cursor.padding();
  return records;
}

/** Reads the stream that ends at `end`, from its footer and index. */
function readStream(input: Uint8Array, end: number): XzStream {
  const footer = end - EDGE_SIZE;
  if (footer < EDGE_SIZE || input[end - 2] !== 0x59 || input[end - 1] !== 0x5a) {
    throw truncated(FORMAT, end, end);
  }
  verifyCrc32(input, footer + 4, footer + 10, footer, 'stream footer');
  const check = input[footer + 9]!;
  if (input[footer + 8] !== 0 || check > 15) throw corrupt(FORMAT, footer + 8, 'stream flags');
  const indexStart = footer - 4 * (word(input, footer + 4) + 1);
  if (indexStart < EDGE_SIZE) throw corrupt(FORMAT, footer + 4, 'an index size beyond the start');
  const records = readIndex(input, indexStart, footer);
  const blocks = records.reduce((sum, { unpaddedSize }) => sum + roundUp4(unpaddedSize), 0);
  const start = indexStart - blocks - EDGE_SIZE;
  if (start < 0) throw corrupt(FORMAT, indexStart, `an index of ${blocks} bytes of blocks`);
  if (XZ_MAGIC.some((byte, index) => input[start + index] !== byte)) {
    throw corrupt(FORMAT, start, 'no stream header');
  }
  verifyCrc32(input, start + 6, start + 8, start + 8, 'stream header');
  if (input[start + 6] !== 0 || input[start + 7] !== check) {
    throw corrupt(FORMAT, start + 6, 'stream header and footer that disagree');
  }
  return { start, check, records };
}

/** All streams of the file in order; zeros in fours may stand between and behind them. */
function readStreams(input: Uint8Array): XzStream[] {
  const streams: XzStream[] = [];
  let end = input.length;
  while (end > 0) {
    while (end >= 4 && word(input, end - 4) === 0) end -= 4;
    if (end === 0) break;
    const stream = readStream(input, end);
    streams.unshift(stream);
    end = stream.start;
  }
  if (streams.length === 0) throw truncated(FORMAT, EDGE_SIZE, input.length);
  return streams;
}

interface BlockHeader {
  readonly size: number;
  /** Start offset of the x86 filter, when the block has one. */
  readonly x86Offset?: number;
}

function readBlockHeader(input: Uint8Array, at: number, record: IndexRecord): BlockHeader {
  const size = 4 * (input[at]! + 1);
  if (input[at] === 0 || size > record.unpaddedSize) throw corrupt(FORMAT, at, 'block header size');
  verifyCrc32(input, at, at + size - 4, at + size - 4, 'block header');
  const cursor = new Cursor(input, at + 1, at + size - 4);
  const flags = cursor.byte();
  if ((flags & BLOCK_RESERVED) !== 0) throw unsupported(FORMAT, `block flags ${flags}`);
  if ((flags & BLOCK_HAS_PACKED_SIZE) !== 0) cursor.integer();
  if ((flags & BLOCK_HAS_SIZE) !== 0 && cursor.integer() !== record.size) {
    throw corrupt(FORMAT, at, 'block header and index that disagree on the size');
  }
  let x86Offset: number | undefined;
  const filters = (flags & 3) + 1;
  for (let index = 0; index < filters; index++) {
    const id = cursor.integer();
    const propertiesSize = cursor.integer();
    const last = index === filters - 1;
    if (last && id === FILTER_LZMA2 && propertiesSize === 1) {
      cursor.byte();
    } else if (
      !last &&
      id === FILTER_X86 &&
      filters === 2 &&
      propertiesSize % 4 === 0 &&
      propertiesSize <= 4
    ) {
      x86Offset = 0;
      for (let bit = 0; bit < 8 * propertiesSize; bit += 8) x86Offset |= cursor.byte() << bit;
    } else {
      throw unsupported(FORMAT, `filter 0x${id.toString(16)}`);
    }
  }
  cursor.padding();
  return x86Offset === undefined ? { size } : { size, x86Offset };
}

function verifyCheck(input: Uint8Array, at: number, check: number, data: Uint8Array): void {
  const expect = (holds: boolean, what: string) => {
    if (!holds) throw checksumMismatch(FORMAT, at, what);
  };
  if (check === CHECK_CRC32) {
    expect(crc32(data) === word(input, at), 'CRC-32 of a block');
  } else if (check === CHECK_CRC64) {
    const stored = (BigInt(word(input, at + 4)) << 32n) | BigInt(word(input, at));
    expect(crc64(data) === stored, 'CRC-64 of a block');
  } else if (check === CHECK_SHA256) {
    const digest = sha256(data);
    expect(digest.equals(input.subarray(at, at + digest.length)), 'SHA-256 of a block');
  } else if (check !== CHECK_NONE) {
    throw unsupported(FORMAT, `check ${check}`);
  }
}

function decodeBlock(
  input: Uint8Array,
  at: number,
  check: number,
  record: IndexRecord,
  output: Output,
): void {
  const checkSize = CHECK_SIZES[check]!;
  const header = readBlockHeader(input, at, record);
  const checkAt = at + roundUp4(record.unpaddedSize - checkSize);
  const dataEnd = at + record.unpaddedSize - checkSize;
  const start = output.length;
  const end = decodeLzma2(input, at + header.size, dataEnd, output);
  if (end !== dataEnd) throw corrupt(FORMAT, end, `a block that should end at ${dataEnd}`);
  if (output.length - start !== record.size) {
    throw corrupt(
      FORMAT,
      at,
      `a block of ${output.length - start} bytes, ${record.size} in the index,`,
    );
  }
  const data = output.bytes.subarray(start, output.length);
  if (header.x86Offset !== undefined) undoX86Filter(data, header.x86Offset);
  verifyCheck(input, checkAt, check, data);
}

/**
 * Unpacks all streams of an .xz file: LZMA2, with or without the x86 filter, any number of blocks.
 * @throws PandoError DECOMPRESS_TRUNCATED, DECOMPRESS_CORRUPT, DECOMPRESS_CHECKSUM,
 *   DECOMPRESS_TOO_LARGE, DECOMPRESS_UNSUPPORTED (other filters and checks)
 */
export function decompressXz(input: Uint8Array, bounds: DecompressBounds): Uint8Array {
  const streams = readStreams(input);
  const total = streams
    .flatMap(({ records }) => records)
    .reduce((sum, record) => sum + record.size, 0);
  if (total > bounds.limit) throw tooLarge(FORMAT, bounds.limit);
  const output = new Output(FORMAT, { ...bounds, limit: total, expected: total });
  for (const stream of streams) {
    let at = stream.start + EDGE_SIZE;
    for (const record of stream.records) {
      decodeBlock(input, at, stream.check, record, output);
      at += roundUp4(record.unpaddedSize);
    }
  }
  return output.take();
}
