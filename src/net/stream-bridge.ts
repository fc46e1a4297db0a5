/**
 * Joins a guest's TCP connection to a stream of the host, with back-pressure both ways: the guest's
 * window is the room that the stream's queue has, and the stream is read while the guest takes bytes.
 */
import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { BLOCK_BYTES, type BlockAccount } from './tcp/blocks.js';
import type { TcpConnection } from './tcp/connection.js';
import type { TcpEnd, TcpUser } from './tcp/path.js';

/** Bytes on their way to a stream: at first, and once a connection has shown that it moves them. */
const FIRST_CAPACITY = BLOCK_BYTES;
const LAST_CAPACITY = 16 * BLOCK_BYTES;

/** Who made the bridge. */
export interface BridgeListener {
  established(): void;
  closed(end: TcpEnd): void;
}

export class StreamBridge implements TcpUser {
  readonly #connection: TcpConnection;
  readonly #account: BlockAccount;
  readonly #listener: BridgeListener;
  #stream: Duplex | undefined;
  #capacity = FIRST_CAPACITY;
  #movedSinceGrowth = 0;
  /** The block that is being filled, from `#flushed` to `#filled` not yet written. */
  #block: Uint8Array | undefined;
  #flushed = 0;
  #filled = 0;
  /** How many writes of each block the stream has not finished. */
  readonly #writes = new Map<Uint8Array, number>();
  /** The guest has sent everything. */
  #endDue = false;
  #closed = false;

  constructor(connection: TcpConnection, account: BlockAccount, listener: BridgeListener) {
    this.#connection = connection;
    this.#account = account;
    this.#listener = listener;
  }

  get room(): number {
    const queued = this.#stream?.writableLength ?? 0;
    return Math.max(0, this.#capacity - queued - (this.#filled - this.#flushed));
  }

  /** Joins the stream: from now on bytes move. Its bytes come as 'data', or through `feed`. */
  join(stream: Duplex, readsItself: boolean): void {
    if (this.#closed) {
      stream.destroy();
      return;
    }
    this.#stream = stream;
    if (readsItself) {
      stream.on('data', (chunk: Uint8Array | string) => {
        const bytes = typeof chunk === 'string' ? Buffer.from(chunk) : chunk;
        if (!this.#feedLong(bytes)) stream.pause();
      });
    }
    stream.on('end', () => this.#connection.end());
    stream.on('error', () => this.#connection.abort());
    stream.on('close', () => {
      if (!stream.readableEnded) this.#connection.abort();
    });
  }

  /** Bytes of the stream for the guest, at most a block. @returns false when the stream is to wait */
  feed(bytes: Uint8Array, length: number): boolean {
    return this.#connection.write(bytes, 0, length);
  }

  #feedLong(bytes: Uint8Array): boolean {
    let more = true;
    for (let at = 0; at < bytes.length; at += BLOCK_BYTES) {
      more = this.#connection.write(bytes, at, Math.min(bytes.length, at + BLOCK_BYTES));
    }
    return more;
  }

  established(): void {
    this.#listener.established();
  }

  received(bytes: Uint8Array, start: number, end: number): void {
    let at = start;
    while (at < end) {
      if (this.#block === undefined || this.#filled === BLOCK_BYTES) this.#nextBlock();
      const count = Math.min(end - at, BLOCK_BYTES - this.#filled);
      this.#block!.set(bytes.subarray(at, at + count), this.#filled);
      this.#filled += count;
      at += count;
    }
  }

  #nextBlock(): void {
    this.flush();
    const full = this.#block;
    this.#block = this.#account.take();
    this.#filled = 0;
    this.#flushed = 0;
    if (full !== undefined && !this.#writes.has(full)) this.#account.give(full);
  }

  flush(): void {
    const stream = this.#stream;
    const block = this.#block;
    const count = this.#filled - this.#flushed;
    if (stream === undefined || block === undefined || count === 0) return;
    const view = Buffer.from(block.buffer as ArrayBuffer, this.#flushed, count);
    this.#flushed = this.#filled;
    this.#grow(count);
    if (stream instanceof Socket) {
      this.#writes.set(block, (this.#writes.get(block) ?? 0) + 1);
      stream.write(view, () => this.#written(block));
    } else {
      // A stream of another kind may keep what it was given.
      this.#flushed = 0;
      this.#filled = 0;
      stream.write(Buffer.from(view), () => this.#connection.windowMoved());
    }
  }

  /** A connection that moves bytes gets a larger window, while the VM's account has blocks. */
  #grow(count: number): void {
    this.#movedSinceGrowth += count;
    if (this.#movedSinceGrowth < this.#capacity || this.#capacity >= LAST_CAPACITY) return;
    if (!this.#account.mayTake(1)) return;
    this.#movedSinceGrowth = 0;
    this.#capacity *= 2;
  }

  /** The stream has let go of one write's bytes. */
  #written(block: Uint8Array): void {
    const left = this.#writes.get(block)! - 1;
    if (left > 0) this.#writes.set(block, left);
    else {
      this.#writes.delete(block);
      if (block !== this.#block) this.#account.give(block);
      else if (this.#closed || this.#flushed === this.#filled) this.#giveCurrent();
    }
    this.#connection.windowMoved();
    this.#endWhenWritten();
  }

  /** libuv resets no socket that it is shutting down, so that begins only when all is written. */
  #endWhenWritten(): void {
    if (this.#endDue && this.#writes.size === 0 && !this.#closed) this.#stream?.end();
  }

  #giveCurrent(): void {
    if (this.#block !== undefined) this.#account.give(this.#block);
    this.#block = undefined;
    this.#filled = 0;
    this.#flushed = 0;
  }

  receivedEnd(): void {
    this.flush();
    this.#endDue = true;
    this.#endWhenWritten();
  }

  drained(): void {
    this.#stream?.resume();
  }

  finished(end: TcpEnd): void {
    this.#closed = true;
    if (this.#block !== undefined && !this.#writes.has(this.#block)) this.#giveCurrent();
    if (end !== 'done') {
      if (this.#stream instanceof Socket) reset(this.#stream);
      else this.#stream?.destroy();
    }
    this.#listener.closed(end);
  }
}

/** Ends a socket with RST, once its end is through when that has begun. */
function reset(socket: Socket): void {
  if (!socket.writableEnded || socket.writableFinished || socket.destroyed) {
    socket.resetAndDestroy();
  } else socket.once('finish', () => socket.resetAndDestroy());
}
