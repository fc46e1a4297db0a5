/**
 * XXH64 with seed 0, of which Zstandard stores the low half (xxHash specification, "XXH64 Algorithm").
 * 64-bit values are pairs of signed 32-bit halves: BigInt would cost seconds on a kernel.
 */

/** A 64-bit value that is changed in place. */
class Lane {
  low: number;
  high: number;

  constructor(value: bigint) {
    this.low = Number(value & 0xffffffffn) | 0;
    this.high = Number((value >> 32n) & 0xffffffffn) | 0;
  }

  set(low: number, high: number): this {
    this.low = low | 0;
    this.high = high | 0;
    return this;
  }

  add(low: number, high: number): this {
    const sum = (this.low >>> 0) + (low >>> 0);
    this.high = (this.high + high + (sum > 0xffffffff ? 1 : 0)) | 0;
    this.low = sum | 0;
    return this;
  }

  xor(low: number, high: number): this {
    this.low ^= low;
    this.high ^= high;
    return this;
  }

  multiply(by: Lane): this {
    const [a0, a1] = [this.low & 0xffff, this.low >>> 16];
    const [b0, b1] = [by.low & 0xffff, by.low >>> 16];
    const low = Math.imul(a0, b0);
    const cross = Math.imul(a1, b0);
    const other = Math.imul(a0, b1);
    const middle = (low >>> 16) + (cross & 0xffff) + (other & 0xffff);
    const carried = Math.imul(a1, b1) + (cross >>> 16) + (other >>> 16) + (middle >>> 16);
    this.high = (carried + Math.imul(this.low, by.high) + Math.imul(this.high, by.low)) | 0;
    this.low = (low & 0xffff) | (middle << 16);
    return this;
  }

  /** Rotates by 1 to 31 bits. */
  rotate(count: number): this {
    const { low, high } = this;
    this.low = (low << count) | (high >>> (32 - count));
    this.high = (high << count) | (low >>> (32 - count));
    return this;
  }

  /** Exclusive-ors with itself shifted right by 1 to 32 bits. */
  xorShift(count: number): this {
    const { low, high } = this;
    if (count === 32) return this.xor(high, 0);
    if (count > 32) return this.xor(high >>> (count - 32), 0);
    return this.xor((low >>> count) | (high << (32 - count)), high >>> count);
  }
}

const P1 = 0x9e3779b185ebca87n;
const P2 = 0xc2b2ae3d27d4eb4fn;
const PRIME1 = new Lane(P1);
const PRIME2 = new Lane(P2);
const PRIME3 = new Lane(0x165667b19e3779f9n);
const PRIME4 = new Lane(0x85ebca77c2b2ae63n);
const PRIME5 = new Lane(0x27d4eb2f165667c5n);
const STRIPE = 32;

/** The low 32 bits of XXH64 of `bytes`, unsigned. */
export function xxh64Low(bytes: Uint8Array): number {
  const data = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const scratch = new Lane(0n);
  const round = (lane: Lane, low: number, high: number) => {
    scratch.set(low, high).multiply(PRIME2);
    return lane.add(scratch.low, scratch.high).rotate(31).multiply(PRIME1);
  };
  const hash = new Lane(0n);
  let at = 0;
  if (bytes.length >= STRIPE) {
    const lanes = [new Lane(P1 + P2), new Lane(P2), new Lane(0n), new Lane(-P1)] as const;
    for (; at + STRIPE <= bytes.length; at += STRIPE) {
      for (let index = 0; index < 4; index++) {
        const word = at + 8 * index;
        round(lanes[index]!, data.getInt32(word, true), data.getInt32(word + 4, true));
      }
    }
    for (const [index, count] of [1, 7, 12, 18].entries()) {
      const { low, high } = lanes[index]!;
      scratch.set(low, high).rotate(count);
      hash.add(scratch.low, scratch.high);
    }
    for (const { low, high } of lanes) {
      const mixed = round(new Lane(0n), low, high);
      hash.xor(mixed.low, mixed.high).multiply(PRIME1).add(PRIME4.low, PRIME4.high);
    }
  } else {
    hash.set(PRIME5.low, PRIME5.high);
  }
  hash.add(bytes.length, Math.floor(bytes.length / 2 ** 32));
  for (; at + 8 <= bytes.length; at += 8) {
    const mixed = round(new Lane(0n), data.getInt32(at, true), data.getInt32(at + 4, true));
    hash.xor(mixed.low, mixed.high).rotate(27).multiply(PRIME1).add(PRIME4.low, PRIME4.high);
  }
  if (at + 4 <= bytes.length) {
    scratch.set(data.getInt32(at, true), 0).multiply(PRIME1);
    hash.xor(scratch.low, scratch.high).rotate(23).multiply(PRIME2).add(PRIME3.low, PRIME3.high);
    at += 4;
  }
  for (; at < bytes.length; at++) {
    scratch.set(bytes[at]!, 0).multiply(PRIME5);
    hash.xor(scratch.low, scratch.high).rotate(11).multiply(PRIME1);
  }
  hash.xorShift(33).multiply(PRIME2).xorShift(29).multiply(PRIME3).xorShift(32);
  return hash.low >>> 0;
}
