/**
 * A byte queue in shared memory between one writing and one reading thread.
 *
 * Both indices run freely modulo 2^32 and are masked on use, so full and empty differ. Each side
 * stores only its own index, after the bytes it covers: no lock is needed.
 */

const WRITE_INDEX = 0;
const READ_INDEX = 1;
/** Bytes before the data: the indices, on a cache line of their own. */
export const RING_HEADER_BYTES = 64;

/** Single producer, single consumer. */
export class ByteRing {
  /** How many bytes it can hold. */
  readonly capacity: number;
  readonly #indices: Int32Array;
  readonly #bytes: Uint8Array;

  /**
   * @param byteOffset a multiple of 4; the ring takes RING_HEADER_BYTES + capacity bytes from there,
   *   and is empty when these are zero
   * @param capacity a power of two, in bytes
   */
  constructor(buffer: SharedArrayBuffer, byteOffset: number, capacity: number) {
    this.capacity = capacity;
    this.#indices = new Int32Array(buffer, byteOffset, 2);
    this.#bytes = new Uint8Array(buffer, byteOffset + RING_HEADER_BYTES, capacity);
  }

  /** How many bytes wait to be read. */
  get length(): number {
    return (
      (Atomics.load(this.#indices, WRITE_INDEX) - Atomics.load(this.#indices, READ_INDEX)) >>> 0
    );
  }

  /** Whether there is room for half of what it can hold. */
  get halfEmpty(): boolean {
    return this.length <= this.capacity / 2;
  }

  /** The producer's side: appends a byte, or returns false when the ring is full. */
  push(byte: number): boolean {
    const write = Atomics.load(this.#indices, WRITE_INDEX);
    if (this.length >= this.capacity) return false;
    this.#bytes[write & (this.capacity - 1)] = byte;
    Atomics.store(this.#indices, WRITE_INDEX, (write + 1) | 0);
    return true;
  }

  /** The producer's side: appends as many bytes as fit and returns how many. */
  write(bytes: Uint8Array): number {
    const write = Atomics.load(this.#indices, WRITE_INDEX);
    const count = Math.min(bytes.length, this.capacity - this.length);
    const start = write & (this.capacity - 1);
    const upper = Math.min(count, this.capacity - start);
    this.#bytes.set(bytes.subarray(0, upper), start);
    this.#bytes.set(bytes.subarray(upper, count), 0);
    Atomics.store(this.#indices, WRITE_INDEX, (write + count) | 0);
    return count;
  }

  /** The consumer's side: the oldest byte, or -1 when the ring is empty. */
  shift(): number {
    if (this.length === 0) return -1;
    const read = Atomics.load(this.#indices, READ_INDEX);
    const byte = this.#bytes[read & (this.capacity - 1)]!;
    Atomics.store(this.#indices, READ_INDEX, (read + 1) | 0);
    return byte;
  }

  /** The consumer's side: takes at most `limit` bytes, in a copy of their own. */
  read(limit: number = this.capacity): Uint8Array {
    const read = Atomics.load(this.#indices, READ_INDEX);
    const bytes = new Uint8Array(Math.min(limit, this.length));
    const start = read & (this.capacity - 1);
    const upper = Math.min(bytes.length, this.capacity - start);
    bytes.set(this.#bytes.subarray(start, start + upper));
    bytes.set(this.#bytes.subarray(0, bytes.length - upper), upper);
    Atomics.store(this.#indices, READ_INDEX, (read + bytes.length) | 0);
    return bytes;
  }
}
