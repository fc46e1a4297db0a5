/** ICMP: echo, and the errors that a gateway sends (RFC 792). */
import { write16, write32 } from './bytes.js';
import { checksumOf, sumOf } from './checksum.js';

export const ICMP_HEADER_BYTES = 8;
export const ICMP_ECHO_REPLY = 0;
export const ICMP_UNREACHABLE = 3;
export const ICMP_ECHO = 8;

export const HOST_UNREACHABLE = 1;
export const PROTOCOL_UNREACHABLE = 2;
export const PORT_UNREACHABLE = 3;
/** RFC 1812, 5.2.7.1. */
export const ADMINISTRATIVELY_PROHIBITED = 13;

const QUOTED_PAYLOAD_BYTES = 8;
/** The most of a packet that an error quotes. */
export const LONGEST_QUOTE = 60 + QUOTED_PAYLOAD_BYTES;

/** Whether bytes[start, end) is an ICMP message with a right checksum. */
export function isIcmp(bytes: Uint8Array, start: number, end: number): boolean {
  return end - start >= ICMP_HEADER_BYTES && sumOf(bytes, start, end) === 0xffff;
}

/** Makes an echo request in bytes[start, end) its reply. */
export function turnEcho(bytes: Uint8Array, start: number, end: number): void {
  bytes[start] = ICMP_ECHO_REPLY;
  write16(bytes, start + 2, 0);
  write16(bytes, start + 2, checksumOf(sumOf(bytes, start, end)));
}

/**
 * Writes an error at `at`, which quotes the packet that caused it: its header and 8 bytes more.
 * @param packet from its header on, at least an IPv4 header
 * @returns bytes written
 */
export function writeIcmpError(
  bytes: Uint8Array,
  at: number,
  code: number,
  packet: Uint8Array,
): number {
  const quoted = packet.subarray(0, (packet[0]! & 15) * 4 + QUOTED_PAYLOAD_BYTES);
  bytes[at] = ICMP_UNREACHABLE;
  bytes[at + 1] = code;
  write32(bytes, at + 2, 0);
  write16(bytes, at + 6, 0);
  bytes.set(quoted, at + ICMP_HEADER_BYTES);
  const total = ICMP_HEADER_BYTES + quoted.length;
  write16(bytes, at + 2, checksumOf(sumOf(bytes, at, at + total)));
  return total;
}
