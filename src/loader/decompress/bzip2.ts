/**
 * bzip2: run lengths, Burrows–Wheeler transform, move-to-front and Huffman coding, undone in that order
 * backwards (J. Seward, bzip2 1.0 documentation; J. Tsai, "BZIP2: Format Specification").
 */
import {
  checksumMismatch,
  corrupt,
  type DecompressBounds,
  Output,
  truncated,
  unsupported,
} from './codec.js';
import { bzip2Crc } from './crc.js';

const FORMAT = 'bzip2';
const BLOCK_UNIT = 100_000;
/** Magic numbers of a block and of the stream's end, in two halves: digits of pi and of its root. */
const BLOCK_MAGIC = [0x314159, 0x265359] as const;
const END_MAGIC = [0x177245, 0x385090] as const;
const MAX_CODE_LENGTH = 20;
const GROUP_SIZE = 50;
const MAX_SELECTORS = 18_002;
const RUN_A = 0;
const RUN_B = 1;
/** A run of this many equal bytes is followed by a count of more. */
const RUN_TRIGGER = 4;

/** Bits of the input, most significant first. */
class Bits {
  readonly #input: Uint8Array;
  #at: number;
  #buffer = 0;
  #count = 0;

  constructor(input: Uint8Array, at: number) {
    this.#input = input;
    this.#at = at;
  }

  /** Offset of the byte that the next bit is in. */
  get offset(): number {
    return this.#at - (this.#count >>> 3);
  }

