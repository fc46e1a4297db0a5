/**
 * One stream connection between guest and host, as a Duplex of the host. It keeps to the credit of its peer
 * and gives credit for what its reader has taken (virtio 1.2, 5.10.6.3).
 */
import { Duplex } from 'node:stream';
import type { VsockPacket } from '../devices/virtio/vsock.js';
import { PandoError } from '../error.js';

export const TYPE_STREAM = 1;

/** Operations (5.10.6). */
export const OPERATION = {
  REQUEST: 1,
  RESPONSE: 2,
  RST: 3,
  SHUTDOWN: 4,
  RW: 5,
  CREDIT_UPDATE: 6,
  CREDIT_REQUEST: 7,
} as const;

/* Flags of SHUTDOWN: the sender of it takes no more, sends no more. */
const SHUTDOWN_RECEIVE = 1;
const SHUTDOWN_SEND = 2;

/** Bytes that are kept for a reader. */
const BUFFER = 262144;
/** Credit is told when the guest may have less than this. */
const CREDIT_LOW = BUFFER / 2;

const NOTHING = new Uint8Array(0);

/** What a connection has of its host end. */
export interface StreamOwner {
  /** It has something to send. */
  ready(stream: VsockStream): void;
  /** It is over, on both sides. */
  over(stream: VsockStream): void;
}

export class VsockStream extends Duplex {
  /** The guest has agreed. */
  connected: boolean;
  readonly #owner: StreamOwner;
  /** Operations that are to be sent before any data. */
  readonly #control: number[] = [];
  #chunk: Buffer | undefined;
  #written: ((error?: Error | null) => void) | undefined;
  #ending: ((error?: Error | null) => void) | undefined;
  #sent = 0;
  #peerBuffer = 0;
  #peerForwarded = 0;
  #received = 0;
  /** Of that, what the guest has been told that it was taken. */
  #told = 0;
  #guestSends = true;
  #guestTakes = true;
  #over = false;
  /** What it ends with once its reader has taken what the guest had sent. */
  #failure: Error | undefined;

  /** @param operation REQUEST for a connection of the host's, RESPONSE for one that the guest asked for */
  constructor(
    owner: StreamOwner,
    readonly guestPort: number,
    readonly hostPort: number,
    operation: number,
  ) {
    super({ allowHalfOpen: true, readableHighWaterMark: BUFFER / 4 });
    this.#owner = owner;
    this.connected = operation === OPERATION.RESPONSE;
    this.#control.push(operation);
  }

