/** IPv4 headers (RFC 791, 3.1). */
import { read16, read32, write16, write32 } from './bytes.js';
import { checksumOf, sumOf } from './checksum.js';
import { LONGEST_QUOTE } from './icmp.js';

export const IPV4_HEADER_BYTES = 20;
export const PROTOCOL_ICMP = 1;
export const PROTOCOL_TCP = 6;
export const PROTOCOL_UDP = 17;
const MORE_FRAGMENTS = 0x2000;
const FRAGMENT_OFFSET = 0x1fff;
const TTL = 64;

/** One packet's fields, reused from packet to packet. */
export class Ipv4Packet {
  bytes: Uint8Array = new Uint8Array(0);
  /** Where the header begins. */
  start = 0;
  payloadStart = 0;
  payloadEnd = 0;
  protocol = 0;
  source = 0;
  destination = 0;
  identification = 0;
  /** Of this fragment's payload in the datagram, in bytes. */
  fragmentOffset = 0;
  moreFragments = false;

  get isFragment(): boolean {
    return this.moreFragments || this.fragmentOffset !== 0;
  }

  /** Becomes the datagram whose fragments `last` completed. @param payload all of it */
  take(last: Ipv4Packet, payload: Uint8Array): void {
    const header = last.payloadStart - last.start;
    this.bytes = new Uint8Array(header + payload.length);
    this.bytes.set(last.bytes.subarray(last.start, last.payloadStart));
    this.bytes.set(payload, header);
    this.start = 0;
    this.payloadStart = header;
    this.payloadEnd = this.bytes.length;
    this.protocol = last.protocol;
    this.source = last.source;
    this.destination = last.destination;
    this.identification = last.identification;
    this.fragmentOffset = 0;
    this.moreFragments = false;
  }

  /** A copy of what an ICMP error quotes of the packet. */
  quote(): Uint8Array {
    return this.bytes.slice(this.start, Math.min(this.payloadEnd, this.start + LONGEST_QUOTE));
  }

  /**
   * Bytes after the packet's total length are padding of the frame.
   * @returns false when bytes[start, end) holds no IPv4 packet with a right checksum
   */
  parse(bytes: Uint8Array, start: number, end: number): boolean {
    if (end - start < IPV4_HEADER_BYTES || bytes[start]! >>> 4 !== 4) return false;
    const headerBytes = (bytes[start]! & 15) * 4;
    const totalBytes = read16(bytes, start + 2);
    if (headerBytes < IPV4_HEADER_BYTES || totalBytes < headerBytes) return false;
    if (start + totalBytes > end) return false;
    if (sumOf(bytes, start, start + headerBytes) !== 0xffff) return false;
    const fragment = read16(bytes, start + 6);
    this.bytes = bytes;
    this.start = start;
    this.payloadStart = start + headerBytes;
    this.payloadEnd = start + totalBytes;
    this.protocol = bytes[start + 9]!;
    this.source = read32(bytes, start + 12);
    this.destination = read32(bytes, start + 16);
    this.identification = read16(bytes, start + 4);
    this.fragmentOffset = (fragment & FRAGMENT_OFFSET) * 8;
    this.moreFragments = (fragment & MORE_FRAGMENTS) !== 0;
    return true;
  }
}

/** What a header says of its packet. */
export interface Ipv4Fields {
  readonly protocol: number;
  readonly source: number;
  readonly destination: number;
  readonly identification: number;
  /** In bytes, a multiple of 8. */
  readonly fragmentOffset: number;
  readonly moreFragments: boolean;
}

/**
 * Writes a header without options at `at`.
 * @param payloadBytes what follows the header
 */
export function writeIpv4(
  bytes: Uint8Array,
  at: number,
  fields: Ipv4Fields,
  payloadBytes: number,
): void {
  bytes[at] = 0x45;
  bytes[at + 1] = 0;
  write16(bytes, at + 2, IPV4_HEADER_BYTES + payloadBytes);
  write16(bytes, at + 4, fields.identification);
  write16(
    bytes,
    at + 6,
    (fields.fragmentOffset >>> 3) | (fields.moreFragments ? MORE_FRAGMENTS : 0),
  );
  bytes[at + 8] = TTL;
  bytes[at + 9] = fields.protocol;
  write16(bytes, at + 10, 0);
  write32(bytes, at + 12, fields.source);
  write32(bytes, at + 16, fields.destination);
  write16(bytes, at + 10, checksumOf(sumOf(bytes, at, at + IPV4_HEADER_BYTES)));
}
