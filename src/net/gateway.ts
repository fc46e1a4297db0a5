/**
 * The gateway of a LAN: router, DHCP server and name server in one station. It ends the guests' TCP and
 * UDP itself and goes on with sockets of the host's, so that it needs no privilege.
 */
import { type Frame, VIRTIO_NET_HDR_F_NEEDS_CSUM } from '../devices/frame-link.js';
import { ARP_REQUEST, ArpPacket } from './arp.js';
import { transportSumIsRight } from './checksum.js';
import { DHCP_SERVER_PORT, parseDhcp, wantsBroadcast } from './dhcp-message.js';
import { answerDhcp, type DhcpSettings } from './dhcp-server.js';
import { DNS_PORT } from './dns-message.js';
import type { DnsRelay } from './dns-relay.js';
import { BROADCAST_MAC, ETHERTYPE_ARP, ETHERTYPE_IPV4, etherTypeOf, SOURCE } from './ethernet.js';
import {
  ADMINISTRATIVELY_PROHIBITED,
  ICMP_ECHO,
  isIcmp,
  PROTOCOL_UNREACHABLE,
  turnEcho,
} from './icmp.js';
import { Ipv4Packet, PROTOCOL_ICMP, PROTOCOL_TCP, PROTOCOL_UDP } from './ipv4.js';
import type { GatewayStation } from './lan.js';
import { PacketSender, type Station } from './packet-sender.js';
import type { Port } from './port.js';
import type { TcpConnection } from './tcp/connection.js';
import { TcpSegment } from './tcp/segment.js';
import { TcpFlows } from './tcp-flows.js';
import { UdpDatagram } from './udp.js';
import { UdpFlows } from './udp-flows.js';
import type { VmNetwork } from './vm-network.js';

const ETHERNET = 14;
const SWEEP_MS = 10_000;
const LIMITED_BROADCAST = 0xffffffff;

/** One VM's part of the gateway. */
interface Client {
  readonly vm: VmNetwork;
  readonly tcp: TcpFlows;
  readonly udp: UdpFlows;
  /** The station that was heard last. */
  latest: Station | undefined;
}

/** What a gateway is made with. */
export interface GatewayOptions extends DhcpSettings {
  readonly mac: Uint8Array;
  readonly relay: DnsRelay;
  readonly now: () => number;
}

export class Gateway implements GatewayStation {
  readonly mac: Uint8Array;
  readonly address: number;
  readonly #options: GatewayOptions;
  readonly #sender: PacketSender;
  readonly #clients = new Map<Port, Client>();
  readonly #arp = new ArpPacket();
  readonly #packet = new Ipv4Packet();
  readonly #whole = new Ipv4Packet();
  readonly #segment = new TcpSegment();
  readonly #datagram = new UdpDatagram();
  readonly #services = new Map([[DNS_PORT, (vm: VmNetwork) => this.#options.relay.stream(vm)]]);
  /** Connections with something to send once the burst of frames has ended. */
  #dirty = new Set<TcpConnection>();
  #flushing = false;
  readonly #sweeping: NodeJS.Timeout;

  constructor(options: GatewayOptions) {
    this.#options = options;
    this.mac = options.mac;
    this.address = options.gateway;
    this.#sender = new PacketSender(options.mac);
    this.#sweeping = setInterval(() => this.#sweep(), SWEEP_MS).unref();
  }

