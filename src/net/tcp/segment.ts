/** TCP headers and the options of SYN segments (RFC 9293, 3.1 and 3.2; RFC 7323, 2). */
import { read16, read32, write16, write32 } from '../bytes.js';

export const FIN = 1;
export const SYN = 2;
export const RST = 4;
export const PSH = 8;
export const ACK = 16;

export const TCP_HEADER_BYTES = 20;
/** Header with MSS and window scale, as SYN segments have it. */
export const TCP_SYN_HEADER_BYTES = 28;
export const TCP_CHECKSUM_OFFSET = 16;
/** What a peer takes that sends no MSS option (RFC 9293, MUST-15). */
export const DEFAULT_MSS = 536;
/** The largest shift of the window scale option. */
const MAX_SHIFT = 14;

const OPTION_END = 0;
const OPTION_NOP = 1;
const OPTION_MSS = 2;
const OPTION_WINDOW_SCALE = 3;

/** One segment's fields, reused from segment to segment. Sequence numbers are unsigned. */
export class TcpSegment {
  bytes: Uint8Array = new Uint8Array(0);
  sourcePort = 0;
  destinationPort = 0;
  seq = 0;
  ack = 0;
  flags = 0;
  /** As in the header, not scaled. */
  window = 0;
  payloadStart = 0;
  payloadEnd = 0;
  /** From the option of a SYN; DEFAULT_MSS without one. */
  mss = DEFAULT_MSS;
  /** From the option of a SYN; -1 without one. */
  windowShift = -1;

  get payloadBytes(): number {
    return this.payloadEnd - this.payloadStart;
  }

  /** Sequence numbers that the segment takes: SYN and FIN count one each. */
  get sequenceLength(): number {
    return this.payloadBytes + ((this.flags >>> 1) & 1) + (this.flags & 1);
  }

  has(flag: number): boolean {
    return (this.flags & flag) !== 0;
  }

  /** @returns false when bytes[start, end), an IP payload, holds no segment */
  parse(bytes: Uint8Array, start: number, end: number): boolean {
    if (end - start < TCP_HEADER_BYTES) return false;
    const headerBytes = (bytes[start + 12]! >>> 4) * 4;
    if (headerBytes < TCP_HEADER_BYTES || start + headerBytes > end) return false;
    this.bytes = bytes;
    this.sourcePort = read16(bytes, start);
    this.destinationPort = read16(bytes, start + 2);
    this.seq = read32(bytes, start + 4);
    this.ack = read32(bytes, start + 8);
    this.flags = bytes[start + 13]! & 0x3f;
    this.window = read16(bytes, start + 14);
    this.payloadStart = start + headerBytes;
    this.payloadEnd = end;
    this.mss = DEFAULT_MSS;
    this.windowShift = -1;
    if ((this.flags & SYN) !== 0) {
      this.#parseOptions(bytes, start + TCP_HEADER_BYTES, this.payloadStart);
    }
    return true;
  }

  /** Options with impossible lengths end the list (RFC 9293, MUST-7). */
  #parseOptions(bytes: Uint8Array, start: number, end: number): void {
    let at = start;
    while (at < end) {
      const kind = bytes[at]!;
      if (kind === OPTION_END) return;
      if (kind === OPTION_NOP) {
        at += 1;
        continue;
      }
      const length = at + 1 < end ? bytes[at + 1]! : 0;
      if (length < 2 || at + length > end) return;
      if (kind === OPTION_MSS && length === 4) this.mss = read16(bytes, at + 2);
      if (kind === OPTION_WINDOW_SCALE && length === 3) {
        this.windowShift = Math.min(bytes[at + 2]!, MAX_SHIFT);
      }
      at += length;
    }
  }
}

/** What a header to be written says. */
export interface TcpFields {
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly seq: number;
  readonly ack: number;
  readonly flags: number;
  /** As in the header, at most 65535. */
  readonly window: number;
  /** For SYN segments. */
  readonly mss: number;
  /** For SYN segments; -1 leaves the option out. */
  readonly windowShift: number;
}

/**
 * Writes a header with an empty checksum at `at`; a SYN's has options.
 * @returns its length in bytes
 */
export function writeTcp(bytes: Uint8Array, at: number, fields: TcpFields): number {
  const options = (fields.flags & SYN) !== 0;
  const headerBytes = options ? TCP_SYN_HEADER_BYTES : TCP_HEADER_BYTES;
  write16(bytes, at, fields.sourcePort);
  write16(bytes, at + 2, fields.destinationPort);
  write32(bytes, at + 4, fields.seq);
  write32(bytes, at + 8, fields.ack);
  bytes[at + 12] = (headerBytes / 4) << 4;
  bytes[at + 13] = fields.flags;
  write16(bytes, at + 14, fields.window);
  write16(bytes, at + TCP_CHECKSUM_OFFSET, 0);
  write16(bytes, at + 18, 0);
  if (options) {
    bytes[at + 20] = OPTION_MSS;
    bytes[at + 21] = 4;
    write16(bytes, at + 22, fields.mss);
    const scaled = fields.windowShift >= 0;
    bytes[at + 24] = OPTION_NOP;
    bytes[at + 25] = scaled ? OPTION_WINDOW_SCALE : OPTION_NOP;
    bytes[at + 26] = scaled ? 3 : OPTION_NOP;
    bytes[at + 27] = scaled ? fields.windowShift : OPTION_NOP;
  }
  return headerBytes;
}
