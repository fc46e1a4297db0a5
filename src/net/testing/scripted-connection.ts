/** A connection whose peer is the test: segments go in one by one, and what comes out is kept. */
import { BlockAccount } from '../tcp/blocks.js';
import { TcpConnection } from '../tcp/connection.js';
import { OutgoingSegment, type PathWaiter, type TcpEnd, type TcpUser } from '../tcp/path.js';
import { ACK, SYN, TcpSegment, writeTcp } from '../tcp/segment.js';

/** A segment that the connection sent. */
export interface SentSegment {
  readonly seq: number;
  readonly ack: number;
  readonly flags: number;
  readonly window: number;
  readonly text: string;
}

/** The peer's first sequence number. */
export const PEER_ISS = 0xfffffff0;
/** The connection's. */
export const OWN_ISS = 0xffffff00;
const MSS = 1000;

export class ScriptedConnection implements TcpUser {
  readonly connection: TcpConnection;
  readonly account = new BlockAccount(64);
  sent: SentSegment[] = [];
  text = '';
  room = 50_000;
  end: TcpEnd | undefined;
  gotEnd = false;
  drainedCalls = 0;
  /** Whether the path has room. */
  open = true;
  /** Milliseconds of the connection's clock. */
  time = 0;
  #waiters: PathWaiter[] = [];

  constructor() {
    this.connection = new TcpConnection({
      path: {
        payloadLimit: (mss) => mss,
        send: (segment) => {
          if (!this.open) return false;
          const { body, bodyStart, bodyLength, seq, ack, flags, window } = segment;
          const text = Buffer.from(body.subarray(bodyStart, bodyStart + bodyLength)).toString();
          this.sent.push({ seq, ack, flags, window, text });
          return true;
        },
        wait: (waiter) => this.#waiters.push(waiter),
      },
      account: this.account,
      outgoing: new OutgoingSegment(),
      localPort: 80,
      remotePort: 4000,
      initialSeq: OWN_ISS,
      mss: MSS,
      now: () => performance.now() + this.time,
    });
    this.connection.user = this;
  }

  established(): void {}

  received(bytes: Uint8Array, start: number, end: number): void {
    this.text += Buffer.from(bytes.subarray(start, end)).toString();
    this.room -= end - start;
  }

  flush(): void {}

  receivedEnd(): void {
    this.gotEnd = true;
  }

  drained(): void {
    this.drainedCalls += 1;
  }

  finished(end: TcpEnd): void {
    this.end = end;
  }

  /** The path has room again. */
  openPath(): void {
    this.open = true;
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const waiter of waiters) waiter.pathReady();
  }

  /** Gives a segment; `seq` and `ack` count from the first bytes of each side. */
  give(flags: number, seq: number, ack: number, text = '', window = 60_000): void {
    const bytes = new Uint8Array(60 + text.length);
    const header = writeTcp(bytes, 0, {
      sourcePort: 4000,
      destinationPort: 80,
      seq: (PEER_ISS + 1 + seq) >>> 0,
      ack: (OWN_ISS + 1 + ack) >>> 0,
      flags,
      window,
      mss: MSS,
      windowShift: (flags & SYN) !== 0 ? 0 : -1,
    });
    bytes.set(Buffer.from(text), header);
    const segment = new TcpSegment();
    segment.parse(bytes, 0, header + text.length);
    if (this.connection.state === 'CLOSED' && this.end === undefined) {
      this.connection.listen(segment);
      this.connection.accept();
    } else this.connection.segmentArrived(segment);
    this.connection.flush();
  }

  /** What was sent since the last call; `seq` and `ack` count from the first bytes. */
  take(): SentSegment[] {
    const sent = this.sent.map((segment) => ({
      ...segment,
      seq: (segment.seq - OWN_ISS - 1) | 0,
      ack: (segment.flags & ACK) === 0 ? 0 : (segment.ack - PEER_ISS - 1) | 0,
    }));
    this.sent = [];
    return sent;
  }

  write(text: string): void {
    const bytes = Buffer.from(text);
    this.connection.write(bytes, 0, bytes.length);
  }
}
