/**
 * The sending half of a connection: what is unacknowledged, the peer's window, retransmission
 * (RFC 9293, 3.8; RFC 6298; NewReno's partial acknowledgements, RFC 6582). There is no congestion
 * window: the path is one virtual wire that says itself when it is full.
 */
import { BLOCK_BYTES, type BlockAccount } from './blocks.js';
import type { OutgoingSegment, PathWaiter, TcpPath } from './path.js';
import { RetransmissionTimeout } from './retransmission-timeout.js';
import { ACK, FIN, PSH } from './segment.js';
import { SendQueue } from './send-queue.js';
import { advanced, distance } from './sequence.js';

/** Acknowledgements of the same byte after which it counts as lost; fewer with little in flight. */
const DUPLICATE_LIMIT = 3;
const NO_SEQ = -1;

/** The connection, as its sending half sees it. */
export interface SegmentFiller extends PathWaiter {
  /** Where segments are made. */
  readonly outgoing: OutgoingSegment;
  /** Fills ports, acknowledgement and window, and sends. @returns false when the path is full */
  transmit(): boolean;
}

export class SendSide {
  /** SND.UNA */
  unacknowledged: number;
  /** SND.NXT */
  next: number;
  /** Bytes that the peer takes in one segment, without headers. */
  #mss = 0;
  readonly timeout = new RetransmissionTimeout();
  /** The user will write no more. */
  finQueued = false;
  finSent = false;
  readonly #path: TcpPath;
  readonly #filler: SegmentFiller;
  readonly #queue: SendQueue;
  /** The sequence number of the queue's first byte. */
  #queueSeq: number;
  #window = 0;
  #shift = 0;
  #windowSeq = 0;
  #windowAck = 0;
  #largestWindow = 0;
  #duplicates = 0;
  /** While losses are being mended: SND.NXT of when that began. */
  #recoverUntil = 0;
  #recovering = false;
  /** The path was full when something lost was to be sent again. */
  #resendDue = false;
  /** The sequence number whose acknowledgement gives a round trip, or NO_SEQ. */
  #timedSeq = NO_SEQ;
  #timedAt = 0;

  constructor(
    initialSeq: number,
    mss: number,
    account: BlockAccount,
    path: TcpPath,
    filler: SegmentFiller,
  ) {
    this.unacknowledged = initialSeq;
    this.next = initialSeq;
    this.#queueSeq = advanced(initialSeq, 1);
    this.#path = path;
    this.#filler = filler;
    this.#queue = new SendQueue(account);
    this.useMss(mss);
  }

  get mss(): number {
    return this.#mss;
  }

  /** @param mss 1–65535; called before anything is queued */
  useMss(mss: number): void {
    this.#mss = mss;
    this.#queue.stride = Math.floor(BLOCK_BYTES / mss) * mss;
  }

  /** Bytes of whole segments that one block holds. */
  get blockBytes(): number {
    return this.#queue.stride;
  }

  get hasRoom(): boolean {
    return this.#queue.hasRoom;
  }

  /** Bytes and flags sent and not acknowledged. */
  get inFlight(): number {
    return distance(this.next, this.unacknowledged);
  }

  /** The peer has acknowledged everything, the FIN too. */
  get finAcknowledged(): boolean {
    return this.finSent && this.inFlight === 0;
  }

  /** Something waits for the peer's window to open, and nothing is on its way that could tell. */
  get needsProbe(): boolean {
    return this.inFlight === 0 && this.#usable <= 0 && this.#hasUnsent;
  }

