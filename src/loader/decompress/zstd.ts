/**
 * Zstandard frames, blocks, literals and sequences (RFC 8878, section 3). The output itself is the
 * window.
 */
import {
  checksumMismatch,
  corrupt,
  type DecompressBounds,
  Output,
  tooLarge,
  truncated,
  unsupported,
} from './codec.js';
import { xxh64Low } from './xxh64.js';
import {
  LITERAL_LENGTH_BASES,
  LITERAL_LENGTH_BITS,
  LITERAL_LENGTHS,
  MATCH_LENGTH_BASES,
  MATCH_LENGTH_BITS,
  MATCH_LENGTHS,
  OFFSETS,
} from './zstd-codes.js';
import {
  BackwardBits,
  constantFseTable,
  decodeHuffman,
  type FseTable,
  type HuffmanTable,
  readFseTable,
  readHuffmanTable,
} from './zstd-entropy.js';

export const ZSTD_MAGIC = 0xfd2fb528;
const SKIPPABLE_MAGIC = 0x184d2a50;
const SKIPPABLE_MASK = 0xfffffff0;

const FORMAT = 'zstd';
const BLOCK_LIMIT = 1 << 17;
const BLOCK_RAW = 0;
const BLOCK_RLE = 1;
const BLOCK_COMPRESSED = 2;
const LITERALS_RAW = 0;
const LITERALS_RLE = 1;
const LITERALS_COMPRESSED = 2;
const JUMP_TABLE_SIZE = 6;
const MODE_PREDEFINED = 0;
const MODE_RLE = 1;
const MODE_FSE = 2;
/** More than 25 bits are read in two steps; no output reaches as far back as 2^31. */
const MAX_OFFSET_CODE = 30;

/** What blocks of a frame hand on to the next. */
interface FrameState {
  huffman: HuffmanTable | undefined;
  tables: (FseTable | undefined)[];
  offsets: [number, number, number];
}

const literalsBuffer = new Uint8Array(BLOCK_LIMIT);

interface Literals {
  readonly bytes: Uint8Array;
  readonly end: number;
}

/** The literals section at `at` (section 3.1.1.3.1). */
function readLiterals(input: Uint8Array, at: number, end: number, frame: FrameState): Literals {
  const header = (index: number) => {
    if (at + index >= end) throw truncated(FORMAT, at + index + 1, end);
    return input[at + index]!;
  };
  const type = header(0) & 3;
  const format = (header(0) >>> 2) & 3;
  if (type === LITERALS_RAW || type === LITERALS_RLE) {
    const headerSize = format === 1 ? 2 : format === 3 ? 3 : 1;
    let size = headerSize === 1 ? header(0) >>> 3 : (header(0) >>> 4) | (header(1) << 4);
    if (headerSize === 3) size |= header(2) << 12;
    if (size > BLOCK_LIMIT) throw corrupt(FORMAT, at, `${size} literals`);
    const from = at + headerSize;
    const stored = type === LITERALS_RAW ? size : 1;
    if (stored > end - from) throw truncated(FORMAT, from + stored, end);
    if (type === LITERALS_RAW) {
      return { bytes: input.subarray(from, from + size), end: from + size };
    }
    return { bytes: literalsBuffer.subarray(0, size).fill(input[from]!), end: from + 1 };
  }

  const headerSize = format < 2 ? 3 : format + 2;
  const sizeBits = format < 2 ? 10 : format === 2 ? 14 : 18;
  let fields = 0;
  for (let index = headerSize - 1; index >= 0; index--) fields = fields * 256 + header(index);
  fields = Math.floor(fields / 16);
  const size = fields % (1 << sizeBits);
  const packed = Math.floor(fields / (1 << sizeBits));
  if (size > BLOCK_LIMIT) throw corrupt(FORMAT, at, `${size} literals`);
  let from = at + headerSize;
  const stop = from + packed;
  if (stop > end) throw truncated(FORMAT, stop, end);
  if (type === LITERALS_COMPRESSED) {
    const description = readHuffmanTable(input, from, stop);
    frame.huffman = description.table;
    from = description.end;
  }
  const table = frame.huffman;
  if (table === undefined) throw corrupt(FORMAT, at, 'literals that reuse a missing Huffman tree');
  const bytes = literalsBuffer.subarray(0, size);
  if (format === 0) {
    decodeHuffman(table, input, from, stop, bytes, 0, size);
    return { bytes, end: stop };
  }
  if (stop - from < JUMP_TABLE_SIZE) throw corrupt(FORMAT, from, 'a jump table that is cut off');
  const quarter = (size + 3) >>> 2;
  let stream = from + JUMP_TABLE_SIZE;
  for (let index = 0; index < 4; index++) {
    const last = index === 3;
    const length = input[from + 2 * index]! | (input[from + 2 * index + 1]! << 8);
    const streamEnd = last ? stop : stream + length;
    if (streamEnd > stop) throw corrupt(FORMAT, from, 'a jump table that passes its section');
    const first = Math.min(index * quarter, size);
    decodeHuffman(
      table,
      input,
      stream,
      streamEnd,
      bytes,
      first,
      last ? size : Math.min(first + quarter, size),
    );
    stream = streamEnd;
  }
  return { bytes, end: stop };
}

