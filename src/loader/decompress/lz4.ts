/**
 * LZ4's legacy frame, as the kernel's build writes it: magic, then blocks of a 32-bit length and LZ4 data,
 * each at most 8 MiB unpacked and independent of the others (LZ4 Frame Format, "Legacy frame"; LZ4 Block
 * Format).
 */
import { corrupt, type DecompressBounds, Output, tooLarge, truncated } from './codec.js';

export const LZ4_LEGACY_MAGIC = 0x184c2102;

const FORMAT = 'LZ4';
const BLOCK_LIMIT = 8 << 20;
const MIN_MATCH = 4;
/** Below this a byte loop is quicker than a call into the typed array's own copy. */
const SHORT_COPY = 24;

/** A block that has less than its 8 MiB to fill was stopped by the output's limit, not by its own. */
function overflow(at: number, start: number, limit: number): Error {
  return limit - start < BLOCK_LIMIT
    ? tooLarge(FORMAT, limit)
    : corrupt(FORMAT, at, 'a block of more than 8 MiB');
}

/**
 * Unpacks one block of `input[at, end)` into `out` from `start`, not past `limit`.
 * @returns one past the last byte written
 */
function decodeBlock(
  input: Uint8Array,
  from: number,
  end: number,
  out: Uint8Array,
  start: number,
  limit: number,
): number {
  let at = from;
  let to = start;
  for (;;) {
    if (at >= end) throw truncated(FORMAT, at, end);
    const token = input[at++]!;

    let literals = token >>> 4;
    if (literals === 15) {
      let more = 255;
      while (more === 255) {
        if (at >= end) throw truncated(FORMAT, at, end);
        more = input[at++]!;
        literals += more;
      }
    }
    if (literals > end - at) throw truncated(FORMAT, at + literals, end);
    if (literals > limit - to) throw overflow(at, start, limit);
    if (literals < SHORT_COPY) {
      for (const stop = to + literals; to < stop; ) out[to++] = input[at++]!;
    } else {
      out.set(input.subarray(at, at + literals), to);
      at += literals;
      to += literals;
    }
    if (at === end) return to;

    if (end - at < 2) throw truncated(FORMAT, at + 2, end);
    const distance = input[at]! | (input[at + 1]! << 8);
    at += 2;
    if (distance === 0 || distance > to - start) {
      throw corrupt(FORMAT, at - 2, `match distance ${distance}, ${to - start} bytes written,`);
    }
    let length = token & 15;
    if (length === 15) {
      let more = 255;
      while (more === 255) {
        if (at >= end) throw truncated(FORMAT, at, end);
        more = input[at++]!;
        length += more;
      }
    }
    length += MIN_MATCH;
    if (length > limit - to) throw overflow(at, start, limit);
    if (length < SHORT_COPY) {
      for (const stop = to + length; to < stop; to++) out[to] = out[to - distance]!;
    } else {
      // An overlapping match repeats what it has written: each copy doubles what the next can take.
      const origin = to - distance;
      for (const stop = to + length; to < stop; ) {
        const count = Math.min(stop - to, to - origin);
        out.copyWithin(to, origin, origin + count);
        to += count;
      }
    }
  }
}

/**
 * Unpacks one or more legacy frames; zeros may follow the last.
 * @throws PandoError DECOMPRESS_TRUNCATED, DECOMPRESS_CORRUPT, DECOMPRESS_TOO_LARGE
 */
export function decompressLz4(input: Uint8Array, bounds: DecompressBounds): Uint8Array {
  const data = new DataView(input.buffer, input.byteOffset, input.byteLength);
  const output = new Output(FORMAT, bounds);
  if (input.length < 4) throw truncated(FORMAT, 4, input.length);
  if (data.getUint32(0, true) !== LZ4_LEGACY_MAGIC) throw corrupt(FORMAT, 0, 'no legacy magic');
  let at = 4;
  while (at < input.length) {
    if (input.length - at < 4) {
      if (input.subarray(at).every((byte) => byte === 0)) break;
      throw truncated(FORMAT, at + 4, input.length);
    }
    const size = data.getUint32(at, true);
    at += 4;
    if (size === LZ4_LEGACY_MAGIC) continue;
    if (size === 0) {
      if (input.subarray(at).every((byte) => byte === 0)) break;
      throw corrupt(FORMAT, at - 4, 'an empty block');
    }
    if (size > input.length - at) throw truncated(FORMAT, at + size, input.length);
    const room = bounds.limit - output.length;
    const expected = (bounds.expected ?? bounds.limit) - output.length;
    output.reserve(Math.max(1, Math.min(BLOCK_LIMIT, room, expected)));
    output.length = decodeBlock(
      input,
      at,
      at + size,
      output.bytes,
      output.length,
      Math.min(output.bytes.length, output.length + BLOCK_LIMIT),
    );
    at += size;
  }
  return output.take();
}
