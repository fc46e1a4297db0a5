/**
 * Finishes in software what a sender left to offload and a receiver cannot take: checksums, and
 * segments of TCP larger than the link's MTU (virtio 1.2, 5.1.6.2).
 */
import {
  ETHERNET_HEADER_BYTES,
  type Frame,
  MAX_FRAME_BYTES,
  VIRTIO_NET_HDR_F_NEEDS_CSUM,
  VIRTIO_NET_HDR_GSO_ECN,
  VIRTIO_NET_HDR_GSO_NONE,
  VIRTIO_NET_HDR_GSO_TCPV4,
  VIRTIO_NET_HDR_GSO_TCPV6,
} from '../devices/frame-link.js';
import { read16, read32, write16, write32 } from './bytes.js';
import { checksumOf, pseudoSumAt, sumOf } from './checksum.js';
import { ETHERTYPE_IPV4, ETHERTYPE_IPV6, etherTypeOf } from './ethernet.js';
import { IPV4_HEADER_BYTES, PROTOCOL_TCP } from './ipv4.js';
import { FIN, PSH, TCP_CHECKSUM_OFFSET, TCP_HEADER_BYTES } from './tcp/segment.js';

const IPV6_HEADER_BYTES = 40;
/** CWR belongs to the first segment alone (RFC 3168, 6.1.2). */
const CWR = 0x80;

/** The frame's GSO type without the bit for ECN. */
export function gsoTypeOf(frame: Frame): number {
  return frame.gsoType & ~VIRTIO_NET_HDR_GSO_ECN;
}

/** Where the headers of a TCP packet lie in a frame, or undefined. Extension headers are not followed. */
function tcpAt(frame: Frame): { version: number; tcp: number; payload: number } | undefined {
  const { head, headLength } = frame;
  const ip = ETHERNET_HEADER_BYTES;
  const type = etherTypeOf(head);
  let tcp: number;
  if (type === ETHERTYPE_IPV4 && head[ip]! >>> 4 === 4) {
    if (head[ip + 9] !== PROTOCOL_TCP) return undefined;
    tcp = ip + (head[ip]! & 15) * 4;
    if (tcp < ip + IPV4_HEADER_BYTES) return undefined;
  } else if (type === ETHERTYPE_IPV6 && head[ip]! >>> 4 === 6) {
    if (head[ip + 6] !== PROTOCOL_TCP) return undefined;
    tcp = ip + IPV6_HEADER_BYTES;
  } else return undefined;
  if (tcp + TCP_HEADER_BYTES > headLength) return undefined;
  const payload = tcp + (head[tcp + 12]! >>> 4) * 4;
  if (payload < tcp + TCP_HEADER_BYTES || payload > headLength) return undefined;
  return { version: type === ETHERTYPE_IPV4 ? 4 : 6, tcp, payload };
}

/** Whether the metadata of a guest's frame fits the frame. */
export function offloadIsSound(frame: Frame): boolean {
  if ((frame.flags & ~VIRTIO_NET_HDR_F_NEEDS_CSUM) !== 0) return false;
  if ((frame.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) !== 0) {
    const { csumStart, csumOffset } = frame;
    if (csumStart < ETHERNET_HEADER_BYTES || csumStart + csumOffset + 2 > frame.headLength) {
      return false;
    }
  }
  const type = gsoTypeOf(frame);
  if (type === VIRTIO_NET_HDR_GSO_NONE) return true;
  if (type !== VIRTIO_NET_HDR_GSO_TCPV4 && type !== VIRTIO_NET_HDR_GSO_TCPV6) return false;
  if ((frame.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) === 0 || frame.gsoSize === 0) return false;
  const at = tcpAt(frame);
  const version = type === VIRTIO_NET_HDR_GSO_TCPV4 ? 4 : 6;
  return at?.version === version && frame.csumStart === at.tcp;
}

/** Computes the checksum that a frame asks for, into its head. */
export function finishChecksum(frame: Frame): void {
  const { head, headLength, csumStart, csumOffset } = frame;
  const at = csumStart + csumOffset;
  // The field holds the pseudo header's sum, which is part of the sum.
  let sum = sumOf(head, csumStart, headLength);
  if (frame.bodyLength > 0) {
    const body = sumOf(frame.body, frame.bodyStart, frame.bodyStart + frame.bodyLength);
    const odd = ((headLength - csumStart) & 1) !== 0;
    sum += odd ? ((body & 0xff) << 8) | (body >>> 8) : body;
  }
  // UDP has 0 for "no checksum" (RFC 768); for TCP both zeros are the same.
  write16(head, at, checksumOf(sum) || 0xffff);
  frame.flags &= ~VIRTIO_NET_HDR_F_NEEDS_CSUM;
}

/** Cuts frames into segments. One object serves all frames of a thread. */
export class Segmenter {
  readonly #bytes = new Uint8Array(MAX_FRAME_BYTES);

  /**
   * Gives a TCP frame's segments, complete, to `emit`, until it returns false.
   * @param frame whose metadata is sound
   * @param piece where the segments are made
   * @returns whether all were taken
   */
  split(frame: Frame, piece: Frame, emit: (piece: Frame) => boolean): boolean {
    const at = tcpAt(frame);
    if (at === undefined) return false;
    const { version, tcp, payload } = at;
    const bytes = this.#bytes;
    const total = frame.length - payload;
    const seq = read32(frame.head, tcp + 4);
    const identification = read16(frame.head, ETHERNET_HEADER_BYTES + 4);
    const flags = frame.head[tcp + 13]!;
    for (let sent = 0, index = 0; sent < total || index === 0; index += 1) {
      const count = frame.copyTo(bytes, payload, payload + sent, frame.gsoSize);
      bytes.set(frame.head.subarray(0, payload), 0);
      const last = sent + count >= total;
      write32(bytes, tcp + 4, seq + sent);
      bytes[tcp + 13] = flags & ~(last ? 0 : FIN | PSH) & ~(index === 0 ? 0 : CWR);
      const ip = ETHERNET_HEADER_BYTES;
      if (version === 4) {
        write16(bytes, ip + 2, payload - ip + count);
        write16(bytes, ip + 4, identification + index);
        write16(bytes, ip + 10, 0);
        write16(bytes, ip + 10, checksumOf(sumOf(bytes, ip, tcp)));
      } else write16(bytes, ip + 4, payload - ip - IPV6_HEADER_BYTES + count);
      const pseudo = pseudoSumAt(bytes, ip, version, PROTOCOL_TCP, payload - tcp + count);
      write16(bytes, tcp + TCP_CHECKSUM_OFFSET, 0);
      const sum = sumOf(bytes, tcp, payload + count, pseudo);
      write16(bytes, tcp + TCP_CHECKSUM_OFFSET, checksumOf(sum));
      if (!emit(piece.setPlain(bytes, payload + count))) return false;
      sent += count;
    }
    return true;
  }
}
