/**
 * A guest for tests of networks: a small host on a frame link, with ARP, DHCP, DNS lookups, echo, UDP
 * and TCP. It checks every checksum it gets, can lose frames, and can have no room for them.
 */
import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import {
  ETHERNET_HEADER_BYTES,
  Frame,
  type FrameLink,
  type FrameStation,
  type Offloads,
  VIRTIO_NET_HDR_F_NEEDS_CSUM,
} from '../../devices/frame-link.js';
import { formatIpv4, parseIpv4 } from '../address.js';
import { ARP_BYTES, ARP_REPLY, ARP_REQUEST, ArpPacket, writeArp } from '../arp.js';
import { read16, read32, write16, write32 } from '../bytes.js';
import { pseudoSum, sumOf, transportSumIsRight } from '../checksum.js';
import { BROADCAST_MAC, ETHERTYPE_ARP, ETHERTYPE_IPV4, etherTypeOf } from '../ethernet.js';
import { Fragments } from '../fragments.js';
import { ICMP_ECHO, ICMP_ECHO_REPLY, ICMP_UNREACHABLE } from '../icmp.js';
import { Ipv4Packet, PROTOCOL_ICMP, PROTOCOL_TCP, PROTOCOL_UDP } from '../ipv4.js';
import { PacketSender, type Station } from '../packet-sender.js';
import { Port } from '../port.js';
import { BlockAccount } from '../tcp/blocks.js';
import { TcpConnection } from '../tcp/connection.js';
import { OutgoingSegment } from '../tcp/path.js';
import { ACK, RST, SYN, TcpSegment } from '../tcp/segment.js';
import { TcpRoute } from '../tcp-route.js';
import { UdpDatagram } from '../udp.js';
import { PeerSocket } from './peer-socket.js';

const ALL: Offloads = { checksum: true, tso4: true, tso6: true };
/** Long, as a test that waits so long has failed. */
const PATIENCE_MS = 120_000;

/** A datagram that arrived. */
export interface PeerDatagram {
  readonly address: string;
  readonly port: number;
  readonly payload: Buffer;
}

interface ArrivedDatagram extends PeerDatagram {
  /** The guest's port. */
  readonly to: number;
}

/** What DHCP gave. */
export interface PeerLease {
  readonly address: number;
  /** Options by number. */
  readonly options: ReadonlyMap<number, Uint8Array>;
}

/** How the guest is to behave. */
export interface PeerBehaviour {
  readonly offloads?: Offloads;
  /** Whether to lose the next frame to the guest. */
  readonly lose?: () => boolean;
  /** Whether to lose the next frame from the guest. */
  readonly loseSent?: () => boolean;
  /** Whether the guest has no room for the next frame; it has again soon after. */
  readonly full?: () => boolean;
}

interface Waiter<Value> {
  readonly matches: (value: Value) => boolean;
  readonly resolve: (value: Value) => void;
}

export class GuestPeer implements FrameStation {
  readonly offloads: Offloads;
  readonly mac: Uint8Array;
  address = 0;
  gateway = 0;
  gatewayMac: Uint8Array = new Uint8Array(6);
  /** Every frame that arrived, when a test turned it on. */
  frames: Uint8Array[] | undefined;
  readonly #link: FrameLink;
  readonly #behaviour: PeerBehaviour;
  readonly #wire: Port;
  readonly #sender: PacketSender;
  readonly #packet = new Ipv4Packet();
  readonly #whole = new Ipv4Packet();
  readonly #fragments = new Fragments(() => performance.now());
  readonly #segment = new TcpSegment();
  readonly #datagram = new UdpDatagram();
  readonly #arp = new ArpPacket();
  readonly #outgoing = new OutgoingSegment();
  readonly #account = new BlockAccount(1024);
  readonly #sockets = new Map<string, PeerSocket>();
  readonly #listeners = new Map<number, (socket: PeerSocket) => void>();
  #queue: { readonly bytes: Uint8Array; readonly finished: boolean }[] = [];
  #waiters: Waiter<ArrivedDatagram>[] = [];
  #arpWaiters: Waiter<ArpPacket>[] = [];
  #icmpWaiters: Waiter<Buffer>[] = [];
  #segmentWaiters: Waiter<TcpSegment>[] = [];
  #nextPort = 40_000;

