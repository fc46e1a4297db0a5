/**
 * Drawings as PNG (W3C, Portable Network Graphics, third edition): 8-bit RGB, two pixels for each of the
 * drawing's, light colours. Text is in the 5 by 7 dots of character displays.
 */
import { deflateSync } from 'node:zlib';
import { type Drawing, PALETTE, type Role } from './drawing.js';

const SCALE = 2;
const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
/** Dots from one character to the next. */
const ADVANCE = 6;

/** Characters 0x20–0x7e, five columns each, bit 0 on top. */
const FONT = Buffer.from(
  [
    '0000000000 00005f0000 0007000700 147f147f14 242a7f2a12 2313086462 3649552250 0005030000',
    '001c224100 0041221c00 14083e0814 08083e0808 0050300000 0808080808 0060600000 2010080402',
    '3e5149453e 00427f4000 4261514946 2141454b31 1814127f10 2745454539 3c4a494930 0171090503',
    '3649494936 064949291e 0036360000 0056360000 0814224100 1414141414 0041221408 0201510906',
    '324979413e 7e1111117e 7f49494936 3e41414122 7f4141221c 7f49494941 7f09090901 3e4149497a',
    '7f0808087f 00417f4100 2040413f01 7f08142241 7f40404040 7f020c027f 7f0408107f 3e4141413e',
    '7f09090906 3e4151215e 7f09192946 4649494931 01017f0101 3f4040403f 1f2040201f 3f4038403f',
    '6314081463 0708700807 6151494543 007f414100 0204081020 0041417f00 0402010204 4040404040',
    '0001020400 2054545478 7f48444438 3844444420 384444487f 3854545418 087e090102 0c5252523e',
    '7f08040478 00447d4000 2040443d00 7f10284400 00417f4000 7c04180478 7c08040478 3844444438',
    '7c14141408 081414187c 7c08040408 4854545420 043f444020 3c4040207c 1c2040201c 3c4030403c',
    '4428102844 0c5050503c 4464544c44 0008364100 00007f0000 0041360800 1008081008',
  ]
    .join('')
    .replaceAll(' ', ''),
  'hex',
);

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, index) => {
  let value = index;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value >>> 0;
});

function crc32(bytes: Uint8Array): number {
  let value = 0xffffffff;
  for (const byte of bytes) value = CRC_TABLE[(value ^ byte) & 0xff]! ^ (value >>> 8);
  return (value ^ 0xffffffff) >>> 0;
}

function chunk(type: string, data: Uint8Array): Buffer {
  const body = Buffer.concat([Buffer.from(type, 'latin1'), data]);
  const frame = Buffer.alloc(body.length + 8);
  frame.writeUInt32BE(data.length, 0);
  frame.set(body, 4);
  frame.writeUInt32BE(crc32(body), body.length + 4);
  return frame;
}

/** A picture of opaque pixels. */
class Raster {
  readonly width: number;
  readonly height: number;
  /** Rows of RGB, each behind its filter byte (0: none). */
  readonly #rows: Buffer;
  readonly #stride: number;

  constructor(width: number, height: number) {
    this.width = width;
    this.height = height;
    this.#stride = width * 3 + 1;
    this.#rows = Buffer.alloc(this.#stride * height);
  }

  /** Fills a rectangle; edges within a pixel cover it in proportion. */
  fill(x: number, y: number, width: number, height: number, role: Role): void {
    const colour = Number.parseInt(PALETTE[role].light.slice(1), 16);
    const left = Math.max(0, x);
    const top = Math.max(0, y);
    const right = Math.min(this.width, x + width);
    const bottom = Math.min(this.height, y + height);
    for (let row = Math.floor(top); row < bottom; row++) {
      const tall = Math.min(bottom, row + 1) - Math.max(top, row);
      for (let column = Math.floor(left); column < right; column++) {
        const cover = tall * (Math.min(right, column + 1) - Math.max(left, column));
        const at = row * this.#stride + 1 + column * 3;
        for (let channel = 0; channel < 3; channel++) {
          const wanted = (colour >> (16 - 8 * channel)) & 0xff;
          const before = this.#rows[at + channel] ?? 0;
          this.#rows[at + channel] = Math.round(before + (wanted - before) * cover);
        }
      }
    }
  }

  text(x: number, baseline: number, text: string, role: Role): void {
    for (const [index, character] of [...text].entries()) {
      const code = character.charCodeAt(0);
      const glyph = (code >= 0x20 && code < 0x7f ? code : 0x3f) - 0x20;
      for (let column = 0; column < 5; column++) {
        const dots = FONT[glyph * 5 + column] ?? 0;
        for (let row = 0; row < 7; row++) {
          if (((dots >> row) & 1) === 0) continue;
          const left = x + (index * ADVANCE + column) * SCALE;
          this.fill(left, baseline + (row - 7) * SCALE, SCALE, SCALE, role);
        }
      }
    }
  }

  encode(): Buffer {
    const header = Buffer.alloc(13);
    header.writeUInt32BE(this.width, 0);
    header.writeUInt32BE(this.height, 4);
    header.set([8, 2, 0, 0, 0], 8); // bit depth, truecolour, deflate, filters, no interlace
    return Buffer.concat([
      Buffer.from(SIGNATURE),
      chunk('IHDR', header),
      chunk('IDAT', deflateSync(this.#rows)),
      chunk('IEND', new Uint8Array()),
    ]);
  }
}

/** The drawing as the bytes of a PNG file. */
export function toPng(drawing: Drawing): Buffer {
  const raster = new Raster(drawing.width * SCALE, Math.ceil(drawing.height) * SCALE);
  raster.fill(0, 0, raster.width, raster.height, 'surface');
  for (const shape of drawing.shapes) {
    if (shape.kind === 'rectangle') {
      const { x, y, width, height, fill } = shape;
      raster.fill(x * SCALE, y * SCALE, width * SCALE, height * SCALE, fill);
    } else if (shape.kind === 'line') {
      const x = Math.min(shape.x1, shape.x2) * SCALE;
      const y = Math.min(shape.y1, shape.y2) * SCALE;
      const width = Math.max(1, Math.abs(shape.x2 - shape.x1) * SCALE);
      const height = Math.max(1, Math.abs(shape.y2 - shape.y1) * SCALE);
      raster.fill(x, y, width, height, shape.stroke);
    } else {
      const width = shape.text.length * ADVANCE * SCALE;
      const shift = { start: 0, middle: width / 2, end: width }[shape.anchor];
      const x = Math.round(shape.x * SCALE - shift);
      raster.text(x, Math.round(shape.y * SCALE), shape.text, shape.fill);
    }
  }
  return raster.encode();
}