/** Runs the sequences at `at` over the literals onto `output` (sections 3.1.1.3.2 and 3.1.1.4). */
function runSequences(
  input: Uint8Array,
  start: number,
  end: number,
  literals: Uint8Array,
  frame: FrameState,
  frameStart: number,
  output: Output,
): void {
  let at = start;
  const byte = () => {
    if (at >= end) throw truncated(FORMAT, at + 1, end);
    return input[at++]!;
  };
  let count = byte();
  if (count === 255) count = byte() + (byte() << 8) + 0x7f00;
  else if (count >= 128) count = ((count - 128) << 8) + byte();
  const blockLimit = output.length + BLOCK_LIMIT;
  let taken = 0;
  if (count > 0) {
    const modes = byte();
    if ((modes & 3) !== 0) throw corrupt(FORMAT, at - 1, 'reserved bits of the sequence modes');
    const kinds = [LITERAL_LENGTHS, OFFSETS, MATCH_LENGTHS];
    const tables = kinds.map((kind, index) => {
      const mode = (modes >>> (6 - 2 * index)) & 3;
      let table = frame.tables[index];
      if (mode === MODE_PREDEFINED) {
        table = kind.predefined;
      } else if (mode === MODE_RLE) {
        const symbol = byte();
        if (symbol > kind.maxSymbol) throw corrupt(FORMAT, at - 1, `${kind.name} code ${symbol}`);
        table = constantFseTable(symbol);
      } else if (mode === MODE_FSE) {
        const description = readFseTable(input, at, end, kind.maxLog, kind.maxSymbol);
        at = description.end;
        table = description.table;
      } else if (table === undefined) {
        throw corrupt(FORMAT, at, `sequences that reuse a missing ${kind.name} table`);
      }
      frame.tables[index] = table;
      return table;
    });
    const [lengthTable, offsetTable, matchTable] = tables as [FseTable, FseTable, FseTable];
    const bits = new BackwardBits(input, at, end);
    let lengthState = bits.read(lengthTable.accuracyLog);
    let offsetState = bits.read(offsetTable.accuracyLog);
    let matchState = bits.read(matchTable.accuracyLog);
    const offsets = frame.offsets;
    const out = output.bytes;
    let to = output.length;
    for (let left = count; left > 0; left--) {
      const offsetCode = offsetTable.symbols[offsetState]!;
      if (offsetCode > MAX_OFFSET_CODE) throw corrupt(FORMAT, at, `offset code ${offsetCode}`);
      const highBits = Math.max(offsetCode - 24, 0);
      let value = 1 << offsetCode;
      if (highBits > 0) value += bits.read(highBits) << 24;
      value += bits.read(offsetCode - highBits);
      const matchCode = matchTable.symbols[matchState]!;
      const match = MATCH_LENGTH_BASES[matchCode]! + bits.read(MATCH_LENGTH_BITS[matchCode]!);
      const lengthCode = lengthTable.symbols[lengthState]!;
      const length =
        LITERAL_LENGTH_BASES[lengthCode]! + bits.read(LITERAL_LENGTH_BITS[lengthCode]!);
      if (left > 1) {
        lengthState = lengthTable.bases[lengthState]! + bits.read(lengthTable.bits[lengthState]!);
        matchState = matchTable.bases[matchState]! + bits.read(matchTable.bits[matchState]!);
        offsetState = offsetTable.bases[offsetState]! + bits.read(offsetTable.bits[offsetState]!);
      }
      if (bits.left < 0) throw corrupt(FORMAT, at, 'sequences that pass their bit stream');

      let distance = value - 3;
      if (value <= 3) {
        // Without literals a repeat of the last offset makes no sense, so the numbers move by one.
        const repeat = length === 0 ? value : value - 1;
        distance = repeat === 3 ? offsets[0] - 1 : offsets[repeat as 0 | 1 | 2];
        if (repeat > 1) offsets[2] = offsets[1];
        if (repeat > 0) offsets[1] = offsets[0];
      } else {
        offsets[2] = offsets[1];
        offsets[1] = offsets[0];
      }
      offsets[0] = distance;

      if (length > literals.length - taken)
        throw corrupt(FORMAT, at, 'more literals than there are');
      if (length + match > Math.min(blockLimit, out.length) - to) {
        throw out.length < blockLimit
          ? tooLarge(FORMAT, out.length)
          : corrupt(FORMAT, at, 'a block of more than 128 KiB');
      }
      for (const stop = taken + length; taken < stop; ) out[to++] = literals[taken++]!;
      if (distance <= 0 || distance > to - frameStart) {
        throw corrupt(FORMAT, at, `match distance ${distance} before the data`);
      }
      if (distance >= match && match >= 32) {
        out.copyWithin(to, to - distance, to - distance + match);
        to += match;
      } else {
        for (const stop = to + match; to < stop; to++) out[to] = out[to - distance]!;
      }
    }
    if (bits.left !== 0) throw corrupt(FORMAT, at, 'sequences that leave bits over');
    output.length = to;
  } else if (at !== end) {
    throw corrupt(FORMAT, at, 'bytes behind the last literal');
  }
  const rest = literals.length - taken;
  if (output.length + rest > Math.min(blockLimit, output.bytes.length)) {
    throw output.bytes.length < blockLimit
      ? tooLarge(FORMAT, output.bytes.length)
      : corrupt(FORMAT, at, 'a block of more than 128 KiB');
  }
  output.bytes.set(literals.subarray(taken), output.length);
  output.length += rest;
}