  constructor(link: FrameLink, behaviour: PeerBehaviour = {}) {
    this.#link = link;
    this.#behaviour = behaviour;
    this.offloads = behaviour.offloads ?? ALL;
    this.mac = link.mac;
    // What the peer sends goes through a port of its own, whose station is the link.
    const wire = { name: 'peer', mac: this.mac, address: 0, mtu: link.mtu };
    this.#wire = new Port(wire, { ingress: () => {}, detached: () => {} });
    this.#wire.attach({
      offloads: link.offloads,
      receive: (frame) => behaviour.loseSent?.() || link.send(frame),
      sendReady: () => {},
      carrier: () => {},
    });
    this.#sender = new PacketSender(this.mac);
    link.attach(this);
  }

  receive(frame: Frame): boolean {
    if (this.#behaviour.full?.()) {
      setImmediate(() => this.#link.receiveReady());
      return false;
    }
    if (this.#behaviour.lose?.()) return true;
    const bytes = new Uint8Array(frame.length);
    frame.copyTo(bytes, 0, 0, bytes.length);
    const limit = this.offloads.tso4 ? 65549 : this.#link.mtu + ETHERNET_HEADER_BYTES;
    assert.ok(bytes.length <= limit, `a frame of ${bytes.length} bytes`);
    const finished = (frame.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) === 0;
    assert.ok(finished || this.offloads.checksum, 'an unfinished checksum');
    if (this.#queue.length === 0) setImmediate(() => this.#drain());
    this.#queue.push({ bytes, finished });
    return true;
  }

  sendReady(): void {
    this.#wire.receiveReady();
  }

  carrier(): void {}

  #drain(): void {
    const queue = this.#queue;
    this.#queue = [];
    for (const { bytes, finished } of queue) {
      this.frames?.push(bytes);
      const type = etherTypeOf(bytes);
      if (type === ETHERTYPE_ARP) this.#receiveArp(bytes);
      else if (type === ETHERTYPE_IPV4) this.#receiveIpv4(bytes, finished);
    }
    for (const socket of this.#sockets.values()) socket.connection.flush();
  }

  #receiveArp(bytes: Uint8Array): void {
    assert.ok(this.#arp.parse(bytes, ETHERNET_HEADER_BYTES, bytes.length));
    const { operation, targetAddress, senderMac, senderAddress } = this.#arp;
    if (operation === ARP_REQUEST && targetAddress === this.address) {
      const to = { port: this.#wire, mac: senderMac, address: senderAddress };
      this.#sender.arpReply(to, this.address);
    } else if (operation === ARP_REPLY) {
      this.#arpWaiters = settle(this.#arpWaiters, this.#arp);
    }
  }

  #receiveIpv4(bytes: Uint8Array, finished: boolean): void {
    const packet = this.#packet;
    assert.ok(packet.parse(bytes, ETHERNET_HEADER_BYTES, bytes.length), 'a malformed packet');
    const { payloadStart, payloadEnd, source, protocol } = packet;
    if (protocol === PROTOCOL_ICMP) {
      assert.equal(sumOf(bytes, payloadStart, payloadEnd), 0xffff);
      this.#receiveIcmp(Buffer.from(bytes.subarray(payloadStart, payloadEnd)), source);
      return;
    }
    if (packet.isFragment) {
      const payload = this.#fragments.add(packet);
      if (payload === undefined) return;
      this.#whole.take(packet, payload);
      this.#receiveTransport(this.#whole, true);
    } else this.#receiveTransport(packet, finished);
  }

  #receiveTransport(packet: Ipv4Packet, finished: boolean): void {
    const { bytes, payloadStart, payloadEnd, source, destination, protocol } = packet;
    if (finished) {
      const right = transportSumIsRight(
        bytes,
        payloadStart,
        payloadEnd,
        source,
        destination,
        protocol,
      );
      // UDP over IPv4 may come without (RFC 768).
      const none = protocol === PROTOCOL_UDP && read16(bytes, payloadStart + 6) === 0;
      assert.ok(right || none, 'a wrong checksum');
    } else {
      const pseudo = pseudoSum(source, destination, protocol, payloadEnd - payloadStart);
      assert.equal(read16(bytes, payloadStart + 16), pseudo, 'a wrong sum of the pseudo header');
    }
    if (protocol === PROTOCOL_UDP) {
      assert.ok(this.#datagram.parse(bytes, payloadStart, payloadEnd));
      const { sourcePort, destinationPort } = this.#datagram;
      const payload = Buffer.from(
        bytes.subarray(this.#datagram.payloadStart, this.#datagram.payloadEnd),
      );
      const arrived: ArrivedDatagram = {
        address: formatIpv4(source),
        port: sourcePort,
        payload,
        to: destinationPort,
      };
      this.#waiters = settle(this.#waiters, arrived);
    } else if (protocol === PROTOCOL_TCP) {
      assert.ok(this.#segment.parse(bytes, payloadStart, payloadEnd));
      this.#receiveTcp(source);
    }
  }

  #receiveIcmp(message: Buffer, source: number): void {
    if (message[0] === ICMP_ECHO) {
      message[0] = ICMP_ECHO_REPLY;
      write16(message, 2, 0);
      write16(message, 2, ~sumOf(message, 0, message.length) & 0xffff);
      this.#sender.icmp(this.#stationOf(source), this.address, message);
      return;
    }
    this.#icmpWaiters = settle(this.#icmpWaiters, message);
  }

  #receiveTcp(source: number): void {
    const segment = this.#segment;
    const before = this.#segmentWaiters.length;
    this.#segmentWaiters = settle(this.#segmentWaiters, segment);
    if (this.#segmentWaiters.length < before) return;
    const key = `${source} ${segment.sourcePort} ${segment.destinationPort}`;
    let socket = this.#sockets.get(key);
    const listener = this.#listeners.get(segment.destinationPort);
    if (socket === undefined && listener !== undefined && segment.has(SYN) && !segment.has(ACK)) {
      socket = this.#makeSocket(source, segment.sourcePort, segment.destinationPort);
      socket.connection.listen(segment);
      socket.connection.accept();
      listener(socket);
      return;
    }
    if (socket !== undefined) socket.connection.segmentArrived(segment);
    else if (!segment.has(RST) && this.#answersStrays) {
      this.sendSegment(source, {
        sourcePort: segment.destinationPort,
        destinationPort: segment.sourcePort,
        seq: segment.ack,
        flags: segment.has(ACK) ? RST : RST | ACK,
        ack: (segment.seq + segment.sequenceLength) >>> 0,
      });
    }
  }

  /** Whether segments of no connection are answered with RST, as a host does. */
  #answersStrays = true;

  /** Leaves the answering to the test. */
  silenceStrays(): void {
    this.#answersStrays = false;
  }

  #stationOf(address: number): Station {
    return { port: this.#wire, mac: this.gatewayMac, address };
  }

  #makeSocket(address: number, farPort: number, ownPort: number): PeerSocket {
    const key = { guestAddress: address, guestPort: farPort, farAddress: this.address, farPort };
    const route = new TcpRoute(this.#stationOf(address), key, this.#sender);
    const socket = new PeerSocket();
    const connection = new TcpConnection({
      path: route,
      account: this.#account,
      outgoing: this.#outgoing,
      localPort: ownPort,
      remotePort: farPort,
      initialSeq: randomInt(2 ** 32),
      mss: this.#link.mtu - 40,
      now: () => performance.now(),
    });
    connection.user = socket;
    socket.connection = connection;
    const name = `${address} ${farPort} ${ownPort}`;
    this.#sockets.set(name, socket);
    void socket.ended.then(() => this.#sockets.delete(name));
    return socket;
  }

  /** Sends bytes as a frame, whatever they are. */
  sendFrame(bytes: Uint8Array): void {
    this.#link.send(new Frame().setPlain(bytes, bytes.length));
  }

  /** Sends one TCP segment of the test's own making. */
  sendSegment(address: number, fields: Partial<OutgoingSegment>, payload?: Uint8Array): void {
    const segment = Object.assign(new OutgoingSegment(), { window: 65535 }, fields);
    if (payload !== undefined) {
      segment.body = payload;
      segment.bodyLength = payload.length;
      segment.segmentBytes = payload.length;
    }
    this.#sender.tcp(this.#stationOf(address), this.address, segment);
  }

  /** The next segment that the test takes for itself. */
  segment(matches: (segment: TcpSegment) => boolean): Promise<TcpSegment> {
    return this.#wait('a segment', (resolve) =>
      this.#segmentWaiters.push({
        matches,
        resolve: (segment) => {
          const copy = new TcpSegment();
          resolve(Object.assign(copy, segment, { bytes: segment.bytes.slice() }));
        },
      }),
    );
  }

  /** The next ICMP message. */
  icmp(): Promise<Buffer> {
    return this.#wait('an ICMP message', (resolve) =>
      this.#icmpWaiters.push({ matches: () => true, resolve }),
    );
  }

  /** The next datagram to a port. */
  datagram(port: number): Promise<PeerDatagram> {
    return this.#wait(`a datagram to port ${port}`, (resolve) =>
      this.#waiters.push({ matches: ({ to }) => to === port, resolve }),
    );
  }

  sendDatagram(address: string, port: number, payload: Uint8Array, ownPort: number): void {
    const source = { address: this.address, port: ownPort };
    this.#sender.udp(this.#stationOf(parseIpv4(address)!), source, port, payload);
  }

  /** Looks up a MAC address. */
  async resolveMac(address: number): Promise<Uint8Array> {
    const found = this.#wait<Uint8Array>('an ARP reply', (resolve) =>
      this.#arpWaiters.push({
        matches: ({ senderAddress }) => senderAddress === address,
        resolve: ({ senderMac }) => resolve(senderMac.slice()),
      }),
    );
    const frame = new Uint8Array(60);
    frame.set(BROADCAST_MAC, 0);
    frame.set(this.mac, 6);
    write16(frame, 12, ETHERTYPE_ARP);
    const sender = { mac: this.mac, address: this.address };
    writeArp(frame, ETHERNET_HEADER_BYTES, ARP_REQUEST, sender, {
      mac: new Uint8Array(6),
      address,
    });
    assert.ok(frame.length >= ETHERNET_HEADER_BYTES + ARP_BYTES);
    this.sendFrame(frame);
    return found;
  }

  /** DISCOVER, REQUEST; then looks for the gateway. */
  async dhcp(): Promise<PeerLease> {
    const offer = await this.#askDhcp(1, []);
    const offered = read32(offer.payload, 16);
    const server = dhcpOptions(offer.payload).get(54)!;
    const wanted = new Uint8Array(4);
    write32(wanted, 0, offered);
    const ack = await this.#askDhcp(3, [
      [50, wanted],
      [54, server],
    ]);
    const options = dhcpOptions(ack.payload);
    assert.equal(options.get(53)?.[0], 5, 'DHCPACK');
    this.address = read32(ack.payload, 16);
    this.gateway = read32(options.get(3)!, 0);
    this.gatewayMac = await this.resolveMac(this.gateway);
    return { address: this.address, options };
  }

  async #askDhcp(type: number, more: [number, Uint8Array][]): Promise<PeerDatagram> {
    const message = new Uint8Array(300);
    message.set([1, 1, 6, 0, 1, 2, 3, type]);
    message.set(this.mac, 28);
    message.set([99, 130, 83, 99, 53, 1, type], 236);
    let at = 243;
    for (const [option, value] of more) {
      message.set([option, value.length, ...value], at);
      at += 2 + value.length;
    }
    message[at] = 255;
    const answer = this.datagram(68);
    const everybody = { port: this.#wire, mac: BROADCAST_MAC, address: 0xffffffff };
    this.#sender.udp(everybody, { address: 0, port: 68 }, 67, message);
    return answer;
  }

  /** Asks the gateway for a name's records of a type. */
  async lookUp(name: string, type = 1): Promise<{ rcode: number; addresses: string[] }> {
    const port = this.#nextPort++;
    const answer = this.datagram(port);
    this.sendDatagram(formatIpv4(this.gateway), 53, dnsQuery(name, type), port);
    return readDnsAnswer((await answer).payload);
  }

  /** Sends an echo request and gives the reply, or the error. */
  async ping(address: number, payload: Uint8Array): Promise<Buffer> {
    const message = new Uint8Array(8 + payload.length);
    message.set([ICMP_ECHO, 0, 0, 0, 0x12, 0x34, 0, 1]);
    message.set(payload, 8);
    write16(message, 2, ~sumOf(message, 0, message.length) & 0xffff);
    const answer = this.icmp();
    this.#sender.icmp(this.#stationOf(address), this.address, message);
    return answer;
  }

  /** Connects; the stream's `connected` rejects when it is refused. */
  connect(address: string, port: number): PeerSocket {
    const socket = this.#makeSocket(parseIpv4(address)!, port, this.#nextPort++);
    socket.connection.connect();
    return socket;
  }

  /** Takes connections to a port of the guest. */
  listen(port: number, connected: (socket: PeerSocket) => void): void {
    this.#listeners.set(port, connected);
  }

  #wait<Value>(what: string, start: (resolve: (value: Value) => void) => void): Promise<Value> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`waited for ${what}`)), PATIENCE_MS);
      start((value) => {
        clearTimeout(timer);
        resolve(value);
      });
    });
  }
}

