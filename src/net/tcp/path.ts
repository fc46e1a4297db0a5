/** What a connection has towards its peer and towards its user. */
import type { ByteSink } from './receive-side.js';
import type { TcpFields } from './segment.js';

/** A segment on its way out: the header's fields, and payload that is the sender's. Reused. */
export class OutgoingSegment implements TcpFields {
  sourcePort = 0;
  destinationPort = 0;
  seq = 0;
  ack = 0;
  flags = 0;
  window = 0;
  mss = 0;
  windowShift = -1;
  body: Uint8Array = new Uint8Array(0);
  bodyStart = 0;
  bodyLength = 0;
  /** Payload that one segment on the wire may have; a longer body needs segmentation offload. */
  segmentBytes = 0;
}

/** The way to the peer. */
export interface TcpPath {
  /** The largest payload that goes out in one piece now, for a peer that takes `mss` a segment. */
  payloadLimit(mss: number): number;
  /** @returns false when the path has no room: it calls `pathReady` of whoever waits */
  send(segment: OutgoingSegment): boolean;
  /**
   * Asks for one call of `pathReady`.
   * @param expendable of those there are only so many: a guest that takes nothing can make any number
   */
  wait(waiter: PathWaiter, expendable?: boolean): void;
}

export interface PathWaiter {
  pathReady(): void;
}

/** How a connection ended. */
export type TcpEnd = 'done' | 'reset' | 'refused' | 'timeout' | 'aborted';

/** Who uses the connection. */
export interface TcpUser extends ByteSink {
  /** Bytes that it can take beyond those it was given. */
  readonly room: number;
  /** Both sides have agreed. */
  established(): void;
  /** The burst of segments has ended: what `received` gathered may go on. */
  flush(): void;
  /** The peer has sent everything. */
  receivedEnd(): void;
  /** The send queue has room again, after a `write` that left none. */
  drained(): void;
  /** Called once. */
  finished(end: TcpEnd): void;
}
