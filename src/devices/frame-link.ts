/**
 * The contract between a network device and what it is plugged into: Ethernet frames both ways, with
 * back-pressure, and with the metadata of frames that one side leaves for the other to finish.
 *
 * The metadata has the names and meanings of `struct virtio_net_hdr` (virtio 1.2, 5.1.6). In frames
 * from a guest it is as hostile as the bytes: who receives it checks it.
 *
 * Everything here happens on one thread, the VM's I/O thread, and synchronously.
 */

/** `flags`: the checksum at csumStart + csumOffset is left to finish. */
export const VIRTIO_NET_HDR_F_NEEDS_CSUM = 1;
/** `flags`: the checksum has been verified, or never left this host. */
export const VIRTIO_NET_HDR_F_DATA_VALID = 2;

export const VIRTIO_NET_HDR_GSO_NONE = 0;
export const VIRTIO_NET_HDR_GSO_TCPV4 = 1;
export const VIRTIO_NET_HDR_GSO_TCPV6 = 4;
/** Bit beside the type: the segment has CWR set (RFC 3168). */
export const VIRTIO_NET_HDR_GSO_ECN = 0x80;

export const ETHERNET_HEADER_BYTES = 14;
/** The longest frame that offload makes: an IP packet of 65,535 bytes behind its Ethernet header. */
export const MAX_FRAME_BYTES = ETHERNET_HEADER_BYTES + 65535;

const NO_BYTES = new Uint8Array(0);

/**
 * An Ethernet frame (without FCS) in two pieces: `head`, which holds at least every header up to the
 * transport's payload, or the whole frame; then `body`, which may be empty.
 *
 * The sender owns the object and its bytes and reuses both: a receiver copies what it keeps before it
 * returns, and changes nothing. The bytes must not change while they are read, so they are never
 * views of guest RAM.
 */
export class Frame {
  head: Uint8Array = NO_BYTES;
  /** Bytes of `head` that belong to the frame, from its start. */
  headLength = 0;
  body: Uint8Array = NO_BYTES;
  bodyStart = 0;
  bodyLength = 0;
  /** VIRTIO_NET_HDR_F_* */
  flags = 0;
  /** VIRTIO_NET_HDR_GSO_* */
  gsoType = VIRTIO_NET_HDR_GSO_NONE;
  /** Bytes of headers before the payload, a hint; 0 when unknown. */
  hdrLen = 0;
  /** Payload bytes of each segment that the frame is to become; 0 without GSO. */
  gsoSize = 0;
  /** With NEEDS_CSUM: where the sum begins, from the start of the frame. */
  csumStart = 0;
  /** With NEEDS_CSUM: where the sum goes, from csumStart. */
  csumOffset = 0;

  /** Bytes of the whole frame. */
  get length(): number {
    return this.headLength + this.bodyLength;
  }

  /** Makes it a finished frame of the first `length` bytes of `bytes`. */
  setPlain(bytes: Uint8Array, length: number): this {
    this.head = bytes;
    this.headLength = length;
    this.body = NO_BYTES;
    this.bodyStart = 0;
    this.bodyLength = 0;
    this.flags = 0;
    this.gsoType = VIRTIO_NET_HDR_GSO_NONE;
    this.hdrLen = 0;
    this.gsoSize = 0;
    this.csumStart = 0;
    this.csumOffset = 0;
    return this;
  }

  /**
   * Copies bytes of the frame, for a receiver that scatters it over buffers of its own.
   * @param from first byte of the frame to copy
   * @param limit most bytes to copy
   * @returns how many were copied: less than `limit` at the frame's end
   */
  copyTo(target: Uint8Array, at: number, from: number, limit: number): number {
    const count = Math.max(0, Math.min(limit, this.length - from));
    const ofHead = Math.max(0, Math.min(count, this.headLength - from));
    if (ofHead > 0) target.set(this.head.subarray(from, from + ofHead), at);
    if (count > ofHead) {
      const start = this.bodyStart + from + ofHead - this.headLength;
      target.set(this.body.subarray(start, start + count - ofHead), at + ofHead);
    }
    return count;
  }
}

/** What a receiver takes unfinished. Without any, frames are at most the link's MTU and complete. */
export interface Offloads {
  /** Frames with NEEDS_CSUM. */
  readonly checksum: boolean;
  /** Frames of GSO_TCPV4, up to MAX_FRAME_BYTES; implies `checksum`. */
  readonly tso4: boolean;
  /** The same for GSO_TCPV6. */
  readonly tso6: boolean;
}

/** No offload at all: what a device takes before its driver has negotiated anything. */
export const NO_OFFLOADS: Offloads = { checksum: false, tso4: false, tso6: false };

/** The device's side of a cable: what the link calls. */
export interface FrameStation {
  /** What the guest's driver negotiated (GUEST_CSUM, GUEST_TSO4, GUEST_TSO6), as of now. */
  readonly offloads: Offloads;
  /**
   * Takes a frame for the guest. May come from within the link's `send`, and does not call it.
   * @returns false when the guest has no room now: the frame is the sender's to drop or to keep, and
   *   the station calls the link's `receiveReady` once there is room
   */
  receive(frame: Frame): boolean;
  /** The link takes frames again, after its `send` returned false. */
  sendReady(): void;
  /** The cable was plugged in or pulled (VIRTIO_NET_S_LINK_UP). A link begins plugged in. */
  carrier(up: boolean): void;
}

/** The network's side of a cable: what a device is given. One device a link. */
export interface FrameLink {
  /** The station's address, 6 bytes. */
  readonly mac: Uint8Array;
  /** Bytes of the longest IP packet of an unsegmented frame, 1280–65535 (VIRTIO_NET_F_MTU). */
  readonly mtu: number;
  /** What `send` takes unfinished: what the device may offer (CSUM, HOST_TSO4, HOST_TSO6). */
  readonly offloads: Offloads;
  /** Plugs the device in. Until then nothing is received. */
  attach(station: FrameStation): void;
  /**
   * Takes a frame from the guest.
   * @returns false when it was not taken: the device keeps it and goes on at `sendReady`
   */
  send(frame: Frame): boolean;
  /** The guest has room for frames again, after `receive` returned false. */
  receiveReady(): void;
  /** Unplugs the device: nothing is received any more, `send` drops. May be called twice. */
  close(): void;
}