/** Makes room for one block, as far as the limit goes. */
function reserveBlock(output: Output, bounds: DecompressBounds): void {
  const room = output.bytes.length - output.length;
  if (room >= BLOCK_LIMIT || output.bytes.length === (bounds.expected ?? bounds.limit)) return;
  output.reserve(Math.min(BLOCK_LIMIT, bounds.limit - output.length));
}

/** One frame whose magic is at `at`; returns the offset behind it. */
function decodeFrame(
  input: Uint8Array,
  start: number,
  output: Output,
  bounds: DecompressBounds,
): number {
  let at = start + 4;
  const need = (count: number) => {
    if (count > input.length - at) throw truncated(FORMAT, at + count, input.length);
  };
  need(1);
  const descriptor = input[at++]!;
  if ((descriptor & 8) !== 0) throw corrupt(FORMAT, at - 1, 'reserved bit of the frame header');
  const singleSegment = (descriptor & 0x20) !== 0;
  const hasChecksum = (descriptor & 4) !== 0;
  const dictionarySize = [0, 1, 2, 4][descriptor & 3]!;
  const sizeBytes = [singleSegment ? 1 : 0, 2, 4, 8][descriptor >>> 6]!;
  if (!singleSegment) at += 1;
  need(dictionarySize + sizeBytes);
  if (input.subarray(at, at + dictionarySize).some((byte) => byte !== 0)) {
    throw unsupported(FORMAT, 'a dictionary');
  }
  at += dictionarySize;
  let contentSize: number | undefined;
  if (sizeBytes > 0) {
    contentSize = sizeBytes === 2 ? 256 : 0;
    for (let index = 0; index < sizeBytes; index++)
      contentSize += input[at + index]! * 256 ** index;
    if (contentSize > bounds.limit - output.length) throw tooLarge(FORMAT, bounds.limit);
    at += sizeBytes;
  }
  const frameStart = output.length;
  const frame: FrameState = { huffman: undefined, tables: [], offsets: [1, 4, 8] };
  for (let last = false; !last; ) {
    need(3);
    const header = input[at]! | (input[at + 1]! << 8) | (input[at + 2]! << 16);
    at += 3;
    last = (header & 1) !== 0;
    const type = (header >>> 1) & 3;
    const size = header >>> 3;
    if (size > BLOCK_LIMIT) throw corrupt(FORMAT, at - 3, `a block of ${size} bytes`);
    if (type > BLOCK_COMPRESSED) throw corrupt(FORMAT, at - 3, 'a block of the reserved type');
    const stored = type === BLOCK_RLE ? 1 : size;
    need(stored);
    if (type === BLOCK_COMPRESSED) {
      reserveBlock(output, bounds);
      const literals = readLiterals(input, at, at + size, frame);
      runSequences(input, literals.end, at + size, literals.bytes, frame, frameStart, output);
    } else {
      output.reserve(size);
      if (type === BLOCK_RAW) output.bytes.set(input.subarray(at, at + size), output.length);
      else output.bytes.fill(input[at]!, output.length, output.length + size);
      output.length += size;
    }
    at += stored;
  }
  if (contentSize !== undefined && output.length - frameStart !== contentSize) {
    throw corrupt(
      FORMAT,
      start,
      `a frame of ${output.length - frameStart} bytes, not ${contentSize},`,
    );
  }
  if (hasChecksum) {
    need(4);
    const stored = new DataView(input.buffer, input.byteOffset + at, 4).getUint32(0, true);
    if (xxh64Low(output.bytes.subarray(frameStart, output.length)) !== stored) {
      throw checksumMismatch(FORMAT, at, 'XXH64 of the frame');
    }
    at += 4;
  }
  return at;
}