  /** The next packet with at most `room` bytes of data; undefined when it has none. */
  next(room: number): VsockPacket | undefined {
    const operation = this.#control.shift();
    if (operation !== undefined) return this.#packet(operation);
    const chunk = this.#chunk;
    if (chunk !== undefined && this.connected) {
      const credit = (this.#peerBuffer - ((this.#sent - this.#peerForwarded) >>> 0)) | 0;
      const length = Math.min(chunk.length, room, Math.max(credit, 0));
      if (length === 0) return undefined;
      this.#sent = (this.#sent + length) >>> 0;
      this.#chunk = length === chunk.length ? undefined : chunk.subarray(length);
      return this.#packet(OPERATION.RW, 0, chunk.subarray(0, length));
    }
    if (chunk === undefined && this.#ending !== undefined && this.connected) {
      const done = this.#ending;
      this.#ending = undefined;
      queueMicrotask(done);
      return this.#packet(OPERATION.SHUTDOWN, SHUTDOWN_SEND);
    }
    return undefined;
  }

  #packet(operation: number, flags = 0, data: Uint8Array = NOTHING): VsockPacket {
    const { guestPort, hostPort } = this;
    this.#told = (this.#received - this.readableLength) >>> 0;
    const common = { type: TYPE_STREAM, bufferSize: BUFFER, forwarded: this.#told };
    return { guestPort, hostPort, operation, flags, data, ...common };
  }

  /** Tells the stream that what `next` gave has been sent. */
  settle(): void {
    if (this.#chunk !== undefined || this.#written === undefined) return;
    const done = this.#written;
    this.#written = undefined;
    done();
  }

  /** A packet of the guest. */
  receive(packet: VsockPacket): void {
    if (this.#over) return;
    this.#peerBuffer = packet.bufferSize;
    this.#peerForwarded = packet.forwarded;
    switch (packet.operation) {
      case OPERATION.RESPONSE:
        if (this.connected) this.#reset();
        else {
          this.connected = true;
          this.emit('connect');
        }
        break;
      case OPERATION.RW:
        this.#take(packet.data);
        break;
      case OPERATION.SHUTDOWN:
        this.#shutdown(packet.flags);
        break;
      case OPERATION.CREDIT_REQUEST:
        this.#control.push(OPERATION.CREDIT_UPDATE);
        break;
      case OPERATION.RST:
        this.#end(this.connected ? undefined : refused(this.guestPort));
        return;
      case OPERATION.CREDIT_UPDATE:
        break;
      default:
        this.#reset();
    }
    this.#owner.ready(this);
  }

  #take(data: Uint8Array): void {
    const outstanding = this.readableLength + data.length;
    // More than it has credit for, or after it said that it sends no more.
    if (!this.connected || !this.#guestSends || outstanding > BUFFER) {
      this.#reset();
      return;
    }
    this.#received = (this.#received + data.length) >>> 0;
    this.push(Buffer.from(data.buffer, data.byteOffset, data.length));
    this.#giveCredit();
  }

  override read(size?: number): unknown {
    const taken: unknown = super.read(size);
    this.#giveCredit();
    this.#failWhenRead();
    return taken;
  }

  override _read(): void {}

  #giveCredit(): void {
    const outstanding = (this.#received - this.#told) >>> 0;
    if (outstanding < CREDIT_LOW || this.readableLength >= CREDIT_LOW) return;
    if (this.#over || this.#control.includes(OPERATION.CREDIT_UPDATE)) return;
    this.#control.push(OPERATION.CREDIT_UPDATE);
    this.#owner.ready(this);
  }

  #shutdown(flags: number): void {
    if (flags & SHUTDOWN_SEND && this.#guestSends) {
      this.#guestSends = false;
      this.push(null);
    }
    if (flags & SHUTDOWN_RECEIVE) this.#guestTakes = false;
    // Both halves are over: the answer is a reset (5.10.6.5).
    if (!this.#guestSends && !this.#guestTakes) this.#reset();
  }

  /** Ends it on both sides. */
  #reset(): void {
    if (this.#over) return;
    this.#control.length = 0;
    this.#control.push(OPERATION.RST);
    this.#owner.ready(this);
    this.#end();
  }

  /** The VM has ended. Its reader gets what the guest had sent; then the stream fails, for whoever listens to that. */
  fail(reason: Error): void {
    if (this.#over) return;
    if (!this.connected || !this.#guestSends) {
      this.#end(this.connected && this.#written === undefined ? undefined : reason);
      return;
    }
    this.#over = true;
    this.#owner.over(this);
    this.#chunk = undefined;
    this.#failure = reason;
    const waiting = [this.#written, this.#ending];
    this.#written = undefined;
    this.#ending = undefined;
    this.#failWhenRead();
    for (const done of waiting) done?.(this.destroyed ? reason : null);
  }

  #failWhenRead(): void {
    if (this.#failure === undefined || this.readableLength > 0 || this.destroyed) return;
    this.destroy(this.listenerCount('error') > 0 ? this.#failure : undefined);
  }

  /** The guest has been reset: nothing is sent any more. */
  abandon(): void {
    this.#control.length = 0;
    this.#end();
  }

  /** @param error undefined for a connection that ends as it may */
  #end(error?: Error): void {
    if (this.#over) return;
    // Whoever waits for the guest's answer would wait for ever.
    if (!this.connected) error ??= closedError();
    this.#over = true;
    this.#owner.over(this);
    if (this.#guestSends) this.push(null);
    this.#guestSends = false;
    this.#chunk = undefined;
    const gone = error ?? (this.#written === undefined ? undefined : closedError());
    this.#written?.(gone);
    this.#written = undefined;
    this.#ending?.();
    this.#ending = undefined;
    if (error !== undefined) this.destroy(error);
    else if (!this.writableEnded) this.end();
  }

  override _write(chunk: Buffer, _encoding: string, done: (error?: Error | null) => void): void {
    if (this.#failure !== undefined) {
      // An error would take from the reader what is still to be read.
      done();
      return;
    }
    if (this.#over || !this.#guestTakes) {
      done(closedError());
      return;
    }
    this.#chunk = chunk.length === 0 ? undefined : chunk;
    this.#written = done;
    if (this.#chunk === undefined) this.settle();
    else this.#owner.ready(this);
  }

  override _final(done: (error?: Error | null) => void): void {
    if (this.#over) {
      done();
      return;
    }
    this.#ending = done;
    this.#owner.ready(this);
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#reset();
    done(error);
  }
}

function refused(port: number): PandoError {
  return new PandoError('VSOCK_REFUSED', `nothing in the guest listens on vsock port ${port}`, {
    remedy: 'start the program in the guest first',
  });
}

function closedError(): PandoError {
  return new PandoError('VSOCK_CLOSED', 'the guest has closed the vsock connection');
}
