/** CRC-32C (Castagnoli, reflected polynomial 0x82f63b78; RFC 3720, appendix B.4). */

const POLYNOMIAL = 0x82f63b78;

const table = Int32Array.from({ length: 256 }, (_, index) => {
  let value = index;
  for (let bit = 0; bit < 8; bit++) {
    value = (value & 1) === 1 ? (value >>> 1) ^ POLYNOMIAL : value >>> 1;
  }
  return value;
});

/**
 * Carries a checksum on over more bytes.
 * @param crc the register so far: 0xffffffff to begin with
 * @returns the register, unsigned, not inverted
 */
export function crc32c(crc: number, bytes: Uint8Array): number {
  let register = crc;
  for (const byte of bytes) register = (register >>> 8) ^ table[(register ^ byte) & 0xff]!;
  return register >>> 0;
}