/** Everybody who waits for this value gets it, and waits no more. */
function settle<Value>(waiters: Waiter<Value>[], value: Value): Waiter<Value>[] {
  const left = waiters.filter((waiter) => !waiter.matches(value));
  for (const waiter of waiters) if (!left.includes(waiter)) waiter.resolve(value);
  return left;
}

export function dhcpOptions(message: Uint8Array): Map<number, Uint8Array> {
  const options = new Map<number, Uint8Array>();
  for (let at = 240; at < message.length && message[at] !== 255; ) {
    const length = message[at + 1] ?? 0;
    options.set(message[at]!, message.slice(at + 2, at + 2 + length));
    at += 2 + length;
  }
  return options;
}

/** A query for one name, with the id 0x1234. */
export function dnsQuery(name: string, type: number): Uint8Array {
  const labels = name.split('.').flatMap((label) => [label.length, ...Buffer.from(label)]);
  return Uint8Array.from([0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, ...labels, 0, 0, type, 0, 1]);
}

/** The code and the addresses of an answer whose records have compressed names. */
export function readDnsAnswer(message: Uint8Array): { rcode: number; addresses: string[] } {
  const addresses: string[] = [];
  let at = 12;
  while (message[at] !== 0) at += message[at]! + 1;
  at += 5;
  for (let index = read16(message, 6); index > 0; index -= 1) {
    const length = read16(message, at + 10);
    if (read16(message, at + 2) === 1) addresses.push(formatIpv4(read32(message, at + 12)));
    at += 12 + length;
  }
  return { rcode: message[3]! & 15, addresses };
}

/** Waits for a stream's bytes to its end. */
export async function readAll(stream: PeerSocket): Promise<Buffer> {
  const chunks: Buffer[] = [];
  stream.on('data', (chunk: Buffer) => chunks.push(chunk));
  await once(stream, 'end');
  return Buffer.concat(chunks);
}

/** What an ICMP error says: its code, or undefined when it is none. */
export function unreachableCode(message: Buffer): number | undefined {
  return message[0] === ICMP_UNREACHABLE ? message[1] : undefined;
}
