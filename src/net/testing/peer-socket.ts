/** A test guest's end of a TCP connection, as a stream. */
import { Duplex } from 'node:stream';
import type { TcpConnection } from '../tcp/connection.js';
import type { TcpEnd, TcpUser } from '../tcp/path.js';

const CAPACITY = 1 << 20;

export class PeerSocket extends Duplex implements TcpUser {
  readonly connected: Promise<void>;
  readonly ended: Promise<TcpEnd>;
  #connection: TcpConnection | undefined;
  #waiting: (() => void) | undefined;
  #established: () => void = () => {};
  #refused: (error: Error) => void = () => {};
  #settle: (end: TcpEnd) => void = () => {};

  constructor() {
    super({ allowHalfOpen: true, highWaterMark: CAPACITY });
    this.connected = new Promise((resolve, reject) => {
      this.#established = resolve;
      this.#refused = reject;
    });
    this.connected.catch(() => {});
    this.ended = new Promise((resolve) => {
      this.#settle = resolve;
    });
    this.on('error', () => {});
  }

  get connection(): TcpConnection {
    return this.#connection!;
  }

  set connection(connection: TcpConnection) {
    this.#connection = connection;
  }

  get room(): number {
    return Math.max(0, CAPACITY - this.readableLength);
  }

  established(): void {
    this.#established();
  }

  received(bytes: Uint8Array, start: number, end: number): void {
    this.push(Buffer.from(bytes.subarray(start, end)));
  }

  flush(): void {}

  receivedEnd(): void {
    this.push(null);
  }

  drained(): void {
    const next = this.#waiting;
    this.#waiting = undefined;
    next?.();
  }

  finished(end: TcpEnd): void {
    this.#refused(new Error(`connection ${end}`));
    this.#settle(end);
    if (end !== 'done') this.destroy(new Error(`connection ${end}`));
  }

  /** Ends with RST. */
  reset(): void {
    this.connection.abort();
  }

  override _read(): void {
    this.#connection?.windowMoved();
  }

  override _write(chunk: Uint8Array, _encoding: string, done: (error?: Error) => void): void {
    this.#writeFrom(chunk, 0, done);
  }

  #writeFrom(chunk: Uint8Array, from: number, done: (error?: Error) => void): void {
    let at = from;
    while (at < chunk.length) {
      const end = Math.min(chunk.length, at + this.connection.readBytes);
      const more = this.connection.write(chunk, at, end);
      at = end;
      if (!more) {
        this.#waiting = () => this.#writeFrom(chunk, at, done);
        return;
      }
    }
    done();
  }

  override _final(done: () => void): void {
    this.connection.end();
    done();
  }
}
