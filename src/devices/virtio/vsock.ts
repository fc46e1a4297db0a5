/**
 * The socket device: packets of stream connections between guest and host, over a receive, a transmit and an
 * event queue. Source: virtio 1.2, 5.10. What the packets mean is the host end's matter.
 */
import type { HostEnd, VirtioDevice, VirtioTransport } from './device.js';

const DEVICE_TYPE = 19;
/* Queues, from the driver's side (5.10.2). */
const RECEIVE = 0;
const TRANSMIT = 1;
const EVENT = 2;

/** Bytes of a packet's header (5.10.6). */
export const VSOCK_HEADER = 44;
/** Bytes of a packet's data that are taken and sent at most. */
export const VSOCK_DATA_MAX = 65536;
/** The host's address (5.10.4). */
export const VSOCK_HOST_CID = 2;
/** All open connections are over (5.10.6.7). */
const EVENT_TRANSPORT_RESET = 0;

/** Word of the device's state: who is the host end of the connections that the guest has; 0 when it has none. */
const S_SESSION = 0;
/** Word: buffers that the event queue has once the driver has taken the last event; 0 when it has. */
const S_EVENTS = 1;

/** A packet; addresses and length are its link's matter. */
export interface VsockPacket {
  readonly guestPort: number;
  readonly hostPort: number;
  readonly type: number;
  readonly operation: number;
  readonly flags: number;
  /** Bytes that the sender keeps for the connection, and how many of them it has taken so far. */
  readonly bufferSize: number;
  readonly forwarded: number;
  readonly data: Uint8Array;
}

/** What a host end has of the device. */
export interface VsockLink {
  /** The driver is ready. */
  readonly running: boolean;
  /** Changes when the driver resets the device. */
  readonly epoch: number;
  /**
   * Takes packets of the guest.
   * @param most how many
   */
  receive(most: number): VsockPacket[];
  /**
   * Sends packets while there is room in the guest.
   * @param next gives a packet with at most so many bytes of data; undefined when there is none
   */
  send(next: (room: number) => VsockPacket | undefined): void;
  /**
   * Tells the guest that all connections are over, if they were another host end's.
   * @param session of this host end, not 0
   */
  adopt(session: number): void;
  /**
   * The guest has been told that all connections are over and has not taken it yet: one that is begun now would be
   * over, too. A driver that has taken an event gives its buffer back, and the host end is called.
   */
  readonly settling: boolean;
  /** The guest has no connections: there will be nothing to tell it of, until the host end adopts it again. */
  leave(session: number): void;
}

export class VirtioVsock implements VirtioDevice, VsockLink {
  readonly type = DEVICE_TYPE;
  readonly features = 0n;
  readonly queues = 3;
  readonly configuration = new Uint8Array(8);
  readonly hostEnd: HostEnd;
  readonly #transport: VirtioTransport;
  readonly #cid: number;

  /**
   * @param cid the guest's address
   * @param makeHost makes the host end, which is used on the thread that owns the VM
   */
  constructor(transport: VirtioTransport, cid: number, makeHost: (link: VsockLink) => HostEnd) {
    this.#transport = transport;
    this.#cid = cid;
    new DataView(this.configuration.buffer).setBigUint64(0, BigInt(cid), true);
    this.hostEnd = makeHost(this);
  }

  process(): void {
    this.#transport.ring();
  }

  start(): void {
    this.#transport.state[S_SESSION] = 0;
    this.#transport.state[S_EVENTS] = 0;
  }

  get running(): boolean {
    return this.#transport.running;
  }

  get epoch(): number {
    return this.#transport.epoch;
  }

