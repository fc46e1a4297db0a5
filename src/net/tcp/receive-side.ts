/**
 * The receiving half of a connection: what comes next, the window, the bytes that came too early
 * (RFC 9293, 3.8.6 and 3.10.7.4). The window's right edge never moves back.
 */
import { OutOfOrder } from './out-of-order.js';
import type { TcpSegment } from './segment.js';
import { FIN } from './segment.js';
import { advanced, distance } from './sequence.js';

/** Window scale: windows of up to 4 MiB, in steps of 64 bytes. */
export const WINDOW_SHIFT = 6;

/** Where the bytes go. They are the caller's: what is kept is copied. */
export interface ByteSink {
  received(bytes: Uint8Array, start: number, end: number): void;
}

export class ReceiveSide {
  /** RCV.NXT */
  next = 0;
  /** The peer has sent everything, and all of it has arrived. */
  ended = false;
  #shift = 0;
  /** The sequence number behind the window last advertised. */
  #edge = 0;
  #finSeq: number | undefined;
  readonly #early = new OutOfOrder();

  /** @param scaled whether both sides sent the window scale option */
  start(firstSeq: number, scaled: boolean): void {
    this.next = firstSeq;
    this.#edge = firstSeq;
    this.#shift = scaled ? WINDOW_SHIFT : 0;
  }

  /** RCV.WND: bytes that the peer may still send. */
  get window(): number {
    return Math.max(0, distance(this.#edge, this.next));
  }

  /** Whether bytes have come whose predecessors are missing. */
  get hasGap(): boolean {
    return this.#early.size > 0;
  }

  /** How far the edge would move for a receiver with so much room. */
  opening(room: number): number {
    return Math.max(0, room - this.window);
  }

  /**
   * The window field for a segment that goes out now; moves the edge.
   * @param room bytes that the receiver can take
   * @param shifted false in SYN segments, whose windows are not scaled
   */
  advertise(room: number, shifted = true): number {
    const shift = shifted ? this.#shift : 0;
    // Rounded down, but up where bytes that were granted before would be taken back.
    const granted = Math.ceil(this.window / (1 << shift));
    const field = Math.min(0xffff, Math.max(Math.max(0, room) >>> shift, granted));
    const edge = advanced(this.next, field << shift);
    if (distance(edge, this.#edge) > 0) this.#edge = edge;
    return field;
  }

  /** The acceptability test of RFC 9293, 3.10.7.4, table 6. */
  accepts(segment: TcpSegment): boolean {
    const length = segment.sequenceLength;
    const { window } = this;
    const first = distance(segment.seq, this.next);
    if (length === 0) return window === 0 ? first === 0 : first >= 0 && first < window;
    // With a zero window the segment at its edge counts for its ACK; its bytes are not taken.
    if (window === 0) return first === 0;
    const last = first + length - 1;
    return first < window && last >= 0;
  }

  /**
   * Takes an acceptable segment's bytes and FIN.
   * @returns whether the peer is to hear at once: something was missing, early or known already
   */
  take(segment: TcpSegment, sink: ByteSink): boolean {
    const { bytes, payloadStart, payloadEnd } = segment;
    const before = this.hasGap;
    const first = distance(segment.seq, this.next);
    const start = payloadStart + Math.max(0, -first);
    const end = Math.min(payloadEnd, payloadStart + this.window - first);
    if (segment.has(FIN) && end === payloadEnd && this.#finSeq === undefined) {
      const finSeq = advanced(segment.seq, segment.payloadBytes);
      if (distance(finSeq, this.next) >= 0) this.#finSeq = finSeq;
    }
    if (start < end) {
      if (first <= 0) this.#deliver(bytes, start, end, sink);
      else this.#early.insert(segment.seq, bytes, payloadStart, end);
    }
    if (this.#finSeq === this.next && !this.ended) {
      this.next = advanced(this.next, 1);
      this.ended = true;
    }
    return before || first !== 0 || end < payloadEnd;
  }

  #deliver(bytes: Uint8Array, start: number, end: number, sink: ByteSink): void {
    sink.received(bytes, start, end);
    this.next = advanced(this.next, end - start);
    for (;;) {
      const held = this.#early.take(this.next);
      if (held === undefined) return;
      sink.received(held, 0, held.length);
      this.next = advanced(this.next, held.length);
    }
  }

  clear(): void {
    this.#early.clear();
  }
}