  /** Serves one more port. */
  add(vm: VmNetwork): TcpFlows {
    const { now } = this.#options;
    const tcp = new TcpFlows(vm, {
      sender: this.#sender,
      gatewayAddress: this.address,
      now,
      later: (connection) => this.#later(connection),
      services: this.#services,
    });
    const udp = new UdpFlows(vm, { sender: this.#sender, gatewayAddress: this.address, now });
    this.#clients.set(vm.port, { vm, tcp, udp, latest: undefined });
    return tcp;
  }

  /** Flows that a port has open now. */
  openFlows(port: Port): { readonly tcp: number; readonly udp: number } {
    const client = this.#clients.get(port);
    return { tcp: client?.tcp.size ?? 0, udp: client?.udp.size ?? 0 };
  }

  detached(port: Port): void {
    const client = this.#clients.get(port);
    if (client === undefined) return;
    this.#clients.delete(port);
    client.tcp.close();
    client.udp.close();
  }

  close(): void {
    clearInterval(this.#sweeping);
    for (const port of [...this.#clients.keys()]) this.detached(port);
  }

  receive(port: Port, frame: Frame): void {
    const client = this.#clients.get(port);
    if (client === undefined) return;
    const { head, headLength } = frame;
    const type = etherTypeOf(head);
    if (type === ETHERTYPE_ARP) this.#receiveArp(client, head, headLength);
    else if (type === ETHERTYPE_IPV4) {
      if (this.#packet.parse(head, ETHERNET, headLength)) this.#receiveIpv4(client, frame);
      else port.counters.rejected += 1;
    }
    // IPv6 stays inside the LAN: router solicitations are not answered.
  }

  #receiveArp(client: Client, bytes: Uint8Array, end: number): void {
    if (!this.#arp.parse(bytes, ETHERNET, end)) return;
    const { operation, targetAddress, senderAddress, senderMac } = this.#arp;
    if (operation !== ARP_REQUEST || targetAddress !== this.address) return;
    const { port } = client.vm;
    this.#sender.arpReply({ port, mac: senderMac, address: senderAddress }, this.address);
  }

  #receiveIpv4(client: Client, frame: Frame): void {
    const packet = this.#packet;
    if (!packet.isFragment) {
      this.#receivePacket(client, frame, packet, (frame.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) !== 0);
      return;
    }
    const payload = client.vm.fragments.add(packet);
    if (payload === undefined) return;
    const whole = this.#whole;
    whole.take(packet, payload);
    this.#receivePacket(client, frame, whole, false);
  }

  /** @param trusted the guest left the checksum to offload, so there is none to look at */
  #receivePacket(client: Client, frame: Frame, packet: Ipv4Packet, trusted: boolean): void {
    const { bytes, payloadStart, payloadEnd, protocol, source, destination } = packet;
    const ok =
      trusted ||
      transportSumIsRight(bytes, payloadStart, payloadEnd, source, destination, protocol);
    switch (protocol) {
      case PROTOCOL_TCP:
        if (ok && this.#segment.parse(bytes, payloadStart, payloadEnd)) {
          client.tcp.arrived(this.#stationOf(client, frame, source), packet, this.#segment);
          return;
        }
        break;
      case PROTOCOL_UDP: {
        const datagram = this.#datagram;
        if (datagram.parse(bytes, payloadStart, payloadEnd) && (ok || !datagram.hasChecksum)) {
          this.#receiveUdp(client, frame, packet);
          return;
        }
        break;
      }
      case PROTOCOL_ICMP:
        this.#receiveIcmp(client, frame, packet);
        return;
      default:
        this.#unreachable(client, frame, packet, PROTOCOL_UNREACHABLE);
        return;
    }
    client.vm.port.counters.rejected += 1;
  }

  /** The station that sent the frame; flows keep it. */
  #stationOf(client: Client, frame: Frame, address: number): Station {
    const { port } = client.vm;
    const { latest } = client;
    if (latest !== undefined && latest.address === address && sameMac(latest.mac, frame.head))
      return latest;
    const station = { port, mac: frame.head.slice(SOURCE, SOURCE + 6), address };
    client.latest = station;
    return station;
  }

  #receiveUdp(client: Client, frame: Frame, packet: Ipv4Packet): void {
    const datagram = this.#datagram;
    const toGateway = packet.destination === this.address;
    const toAll =
      packet.destination === LIMITED_BROADCAST || packet.destination === this.#options.broadcast;
    if (datagram.destinationPort === DHCP_SERVER_PORT && (toGateway || toAll)) {
      this.#receiveDhcp(client, packet);
      return;
    }
    if (toAll || packet.source === 0) return;
    const station = this.#stationOf(client, frame, packet.source);
    if (toGateway && datagram.destinationPort === DNS_PORT) {
      this.#receiveDns(client, station, packet, datagram.sourcePort);
    } else client.udp.arrived(station, packet, datagram);
  }

  #receiveDhcp(client: Client, packet: Ipv4Packet): void {
    const { vm } = client;
    const { payloadStart, payloadEnd, sourcePort } = this.#datagram;
    const request = parseDhcp(packet.bytes, payloadStart, payloadEnd);
    if (request === undefined || !sameMac(request.mac, vm.port.mac, 0)) return;
    const { address, name } = vm.port;
    const answer = answerDhcp(request, { address, hostName: name }, this.#options);
    if (answer === undefined) return;
    // RFC 2131, 4.1: to the address it has; else to the one offered, unless it must be broadcast.
    const known = request.clientAddress === address;
    const broadcast = !known && wantsBroadcast(request);
    this.#sender.udp(
      { port: vm.port, mac: broadcast ? BROADCAST_MAC : request.mac, address },
      { address: this.address, port: DHCP_SERVER_PORT },
      sourcePort,
      answer,
      broadcast || packet.source === 0 ? LIMITED_BROADCAST : address,
    );
  }

  #receiveDns(client: Client, station: Station, packet: Ipv4Packet, port: number): void {
    const { payloadStart, payloadEnd } = this.#datagram;
    const message = packet.bytes.slice(payloadStart, payloadEnd);
    this.#options.relay.answerDatagram(client.vm, message).then(
      (answer) => {
        if (answer === undefined) return;
        this.#sender.udp(station, { address: this.address, port: DNS_PORT }, port, answer);
      },
      // A query that fails is not answered, as a server's would not be that is out of reach.
      () => {},
    );
  }

