/**
 * The LZMA decoder, and the .lzma container around it (LZMA specification, 7-Zip SDK: range coder,
 * probability model, states; section "LZMA file format"). The output itself is the dictionary.
 * Range and code are kept as signed 32-bit integers and compared unsigned: V8 holds those unboxed.
 */
import { corrupt, type DecompressBounds, Output, truncated } from './codec.js';

const PROBABILITY_BITS = 11;
const PROBABILITY_ONE = 1 << PROBABILITY_BITS;
const PROBABILITY_START = PROBABILITY_ONE >>> 1;
const MOVE_BITS = 5;
/** Range below 2^24: its top byte is empty, so a byte of input is due. */
const TOP_BYTE = 0xff000000;

const STATES = 12;
const POSITION_STATES = 16;
const FIRST_MATCHED_STATE = 7;
const MIN_MATCH = 2;
const END_MARKER = -1;

// Where each group of probabilities begins in the one array.
const LENGTH_CHOICE = 0;
const LENGTH_CHOICE2 = 1;
const LENGTH_LOW = 2;
const LENGTH_MID = LENGTH_LOW + POSITION_STATES * 8;
const LENGTH_HIGH = LENGTH_MID + POSITION_STATES * 8;
const LENGTH_MODEL = LENGTH_HIGH + 256;

const IS_MATCH = 0;
const IS_REP = IS_MATCH + STATES * POSITION_STATES;
const IS_REP_G0 = IS_REP + STATES;
const IS_REP_G1 = IS_REP_G0 + STATES;
const IS_REP_G2 = IS_REP_G1 + STATES;
const IS_REP0_LONG = IS_REP_G2 + STATES;
const POSITION_SLOT = IS_REP0_LONG + STATES * POSITION_STATES;
const POSITION_SPECIAL = POSITION_SLOT + 4 * 64;
const POSITION_ALIGN = POSITION_SPECIAL + 115;
const MATCH_LENGTH = POSITION_ALIGN + 16;
const REP_LENGTH = MATCH_LENGTH + LENGTH_MODEL;
const LITERAL = REP_LENGTH + LENGTH_MODEL;
const LITERAL_MODEL = 0x300;

/** State of one LZMA stream, which may come in chunks (LZMA2). */
export class LzmaDecoder {
  readonly #format: string;
  readonly #input: Uint8Array;
  #probabilities = new Uint16Array(0);
  #literalContextBits = 0;
  #literalPositionMask = 0;
  #positionMask = 0;
  #state = 0;
  #rep0 = 0;
  #rep1 = 0;
  #rep2 = 0;
  #rep3 = 0;
  #range = 0;
  #code = 0;
  /** Next byte of input. */
  position = 0;
  /** True once the end marker has been decoded. */
  ended = false;

  constructor(format: string, input: Uint8Array) {
    this.#format = format;
    this.#input = input;
  }

