/**
 * Zstandard's entropy coders: bit streams read backwards, FSE tables and Huffman trees (RFC 8878,
 * sections 4.1 and 4.2).
 */
import { corrupt, truncated } from './codec.js';

const FORMAT = 'zstd';

/** Bits of `input[start, end)`, last first; the highest set bit of the last byte is a sentinel. */
export class BackwardBits {
  readonly #input: Uint8Array;
  readonly #start: number;
  /** Bits left; below 0 once more has been read than there was, which then read as zeros. */
  left: number;

  constructor(input: Uint8Array, start: number, end: number) {
    if (end <= start) throw truncated(FORMAT, start + 1, end);
    const last = input[end - 1]!;
    if (last === 0) throw corrupt(FORMAT, end - 1, 'a bit stream without its sentinel');
    this.#input = input;
    this.#start = start;
    this.left = 8 * (end - 1 - start) + (31 - Math.clz32(last));
  }

  /** The next `count` bits (at most 25) without taking them. */
  peek(count: number): number {
    const from = this.left - count;
    if (from < 0) return this.left <= 0 ? 0 : (this.#window(0) & ((1 << this.left) - 1)) << -from;
    return (this.#window(from >>> 3) >>> (from & 7)) & ((1 << count) - 1);
  }

  /** Takes `count` bits, at most 25. */
  read(count: number): number {
    const value = this.peek(count);
    this.left -= count;
    return value;
  }

  /** Bytes behind the range may show up in the top of the window; masks cut them off. */
  #window(byte: number): number {
    const input = this.#input;
    const at = this.#start + byte;
    return input[at]! | (input[at + 1]! << 8) | (input[at + 2]! << 16) | (input[at + 3]! << 24);
  }
}

/** A finite-state table: per state its symbol, the bits it takes and the base of the next state. */
export interface FseTable {
  readonly accuracyLog: number;
  readonly symbols: Uint8Array;
  readonly bits: Uint8Array;
  readonly bases: Uint16Array;
}

/** Builds a table from normalised counts, of which -1 means "less than one". */
export function buildFseTable(counts: ArrayLike<number>, accuracyLog: number): FseTable {
  const size = 1 << accuracyLog;
  const symbols = new Uint8Array(size);
  const next = new Uint16Array(counts.length);
  let high = size;
  for (let symbol = 0; symbol < counts.length; symbol++) {
    if (counts[symbol] === -1) symbols[--high] = symbol;
    next[symbol] = Math.abs(counts[symbol]!);
  }
  const step = (size >>> 1) + (size >>> 3) + 3;
  let position = 0;
  for (let symbol = 0; symbol < counts.length; symbol++) {
    for (let count = counts[symbol]!; count > 0; count--) {
      symbols[position] = symbol;
      do position = (position + step) & (size - 1);
      while (position >= high);
    }
  }
  const bits = new Uint8Array(size);
  const bases = new Uint16Array(size);
  for (let state = 0; state < size; state++) {
    const occurrence = next[symbols[state]!]!++;
    const width = accuracyLog - (31 - Math.clz32(occurrence));
    bits[state] = width;
    bases[state] = (occurrence << width) - size;
  }
  return { accuracyLog, symbols, bits, bases };
}

/** A table whose only state gives one symbol and takes no bits. */
export function constantFseTable(symbol: number): FseTable {
  return {
    accuracyLog: 0,
    symbols: Uint8Array.of(symbol),
    bits: new Uint8Array(1),
    bases: new Uint16Array(1),
  };
}

/** A table description of `input[start, end)` (section 4.1.1), and the offset behind it. */
export function readFseTable(
  input: Uint8Array,
  start: number,
  end: number,
  maxLog: number,
  maxSymbol: number,
): { readonly table: FseTable; readonly end: number } {
  let position = 8 * start;
  const read = (count: number) => {
    if (position + count > 8 * end) throw truncated(FORMAT, (position + count + 7) >>> 3, end);
    let value = 0;
    for (let bit = 0; bit < count; bit++, position++) {
      value |= ((input[position >>> 3]! >>> (position & 7)) & 1) << bit;
    }
    return value;
  };
  const accuracyLog = read(4) + 5;
  if (accuracyLog > maxLog) throw corrupt(FORMAT, start, `an FSE table of 2^${accuracyLog} states`);
  const counts: number[] = [];
  let remaining = 1 << accuracyLog;
  while (remaining > 0) {
    if (counts.length > maxSymbol) throw corrupt(FORMAT, start, 'an FSE table of too many symbols');
    // A value takes one bit less when it is small enough to be told apart by that.
    const width = 32 - Math.clz32(remaining + 1);
    const short = (1 << width) - 2 - remaining;
    let value = read(width - 1);
    if (value >= short && read(1) === 1) value += (1 << (width - 1)) - short;
    const count = value - 1;
    if (Math.abs(count) > remaining)
      throw corrupt(FORMAT, start, 'an FSE table of too many states');
    remaining -= Math.abs(count);
    counts.push(count);
    if (count !== 0) continue;
    for (let repeat = 3; repeat === 3; ) {
      repeat = read(2);
      for (let zero = 0; zero < repeat; zero++) counts.push(0);
      if (counts.length > maxSymbol + 1) {
        throw corrupt(FORMAT, start, 'an FSE table of too many symbols');
      }
    }
  }
  return { table: buildFseTable(counts, accuracyLog), end: (position + 7) >>> 3 };
}

/** A Huffman table: per `bits` of look-ahead, the symbol and the length of its code. */
export interface HuffmanTable {
  readonly bits: number;
  readonly symbols: Uint8Array;
  readonly lengths: Uint8Array;
}

const MAX_HUFFMAN_BITS = 11;
const MAX_WEIGHTS_LOG = 6;
const MAX_WEIGHT = 12;
const MAX_SYMBOLS = 256;
const DIRECT_WEIGHTS = 128;

function readWeights(input: Uint8Array, start: number, end: number): number[] {
  const description = readFseTable(input, start, end, MAX_WEIGHTS_LOG, MAX_WEIGHT);
  const { table } = description;
  const bits = new BackwardBits(input, description.end, end);
  const weights: number[] = [];
  const states: [number, number] = [bits.read(table.accuracyLog), bits.read(table.accuracyLog)];
  // Two states take turns; the one that finds no bits left to go on leaves the last word to the other.
  for (let turn: 0 | 1 = 0; weights.length < MAX_SYMBOLS; turn = turn === 0 ? 1 : 0) {
    const state = states[turn];
    weights.push(table.symbols[state]!);
    states[turn] = table.bases[state]! + bits.read(table.bits[state]!);
    if (bits.left < 0) {
      weights.push(table.symbols[states[turn === 0 ? 1 : 0]]!);
      return weights;
    }
  }
  throw corrupt(FORMAT, start, 'a Huffman tree of more than 256 symbols');
}

function buildHuffman(weights: readonly number[], at: number): HuffmanTable {
  const sum = weights.reduce((total, weight) => total + (weight === 0 ? 0 : 1 << (weight - 1)), 0);
  const bits = 32 - Math.clz32(sum);
  // The last weight is not stored: it fills what is missing to a power of two.
  const missing = (1 << bits) - sum;
  const last = 32 - Math.clz32(missing);
  const sound = sum > 0 && bits <= MAX_HUFFMAN_BITS && (missing & (missing - 1)) === 0;
  if (!sound || weights.length >= MAX_SYMBOLS) throw corrupt(FORMAT, at, 'Huffman weights');
  const all = [...weights, last];
  const symbols = new Uint8Array(1 << bits);
  const lengths = new Uint8Array(1 << bits);
  let position = 0;
  for (let weight = 1; weight <= bits; weight++) {
    for (const [symbol, own] of all.entries()) {
      if (own !== weight) continue;
      const span = 1 << (weight - 1);
      symbols.fill(symbol, position, position + span);
      lengths.fill(bits + 1 - weight, position, position + span);
      position += span;
    }
  }
  return { bits, symbols, lengths };
}

/** A Huffman tree description of `input[start, end)` (section 4.2.1), and the offset behind it. */
export function readHuffmanTable(
  input: Uint8Array,
  start: number,
  end: number,
): { readonly table: HuffmanTable; readonly end: number } {
  if (start >= end) throw truncated(FORMAT, start + 1, end);
  const header = input[start]!;
  if (header < DIRECT_WEIGHTS) {
    const stop = start + 1 + header;
    if (stop > end) throw truncated(FORMAT, stop, end);
    return { table: buildHuffman(readWeights(input, start + 1, stop), start), end: stop };
  }
  const count = header - DIRECT_WEIGHTS + 1;
  const stop = start + 1 + ((count + 1) >>> 1);
  if (stop > end) throw truncated(FORMAT, stop, end);
  const weights = Array.from({ length: count }, (_, index) => {
    const byte = input[start + 1 + (index >>> 1)]!;
    return (index & 1) === 0 ? byte >>> 4 : byte & 15;
  });
  return { table: buildHuffman(weights, start), end: stop };
}

/** Decodes one Huffman stream `input[start, end)` into `out[from, to)`; it has to come out even. */
export function decodeHuffman(
  table: HuffmanTable,
  input: Uint8Array,
  start: number,
  end: number,
  out: Uint8Array,
  from: number,
  to: number,
): void {
  const bits = new BackwardBits(input, start, end);
  const { symbols, lengths, bits: width } = table;
  for (let at = from; at < to; at++) {
    const index = bits.peek(width);
    out[at] = symbols[index]!;
    bits.left -= lengths[index]!;
  }
  if (bits.left !== 0) throw corrupt(FORMAT, start, 'a Huffman stream of the wrong length');
}
