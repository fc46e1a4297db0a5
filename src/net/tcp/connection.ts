/**
 * One TCP connection, seen from the gateway's end: the states of RFC 9293, 3.3.2, and the processing of
 * segments of 3.10.7. Resets are accepted as RFC 5961, 3 has it. No option is used but MSS and window
 * scale.
 */
import type { BlockAccount } from './blocks.js';
import { Deadline } from './deadline.js';
import type { OutgoingSegment, TcpEnd, TcpPath, TcpUser } from './path.js';
import { ReceiveSide, WINDOW_SHIFT } from './receive-side.js';
import { ACK, FIN, RST, SYN, type TcpSegment } from './segment.js';
import { SendSide } from './send-side.js';
import { advanced, distance } from './sequence.js';

export type TcpState =
  | 'SYN_SENT'
  | 'SYN_RECEIVED'
  | 'ESTABLISHED'
  | 'FIN_WAIT_1'
  | 'FIN_WAIT_2'
  | 'CLOSE_WAIT'
  | 'CLOSING'
  | 'LAST_ACK'
  | 'TIME_WAIT'
  | 'CLOSED';

/** Unanswered SYNs and SYN-ACKs: about half a minute. */
const SYN_LIMIT = 5;
/** Unanswered retransmissions: R2 of RFC 9293, 3.8.3, more than ten minutes. */
const RETRANSMISSION_LIMIT = 15;
/** 2 MSL: the path is one virtual wire, on which nothing lives for long. Milliseconds. */
const TIME_WAIT_MS = 1000;
/**
 * How long an acknowledgement may wait for a segment that carries it (RFC 9293, 3.8.6.3): the answer of a server
 * comes sooner, and a guest that waits for it before it sends more (Nagle) loses no time to speak of.
 */
const ACK_DELAY_MS = 4;
/** Smaller segments than any stack of today asks for would make a packet of every byte. */
const SMALLEST_MSS = 64;

/** Where the connection is, and what it works with. */
export interface TcpConnectionOptions {
  readonly path: TcpPath;
  readonly account: BlockAccount;
  readonly outgoing: OutgoingSegment;
  /** The gateway's port, and the guest's. */
  readonly localPort: number;
  readonly remotePort: number;
  readonly initialSeq: number;
  /** The largest segment that the gateway takes. */
  readonly mss: number;
  /** Milliseconds that only go forward. */
  readonly now: () => number;
}

export class TcpConnection {
  readonly localPort: number;
  readonly remotePort: number;
  readonly outgoing: OutgoingSegment;
  /** When the peer was heard last. */
  heardAt: number;
  user: TcpUser | undefined;
  readonly #path: TcpPath;
  readonly #mss: number;
  readonly #now: () => number;
  readonly #send: SendSide;
  readonly #receive = new ReceiveSide();
  readonly #initialSeq: number;
  readonly #deadline: Deadline;
  #state: TcpState = 'CLOSED';
  #scaled = true;
  #attempts = 0;
  /** The peer has not heard yet that the connection is gone. */
  #resetDue = false;
  /** The last segment found no room on the path. */
  #pathFull = false;
  /** The next transmission has to carry an acknowledgement, if need be alone. */
  #ackDue = false;
  /** Bytes taken of which the peer has not heard; less than two segments' may wait. */
  #unheard = 0;
  readonly #ackDeadline: Deadline;
  /** The user was told that there is no room, and not yet that there is. */
  #drainedDue = false;

