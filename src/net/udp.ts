/** UDP headers (RFC 768). */
import { read16, write16 } from './bytes.js';

export const UDP_HEADER_BYTES = 8;
export const UDP_CHECKSUM_OFFSET = 6;

/** One datagram's fields, reused from datagram to datagram. */
export class UdpDatagram {
  sourcePort = 0;
  destinationPort = 0;
  payloadStart = 0;
  payloadEnd = 0;
  /** Whether the sender has computed a checksum. */
  hasChecksum = false;

  /** @returns false when bytes[start, end), an IP payload, holds no datagram */
  parse(bytes: Uint8Array, start: number, end: number): boolean {
    if (end - start < UDP_HEADER_BYTES) return false;
    const length = read16(bytes, start + 4);
    if (length < UDP_HEADER_BYTES || start + length > end) return false;
    this.sourcePort = read16(bytes, start);
    this.destinationPort = read16(bytes, start + 2);
    this.hasChecksum = read16(bytes, start + UDP_CHECKSUM_OFFSET) !== 0;
    this.payloadStart = start + UDP_HEADER_BYTES;
    this.payloadEnd = start + length;
    return true;
  }
}

/** Writes a header with an empty checksum at `at`. */
export function writeUdp(
  bytes: Uint8Array,
  at: number,
  sourcePort: number,
  destinationPort: number,
  payloadBytes: number,
): void {
  write16(bytes, at, sourcePort);
  write16(bytes, at + 2, destinationPort);
  write16(bytes, at + 4, UDP_HEADER_BYTES + payloadBytes);
  write16(bytes, at + UDP_CHECKSUM_OFFSET, 0);
}
