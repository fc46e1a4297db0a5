/**
 * The writer's side of core/foreign-writes.ts: whoever writes to guest RAM without the vCPU's stores
 * tells, and code that was decoded or translated from there is dropped before the vCPU runs on.
 */
import * as L from './layout.js';

const PAGE = 0x1000;
/** A bit of a page's map stands for so many bytes (core/blocks.ts). */
const SUB_BLOCK_SHIFT = 7;

export class ForeignWrites {
  readonly #words: Int32Array;

  /** @param buffer of the VM's memory */
  constructor(buffer: SharedArrayBuffer) {
    this.#words = new Int32Array(buffer, 0, L.GUEST_BASE / 4);
  }

  /** `length` bytes of guest RAM at `address` have been written; nobody has told the guest of it yet. */
  written(address: number, length: number): void {
    if (length === 0) return;
    const words = this.#words;
    Atomics.add(words, (L.VCPU_BLOCKS + L.FOREIGN_WRITES) / 4, 1);
    const end = address + length;
    let found = false;
    for (let at = address; at < end; at = at - (at % PAGE) + PAGE) {
      const page = Math.floor(at / PAGE);
      const code = Atomics.load(words, (L.PAGE_CODE + page * L.PAGE_CODE_ENTRY) / 4);
      if (code === 0) continue;
      const first = (at % PAGE) >> SUB_BLOCK_SHIFT;
      const last = (Math.min(end - page * PAGE, PAGE) - 1) >> SUB_BLOCK_SHIFT;
      if ((code & ((-1 >>> (31 - last)) & (-1 << first))) === 0) continue;
      Atomics.or(words, L.WRITTEN_PAGES / 4 + (page >>> 5), 1 << (page & 31));
      found = true;
    }
    if (found) this.#announce();
  }

  /** Counts the writes, to be read before code is. */
  count(): number {
    return Atomics.load(this.#words, (L.VCPU_BLOCKS + L.FOREIGN_WRITES) / 4);
  }

  #announce(): void {
    Atomics.store(this.#words, (L.VCPU_BLOCKS + L.WRITTEN_PENDING) / 4, 1);
    Atomics.or(this.#words, (L.VCPU_BLOCKS + L.POLL) / 4, L.POLL_HOST);
  }
}