  get #usable(): number {
    return this.#window - this.inFlight;
  }

  get #dataEnd(): number {
    return advanced(this.#queueSeq, this.#queue.length);
  }

  get #hasUnsent(): boolean {
    return distance(this.#dataEnd, this.next) > 0 || (this.finQueued && !this.finSent);
  }

  /** The window of the peer's SYN, never scaled; then the shift for all others. */
  begin(window: number, seq: number, ack: number, shift: number): void {
    this.#window = window;
    this.#largestWindow = window;
    this.#windowSeq = seq;
    this.#windowAck = ack;
    this.#shift = shift;
  }

  append(bytes: Uint8Array, start: number, end: number): void {
    this.#queue.append(bytes, start, end);
  }

  /**
   * Takes an acknowledgement that is not past `next`.
   * @param bare whether its segment has neither bytes nor FIN
   * @returns whether something new was acknowledged
   */
  acknowledge(seq: number, ack: number, window: number, bare: boolean, now: number): boolean {
    const scaled = window << this.#shift;
    const moved = scaled !== this.#window;
    const newer = distance(seq, this.#windowSeq);
    if (newer > 0 || (newer === 0 && distance(ack, this.#windowAck) >= 0)) {
      this.#window = scaled;
      this.#largestWindow = Math.max(this.#largestWindow, scaled);
      this.#windowSeq = seq;
      this.#windowAck = ack;
    }
    const count = distance(ack, this.unacknowledged);
    if (count > 0) {
      this.#advance(ack, now);
      return true;
    }
    if (count === 0 && bare && !moved && this.inFlight > 0) this.#countDuplicate();
    return false;
  }

  #advance(ack: number, now: number): void {
    this.unacknowledged = ack;
    this.#duplicates = 0;
    const bytes = Math.min(Math.max(0, distance(ack, this.#queueSeq)), this.#queue.length);
    this.#queue.drop(bytes);
    this.#queueSeq = advanced(this.#queueSeq, bytes);
    if (this.#timedSeq !== NO_SEQ && distance(ack, this.#timedSeq) > 0) {
      this.timeout.sample(now - this.#timedAt);
      this.#timedSeq = NO_SEQ;
    } else this.timeout.restore();
    if (!this.#recovering) return;
    this.#resendDue = false;
    if (distance(ack, this.#recoverUntil) >= 0) this.#recovering = false;
    else this.resend();
  }

  /** RFC 5681, 3.2, with the smaller limit of RFC 5827 when little is in flight. */
  #countDuplicate(): void {
    this.#duplicates += 1;
    const segments = Math.ceil(this.inFlight / this.#path.payloadLimit(this.#mss));
    const limit = Math.max(1, Math.min(DUPLICATE_LIMIT, segments - 1));
    if (this.#recovering || this.#duplicates < limit) return;
    this.#recover();
  }

  #recover(): void {
    this.#recovering = true;
    this.#recoverUntil = this.next;
    this.resend();
  }

  /** The retransmission timer expired. */
  expired(): void {
    this.timeout.double();
    this.#recover();
  }

  /** Sends the first unacknowledged segment again. */
  resend(): void {
    this.#timedSeq = NO_SEQ;
    const offset = distance(this.unacknowledged, this.#queueSeq);
    const sent = Math.min(this.inFlight, this.#queue.length - offset);
    this.#resendDue =
      sent > 0
        ? !this.#sendBytes(offset, Math.min(sent, this.#path.payloadLimit(this.#mss)))
        : this.finSent && this.inFlight > 0 && !this.#sendFin();
    if (this.#resendDue) this.#wait();
  }

  /** Sends what the window, the path and the queue allow. */
  output(now: number): void {
    if (this.#resendDue) {
      this.resend();
      if (this.#resendDue) return;
    }
    for (;;) {
      const offset = distance(this.next, this.#queueSeq);
      const unsent = this.#queue.length - offset;
      if (unsent <= 0 || this.finSent) break;
      const limit = this.#path.payloadLimit(this.#mss);
      const count = Math.min(unsent, this.#usable, limit, this.#queue.runAt(offset));
      if (count <= 0 || this.#silly(count, unsent)) return;
      if (!this.#sendBytes(offset, count)) {
        this.#wait();
        return;
      }
      if (this.#timedSeq === NO_SEQ && !this.#recovering) {
        this.#timedSeq = this.next;
        this.#timedAt = now;
      }
      this.next = advanced(this.next, count);
    }
    this.#outputFin();
  }

  /** Sender's side of the silly window syndrome (RFC 9293, 3.8.6.2.1): whether the window is too small. */
  #silly(count: number, unsent: number): boolean {
    if (count < this.#usable || this.inFlight === 0) return false;
    return count < Math.min(unsent, this.#mss) && count < this.#largestWindow / 2;
  }

  #outputFin(): void {
    if (!this.finQueued || this.finSent || this.#usable <= 0) return;
    if (!this.#sendFin()) {
      this.#wait();
      return;
    }
    this.next = advanced(this.next, 1);
    this.finSent = true;
  }

  #sendBytes(offset: number, limit: number): boolean {
    const count = Math.min(limit, this.#queue.runAt(offset));
    const segment = this.#filler.outgoing;
    segment.seq = advanced(this.#queueSeq, offset);
    segment.flags = offset + count === this.#queue.length ? ACK | PSH : ACK;
    segment.body = this.#queue.blockAt(offset);
    segment.bodyStart = this.#queue.startAt(offset);
    segment.bodyLength = count;
    segment.segmentBytes = this.#mss;
    return this.#filler.transmit();
  }

  #sendFin(): boolean {
    const segment = this.#filler.outgoing;
    segment.seq = this.#dataEnd;
    segment.flags = ACK | FIN;
    segment.bodyLength = 0;
    return this.#filler.transmit();
  }

  #wait(): void {
    this.#path.wait(this.#filler);
  }

  clear(): void {
    this.#queue.clear();
  }
}
