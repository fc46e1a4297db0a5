/**
 * The bytes that a connection has to send, from the first unacknowledged one on: a queue of blocks.
 * A segment never crosses a block's end, so that it can be sent without a copy.
 */
import { BLOCK_BYTES, type BlockAccount } from './blocks.js';

/** Blocks that one connection may hold. */
const BLOCK_LIMIT = 8;

export class SendQueue {
  /** Bytes queued. */
  length = 0;
  /** Bytes of a block that are used, a whole number of full segments. Set while nothing is queued. */
  stride = BLOCK_BYTES;
  readonly #account: BlockAccount;
  #blocks: Uint8Array[] = [];
  /** Where the queue begins in the first block. */
  #head = 0;
  /** Where the last block's bytes end. */
  #tail = 0;

  constructor(account: BlockAccount) {
    this.#account = account;
  }

  /** Whether another read of up to a block's bytes may be appended. */
  get hasRoom(): boolean {
    const { length } = this.#blocks;
    return length < BLOCK_LIMIT && this.#account.mayTake(length);
  }

  /** Copies bytes to the end; the caller has looked at `hasRoom`. */
  append(bytes: Uint8Array, start: number, end: number): void {
    let at = start;
    while (at < end) {
      let block = this.#blocks.at(-1);
      if (block === undefined || this.#tail === this.stride) {
        block = this.#account.take();
        this.#blocks.push(block);
        this.#tail = 0;
      }
      const count = Math.min(end - at, this.stride - this.#tail);
      block.set(bytes.subarray(at, at + count), this.#tail);
      this.#tail += count;
      this.length += count;
      at += count;
    }
  }

  /** Forgets bytes from the start. @param count at most `length` */
  drop(count: number): void {
    this.length -= count;
    this.#head += count;
    while (this.#blocks.length > 1 && this.#head >= this.stride) {
      this.#account.give(this.#blocks.shift()!);
      this.#head -= this.stride;
    }
    if (this.length === 0) this.clear();
  }

  /** Gives all blocks back. */
  clear(): void {
    for (const block of this.#blocks) this.#account.give(block);
    this.#blocks = [];
    this.#head = 0;
    this.#tail = 0;
    this.length = 0;
  }

  /** The block that holds the byte `offset` bytes from the start. @param offset below `length` */
  blockAt(offset: number): Uint8Array {
    return this.#blocks[Math.floor((this.#head + offset) / this.stride)]!;
  }

  /** Where that byte lies in its block. */
  startAt(offset: number): number {
    return (this.#head + offset) % this.stride;
  }

  /** Bytes from there on that lie in one piece. */
  runAt(offset: number): number {
    return Math.min(this.stride - this.startAt(offset), this.length - offset);
  }
}
