import type { BlockSource } from '../block-source.js';

/** A disk in memory. */
export class MemorySource implements BlockSource {
  readonly data: Uint8Array;
  readonly readOnly: boolean;
  readonly blockBytes = 4096;
  flushes = 0;
  /** Thrown by every operation, when set. */
  failure: Error | undefined;

  constructor(bytes: number, readOnly = false) {
    this.data = new Uint8Array(bytes);
    this.readOnly = readOnly;
  }

  get bytes(): number {
    return this.data.length;
  }

  #check(at: number, length: number): void {
    if (this.failure !== undefined) throw this.failure;
    if (at < 0 || at + length > this.data.length) throw new RangeError(`${at} + ${length}`);
  }

  read(at: number, into: readonly Uint8Array[]): void {
    for (const piece of into) {
      this.#check(at, piece.length);
      piece.set(this.data.subarray(at, at + piece.length));
      at += piece.length;
    }
  }

  write(at: number, from: readonly Uint8Array[]): void {
    for (const piece of from) {
      this.#check(at, piece.length);
      this.data.set(piece, at);
      at += piece.length;
    }
  }

  async readSlowly(at: number, into: Uint8Array): Promise<void> {
    this.read(at, [into]);
  }

  async writeSlowly(at: number, from: Uint8Array): Promise<void> {
    this.write(at, [from]);
  }

  async flush(): Promise<void> {
    this.#check(0, 0);
    this.flushes += 1;
  }

  async zero(at: number, length: number): Promise<void> {
    this.#check(at, length);
    this.data.fill(0, at, at + length);
  }
}
