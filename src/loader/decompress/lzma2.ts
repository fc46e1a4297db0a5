/**
 * LZMA2: LZMA cut into chunks that may reset the model or be stored (The .xz File Format, 5.3.1, and
 * the chunk headers as XZ Embedded documents them).
 */
import { corrupt, type Output, truncated } from './codec.js';
import { LzmaDecoder } from './lzma.js';

const FORMAT = 'xz';
const END_OF_CHUNKS = 0x00;
const STORED_RESET_DICTIONARY = 0x01;
const STORED = 0x02;
const LZMA_CHUNK = 0x80;
/** What an LZMA chunk resets, bits 5 and 6 of its control byte: each level includes those below. */
const RESET_STATE = 1;
const RESET_PROPERTIES = 2;
const RESET_DICTIONARY = 3;
/** LZMA2 allows lc + lp up to 4. */
const MAX_LITERAL_BITS = 4;

/**
 * Unpacks LZMA2 data from `input[from, end)` onto `output`.
 * @returns the offset behind the end-of-chunks byte
 * @throws PandoError DECOMPRESS_TRUNCATED, DECOMPRESS_CORRUPT, DECOMPRESS_TOO_LARGE
 */
export function decodeLzma2(input: Uint8Array, from: number, end: number, output: Output): number {
  const decoder = new LzmaDecoder(FORMAT, input);
  let at = from;
  let start = output.length;
  let needsDictionary = true;
  let needsProperties = true;
  let needsState = true;
  for (;;) {
    if (at >= end) throw truncated(FORMAT, at, end);
    const control = input[at]!;
    if (control === END_OF_CHUNKS) return at + 1;

    const isLzma = control >= LZMA_CHUNK;
    const reset = isLzma ? (control >>> 5) & 3 : 0;
    if (!isLzma && control > STORED) throw corrupt(FORMAT, at, `LZMA2 control byte ${control}`);
    if (control === STORED_RESET_DICTIONARY || reset === RESET_DICTIONARY) {
      start = output.length;
      needsDictionary = false;
      needsProperties = true;
    } else if (needsDictionary) {
      throw corrupt(FORMAT, at, 'first LZMA2 chunk without a dictionary reset');
    }

    const headerSize = !isLzma ? 3 : reset >= RESET_PROPERTIES ? 6 : 5;
    if (end - at < headerSize) throw truncated(FORMAT, at + headerSize, end);
    const low = (input[at + 1]! << 8) | input[at + 2]!;
    if (!isLzma) {
      const size = low + 1;
      at += headerSize;
      if (size > end - at) throw truncated(FORMAT, at + size, end);
      output.reserve(size);
      output.bytes.set(input.subarray(at, at + size), output.length);
      output.length += size;
      at += size;
      continue;
    }

    const size = ((control & 0x1f) << 16) + low + 1;
    const packed = ((input[at + 3]! << 8) | input[at + 4]!) + 1;
    if (packed > end - at - headerSize) throw truncated(FORMAT, at + headerSize + packed, end);
    decoder.position = at + headerSize;
    if (reset >= RESET_PROPERTIES) {
      decoder.setProperties(input[at + 5]!, MAX_LITERAL_BITS);
      needsProperties = false;
      needsState = false;
    } else if (needsProperties || (needsState && reset < RESET_STATE)) {
      throw corrupt(FORMAT, at, 'LZMA2 chunk that continues a state that was never set');
    } else if (reset === RESET_STATE) {
      decoder.resetState();
      needsState = false;
    }
    at = decoder.position + packed;
    decoder.startRange(at);
    decoder.decode(output, start, output.length + size, at);
    decoder.normalize();
    if (decoder.ended || decoder.position !== at || !decoder.rangeFinished) {
      throw corrupt(FORMAT, decoder.position, `LZMA2 chunk that should end at offset ${at}`);
    }
  }
}
