/**
 * The network device: one pair of queues, checksums and segments left to the other side.
 *
 * Source: virtio 1.2, 5.1. All work on the rings is the host end's, on the thread that owns the VM, as
 * that is where the link lives. Frames in either direction are copied once, so that nobody changes what is
 * being looked at.
 */
import {
  ETHERNET_HEADER_BYTES,
  Frame,
  type FrameLink,
  type FrameStation,
  MAX_FRAME_BYTES,
  type Offloads,
  VIRTIO_NET_HDR_F_DATA_VALID,
  VIRTIO_NET_HDR_F_NEEDS_CSUM,
  VIRTIO_NET_HDR_GSO_NONE,
} from '../frame-link.js';
import type { Chain } from './chain.js';
import type { HostEnd, VirtioDevice, VirtioTransport } from './device.js';
import { isDriverFault, type VirtQueue } from './queue.js';

const DEVICE_TYPE = 1;
const RECEIVE = 0;
const TRANSMIT = 1;

// Features (5.1.3)
const F_CSUM = 1n << 0n;
const F_GUEST_CSUM = 1n << 1n;
const F_MTU = 1n << 3n;
const F_MAC = 1n << 5n;
const F_GUEST_TSO4 = 1n << 7n;
const F_GUEST_TSO6 = 1n << 8n;
const F_HOST_TSO4 = 1n << 11n;
const F_HOST_TSO6 = 1n << 12n;
const F_MRG_RXBUF = 1n << 15n;
const F_STATUS = 1n << 16n;

// Configuration (5.1.4)
const CONFIG_BYTES = 12;
const C_STATUS = 6;
const C_MAX_PAIRS = 8;
const C_MTU = 10;
const STATUS_LINK_UP = 1;

/** struct virtio_net_hdr (5.1.6). */
const HEADER_BYTES = 12;
const H_GSO_TYPE = 1;
const H_HDR_LEN = 2;
const H_GSO_SIZE = 4;
const H_CSUM_START = 6;
const H_CSUM_OFFSET = 8;
const H_NUM_BUFFERS = 10;

// State words
/** 1 while the cable is pulled. */
const S_UNPLUGGED = 0;
/** The cable is pulled until the driver has seen it: not at all, not seen yet, seen. */
const S_REPLUG = 1;
const REPLUG_WAITS = 1;
const REPLUG_SEEN = 2;

/** Frames that are taken from the guest at once: the thread has others to serve. */
const BATCH = 64;

/** What the device tells its driver of the link; the same on each thread. */
export interface NetSettings {
  readonly mac: Uint8Array;
  readonly mtu: number;
  readonly offloads: Offloads;
}

export class VirtioNet implements VirtioDevice, HostEnd, FrameStation {
  readonly type = DEVICE_TYPE;
  readonly features: bigint;
  readonly queues = 2;
  readonly #transport: VirtioTransport;
  readonly #configuration = new Uint8Array(CONFIG_BYTES);
  readonly #frame = new Frame();
  readonly #bytes = new Uint8Array(MAX_FRAME_BYTES);
  readonly #header = new Uint8Array(HEADER_BYTES);
  readonly #view = new DataView(this.#header.buffer);
  #link: FrameLink | undefined;
  /** This thread has the rings: what the link calls meanwhile must not take them again. */
  #entered = false;
  /** The link does not take frames now. */
  #sendBlocked = false;
  /** The link has a frame for which there was no room. */
  #receiveBlocked = false;
  /** Frames are in the ring of which the driver is told when the thread has taken what came together. */
  #signal: NodeJS.Immediate | undefined;
  /** What the driver did wrong while the link was calling. */
  #fault: unknown;