/**
 * Unpacks one or more frames; skippable frames are skipped, zeros may follow the last.
 * @throws PandoError DECOMPRESS_TRUNCATED, DECOMPRESS_CORRUPT, DECOMPRESS_CHECKSUM,
 *   DECOMPRESS_TOO_LARGE, DECOMPRESS_UNSUPPORTED (dictionaries)
 */
export function decompressZstd(input: Uint8Array, bounds: DecompressBounds): Uint8Array {
  const data = new DataView(input.buffer, input.byteOffset, input.byteLength);
  const output = new Output(FORMAT, bounds);
  let at = 0;
  do {
    if (input.length - at < 4) throw truncated(FORMAT, at + 4, input.length);
    const magic = data.getUint32(at, true);
    if (magic === ZSTD_MAGIC) {
      at = decodeFrame(input, at, output, bounds);
    } else if ((magic & SKIPPABLE_MASK) === (SKIPPABLE_MAGIC | 0)) {
      if (input.length - at < 8) throw truncated(FORMAT, at + 8, input.length);
      at += 8 + data.getUint32(at + 4, true);
      if (at > input.length) throw truncated(FORMAT, at, input.length);
    } else {
      throw corrupt(FORMAT, at, 'no frame magic');
    }
  } while (input.subarray(at).some((byte) => byte !== 0));
  return output.take();
}
