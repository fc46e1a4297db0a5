/**
 * bzImage: the real-mode setup header, and the compressed vmlinux inside (Linux, "The Linux/x86 Boot
 * Protocol": fields of the setup header, payload_offset and payload_length from protocol 2.08 on).
 */
import { PandoError } from '../error.js';
import type { ByteSource } from './byte-source.js';
import {
  type CompressionFormat,
  decompress,
  detectCompression,
  MAGIC_BYTES,
} from './decompress/decompress.js';
import { isElf } from './elf.js';

const SETUP_SECTS = 0x1f1;
const BOOT_FLAG = 0x1fe;
const HEADER_MAGIC = 0x202;
const PROTOCOL_VERSION = 0x206;
const PAYLOAD_OFFSET = 0x248;
const PAYLOAD_LENGTH = 0x24c;
/** One past payload_length: what has to be there of the header. */
const HEADER_END = 0x250;

const BOOT_FLAG_VALUE = 0xaa55;
const HDRS = 0x53726448;
const MIN_PROTOCOL = 0x208;
const DEFAULT_SETUP_SECTS = 4;
const SECTOR_SIZE = 512;
/** The kernel's build puts the unpacked size behind the stream (gzip has it in its own trailer). */
const SIZE_TRAILER = 4;

/** A vmlinux of more than this is refused. */
const MAX_KERNEL_BYTES = 1 << 28;

/** Where the payload is, and what the header says of itself. */
export interface BzImage {
  /** Boot protocol version, major in the high byte. */
  readonly protocol: number;
  /** File offset and length of the payload, size trailer included. */
  readonly payloadOffset: number;
  readonly payloadLength: number;
  /** undefined when the payload is an ELF file as it is. */
  readonly compression: CompressionFormat | undefined;
  /** Size of the unpacked payload, as the file states it. */
  readonly unpackedSize: number;
}

/** True when the source has the setup header's magic. */
export function isBzImage(source: ByteSource): boolean {
  if (source.size < HEADER_MAGIC + 4) return false;
  const bytes = source.read(HEADER_MAGIC, 4);
  return new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true) === HDRS;
}

/**
 * Reads the setup header and finds the payload.
 * @throws PandoError BZIMAGE_TRUNCATED, BZIMAGE_BAD_BOOT_FLAG, BZIMAGE_PROTOCOL_TOO_OLD,
 *   BZIMAGE_NO_PAYLOAD, BZIMAGE_PAYLOAD_PAST_EOF, BZIMAGE_COMPRESSION_UNSUPPORTED,
 *   BZIMAGE_PAYLOAD_TOO_LARGE
 */
export function readBzImage(source: ByteSource): BzImage {
  if (source.size < HEADER_END) {
    throw new PandoError(
      'BZIMAGE_TRUNCATED',
      `the setup header needs ${HEADER_END} bytes, the file has ${source.size}`,
      { remedy: 'the file is truncated: fetch it again' },
    );
  }
  const header = source.read(0, HEADER_END);
  const data = new DataView(header.buffer, header.byteOffset, header.byteLength);
  const bootFlag = data.getUint16(BOOT_FLAG, true);
  if (bootFlag !== BOOT_FLAG_VALUE) {
    throw new PandoError(
      'BZIMAGE_BAD_BOOT_FLAG',
      `boot_flag at offset 0x1fe is 0x${bootFlag.toString(16)}, not 0xaa55`,
    );
  }
  const protocol = data.getUint16(PROTOCOL_VERSION, true);
  if (protocol < MIN_PROTOCOL) {
    throw new PandoError(
      'BZIMAGE_PROTOCOL_TOO_OLD',
      `boot protocol ${protocol >>> 8}.${protocol & 0xff} at offset 0x206 has no payload fields, 2.8 has`,
      { remedy: 'use a kernel of 2.6.24 or later, or its vmlinux' },
    );
  }
  const setupSects = data.getUint8(SETUP_SECTS) || DEFAULT_SETUP_SECTS;
  const payloadOffset = (setupSects + 1) * SECTOR_SIZE + data.getUint32(PAYLOAD_OFFSET, true);
  const payloadLength = data.getUint32(PAYLOAD_LENGTH, true);
  if (payloadLength <= SIZE_TRAILER) {
    throw new PandoError(
      'BZIMAGE_NO_PAYLOAD',
      `payload_length at offset 0x24c is ${payloadLength}: there is no kernel inside`,
    );
  }
  if (payloadOffset + payloadLength > source.size) {
    throw new PandoError(
      'BZIMAGE_PAYLOAD_PAST_EOF',
      `the payload of ${payloadLength} bytes at offset ${payloadOffset} reaches past the end of the ` +
        `file at ${source.size}`,
      { remedy: 'the file is truncated or damaged: fetch it again' },
    );
  }
  const magic = source.read(payloadOffset, Math.min(MAGIC_BYTES, payloadLength));
  const compression = detectCompression(magic);
  if (compression === 'lzo' || (compression === undefined && !isElf(magic))) {
    const hex = Buffer.from(magic).toString('hex');
    throw new PandoError(
      'BZIMAGE_COMPRESSION_UNSUPPORTED',
      compression === 'lzo'
        ? `the payload at offset ${payloadOffset} is compressed with LZO`
        : `the payload at offset ${payloadOffset} begins with ${hex}, which no known format does`,
      { remedy: 'use a kernel compressed with gzip, xz, zstd, LZ4, bzip2 or LZMA, or its vmlinux' },
    );
  }
  let unpackedSize = payloadLength;
  if (compression !== undefined) {
    const trailer = source.read(payloadOffset + payloadLength - SIZE_TRAILER, SIZE_TRAILER);
    unpackedSize = new DataView(trailer.buffer, trailer.byteOffset).getUint32(0, true);
  }
  if (unpackedSize > MAX_KERNEL_BYTES) {
    throw new PandoError(
      'BZIMAGE_PAYLOAD_TOO_LARGE',
      `the payload says that it unpacks to ${unpackedSize} bytes, the limit is ${MAX_KERNEL_BYTES}`,
    );
  }
  return { protocol, payloadOffset, payloadLength, compression, unpackedSize };
}

/**
 * Unpacks the payload.
 * @returns the bytes of the vmlinux
 * @throws PandoError BZIMAGE_SIZE_MISMATCH, and what `decompress` throws
 */
export function unpackBzImage(
  source: ByteSource,
  image: BzImage = readBzImage(source),
): Uint8Array {
  const { payloadOffset, payloadLength, compression, unpackedSize } = image;
  const payload = source.read(payloadOffset, payloadLength);
  if (compression === undefined) return payload;
  const stream = compression === 'gzip' ? payload : payload.subarray(0, -SIZE_TRAILER);
  const accept = (beginning: Uint8Array): void => {
    if (isElf(beginning)) return;
    const hex = Buffer.from(beginning.subarray(0, 4)).toString('hex');
    throw new PandoError('ELF_BAD_MAGIC', `the payload unpacks to ${hex}…, which is no ELF file`);
  };
  const bounds = { limit: MAX_KERNEL_BYTES, expected: unpackedSize, accept };
  const vmlinux = decompress(compression, stream, bounds);
  if (vmlinux.length !== unpackedSize) {
    throw new PandoError(
      'BZIMAGE_SIZE_MISMATCH',
      `the payload unpacks to ${vmlinux.length} bytes, its trailer says ${unpackedSize}`,
      { remedy: 'the file is damaged: fetch it again' },
    );
  }
  return vmlinux;
}