  /** Takes `count` bits, at most 24. */
  read(count: number): number {
    while (this.#count < count) {
      if (this.#at >= this.#input.length) throw truncated(FORMAT, this.#at, this.#input.length);
      this.#buffer = (this.#buffer << 8) | this.#input[this.#at++]!;
      this.#count += 8;
    }
    this.#count -= count;
    return (this.#buffer >>> this.#count) & ((1 << count) - 1);
  }

  word(): number {
    return this.read(16) * 0x10000 + this.read(16);
  }

  /** Drops what is left of the byte begun. */
  align(): void {
    this.#count -= this.#count & 7;
  }
}

/** Canonical Huffman code: per length the first code's value, and the symbols in code order. */
interface HuffmanCode {
  readonly limits: Int32Array;
  readonly offsets: Int32Array;
  readonly symbols: Uint16Array;
}

function buildCode(lengths: readonly number[]): HuffmanCode {
  const limits = new Int32Array(MAX_CODE_LENGTH + 1).fill(-1);
  const offsets = new Int32Array(MAX_CODE_LENGTH + 1);
  const symbols = new Uint16Array(lengths.length);
  let code = 0;
  let index = 0;
  for (let length = 1; length <= MAX_CODE_LENGTH; length++) {
    code <<= 1;
    offsets[length] = index - code;
    for (const [symbol, own] of lengths.entries()) {
      if (own !== length) continue;
      symbols[index++] = symbol;
      code++;
    }
    limits[length] = code - 1;
  }
  return { limits, offsets, symbols };
}

function readSymbol(bits: Bits, code: HuffmanCode): number {
  let value = 0;
  for (let length = 1; length <= MAX_CODE_LENGTH; length++) {
    value = (value << 1) | bits.read(1);
    if (value <= code.limits[length]!) {
      const symbol = code.symbols[value + code.offsets[length]!];
      if (symbol !== undefined) return symbol;
    }
  }
  throw corrupt(FORMAT, bits.offset, 'a code that is in no Huffman table');
}

function readUsedBytes(bits: Bits): number[] {
  const groups = bits.read(16);
  const used: number[] = [];
  for (let group = 0; group < 16; group++) {
    if ((groups & (0x8000 >>> group)) === 0) continue;
    const members = bits.read(16);
    for (let member = 0; member < 16; member++) {
      if ((members & (0x8000 >>> member)) !== 0) used.push(16 * group + member);
    }
  }
  if (used.length === 0) throw corrupt(FORMAT, bits.offset, 'a block that uses no byte');
  return used;
}

function readSelectors(bits: Bits, codeCount: number): Uint8Array {
  const count = bits.read(15);
  if (count === 0) throw corrupt(FORMAT, bits.offset, 'a block without selectors');
  const selectors = new Uint8Array(Math.min(count, MAX_SELECTORS));
  const order = Array.from({ length: codeCount }, (_, index) => index);
  for (let index = 0; index < count; index++) {
    let rank = 0;
    while (bits.read(1) === 1) {
      if (++rank >= codeCount) throw corrupt(FORMAT, bits.offset, 'a selector out of range');
    }
    const [selected] = order.splice(rank, 1) as [number];
    order.unshift(selected);
    // Some encoders write more selectors than a block can use; those are read and dropped.
    if (index < selectors.length) selectors[index] = selected;
  }
  return selectors;
}

function readCode(bits: Bits, symbolCount: number): HuffmanCode {
  let length = bits.read(5);
  const lengths = Array.from({ length: symbolCount }, () => {
    while (true) {
      if (length < 1 || length > MAX_CODE_LENGTH) {
        throw corrupt(FORMAT, bits.offset, `a Huffman code of ${length} bits`);
      }
      if (bits.read(1) === 0) return length;
      length += bits.read(1) === 0 ? 1 : -1;
    }
  });
  return buildCode(lengths);
}

/** Huffman, run lengths and move-to-front: fills `block` with the transform's last column. */
function readColumn(bits: Bits, block: Int32Array): number {
  const used = readUsedBytes(bits);
  const codeCount = bits.read(3);
  if (codeCount < 2 || codeCount > 6)
    throw corrupt(FORMAT, bits.offset, `${codeCount} Huffman tables`);
  const selectors = readSelectors(bits, codeCount);
  const symbolCount = used.length + 2;
  const codes = Array.from({ length: codeCount }, () => readCode(bits, symbolCount));
  const endOfBlock = symbolCount - 1;
  let length = 0;
  let run = 0;
  let runUnit = 1;
  for (let index = 0; ; index++) {
    const selector = selectors[Math.floor(index / GROUP_SIZE)];
    if (selector === undefined)
      throw corrupt(FORMAT, bits.offset, 'a block with too few selectors');
    const symbol = readSymbol(bits, codes[selector]!);
    if (symbol === RUN_A || symbol === RUN_B) {
      run += runUnit << symbol;
      runUnit <<= 1;
      if (run > block.length - length)
        throw corrupt(FORMAT, bits.offset, 'a run that passes its block');
      continue;
    }
    block.fill(used[0]!, length, length + run);
    length += run;
    run = 0;
    runUnit = 1;
    if (symbol === endOfBlock) return length;
    if (length >= block.length) throw corrupt(FORMAT, bits.offset, 'a block that passes its size');
    const [byte] = used.splice(symbol - 1, 1) as [number];
    used.unshift(byte);
    block[length++] = byte;
  }
}

/** Inverts the transform and the outer run lengths onto `output`. */
function writeBlock(block: Int32Array, length: number, origin: number, output: Output): void {
  const starts = new Int32Array(256);
  for (let index = 0; index < length; index++) starts[block[index]!]!++;
  let sum = 0;
  for (let byte = 0; byte < 256; byte++) {
    const count = starts[byte]!;
    starts[byte] = sum;
    sum += count;
  }
  // The upper 24 bits of each entry become the link to the next byte of the text.
  for (let index = 0; index < length; index++) {
    const byte = block[index]! & 0xff;
    block[starts[byte]!++]! |= index << 8;
  }
  let position = block[origin]! >>> 8;
  let previous = -1;
  let equal = 0;
  for (let index = 0; index < length; index++) {
    const entry = block[position]!;
    position = entry >>> 8;
    const byte = entry & 0xff;
    if (equal === RUN_TRIGGER) {
      output.reserve(byte);
      output.bytes.fill(previous, output.length, output.length + byte);
      output.length += byte;
      equal = 0;
      previous = -1;
      continue;
    }
    equal = byte === previous ? equal + 1 : 1;
    previous = byte;
    if (output.length === output.bytes.length) output.reserve(1);
    output.bytes[output.length++] = byte;
  }
}

/** One stream, whose `BZh` is at `start`; returns the offset behind it. */
function decodeStream(input: Uint8Array, start: number, output: Output): number {
  if (input.length - start < 4) throw truncated(FORMAT, start + 4, input.length);
  const level = input[start + 3]! - 0x30;
  const magic = input[start] === 0x42 && input[start + 1] === 0x5a && input[start + 2] === 0x68;
  if (!magic || level < 1 || level > 9) throw corrupt(FORMAT, start, 'no stream header');
  const bits = new Bits(input, start + 4);
  const block = new Int32Array(level * BLOCK_UNIT);
  let combined = 0;
  for (;;) {
    const at = bits.offset;
    const high = bits.read(24);
    const low = bits.read(24);
    const stored = bits.word();
    if (high === END_MAGIC[0] && low === END_MAGIC[1]) {
      if (stored !== combined) throw checksumMismatch(FORMAT, at, 'CRC of the stream');
      bits.align();
      return bits.offset;
    }
    if (high !== BLOCK_MAGIC[0] || low !== BLOCK_MAGIC[1])
      throw corrupt(FORMAT, at, 'no block magic');
    if (bits.read(1) === 1) throw unsupported(FORMAT, 'a randomised block');
    const origin = bits.read(24);
    const length = readColumn(bits, block);
    if (origin >= length) throw corrupt(FORMAT, at, `origin ${origin} in a block of ${length}`);
    const from = output.length;
    writeBlock(block, length, origin, output);
    const crc = bzip2Crc(output.bytes.subarray(from, output.length));
    if (crc !== stored) throw checksumMismatch(FORMAT, at, 'CRC of a block');
    combined = (((combined << 1) | (combined >>> 31)) ^ crc) >>> 0;
  }
}

/**
 * Unpacks one or more bzip2 streams; zeros may follow the last.
 * @throws PandoError DECOMPRESS_TRUNCATED, DECOMPRESS_CORRUPT, DECOMPRESS_CHECKSUM,
 *   DECOMPRESS_TOO_LARGE, DECOMPRESS_UNSUPPORTED (randomised blocks)
 */
export function decompressBzip2(input: Uint8Array, bounds: DecompressBounds): Uint8Array {
  const output = new Output(FORMAT, bounds);
  let at = 0;
  do at = decodeStream(input, at, output);
  while (input.subarray(at).some((byte) => byte !== 0));
  return output.take();
}
