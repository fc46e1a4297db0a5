/**
 * One port of the LAN: the network's side of one VM's cable. Gives the station what it can take,
 * finishing in software what it cannot; remembers who waits for room.
 */
import {
  Frame,
  type FrameLink,
  type FrameStation,
  NO_OFFLOADS,
  type Offloads,
  VIRTIO_NET_HDR_F_NEEDS_CSUM,
  VIRTIO_NET_HDR_GSO_NONE,
  VIRTIO_NET_HDR_GSO_TCPV4,
} from '../devices/frame-link.js';
import { finishChecksum, gsoTypeOf, Segmenter } from './finish.js';
import type { PathWaiter } from './tcp/path.js';

/** What the network takes from a device: everything. */
const ALL_OFFLOADS: Offloads = { checksum: true, tso4: true, tso6: true };

/** Frames and bytes of one port. */
export interface PortCounters {
  /** From the guest. */
  framesIn: number;
  bytesIn: number;
  /** To the guest. */
  framesOut: number;
  bytesOut: number;
  /** To the guest, and lost because it had no room. */
  dropped: number;
  /** From the guest, and not admitted: not its address, malformed, or a server's that it may not be. */
  rejected: number;
}

/** Where the port's frames go. */
export interface PortOwner {
  ingress(port: Port, frame: Frame): void;
  detached(port: Port): void;
}

/** What a port is made with. */
export interface PortOptions {
  readonly name: string;
  readonly mac: Uint8Array;
  /** The IPv4 address that DHCP gives its station. */
  readonly address: number;
  readonly mtu: number;
}

/** Waiters beyond which those that nobody misses are turned away. */
const EXPENDABLE_LIMIT = 4096;

const segmenter = new Segmenter();
const piece = new Frame();
const finished = new Frame();

export class Port implements FrameLink {
  readonly name: string;
  readonly mac: Uint8Array;
  readonly address: number;
  readonly mtu: number;
  readonly offloads = ALL_OFFLOADS;
  readonly counters: PortCounters = {
    framesIn: 0,
    bytesIn: 0,
    framesOut: 0,
    bytesOut: 0,
    dropped: 0,
    rejected: 0,
  };
  readonly #owner: PortOwner;
  #station: FrameStation | undefined;
  #waiters = new Set<PathWaiter>();
  #closed = false;

  constructor({ name, mac, address, mtu }: PortOptions, owner: PortOwner) {
    this.name = name;
    this.mac = mac;
    this.address = address;
    this.mtu = mtu;
    this.#owner = owner;
  }

  get closed(): boolean {
    return this.#closed;
  }

  attach(station: FrameStation): void {
    if (!this.#closed) this.#station = station;
  }

  send(frame: Frame): boolean {
    if (this.#closed) return true;
    this.counters.framesIn += 1;
    this.counters.bytesIn += frame.length;
    this.#owner.ingress(this, frame);
    return true;
  }

  receiveReady(): void {
    if (this.#waiters.size === 0) return;
    const waiters = this.#waiters;
    this.#waiters = new Set();
    for (const waiter of waiters) waiter.pathReady();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#station = undefined;
    this.#waiters.clear();
    this.#owner.detached(this);
  }

  /** What the station takes now. */
  get stationOffloads(): Offloads {
    return this.#station?.offloads ?? NO_OFFLOADS;
  }

  /** Asks for one call when the station has room again. @param expendable see TcpPath */
  wait(waiter: PathWaiter, expendable = false): void {
    if (this.#closed || (expendable && this.#waiters.size >= EXPENDABLE_LIMIT)) return;
    this.#waiters.add(waiter);
  }

  /**
   * Gives the station a frame, whose head may be changed.
   * @returns false when it has no room
   */
  offer(frame: Frame): boolean {
    const station = this.#station;
    if (station === undefined) return false;
    const { offloads } = station;
    const type = gsoTypeOf(frame);
    if (type !== VIRTIO_NET_HDR_GSO_NONE) {
      const taken = type === VIRTIO_NET_HDR_GSO_TCPV4 ? offloads.tso4 : offloads.tso6;
      if (!taken) return segmenter.split(frame, piece, (part) => this.#give(station, part));
    } else if ((frame.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) !== 0 && !offloads.checksum) {
      finishChecksum(frame);
    }
    return this.#give(station, frame);
  }

  /** Gives the station a frame of another station's: it is left as it was, or lost. */
  forward(frame: Frame): void {
    let given = frame;
    if ((frame.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) !== 0 && !this.stationOffloads.checksum) {
      given = copied(frame);
    }
    if (!this.offer(given)) this.counters.dropped += 1;
  }

  #give(station: FrameStation, frame: Frame): boolean {
    if (!station.receive(frame)) return false;
    this.counters.framesOut += 1;
    this.counters.bytesOut += frame.length;
    return true;
  }
}

let copy = new Uint8Array(0);

/** The frame in memory that may be written, good until the next call. */
function copied(frame: Frame): Frame {
  if (copy.length < frame.length) copy = new Uint8Array(frame.length);
  frame.copyTo(copy, 0, 0, frame.length);
  finished.setPlain(copy, frame.length);
  finished.flags = frame.flags;
  finished.gsoType = frame.gsoType;
  finished.hdrLen = frame.hdrLen;
  finished.gsoSize = frame.gsoSize;
  finished.csumStart = frame.csumStart;
  finished.csumOffset = frame.csumOffset;
  return finished;
}
