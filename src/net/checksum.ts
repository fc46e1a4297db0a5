/** The Internet checksum (RFC 1071): the one's complement of the one's complement sum of 16-bit words. */
import { read16, read32 } from './bytes.js';

/** Bytes after which a sum of 16-bit words must be folded to stay in 32 bits. */
const FOLD_BYTES = 0x10000;

/**
 * Adds the words of bytes[start, end) to a sum. Only the last piece of a sum may have an odd length.
 * @returns a sum of at most 16 bits and a carry, to be passed on or finished
 */
export function sumOf(bytes: Uint8Array, start: number, end: number, initial = 0): number {
  let sum = fold(initial);
  let at = start;
  while (at + 1 < end) {
    const stop = Math.min(end - 1, at + FOLD_BYTES);
    for (; at < stop; at += 2) sum += (bytes[at]! << 8) | bytes[at + 1]!;
    sum = fold(sum);
  }
  if (at < end) sum += bytes[at]! << 8;
  return fold(sum);
}

/** A sum in 16 bits: carries are added at the other end. */
export function fold(sum: number): number {
  let folded = sum;
  while (folded > 0xffff) folded = (folded & 0xffff) + (folded >>> 16);
  return folded;
}

/** The checksum that a sum gives. */
export function checksumOf(sum: number): number {
  return ~fold(sum) & 0xffff;
}

/**
 * The sum of the pseudo header of TCP and UDP over IPv4 (RFC 9293, 3.1).
 * @param length of the transport's header and payload
 */
export function pseudoSum(
  source: number,
  destination: number,
  protocol: number,
  length: number,
): number {
  return fold(
    (source >>> 16) +
      (source & 0xffff) +
      (destination >>> 16) +
      (destination & 0xffff) +
      protocol +
      length,
  );
}

/** Whether an IPv4 transport's checksum over its pseudo header is right. */
export function transportSumIsRight(
  bytes: Uint8Array,
  start: number,
  end: number,
  source: number,
  destination: number,
  protocol: number,
): boolean {
  const pseudo = pseudoSum(source, destination, protocol, end - start);
  return sumOf(bytes, start, end, pseudo) === 0xffff;
}

/** The pseudo header's sum of a packet that lies in memory, for IPv4 and IPv6. */
export function pseudoSumAt(
  bytes: Uint8Array,
  ipAt: number,
  version: number,
  protocol: number,
  length: number,
): number {
  if (version === 4) {
    return pseudoSum(read32(bytes, ipAt + 12), read32(bytes, ipAt + 16), protocol, length);
  }
  let sum = protocol + (length >>> 16) + (length & 0xffff);
  for (let at = ipAt + 8; at < ipAt + 40; at += 2) sum += read16(bytes, at);
  return fold(sum);
}
