/** Sequence numbers: 32-bit, compared modulo 2^32 (RFC 9293, 3.4). */

/** How far `a` is past `b`: negative when it is before. */
export function distance(a: number, b: number): number {
  return (a - b) | 0;
}

/** Unsigned. */
export function advanced(seq: number, by: number): number {
  return (seq + by) >>> 0;
}