  /**
   * Takes the properties byte, `(pb * 5 + lp) * 9 + lc`, and clears the model.
   * @throws PandoError DECOMPRESS_CORRUPT
   */
  setProperties(properties: number, maxLiteralBits: number): void {
    const lc = properties % 9;
    const lp = Math.floor(properties / 9) % 5;
    const pb = Math.floor(properties / 45);
    if (pb > 4 || lc + lp > maxLiteralBits) {
      throw corrupt(this.#format, this.position, `LZMA properties byte ${properties}`);
    }
    this.#literalContextBits = lc;
    this.#literalPositionMask = (1 << lp) - 1;
    this.#positionMask = (1 << pb) - 1;
    const size = LITERAL + (LITERAL_MODEL << (lc + lp));
    if (this.#probabilities.length !== size) this.#probabilities = new Uint16Array(size);
    this.resetState();
  }

  /** Clears the model and the remembered distances. */
  resetState(): void {
    this.#probabilities.fill(PROBABILITY_START);
    this.#state = 0;
    this.#rep0 = this.#rep1 = this.#rep2 = this.#rep3 = 0;
  }

  /** Starts the range coder at `position`: one zero byte, then four of code. */
  startRange(end: number): void {
    if (end - this.position < 5) throw truncated(this.#format, this.position + 5, end);
    const input = this.#input;
    if (input[this.position] !== 0) {
      throw corrupt(this.#format, this.position, 'range coder that does not begin with 0');
    }
    const at = this.position + 1;
    this.#range = -1;
    this.#code =
      (input[at]! << 24) | (input[at + 1]! << 16) | (input[at + 2]! << 8) | input[at + 3]!;
    this.position += 5;
  }

  /** True when the range coder has used all that it was given, as at the end of a stream. */
  get rangeFinished(): boolean {
    return this.#code === 0;
  }

  /** Takes in a due byte, which encoders do before a bit and once more at the end of a chunk. */
  normalize(): void {
    if ((this.#range & TOP_BYTE) === 0) {
      this.#range <<= 8;
      this.#code = (this.#code << 8) | this.#input[this.position++]!;
    }
  }

  /** A chunk that needs more than its own bytes lies about its size; a stream that does is cut. */
  #pastEnd(end: number): Error {
    return end < this.#input.length
      ? corrupt(this.#format, this.position, 'a chunk that reads past its end')
      : truncated(this.#format, this.position, end);
  }

  #bit(probabilities: Uint16Array, index: number): 0 | 1 {
    if ((this.#range & TOP_BYTE) === 0) {
      this.#range <<= 8;
      this.#code = (this.#code << 8) | this.#input[this.position++]!;
    }
    const probability = probabilities[index]!;
    const bound = Math.imul(this.#range >>> PROBABILITY_BITS, probability);
    if (this.#code >>> 0 < bound >>> 0) {
      this.#range = bound;
      probabilities[index] = probability + ((PROBABILITY_ONE - probability) >>> MOVE_BITS);
      return 0;
    }
    this.#range = (this.#range - bound) | 0;
    this.#code = (this.#code - bound) | 0;
    probabilities[index] = probability - (probability >>> MOVE_BITS);
    return 1;
  }

  #tree(probabilities: Uint16Array, base: number, bits: number): number {
    let symbol = 1;
    for (let count = bits; count > 0; count--) {
      symbol = (symbol << 1) | this.#bit(probabilities, base + symbol);
    }
    return symbol - (1 << bits);
  }

  #reverseTree(probabilities: Uint16Array, base: number, bits: number): number {
    let node = 1;
    let symbol = 0;
    for (let bit = 0; bit < bits; bit++) {
      const value = this.#bit(probabilities, base + node);
      node = (node << 1) | value;
      symbol |= value << bit;
    }
    return symbol;
  }

  #directBits(count: number): number {
    let value = 0;
    for (let left = count; left > 0; left--) {
      this.normalize();
      this.#range >>>= 1;
      this.#code = (this.#code - this.#range) | 0;
      const borrow = this.#code >> 31;
      this.#code = (this.#code + (this.#range & borrow)) | 0;
      value = (value << 1) | (borrow + 1);
    }
    return value;
  }

  #length(probabilities: Uint16Array, model: number, positionState: number): number {
    if (this.#bit(probabilities, model + LENGTH_CHOICE) === 0) {
      return this.#tree(probabilities, model + LENGTH_LOW + (positionState << 3), 3);
    }
    if (this.#bit(probabilities, model + LENGTH_CHOICE2) === 0) {
      return 8 + this.#tree(probabilities, model + LENGTH_MID + (positionState << 3), 3);
    }
    return 16 + this.#tree(probabilities, model + LENGTH_HIGH, 8);
  }

  #distance(probabilities: Uint16Array, length: number): number {
    const slot = this.#tree(probabilities, POSITION_SLOT + (Math.min(length, 3) << 6), 6);
    if (slot < 4) return slot;
    const bits = (slot >>> 1) - 1;
    const high = (2 | (slot & 1)) << bits;
    if (slot < 14) {
      return high + this.#reverseTree(probabilities, POSITION_SPECIAL + high - slot, bits);
    }
    const middle = this.#directBits(bits - 4) << 4;
    return (high + middle + this.#reverseTree(probabilities, POSITION_ALIGN, 4)) | 0;
  }

  /** One literal, with the range coder in local variables: most of all bits are decoded here. */
  #literal(probabilities: Uint16Array, base: number, matched: number): number {
    const input = this.#input;
    let range = this.#range;
    let code = this.#code;
    let position = this.position;
    let symbol = 1;
    // Bits of the byte at rep0 choose among the models, until the first that differs.
    let match = matched;
    let offset = matched === 0 ? 0 : 0x100;
    while (symbol < 0x100) {
      match <<= 1;
      const matchBit = match & offset;
      const index = base + offset + matchBit + symbol;
      if ((range & TOP_BYTE) === 0) {
        range <<= 8;
        code = (code << 8) | input[position++]!;
      }
      const probability = probabilities[index]!;
      const bound = Math.imul(range >>> PROBABILITY_BITS, probability);
      if (code >>> 0 < bound >>> 0) {
        range = bound;
        probabilities[index] = probability + ((PROBABILITY_ONE - probability) >>> MOVE_BITS);
        symbol <<= 1;
        offset &= ~matchBit;
      } else {
        range = (range - bound) | 0;
        code = (code - bound) | 0;
        probabilities[index] = probability - (probability >>> MOVE_BITS);
        symbol = (symbol << 1) | 1;
        offset &= matchBit;
      }
    }
    this.#range = range;
    this.#code = code;
    this.position = position;
    return symbol & 0xff;
  }

  /** The distance and length of a match; the length is 1 for a short repeat, 0 at the end marker. */
  #match(probabilities: Uint16Array, positionState: number): number {
    const state = this.#state;
    if (this.#bit(probabilities, IS_REP + state) === 0) {
      this.#rep3 = this.#rep2;
      this.#rep2 = this.#rep1;
      this.#rep1 = this.#rep0;
      const length = this.#length(probabilities, MATCH_LENGTH, positionState);
      this.#rep0 = this.#distance(probabilities, length);
      this.#state = state < FIRST_MATCHED_STATE ? 7 : 10;
      return this.#rep0 === END_MARKER ? 0 : length + MIN_MATCH;
    }
    if (this.#bit(probabilities, IS_REP_G0 + state) === 0) {
      const long = IS_REP0_LONG + (state << 4) + positionState;
      if (this.#bit(probabilities, long) === 0) {
        this.#state = state < FIRST_MATCHED_STATE ? 9 : 11;
        return 1;
      }
    } else {
      let distance = this.#rep1;
      if (this.#bit(probabilities, IS_REP_G1 + state) === 1) {
        if (this.#bit(probabilities, IS_REP_G2 + state) === 0) {
          distance = this.#rep2;
        } else {
          distance = this.#rep3;
          this.#rep3 = this.#rep2;
        }
        this.#rep2 = this.#rep1;
      }
      this.#rep1 = this.#rep0;
      this.#rep0 = distance;
    }
    this.#state = state < FIRST_MATCHED_STATE ? 8 : 11;
    return this.#length(probabilities, REP_LENGTH, positionState) + MIN_MATCH;
  }

  /**
   * Decodes until the output has `stop` bytes or the end marker comes.
   * @param output written from `output.length` on; grows when it has to
   * @param start where the dictionary begins in the output
   * @param stop where the output ends, Infinity when only the end marker tells
   * @param end one past the last byte of input
   * @throws PandoError DECOMPRESS_TRUNCATED, DECOMPRESS_CORRUPT, DECOMPRESS_TOO_LARGE
   */
  decode(output: Output, start: number, stop: number, end: number): void {
    const probabilities = this.#probabilities;
    const positionMask = this.#positionMask;
    const literalPositionMask = this.#literalPositionMask;
    const literalContextBits = this.#literalContextBits;
    const literalShift = 8 - literalContextBits;
    let out = output.bytes;
    let to = output.length;
    while (to < stop) {
      if (this.position > end) throw this.#pastEnd(end);
      const positionState = (to - start) & positionMask;
      const state = this.#state;
      if (this.#bit(probabilities, IS_MATCH + (state << 4) + positionState) === 0) {
        const previous = to === start ? 0 : out[to - 1]!;
        const context =
          (((to - start) & literalPositionMask) << literalContextBits) +
          (previous >>> literalShift);
        // A matched byte of 0 still selects the matched models, so bit 8 marks its presence.
        const matched = state < FIRST_MATCHED_STATE ? 0 : 0x10000 | out[to - this.#rep0 - 1]!;
        const value = this.#literal(probabilities, LITERAL + context * LITERAL_MODEL, matched);
        this.#state = state < 4 ? 0 : state < 10 ? state - 3 : state - 6;
        if (to === out.length) {
          output.length = to;
          output.reserve(1);
          out = output.bytes;
        }
        out[to++] = value;
        continue;
      }
      const length = this.#match(probabilities, positionState);
      if (length === 0) {
        this.normalize();
        this.ended = true;
        break;
      }
      const distance = (this.#rep0 >>> 0) + 1;
      if (distance > to - start) {
        throw corrupt(this.#format, this.position, `match distance ${distance} before the data`);
      }
      if (length > stop - to) {
        throw corrupt(this.#format, this.position, 'a match that passes the end of its chunk');
      }
      if (length > out.length - to) {
        output.length = to;
        output.reserve(length);
        out = output.bytes;
      }
      if (distance >= length && length >= 32) {
        out.copyWithin(to, to - distance, to - distance + length);
        to += length;
      } else {
        for (const last = to + length; to < last; to++) out[to] = out[to - distance]!;
      }
    }
    output.length = to;
    if (this.position > end) throw this.#pastEnd(end);
  }
}

const LZMA_HEADER_SIZE = 13;
const UNKNOWN_SIZE = 0xffffffffffffffffn;
/** .lzma allows lc + lp up to 8 + 4. */
const MAX_LITERAL_BITS = 12;

/**
 * Unpacks a .lzma file: properties, dictionary size, output size or all ones for an end marker.
 * @throws PandoError DECOMPRESS_TRUNCATED, DECOMPRESS_CORRUPT, DECOMPRESS_TOO_LARGE
 */
export function decompressLzma(input: Uint8Array, bounds: DecompressBounds): Uint8Array {
  if (input.length < LZMA_HEADER_SIZE) throw truncated('LZMA', LZMA_HEADER_SIZE, input.length);
  const size = new DataView(input.buffer, input.byteOffset).getBigUint64(5, true);
  const stated = size === UNKNOWN_SIZE ? Number.POSITIVE_INFINITY : Number(size);
  const output = new Output(
    'LZMA',
    stated === Number.POSITIVE_INFINITY ? bounds : { ...bounds, expected: stated },
  );
  const decoder = new LzmaDecoder('LZMA', input);
  decoder.setProperties(input[0]!, MAX_LITERAL_BITS);
  decoder.position = LZMA_HEADER_SIZE;
  decoder.startRange(input.length);
  decoder.decode(output, 0, stated, input.length);
  decoder.normalize();
  if (decoder.position > input.length) throw truncated('LZMA', decoder.position, input.length);
  return output.take();
}