  constructor(transport: VirtioTransport, { mac, mtu, offloads }: NetSettings) {
    this.#transport = transport;
    const { checksum, tso4, tso6 } = offloads;
    this.features =
      F_MAC |
      F_MTU |
      F_STATUS |
      F_MRG_RXBUF |
      F_GUEST_CSUM |
      F_GUEST_TSO4 |
      F_GUEST_TSO6 |
      (checksum ? F_CSUM : 0n) |
      (tso4 ? F_HOST_TSO4 : 0n) |
      (tso6 ? F_HOST_TSO6 : 0n);
    this.#configuration.set(mac);
    const view = new DataView(this.#configuration.buffer);
    view.setUint16(C_MAX_PAIRS, 1, true);
    view.setUint16(C_MTU, mtu, true);
  }

  get configuration(): Uint8Array {
    this.#configuration[C_STATUS] = this.#transport.state[S_UNPLUGGED] === 0 ? STATUS_LINK_UP : 0;
    return this.#configuration;
  }

  get hostEnd(): HostEnd {
    return this;
  }

  /** Plugs the device in, on the thread that owns the VM. */
  connect(link: FrameLink): void {
    this.#link = link;
    link.attach(this);
  }

  process(): void {
    this.#transport.ring();
  }

  get #has(): (feature: bigint) => boolean {
    const { features } = this.#transport;
    return (feature) => (features & feature) !== 0n;
  }

  get offloads(): Offloads {
    const has = this.#has;
    const tso4 = has(F_GUEST_TSO4);
    const tso6 = has(F_GUEST_TSO6);
    return { checksum: has(F_GUEST_CSUM), tso4, tso6 };
  }

