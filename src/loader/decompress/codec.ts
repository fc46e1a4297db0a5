/**
 * What all decompressors share: their bounds, their growing output and the four ways in which input can
 * be wrong. No decompressor reads past its input or writes past its limit.
 */
import { PandoError } from '../../error.js';

/** Bounds of one decompression, in bytes. */
export interface DecompressBounds {
  /** The output may not pass this. */
  readonly limit: number;
  /** The exact size of the output, when the container tells it: saves copies, decides nothing else. */
  readonly expected?: number;
  /**
   * Given the beginning of the output before most of it is made; throws when that is not what the
   * caller wants. A few kilobytes can stand for a gigabyte.
   */
  readonly accept?: (beginning: Uint8Array) => void;
}

const REMEDY = 'the file is truncated or damaged: fetch it again';

/** The input ends before the stream does. */
export function truncated(format: string, offset: number, limit: number): PandoError {
  return new PandoError(
    'DECOMPRESS_TRUNCATED',
    `${format} stream: input ends at offset ${limit}, more is needed at offset ${offset}`,
    { remedy: REMEDY },
  );
}

/** The input breaks its format's rules. */
export function corrupt(format: string, offset: number, what: string): PandoError {
  return new PandoError('DECOMPRESS_CORRUPT', `${format} stream: ${what} at offset ${offset}`, {
    remedy: REMEDY,
  });
}

/** The output does not have the checksum that the stream states. */
export function checksumMismatch(format: string, offset: number, what: string): PandoError {
  return new PandoError(
    'DECOMPRESS_CHECKSUM',
    `${format} stream: ${what} at offset ${offset} does not match the data`,
    { remedy: REMEDY },
  );
}

/** The output would pass the limit. */
export function tooLarge(format: string, limit: number): PandoError {
  return new PandoError('DECOMPRESS_TOO_LARGE', `${format} stream: output passes ${limit} bytes`);
}

/** The stream uses a part of its format that is not decoded here. */
export function unsupported(format: string, what: string): PandoError {
  return new PandoError('DECOMPRESS_UNSUPPORTED', `${format} stream: ${what} is not supported`);
}

const FIRST_CAPACITY = 1 << 20;
/** What `accept` is given at least. */
export const BEGINNING_BYTES = 64;

/** Output that grows up to a limit; `bytes` changes when it grows. */
export class Output {
  bytes: Uint8Array;
  length = 0;
  readonly #format: string;
  readonly #limit: number;
  readonly #expected: number;
  #accept: DecompressBounds['accept'];

  constructor(format: string, bounds: DecompressBounds) {
    this.#format = format;
    this.#limit = bounds.limit;
    this.#accept = bounds.accept;
    this.#expected = bounds.expected ?? 0;
    if (this.#expected > bounds.limit) throw tooLarge(format, bounds.limit);
    this.bytes = new Uint8Array(
      Math.min(bounds.expected ?? bounds.limit, bounds.limit, FIRST_CAPACITY),
    );
  }

  /** Makes room for `count` more bytes behind `length`. */
  reserve(count: number): void {
    if (this.#accept !== undefined && this.length >= BEGINNING_BYTES) {
      this.#accept(this.bytes.subarray(0, this.length));
      this.#accept = undefined;
    }
    const needed = this.length + count;
    if (needed <= this.bytes.length) return;
    if (needed > this.#limit) throw tooLarge(this.#format, this.#limit);
    const wanted = this.bytes.length < this.#expected ? this.#expected : 2 * this.bytes.length;
    const grown = new Uint8Array(Math.min(Math.max(needed, wanted), this.#limit));
    grown.set(this.bytes.subarray(0, this.length));
    this.bytes = grown;
  }

  /** What has been written. */
  take(): Uint8Array {
    return this.bytes.subarray(0, this.length);
  }
}