  #receiveIcmp(client: Client, frame: Frame, packet: Ipv4Packet): void {
    const { bytes, payloadStart, payloadEnd } = packet;
    if (!isIcmp(bytes, payloadStart, payloadEnd) || bytes[payloadStart] !== ICMP_ECHO) return;
    if (packet.destination !== this.address) {
      this.#unreachable(client, frame, packet, ADMINISTRATIVELY_PROHIBITED);
      return;
    }
    const reply = bytes.slice(payloadStart, payloadEnd);
    turnEcho(reply, 0, reply.length);
    this.#sender.icmp(this.#stationOf(client, frame, packet.source), this.address, reply);
  }

  #unreachable(client: Client, frame: Frame, packet: Ipv4Packet, code: number): void {
    // RFC 1122, 3.2.2: no errors about what was sent to many.
    if (packet.source === 0 || packet.destination >>> 28 >= 14) return;
    const station = this.#stationOf(client, frame, packet.source);
    this.#sender.unreachable(station, this.address, code, packet.quote());
  }

  /** Puts off what a connection has to send until the guest's burst of frames has been taken. */
  #later(connection: TcpConnection): void {
    this.#dirty.add(connection);
    if (this.#flushing) return;
    this.#flushing = true;
    queueMicrotask(() => {
      this.#flushing = false;
      const connections = this.#dirty;
      this.#dirty = new Set();
      for (const dirty of connections) dirty.flush();
    });
  }

  #sweep(): void {
    for (const { tcp, udp } of this.#clients.values()) {
      tcp.sweep();
      udp.sweep();
    }
  }
}

function sameMac(mac: Uint8Array, bytes: Uint8Array, at = SOURCE): boolean {
  for (let i = 0; i < 6; i += 1) if (mac[i] !== bytes[at + i]) return false;
  return true;
}