  constructor(options: TcpConnectionOptions) {
    this.localPort = options.localPort;
    this.remotePort = options.remotePort;
    this.outgoing = options.outgoing;
    this.#path = options.path;
    this.#mss = options.mss;
    this.#now = options.now;
    this.#initialSeq = options.initialSeq;
    this.#send = new SendSide(options.initialSeq, options.mss, options.account, options.path, this);
    this.heardAt = this.#now();
    this.#deadline = new Deadline(this.#now, () => this.#expired());
    this.#ackDeadline = new Deadline(this.#now, () => {
      if (this.#unheard > 0) this.#sendAck();
    });
  }

  get state(): TcpState {
    return this.#state;
  }

  /** Opens towards the guest. */
  connect(): void {
    this.#state = 'SYN_SENT';
    this.#send.next = advanced(this.#initialSeq, 1);
    this.#sendSyn();
    this.#setTimer();
  }

  /** Remembers a guest's SYN; the answer goes out with `accept`. */
  listen(syn: TcpSegment): void {
    this.#state = 'SYN_RECEIVED';
    this.#takeSyn(syn);
  }

  /** Answers the guest's SYN. */
  accept(): void {
    if (this.#state !== 'SYN_RECEIVED' || this.#send.inFlight > 0) return;
    this.#send.next = advanced(this.#initialSeq, 1);
    this.#sendSyn();
    this.#setTimer();
  }

  #takeSyn(syn: TcpSegment): void {
    this.#scaled = syn.windowShift >= 0;
    this.#send.useMss(Math.max(SMALLEST_MSS, Math.min(syn.mss, this.#mss)));
    this.#receive.start(advanced(syn.seq, 1), this.#scaled);
    this.#send.begin(syn.window, syn.seq, syn.ack, this.#scaled ? syn.windowShift : 0);
  }

  /** Whether `write` takes bytes. */
  get writable(): boolean {
    return !this.#send.finQueued && this.#state !== 'CLOSED' && this.#send.hasRoom;
  }

  /**
   * Queues a copy of bytes[start, end), at most a block's, and sends what it can.
   * @returns whether more may follow; if not, the user's `drained` is called when it may
   */
  write(bytes: Uint8Array, start: number, end: number): boolean {
    if (this.#state === 'CLOSED' || this.#send.finQueued) return false;
    this.#send.append(bytes, start, end);
    this.#output();
    this.#drainedDue = !this.#send.hasRoom;
    return !this.#drainedDue;
  }

  /** Sends FIN after what is queued. */
  end(): void {
    if (this.#send.finQueued || this.#state === 'CLOSED') return;
    this.#send.finQueued = true;
    if (this.#state === 'ESTABLISHED') this.#state = 'FIN_WAIT_1';
    else if (this.#state === 'CLOSE_WAIT') this.#state = 'LAST_ACK';
    else return;
    this.#output();
  }

  /** Sends RST and forgets the connection. */
  abort(end: TcpEnd = 'aborted'): void {
    if (this.#state === 'CLOSED') return;
    if (this.#state !== 'SYN_SENT') this.#sendReset();
    this.#close(end);
  }

  /** Forgets the connection, and says nothing. */
  drop(end: TcpEnd): void {
    this.#close(end);
  }

  /** How much to `write` at a time: what goes out in whole segments. */
  get readBytes(): number {
    return this.#send.blockBytes;
  }

  /** The user has room again: the peer hears of it when that is worth a segment. */
  windowMoved(): void {
    if (!this.#receivesBytes()) return;
    const room = this.user?.room ?? 0;
    const opening = this.#receive.opening(room);
    if (opening >= Math.min(this.#send.mss, room) && opening * 2 >= room) this.#sendAck();
  }

  /** Sends a segment without news, so that the peer answers with its acknowledgement and window. */
  probe(): void {
    if (this.#state === 'CLOSED' || this.#state === 'SYN_SENT') return;
    this.#transmitBare(ACK, advanced(this.#send.unacknowledged, -1));
  }

  /** Sends what was put off while a burst of segments came in. */
  flush(): void {
    if (this.#state === 'CLOSED') return;
    this.user?.flush();
    this.#output();
    if (this.#ackDue) this.#sendAck();
  }

  /** The link has room again. */
  pathReady(): void {
    if (this.#resetDue) this.#sendReset();
    else if (this.#opening && this.#pathFull) this.#sendSyn();
    else this.flush();
  }

  /** A peer that never hears of it would wait for ever: what finds no room is sent later. */
  #sendReset(): void {
    this.#resetDue = !this.#transmitBare(RST | ACK, this.#send.next);
    if (this.#resetDue) this.#path.wait(this, true);
  }

  get #opening(): boolean {
    return this.#state === 'SYN_SENT' || this.#state === 'SYN_RECEIVED';
  }

  /** A segment of this connection, with a right checksum. `flush` follows. */
  segmentArrived(segment: TcpSegment): void {
    if (this.#state === 'CLOSED') return;
    this.heardAt = this.#now();
    if (this.#state === 'SYN_SENT') {
      this.#answerArrived(segment);
      return;
    }
    if (this.#state === 'SYN_RECEIVED' && segment.has(SYN) && this.#repeatsSyn(segment)) return;
    if (!this.#receive.accepts(segment)) {
      if (!segment.has(RST)) this.#ackDue = true;
      return;
    }
    if (segment.has(RST)) {
      // RFC 5961, 3.2: only the very next number resets.
      if (segment.seq === this.#receive.next) this.#close('reset');
      else this.#ackDue = true;
      return;
    }
    if (segment.has(SYN)) {
      this.#ackDue = true;
      return;
    }
    if (!segment.has(ACK) || !this.#ackArrived(segment)) return;
    if (this.#receivesBytes()) this.#bytesArrived(segment);
    else if (this.#state === 'TIME_WAIT' && segment.has(FIN)) this.#enterTimeWait();
    this.#setTimer();
  }

  /** RFC 9293, 3.10.7.3. */
  #answerArrived(segment: TcpSegment): void {
    if (segment.has(ACK) && segment.ack !== this.#send.next) {
      if (!segment.has(RST)) this.#transmitBare(RST, segment.ack);
      return;
    }
    if (segment.has(RST)) {
      if (segment.has(ACK)) this.#close('refused');
      return;
    }
    if (!segment.has(SYN)) return;
    this.#takeSyn(segment);
    this.#attempts = 0;
    if (segment.has(ACK)) {
      this.#send.acknowledge(segment.seq, segment.ack, segment.window, false, this.#now());
      this.#send.begin(
        segment.window,
        segment.seq,
        segment.ack,
        this.#scaled ? segment.windowShift : 0,
      );
      this.#ackDue = true;
      this.#enterEstablished();
    } else {
      this.#state = 'SYN_RECEIVED';
      this.#sendSyn();
    }
    this.#setTimer();
  }

  /** The SYN came once more: so does the answer, when there was one. */
  #repeatsSyn(segment: TcpSegment): boolean {
    if (advanced(segment.seq, 1) !== this.#receive.next || segment.has(ACK)) return false;
    if (this.#send.inFlight > 0) this.#sendSyn();
    return true;
  }

  /** @returns false when the segment is not to be looked at any further */
  #ackArrived(segment: TcpSegment): boolean {
    const ahead = distance(segment.ack, this.#send.next);
    const known = distance(segment.ack, this.#send.unacknowledged);
    if (this.#state === 'SYN_RECEIVED') {
      if (known <= 0 || ahead > 0) {
        this.#transmitBare(RST, segment.ack);
        return false;
      }
    } else if (ahead > 0) {
      this.#ackDue = true;
      return false;
    }
    this.#attempts = 0;
    const bare = segment.sequenceLength === 0;
    this.#send.acknowledge(segment.seq, segment.ack, segment.window, bare, this.#now());
    if (this.#state === 'SYN_RECEIVED') this.#enterEstablished();
    if (this.#drainedDue && this.#send.hasRoom) {
      this.#drainedDue = false;
      this.user?.drained();
    }
    if (!this.#send.finAcknowledged) return true;
    if (this.#state === 'FIN_WAIT_1') this.#state = 'FIN_WAIT_2';
    else if (this.#state === 'CLOSING') this.#enterTimeWait();
    else if (this.#state === 'LAST_ACK') {
      this.#close('done');
      return false;
    }
    return true;
  }

  #enterEstablished(): void {
    this.#state = this.#send.finQueued ? 'FIN_WAIT_1' : 'ESTABLISHED';
    this.user?.established();
  }

  #receivesBytes(): boolean {
    return (
      this.#state === 'ESTABLISHED' || this.#state === 'FIN_WAIT_1' || this.#state === 'FIN_WAIT_2'
    );
  }

  #bytesArrived(segment: TcpSegment): void {
    const { user } = this;
    if (user === undefined || segment.sequenceLength === 0) return;
    const urgent = this.#receive.take(segment, user);
    this.#unheard += segment.payloadBytes;
    if (urgent || this.#receive.ended || this.#unheard >= 2 * this.#mss) this.#ackDue = true;
    else this.#ackDeadline.in(ACK_DELAY_MS);
    if (this.#receive.ended) {
      if (this.#state === 'ESTABLISHED') this.#state = 'CLOSE_WAIT';
      else if (this.#state === 'FIN_WAIT_2' || this.#send.finAcknowledged) this.#enterTimeWait();
      else this.#state = 'CLOSING';
      user.receivedEnd();
    } else if (urgent) this.#sendAck();
  }

  #enterTimeWait(): void {
    this.#state = 'TIME_WAIT';
    this.#deadline.in(TIME_WAIT_MS);
  }

  /** Whether a new connection may take the place of this one (RFC 9293, 3.6.1). */
  yieldsTo(syn: TcpSegment): boolean {
    return this.#state === 'TIME_WAIT' && distance(syn.seq, this.#receive.next) > 0;
  }

  #close(end: TcpEnd): void {
    if (this.#state === 'CLOSED') return;
    this.#state = 'CLOSED';
    this.#deadline.stop();
    this.#ackDeadline.stop();
    this.#send.clear();
    this.#receive.clear();
    this.user?.finished(end);
  }

  #output(): void {
    if (
      this.#state === 'CLOSED' ||
      this.#state === 'SYN_SENT' ||
      this.#state === 'SYN_RECEIVED' ||
      this.#state === 'TIME_WAIT'
    ) {
      return;
    }
    this.#send.output(this.#now());
    this.#setTimer();
  }

  #sendSyn(): void {
    const { outgoing } = this;
    outgoing.seq = this.#initialSeq;
    outgoing.flags = this.#state === 'SYN_SENT' ? SYN : SYN | ACK;
    outgoing.mss = this.#mss;
    outgoing.windowShift = this.#scaled ? WINDOW_SHIFT : -1;
    outgoing.bodyLength = 0;
    if (!this.transmit()) this.#path.wait(this);
  }

  #sendAck(): void {
    this.#ackDue = !this.#transmitBare(ACK, this.#send.next);
    if (this.#ackDue) this.#path.wait(this);
  }

  #transmitBare(flags: number, seq: number): boolean {
    this.outgoing.seq = seq;
    this.outgoing.flags = flags;
    this.outgoing.bodyLength = 0;
    return this.transmit();
  }

  /** Sends `outgoing` with this connection's ports, acknowledgement and window. */
  transmit(): boolean {
    const { outgoing } = this;
    outgoing.sourcePort = this.localPort;
    outgoing.destinationPort = this.remotePort;
    outgoing.ack = (outgoing.flags & ACK) === 0 ? 0 : this.#receive.next;
    const shifted = (outgoing.flags & SYN) === 0;
    const room = this.user?.room ?? 0;
    outgoing.window =
      this.#state === 'SYN_SENT' ? Math.min(room, 0xffff) : this.#receive.advertise(room, shifted);
    const sent = this.#path.send(outgoing);
    this.#pathFull = !sent;
    if (sent) {
      this.#ackDue = false;
      this.#unheard = 0;
    }
    return sent;
  }

  /** One timer: what it is for follows from the state. */
  #setTimer(): void {
    if (this.#state === 'CLOSED' || this.#state === 'TIME_WAIT') return;
    if (this.#send.inFlight > 0 || this.#send.needsProbe) {
      this.#deadline.in(this.#send.timeout.value);
    } else this.#deadline.clear();
  }

  #expired(): void {
    if (this.#state === 'TIME_WAIT') {
      this.#close('done');
      return;
    }
    const opening = this.#opening;
    // A guest that stands still has not refused to answer.
    if (!this.#pathFull) this.#attempts += 1;
    if (this.#attempts > (opening ? SYN_LIMIT : RETRANSMISSION_LIMIT)) {
      this.abort('timeout');
      return;
    }
    if (opening) {
      if (!this.#pathFull) this.#send.timeout.double();
      this.#sendSyn();
    } else if (this.#send.inFlight > 0) this.#send.expired();
    else {
      this.#send.timeout.double();
      this.probe();
    }
    this.#setTimer();
  }
}
