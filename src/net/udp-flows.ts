/**
 * UDP of one VM: each flow of the guest's is a socket of the host's, connected, so that the kernel lets
 * only its far end answer. Silent flows end.
 */
import { createSocket, type Socket } from 'node:dgram';
import { formatIpv4 } from './address.js';
import { type FlowKey, FlowTable } from './flow-table.js';
import { ADMINISTRATIVELY_PROHIBITED, PORT_UNREACHABLE } from './icmp.js';
import type { Ipv4Packet } from './ipv4.js';
import type { PacketSender, Station } from './packet-sender.js';
import type { UdpDatagram } from './udp.js';
import type { VmNetwork } from './vm-network.js';

/** RFC 4787, REQ-5 asks for two minutes; a flow that was never answered is given less. */
const ANSWERED_MS = 120_000;
const UNANSWERED_MS = 30_000;
/** Datagrams and bytes that wait for a socket to open, or for the host's network. */
const WAITING_LIMIT = 16;
const QUEUED_BYTES_LIMIT = 256 * 1024;

interface UdpFlow extends FlowKey {
  readonly station: Station;
  /** The first packet's headers, for ICMP errors. */
  readonly opening: Uint8Array;
  socket: Socket | undefined;
  connected: boolean;
  waiting: Buffer[];
  answered: boolean;
  usedAt: number;
  closed: boolean;
}

/** What all VMs' flows share. */
export interface UdpContext {
  readonly sender: PacketSender;
  readonly gatewayAddress: number;
  readonly now: () => number;
}

export class UdpFlows {
  readonly #vm: VmNetwork;
  readonly #context: UdpContext;
  readonly #flows = new FlowTable<UdpFlow>();

  constructor(vm: VmNetwork, context: UdpContext) {
    this.#vm = vm;
    this.#context = context;
  }

  get size(): number {
    return this.#flows.size;
  }

  /** A datagram of the guest's for somebody outside, whose checksum is right. */
  arrived(station: Station, packet: Ipv4Packet, datagram: UdpDatagram): void {
    const flow =
      this.#flows.find(
        packet.source,
        datagram.sourcePort,
        packet.destination,
        datagram.destinationPort,
      ) ?? this.#open(station, packet, datagram);
    if (flow.closed) return;
    flow.usedAt = this.#context.now();
    const payload = Buffer.from(packet.bytes.subarray(datagram.payloadStart, datagram.payloadEnd));
    if (flow.connected) this.#send(flow, payload);
    else if (flow.waiting.length < WAITING_LIMIT) flow.waiting.push(payload);
  }

  /** Ends silent flows. */
  sweep(): void {
    const now = this.#context.now();
    for (const flow of this.#flows.values()) {
      const limit = flow.answered ? ANSWERED_MS : UNANSWERED_MS;
      if (now - flow.usedAt > limit) this.#close(flow);
    }
  }

  close(): void {
    for (const flow of this.#flows.values()) this.#close(flow);
  }

  #open(station: Station, packet: Ipv4Packet, datagram: UdpDatagram): UdpFlow {
    if (this.#flows.size >= this.#vm.limits.udpFlows) this.#closeOldest();
    const flow: UdpFlow = {
      station,
      guestAddress: packet.source,
      guestPort: datagram.sourcePort,
      farAddress: packet.destination,
      farPort: datagram.destinationPort,
      opening: packet.quote(),
      socket: undefined,
      connected: false,
      waiting: [],
      answered: false,
      usedAt: this.#context.now(),
      closed: false,
    };
    this.#flows.add(flow);
    this.#ask(flow);
    return flow;
  }

  #closeOldest(): void {
    let oldest: UdpFlow | undefined;
    for (const flow of this.#flows.values()) {
      if (oldest === undefined || flow.usedAt < oldest.usedAt) oldest = flow;
    }
    if (oldest !== undefined) this.#close(oldest);
    this.#vm.counters.limited += 1;
  }

  #ask(flow: UdpFlow): void {
    const verdict = this.#vm.decide(flow.farAddress, flow.farPort);
    const { hook } = this.#vm;
    const proceed = (): void => {
      if (verdict.allowed) this.#connect(flow);
      else this.#refuse(flow);
    };
    if (hook === undefined) {
      proceed();
      return;
    }
    const info = this.#vm.outgoing(
      'udp',
      { address: flow.guestAddress, port: flow.guestPort },
      { address: flow.farAddress, port: flow.farPort },
      verdict,
    );
    Promise.resolve()
      .then(() => hook(info))
      .then(
        (answer) => {
          if (answer === undefined || answer === 'allow') proceed();
          else this.#refuse(flow);
        },
        () => this.#refuse(flow),
      );
  }

  #refuse(flow: UdpFlow): void {
    this.#vm.counters.refused += 1;
    this.#unreachable(flow, ADMINISTRATIVELY_PROHIBITED);
    this.#close(flow);
  }

  #connect(flow: UdpFlow): void {
    if (flow.closed) return;
    const socket = createSocket('udp4');
    flow.socket = socket;
    this.#vm.counters.udp += 1;
    socket.on('message', (message) => this.#answered(flow, message));
    socket.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ECONNREFUSED') this.#unreachable(flow, PORT_UNREACHABLE);
      this.#close(flow);
    });
    const address = this.#vm.hostAddressOf(flow.farAddress);
    // Port 0 is nobody's, and no socket can be connected to it.
    if (flow.farPort === 0) {
      this.#close(flow);
      return;
    }
    socket.connect(flow.farPort, formatIpv4(address), () => this.#connected(flow, socket, address));
  }

  #connected(flow: UdpFlow, socket: Socket, address: number): void {
    if (flow.closed) return;
    const own = socket.address().address === formatIpv4(address);
    if (own && !this.#vm.namesHostAddress(address, flow.farPort)) {
      this.#refuse(flow);
      return;
    }
    flow.connected = true;
    for (const payload of flow.waiting) this.#send(flow, payload);
    flow.waiting = [];
  }

  #send(flow: UdpFlow, payload: Buffer): void {
    const { socket } = flow;
    if (socket === undefined || socket.getSendQueueSize() > QUEUED_BYTES_LIMIT) return;
    socket.send(payload, (error) => {
      if (error === null || flow.closed) return;
      if ((error as NodeJS.ErrnoException).code === 'ECONNREFUSED') {
        this.#unreachable(flow, PORT_UNREACHABLE);
      }
    });
  }

  #answered(flow: UdpFlow, message: Uint8Array): void {
    flow.answered = true;
    flow.usedAt = this.#context.now();
    const source = { address: flow.farAddress, port: flow.farPort };
    this.#context.sender.udp(flow.station, source, flow.guestPort, message);
  }

  #unreachable(flow: UdpFlow, code: number): void {
    const { sender, gatewayAddress } = this.#context;
    // From whoever refused: the far host for its port, the gateway for its policy.
    const source = code === PORT_UNREACHABLE ? flow.farAddress : gatewayAddress;
    sender.unreachable(flow.station, source, code, flow.opening);
  }

  #close(flow: UdpFlow): void {
    if (flow.closed) return;
    flow.closed = true;
    flow.waiting = [];
    this.#flows.delete(flow);
    flow.socket?.close();
  }
}