  /** Runs `body` with the rings; what the link calls from within has them already. */
  #exclusive(body: () => void): void {
    if (this.#entered) {
      body();
      return;
    }
    this.#transport.exclusive(() => {
      this.#entered = true;
      this.#fault = undefined;
      try {
        body();
        if (this.#fault !== undefined) throw this.#fault;
      } finally {
        this.#entered = false;
      }
    });
  }

  /**
   * The network is another: the driver is told by a cable that is pulled, and plugged in again once it
   * has seen that.
   */
  restored(): void {
    if (!this.#has(F_STATUS)) return;
    this.carrier(false);
    this.#transport.state[S_REPLUG] = REPLUG_WAITS;
  }

  configurationRead(offset: number, size: number): void {
    const { state } = this.#transport;
    if (state[S_REPLUG] !== REPLUG_WAITS || offset > C_STATUS || offset + size <= C_STATUS) return;
    state[S_REPLUG] = REPLUG_SEEN;
    this.#transport.ring();
  }

  serve(): void {
    if (this.#transport.state[S_REPLUG] === REPLUG_SEEN) this.carrier(true);
    this.#exclusive(() => {
      this.#transmit();
      // A machine that was saved before its interrupt goes on from here.
      if (this.#signal === undefined) this.#transport.signal(RECEIVE);
      if (!this.#receiveBlocked) return;
      this.#receiveBlocked = false;
      this.#link?.receiveReady();
    });
  }

  close(): void {
    clearImmediate(this.#signal);
    this.#signal = undefined;
    this.#link?.close();
  }

  #transmit(): void {
    let left = BATCH;
    this.#transport.drain(TRANSMIT, (queue) => {
      if (this.#sendBlocked) return false;
      if (left === 0) {
        this.#transport.ring();
        return false;
      }
      left -= 1;
      const chain = queue.pop();
      if (chain === undefined) return false;
      if (this.#read(chain) && this.#link?.send(this.#frame) === false) {
        queue.unpop();
        this.#sendBlocked = true;
        return false;
      }
      queue.push(chain);
      return true;
    });
  }

  /** Makes the frame of a chain; false for what is none, and is dropped. */
  #read(chain: Chain): boolean {
    const length = chain.readableBytes - HEADER_BYTES;
    if (length < ETHERNET_HEADER_BYTES || length > MAX_FRAME_BYTES) return false;
    chain.read(0, this.#header);
    chain.read(HEADER_BYTES, this.#bytes.subarray(0, length));
    const frame = this.#frame.setPlain(this.#bytes, length);
    const has = this.#has;
    if (has(F_CSUM)) frame.flags = this.#header[0]! & VIRTIO_NET_HDR_F_NEEDS_CSUM;
    if (frame.flags !== 0) {
      frame.csumStart = this.#view.getUint16(H_CSUM_START, true);
      frame.csumOffset = this.#view.getUint16(H_CSUM_OFFSET, true);
    }
    const gsoType = this.#header[H_GSO_TYPE]!;
    if (gsoType === VIRTIO_NET_HDR_GSO_NONE) return true;
    if (!has(F_HOST_TSO4) && !has(F_HOST_TSO6)) return false;
    frame.gsoType = gsoType;
    frame.hdrLen = this.#view.getUint16(H_HDR_LEN, true);
    frame.gsoSize = this.#view.getUint16(H_GSO_SIZE, true);
    return true;
  }

  sendReady(): void {
    this.#sendBlocked = false;
    // Not from within the link's own call.
    this.#transport.ring();
  }

  carrier(up: boolean): void {
    this.#transport.state[S_REPLUG] = 0;
    this.#transport.state[S_UNPLUGGED] = up ? 0 : 1;
    this.#transport.configurationChanged();
  }

  receive(frame: Frame): boolean {
    let taken = false;
    this.#exclusive(() => {
      try {
        taken = this.#deliver(frame);
      } catch (error) {
        if (!isDriverFault(error)) throw error;
        this.#fault ??= error;
      }
    });
    if (!taken) this.#receiveBlocked = true;
    return taken;
  }

  /** False when the guest has no room for the frame. */
  #deliver(frame: Frame): boolean {
    const queue = this.#transport.queue(RECEIVE);
    if (!queue.ready) return false;
    const total = HEADER_BYTES + frame.length;
    const mergeable = this.#has(F_MRG_RXBUF);
    const chains: Chain[] = [];
    let room = 0;
    while (room < total) {
      const chain = this.#nextBuffer(queue);
      if (chain === undefined) {
        for (let i = 0; i < chains.length; i += 1) queue.unpop();
        return false;
      }
      chains.push(chain);
      room += chain.writableBytes;
      if (!mergeable) break;
    }
    if (room < total) {
      // A frame that is larger than the driver's buffers is dropped, its buffer used for nothing.
      queue.unpop();
      return true;
    }
    this.#writeHeader(frame, chains.length);
    let from = 0;
    queue.pushAll(
      chains.map((chain) => {
        const written = Math.min(chain.writableBytes, total - from);
        this.#fill(chain, written, frame, from);
        from += written;
        return { chain, written };
      }),
    );
    this.#signalLater();
    return true;
  }

  /** One interrupt for all frames that the thread has for the guest now: each costs the guest two exits. */
  #signalLater(): void {
    this.#signal ??= setImmediate(() => {
      this.#signal = undefined;
      this.#exclusive(() => this.#transport.signal(RECEIVE));
    });
  }

  #nextBuffer(queue: VirtQueue): Chain | undefined {
    const chain = queue.pop();
    if (chain !== undefined) return chain;
    // The driver is asked to tell, and may have added one before it saw that.
    return this.#transport.listen(RECEIVE) ? queue.pop() : undefined;
  }

  #writeHeader(frame: Frame, buffers: number): void {
    const view = this.#view;
    const known = VIRTIO_NET_HDR_F_NEEDS_CSUM | VIRTIO_NET_HDR_F_DATA_VALID;
    this.#header[0] = this.#has(F_GUEST_CSUM) ? frame.flags & known : 0;
    this.#header[H_GSO_TYPE] = frame.gsoType;
    view.setUint16(H_HDR_LEN, frame.hdrLen, true);
    view.setUint16(H_GSO_SIZE, frame.gsoSize, true);
    view.setUint16(H_CSUM_START, frame.csumStart, true);
    view.setUint16(H_CSUM_OFFSET, frame.csumOffset, true);
    view.setUint16(H_NUM_BUFFERS, buffers, true);
  }

  /** Writes bytes of header and frame, of which `from` have been written, into a buffer. */
  #fill(chain: Chain, length: number, frame: Frame, from: number): void {
    for (const piece of chain.writablePieces(0, length)) {
      let done = 0;
      if (from < HEADER_BYTES) {
        const part = this.#header.subarray(from, from + piece.length);
        piece.set(part);
        done = part.length;
      }
      frame.copyTo(piece, done, from + done - HEADER_BYTES, piece.length - done);
      from += piece.length;
    }
  }
}
