/** Makes the frames that the gateway sends. One object and one header buffer serve all of them. */
import {
  ETHERNET_HEADER_BYTES,
  Frame,
  MAX_FRAME_BYTES,
  VIRTIO_NET_HDR_F_NEEDS_CSUM,
  VIRTIO_NET_HDR_GSO_NONE,
  VIRTIO_NET_HDR_GSO_TCPV4,
} from '../devices/frame-link.js';
import { ARP_BYTES, ARP_REPLY, writeArp } from './arp.js';
import { write16 } from './bytes.js';
import { checksumOf, pseudoSum, sumOf } from './checksum.js';
import { DESTINATION, ETHERTYPE_ARP, ETHERTYPE_IPV4, SOURCE } from './ethernet.js';
import { writeIcmpError } from './icmp.js';
import { IPV4_HEADER_BYTES, PROTOCOL_ICMP, PROTOCOL_TCP, PROTOCOL_UDP, writeIpv4 } from './ipv4.js';
import type { Port } from './port.js';
import type { OutgoingSegment } from './tcp/path.js';
import { TCP_CHECKSUM_OFFSET, writeTcp } from './tcp/segment.js';
import { UDP_CHECKSUM_OFFSET, UDP_HEADER_BYTES, writeUdp } from './udp.js';

const IP = ETHERNET_HEADER_BYTES;
const TRANSPORT = IP + IPV4_HEADER_BYTES;

/** A station on the LAN. */
export interface Station {
  readonly port: Port;
  readonly mac: Uint8Array;
  readonly address: number;
}

/** One end of a UDP exchange. */
export interface Endpoint {
  readonly address: number;
  readonly port: number;
}

export class PacketSender {
  readonly #mac: Uint8Array;
  readonly #head = new Uint8Array(MAX_FRAME_BYTES);
  readonly #frame = new Frame();
  readonly #fields = {
    protocol: 0,
    source: 0,
    destination: 0,
    identification: 0,
    fragmentOffset: 0,
    moreFragments: false,
  };
  #identification = 0;

  /** @param mac the gateway's */
  constructor(mac: Uint8Array) {
    this.#mac = mac;
  }

  /** Answers who has the gateway's address. */
  arpReply(to: Station, own: number): void {
    this.#begin(to.mac, ETHERTYPE_ARP);
    const sender = { mac: this.#mac, address: own };
    writeArp(this.#head, IP, ARP_REPLY, sender, to);
    this.#sendPlain(to.port, IP + ARP_BYTES);
  }

  /** @returns false when the guest has no room */
  tcp(to: Station, source: number, segment: OutgoingSegment): boolean {
    const headerBytes = writeTcp(this.#head, TRANSPORT, segment);
    const length = headerBytes + segment.bodyLength;
    this.#begin(to.mac, ETHERTYPE_IPV4);
    this.#ipv4(PROTOCOL_TCP, source, to.address, length);
    const pseudo = pseudoSum(source, to.address, PROTOCOL_TCP, length);
    write16(this.#head, TRANSPORT + TCP_CHECKSUM_OFFSET, pseudo);
    const frame = this.#frame;
    frame.head = this.#head;
    frame.headLength = TRANSPORT + headerBytes;
    frame.body = segment.body;
    frame.bodyStart = segment.bodyStart;
    frame.bodyLength = segment.bodyLength;
    frame.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
    frame.csumStart = TRANSPORT;
    frame.csumOffset = TCP_CHECKSUM_OFFSET;
    frame.hdrLen = frame.headLength;
    const large = segment.bodyLength > segment.segmentBytes;
    frame.gsoType = large ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_NONE;
    frame.gsoSize = large ? segment.segmentBytes : 0;
    return to.port.offer(frame);
  }

  /** Sends a datagram, in fragments when it is longer than the MTU; what finds no room is lost. */
  udp(
    to: Station,
    source: Endpoint,
    destinationPort: number,
    payload: Uint8Array,
    destination = to.address,
  ): void {
    const length = UDP_HEADER_BYTES + payload.length;
    if (TRANSPORT + length > MAX_FRAME_BYTES) return;
    writeUdp(this.#head, TRANSPORT, source.port, destinationPort, payload.length);
    this.#head.set(payload, TRANSPORT + UDP_HEADER_BYTES);
    const pseudo = pseudoSum(source.address, destination, PROTOCOL_UDP, length);
    const sum = checksumOf(sumOf(this.#head, TRANSPORT, TRANSPORT + length, pseudo));
    write16(this.#head, TRANSPORT + UDP_CHECKSUM_OFFSET, sum || 0xffff);
    this.#sendIpv4(to, PROTOCOL_UDP, source.address, destination, length);
  }

  /** Sends an ICMP message with a right checksum. */
  icmp(to: Station, source: number, payload: Uint8Array): void {
    this.#head.set(payload, TRANSPORT);
    this.#sendIpv4(to, PROTOCOL_ICMP, source, to.address, payload.length);
  }

  /** Says that a packet cannot be delivered. @param packet from its header on */
  unreachable(to: Station, source: number, code: number, packet: Uint8Array): void {
    const length = writeIcmpError(this.#head, TRANSPORT, code, packet);
    this.#sendIpv4(to, PROTOCOL_ICMP, source, to.address, length);
  }

  #begin(destination: Uint8Array, type: number): void {
    const head = this.#head;
    for (let i = 0; i < 6; i += 1) {
      head[DESTINATION + i] = destination[i]!;
      head[SOURCE + i] = this.#mac[i]!;
    }
    write16(head, 12, type);
  }

  #ipv4(
    protocol: number,
    source: number,
    destination: number,
    length: number,
    fragmentOffset = 0,
    moreFragments = false,
  ): void {
    const fields = this.#fields;
    fields.protocol = protocol;
    fields.source = source;
    fields.destination = destination;
    fields.fragmentOffset = fragmentOffset;
    fields.moreFragments = moreFragments;
    fields.identification = this.#identification;
    writeIpv4(this.#head, IP, fields, length);
    if (!moreFragments) this.#identification = (this.#identification + 1) & 0xffff;
  }

  /** Sends the payload that lies in the header buffer behind the IPv4 header. */
  #sendIpv4(
    to: Station,
    protocol: number,
    source: number,
    destination: number,
    length: number,
  ): void {
    this.#begin(to.mac, ETHERTYPE_IPV4);
    const limit = to.port.mtu - IPV4_HEADER_BYTES;
    if (length <= limit) {
      this.#ipv4(protocol, source, destination, length);
      this.#sendPlain(to.port, TRANSPORT + length);
      return;
    }
    const step = limit & ~7;
    for (let offset = 0; offset < length; offset += step) {
      const count = Math.min(step, length - offset);
      this.#ipv4(protocol, source, destination, count, offset, offset + count < length);
      this.#head.copyWithin(TRANSPORT, TRANSPORT + offset, TRANSPORT + offset + count);
      if (!this.#sendPlain(to.port, TRANSPORT + count)) return;
    }
  }

  #sendPlain(port: Port, length: number): boolean {
    const sent = port.offer(this.#frame.setPlain(this.#head, length));
    if (!sent) port.counters.dropped += 1;
    return sent;
  }
}
