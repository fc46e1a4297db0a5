/** Segments that arrived before the ones in front of them, sorted and bounded (RFC 9293, 3.10.7.4). */
import { advanced, distance } from './sequence.js';

const SEGMENT_LIMIT = 128;

interface Held {
  readonly seq: number;
  readonly bytes: Uint8Array;
}

export class OutOfOrder {
  #held: Held[] = [];

  get size(): number {
    return this.#held.length;
  }

  /** Keeps a copy of bytes[start, end); what does not fit is dropped and comes again. */
  insert(seq: number, bytes: Uint8Array, start: number, end: number): void {
    let index = this.#held.length;
    while (index > 0 && distance(this.#held[index - 1]!.seq, seq) > 0) index -= 1;
    const before = this.#held[index - 1];
    let from = start;
    if (before !== undefined) {
      from += Math.max(0, distance(advanced(before.seq, before.bytes.length), seq));
    }
    if (from >= end) return;
    // Those that the new bytes hide whole are taken out, so the bytes held stay below the window.
    const at = advanced(seq, from - start);
    const last = advanced(seq, end - start);
    let hidden = 0;
    for (let next = this.#held[index]; next !== undefined; next = this.#held[index + hidden]) {
      if (distance(advanced(next.seq, next.bytes.length), last) > 0) break;
      hidden += 1;
    }
    if (this.#held.length - hidden >= SEGMENT_LIMIT) return;
    this.#held.splice(index, hidden, { seq: at, bytes: bytes.slice(from, end) });
  }

  /** Takes out the bytes that follow `next` without a gap, or undefined. */
  take(next: number): Uint8Array | undefined {
    for (;;) {
      const first = this.#held[0];
      if (first === undefined) return undefined;
      const known = distance(next, first.seq);
      if (known < 0) return undefined;
      this.#held.shift();
      if (known < first.bytes.length) return first.bytes.subarray(known);
    }
  }

  clear(): void {
    this.#held = [];
  }
}
