/**
 * CRC-32 (IEEE 802.3, reflected, polynomial 0xedb88320) and CRC-64 (ECMA-182, reflected) as .xz uses
 * them (The .xz File Format, section 6), and the unreflected CRC-32 of bzip2.
 */

const CRC32_POLYNOMIAL = 0xedb88320;
const CRC64_POLYNOMIAL = 0xc96c5795d7870f42n;
const BZIP2_POLYNOMIAL = 0x04c11db7;

/** Eight tables, so that eight bytes cost eight look-ups and no dependent chain (slicing by eight). */
const crc32Tables = (() => {
  const tables = Array.from({ length: 8 }, () => new Int32Array(256));
  for (let index = 0; index < 256; index++) {
    let value = index;
    for (let bit = 0; bit < 8; bit++) {
      value = (value & 1) === 1 ? (value >>> 1) ^ CRC32_POLYNOMIAL : value >>> 1;
    }
    tables[0]![index] = value;
  }
  for (let index = 0; index < 256; index++) {
    for (let table = 1; table < 8; table++) {
      const previous = tables[table - 1]![index]!;
      tables[table]![index] = (previous >>> 8) ^ tables[0]![previous & 0xff]!;
    }
  }
  return tables;
})();

/** CRC-32 of `bytes`, unsigned. */
export function crc32(bytes: Uint8Array): number {
  const [t0, t1, t2, t3, t4, t5, t6, t7] = crc32Tables as [
    Int32Array,
    Int32Array,
    Int32Array,
    Int32Array,
    Int32Array,
    Int32Array,
    Int32Array,
    Int32Array,
  ];
  let crc = -1;
  let at = 0;
  for (const end = bytes.length - 7; at < end; at += 8) {
    const low =
      crc ^ (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24));
    crc =
      t7[low & 0xff]! ^
      t6[(low >>> 8) & 0xff]! ^
      t5[(low >>> 16) & 0xff]! ^
      t4[low >>> 24]! ^
      t3[bytes[at + 4]!]! ^
      t2[bytes[at + 5]!]! ^
      t1[bytes[at + 6]!]! ^
      t0[bytes[at + 7]!]!;
  }
  for (; at < bytes.length; at++) crc = (crc >>> 8) ^ t0[(crc ^ bytes[at]!) & 0xff]!;
  return ~crc >>> 0;
}

const [crc64Low, crc64High] = (() => {
  const low = new Int32Array(256);
  const high = new Int32Array(256);
  for (let index = 0; index < 256; index++) {
    let value = BigInt(index);
    for (let bit = 0; bit < 8; bit++) {
      value = (value & 1n) === 1n ? (value >> 1n) ^ CRC64_POLYNOMIAL : value >> 1n;
    }
    low[index] = Number(value & 0xffffffffn) | 0;
    high[index] = Number(value >> 32n) | 0;
  }
  return [low, high];
})();

/** CRC-64 of `bytes`, unsigned. */
export function crc64(bytes: Uint8Array): bigint {
  let low = -1;
  let high = -1;
  for (let at = 0; at < bytes.length; at++) {
    const index = (low ^ bytes[at]!) & 0xff;
    low = ((low >>> 8) | (high << 24)) ^ crc64Low[index]!;
    high = (high >>> 8) ^ crc64High[index]!;
  }
  return (BigInt(~high >>> 0) << 32n) | BigInt(~low >>> 0);
}

const bzip2Table = (() => {
  const table = new Int32Array(256);
  for (let index = 0; index < 256; index++) {
    let value = index << 24;
    for (let bit = 0; bit < 8; bit++)
      value = value < 0 ? (value << 1) ^ BZIP2_POLYNOMIAL : value << 1;
    table[index] = value;
  }
  return table;
})();

/** bzip2's CRC of `bytes`, most significant bit first, unsigned. */
export function bzip2Crc(bytes: Uint8Array): number {
  let crc = -1;
  for (let at = 0; at < bytes.length; at++) {
    crc = (crc << 8) ^ bzip2Table[(crc >>> 24) ^ bytes[at]!]!;
  }
  return ~crc >>> 0;
}