  receive(most: number): VsockPacket[] {
    const packets: VsockPacket[] = [];
    const header = new Uint8Array(VSOCK_HEADER);
    const view = new DataView(header.buffer);
    this.#transport.exclusive(() =>
      this.#transport.drain(TRANSMIT, (queue) => {
        if (packets.length === most) return false;
        const chain = queue.pop();
        if (chain === undefined) return false;
        // A packet that is cut off, or from or to somebody else, is dropped (5.10.6.4).
        const length = chain.read(0, header) === VSOCK_HEADER ? view.getUint32(24, true) : -1;
        const ours =
          view.getBigUint64(0, true) === BigInt(this.#cid) &&
          view.getBigUint64(8, true) === BigInt(VSOCK_HOST_CID);
        if (ours && length >= 0 && length <= VSOCK_DATA_MAX) {
          const data = new Uint8Array(length);
          if (chain.read(VSOCK_HEADER, data) === length) packets.push(decode(view, data));
        }
        queue.push(chain);
        return true;
      }),
    );
    return packets;
  }

  send(next: (room: number) => VsockPacket | undefined): void {
    this.#transport.exclusive(() =>
      this.#transport.drain(RECEIVE, (queue) => {
        const chain = queue.pop();
        if (chain === undefined) return false;
        const room = Math.min(chain.writableBytes - VSOCK_HEADER, VSOCK_DATA_MAX);
        const packet = room < 0 ? undefined : next(room);
        if (packet === undefined && room >= 0) {
          queue.unpop();
          return false;
        }
        if (packet === undefined) queue.push(chain);
        else {
          chain.write(0, encode(packet, this.#cid));
          chain.write(VSOCK_HEADER, packet.data);
          queue.push(chain, VSOCK_HEADER + packet.data.length);
        }
        return true;
      }),
    );
  }

  adopt(session: number): void {
    const { state } = this.#transport;
    if (!this.running || state[S_SESSION] === session) return;
    if (state[S_SESSION] === 0) {
      state[S_SESSION] = session;
      return;
    }
    this.#transport.exclusive(() => {
      this.#transport.drain(EVENT, (queue) => {
        if (state[S_SESSION] === session) return false;
        const buffers = queue.waiting;
        const chain = queue.pop();
        if (chain === undefined) return false;
        const event = new Uint8Array(4).fill(EVENT_TRANSPORT_RESET);
        queue.push(chain, chain.write(0, event));
        state[S_SESSION] = session;
        // The event of an earlier restore may still be on its way, too.
        state[S_EVENTS] = Math.max(state[S_EVENTS]!, buffers);
        return true;
      });
      this.#transport.expectFurther(EVENT);
    });
  }

  get settling(): boolean {
    const { state } = this.#transport;
    if (state[S_EVENTS] === 0) return false;
    this.#transport.exclusive(() => {
      if (this.#transport.queue(EVENT).waiting >= state[S_EVENTS]!) state[S_EVENTS] = 0;
    });
    return state[S_EVENTS] !== 0;
  }

  leave(session: number): void {
    const { state } = this.#transport;
    if (state[S_SESSION] === session) state[S_SESSION] = 0;
  }
}

function decode(view: DataView, data: Uint8Array): VsockPacket {
  return {
    guestPort: view.getUint32(16, true),
    hostPort: view.getUint32(20, true),
    type: view.getUint16(28, true),
    operation: view.getUint16(30, true),
    flags: view.getUint32(32, true),
    bufferSize: view.getUint32(36, true),
    forwarded: view.getUint32(40, true),
    data,
  };
}

function encode(packet: VsockPacket, cid: number): Uint8Array {
  const header = new Uint8Array(VSOCK_HEADER);
  const view = new DataView(header.buffer);
  view.setBigUint64(0, BigInt(VSOCK_HOST_CID), true);
  view.setBigUint64(8, BigInt(cid), true);
  view.setUint32(16, packet.hostPort, true);
  view.setUint32(20, packet.guestPort, true);
  view.setUint32(24, packet.data.length, true);
  view.setUint16(28, packet.type, true);
  view.setUint16(30, packet.operation, true);
  view.setUint32(32, packet.flags, true);
  view.setUint32(36, packet.bufferSize, true);
  view.setUint32(40, packet.forwarded >>> 0, true);
  return header;
}
