/**
 * Memory of a VM's streams: blocks of 64 KiB, counted, so that a guest or its peers can make Pando keep
 * so much and no more.
 */

export const BLOCK_BYTES = 0x10000;
/** Free blocks kept for reuse in the process. */
const KEPT_BLOCKS = 64;

const free: Uint8Array[] = [];

/** One VM's account. */
export class BlockAccount {
  /** Blocks in use. */
  used = 0;
  readonly #limit: number;

  /** @param limit above which only the first block of each stream is given */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Whether a stream that holds `held` blocks may take one more. */
  mayTake(held: number): boolean {
    return held === 0 || this.used < this.#limit;
  }

  /** A block with any content. */
  take(): Uint8Array {
    this.used += 1;
    return free.pop() ?? new Uint8Array(new ArrayBuffer(BLOCK_BYTES));
  }

  give(block: Uint8Array): void {
    this.used -= 1;
    if (free.length < KEPT_BLOCKS) free.push(block);
  }
}
