/**
 * The TCP connections of one VM: those that the guest opens, after policy and hook, and those to
 * published ports.
 */
import { randomInt } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { formatIpv4 } from './address.js';
import { type FlowKey, FlowTable } from './flow-table.js';
import { HOST_UNREACHABLE } from './icmp.js';
import type { Ipv4Packet } from './ipv4.js';
import type { PacketSender, Station } from './packet-sender.js';
import { StreamBridge } from './stream-bridge.js';
import { BLOCK_BYTES } from './tcp/blocks.js';
import { TcpConnection } from './tcp/connection.js';
import { OutgoingSegment } from './tcp/path.js';
import { ACK, RST, SYN, type TcpSegment } from './tcp/segment.js';
import { advanced } from './tcp/sequence.js';
import { TcpRoute } from './tcp-route.js';
import type { VmNetwork } from './vm-network.js';

const HEADERS = 40;
/** RFC 6335: ports that nobody else has a use for. */
const FIRST_EPHEMERAL = 49152;
const LAST_EPHEMERAL = 65535;
/** A connection that was silent so long is asked whether its guest still has it. */
const KEEPALIVE_MS = 120_000;

/** Errors of a connection attempt that an ICMP message says better than a reset. */
const UNREACHABLE = new Set(['EHOSTUNREACH', 'ENETUNREACH', 'ETIMEDOUT', 'EHOSTDOWN', 'ENETDOWN']);

/** Reads of all sockets go here and are copied on at once. */
const readBuffer = new Uint8Array(BLOCK_BYTES);

class TcpFlow extends TcpRoute {
  connection!: TcpConnection;
  bridge!: StreamBridge;
}

/** A service inside the gateway, e.g. DNS over TCP. */
export type LocalService = (vm: VmNetwork) => Duplex;

/** What all VMs' connections share. */
export interface TcpContext {
  readonly sender: PacketSender;
  readonly gatewayAddress: number;
  readonly now: () => number;
  /** Calls a connection's `flush` when the burst of frames has ended. */
  readonly later: (connection: TcpConnection) => void;
  /** The gateway's own services by port. */
  readonly services: ReadonlyMap<number, LocalService>;
}

export class TcpFlows {
  readonly #vm: VmNetwork;
  readonly #context: TcpContext;
  readonly #flows = new FlowTable<TcpFlow>();
  readonly #outgoing = new OutgoingSegment();
  #nextPort = FIRST_EPHEMERAL;

  constructor(vm: VmNetwork, context: TcpContext) {
    this.#vm = vm;
    this.#context = context;
  }

  /** Connections there are. */
  get size(): number {
    return this.#flows.size;
  }

  /** A segment of the guest's, whose checksum is right. */
  arrived(station: Station, packet: Ipv4Packet, segment: TcpSegment): void {
    const flow = this.#flows.find(
      packet.source,
      segment.sourcePort,
      packet.destination,
      segment.destinationPort,
    );
    if (flow !== undefined) {
      const { connection } = flow;
      if (segment.has(SYN) && connection.yieldsTo(segment)) this.#discard(flow);
      else {
        connection.segmentArrived(segment);
        this.#context.later(connection);
        return;
      }
    }
    if ((segment.flags & (SYN | ACK | RST)) === SYN) this.#open(station, packet, segment);
    else this.#reset(station, packet, segment);
  }

  /** A connection to a published port goes on to the guest. @returns false when there is no room */
  publish(station: Station, guestPort: number, socket: Socket): boolean {
    if (!this.#makeRoom()) return false;
    const farPort = this.#ephemeralPort(station.address, guestPort);
    if (farPort === undefined) return false;
    const farAddress = this.#context.gatewayAddress;
    const flow = this.#add(
      station,
      { guestAddress: station.address, guestPort, farAddress, farPort },
      () => socket.resume(),
    );
    this.#vm.counters.tcpIn += 1;
    flow.bridge.join(socket, true);
    socket.pause();
    flow.connection.connect();
    return true;
  }

  /** Asks silent guests for a sign of life. */
  sweep(): void {
    const now = this.#context.now();
    for (const { connection } of this.#flows.values()) {
      // A guest that has forgotten it answers with a reset.
      if (now - connection.heardAt > KEEPALIVE_MS) connection.probe();
    }
  }

  /** Ends all connections. */
  close(): void {
    for (const { connection } of this.#flows.values()) connection.drop('aborted');
  }

  #add(station: Station, key: FlowKey, established: () => void): TcpFlow {
    const flow = new TcpFlow(station, key, this.#context.sender);
    flow.connection = new TcpConnection({
      path: flow,
      account: this.#vm.account,
      outgoing: this.#outgoing,
      localPort: key.farPort,
      remotePort: key.guestPort,
      initialSeq: randomInt(2 ** 32),
      mss: this.#vm.port.mtu - HEADERS,
      now: this.#context.now,
    });
    flow.bridge = new StreamBridge(flow.connection, this.#vm.account, {
      established,
      closed: () => this.#flows.delete(flow),
    });
    flow.connection.user = flow.bridge;
    this.#flows.add(flow);
    return flow;
  }

  #discard(flow: TcpFlow): void {
    flow.connection.drop('done');
  }

  /** Whether one more connection fits; those that only wait for stray segments make room. */
  #makeRoom(): boolean {
    const limit = this.#vm.limits.connections;
    if (this.#flows.size < limit) return true;
    for (const flow of this.#flows.values()) {
      if (flow.connection.state === 'TIME_WAIT') this.#discard(flow);
    }
    if (this.#flows.size < limit) return true;
    this.#vm.counters.limited += 1;
    return false;
  }

  #ephemeralPort(guestAddress: number, guestPort: number): number | undefined {
    for (let tries = FIRST_EPHEMERAL; tries <= LAST_EPHEMERAL; tries += 1) {
      const port = this.#nextPort;
      this.#nextPort = port === LAST_EPHEMERAL ? FIRST_EPHEMERAL : port + 1;
      const { gatewayAddress } = this.#context;
      if (this.#flows.find(guestAddress, guestPort, gatewayAddress, port) === undefined)
        return port;
    }
    return undefined;
  }

  #open(station: Station, packet: Ipv4Packet, syn: TcpSegment): void {
    if (!this.#makeRoom()) {
      this.#reset(station, packet, syn);
      return;
    }
    const key = {
      guestAddress: packet.source,
      guestPort: syn.sourcePort,
      farAddress: packet.destination,
      farPort: syn.destinationPort,
    };
    const flow = this.#add(station, key, () => {});
    flow.connection.listen(syn);
    const service =
      key.farAddress === this.#context.gatewayAddress
        ? this.#context.services.get(key.farPort)
        : undefined;
    if (service !== undefined) {
      this.#answer(flow, service(this.#vm));
      return;
    }
    const opening = packet.quote();
    this.#ask(flow, opening);
  }

  /** Policy, then the hook. */
  #ask(flow: TcpFlow, opening: Uint8Array): void {
    const verdict = this.#vm.decide(flow.farAddress, flow.farPort);
    const { hook } = this.#vm;
    const proceed = (): void => {
      if (verdict.allowed) this.#dial(flow, opening);
      else this.#refuse(flow);
    };
    if (hook === undefined) {
      proceed();
      return;
    }
    const info = this.#vm.outgoing(
      'tcp',
      { address: flow.guestAddress, port: flow.guestPort },
      { address: flow.farAddress, port: flow.farPort },
      verdict,
    );
    Promise.resolve()
      .then(() => hook(info))
      .then(
        (answer) => {
          if (answer instanceof Duplex) this.#answer(flow, answer);
          else if (answer === 'deny') this.#refuse(flow);
          else proceed();
        },
        () => this.#refuse(flow),
      );
  }

  #refuse(flow: TcpFlow): void {
    if (flow.connection.state === 'CLOSED') return;
    this.#vm.counters.refused += 1;
    flow.connection.abort('refused');
  }

  #answer(flow: TcpFlow, stream: Duplex): void {
    this.#vm.counters.tcpOut += 1;
    flow.bridge.join(stream, true);
    flow.connection.accept();
  }

  #dial(flow: TcpFlow, opening: Uint8Array): void {
    const { connection, bridge } = flow;
    if (connection.state === 'CLOSED') return;
    const address = this.#vm.hostAddressOf(flow.farAddress);
    const socket = connect({
      host: formatIpv4(address),
      port: flow.farPort,
      allowHalfOpen: true,
      noDelay: true,
      onread: {
        buffer: readBuffer.subarray(0, connection.readBytes),
        callback: (count, bytes) => bridge.feed(bytes, count),
      },
    });
    let connected = false;
    // Before the bridge's own listener, which would reset.
    socket.on('error', (error: NodeJS.ErrnoException) => {
      if (connected || !UNREACHABLE.has(error.code ?? '')) return;
      this.#unreachable(flow, opening);
    });
    socket.on('connect', () => {
      connected = true;
      // An address of the host's that its list of interfaces does not show.
      const own = socket.localAddress === socket.remoteAddress;
      if (own && !this.#vm.namesHostAddress(address, flow.farPort)) {
        this.#refuse(flow);
        return;
      }
      this.#vm.counters.tcpOut += 1;
      connection.accept();
    });
    bridge.join(socket, false);
  }

  #unreachable(flow: TcpFlow, opening: Uint8Array): void {
    const { sender, gatewayAddress } = this.#context;
    flow.connection.drop('refused');
    sender.unreachable(flow.station, gatewayAddress, HOST_UNREACHABLE, opening);
  }

  /** RFC 9293, 3.10.7.1: a segment that belongs to no connection. */
  #reset(station: Station, packet: Ipv4Packet, segment: TcpSegment): void {
    if (segment.has(RST)) return;
    const reset = this.#outgoing;
    reset.sourcePort = segment.destinationPort;
    reset.destinationPort = segment.sourcePort;
    reset.flags = segment.has(ACK) ? RST : RST | ACK;
    reset.seq = segment.has(ACK) ? segment.ack : 0;
    reset.ack = segment.has(ACK) ? 0 : advanced(segment.seq, segment.sequenceLength);
    reset.window = 0;
    reset.bodyLength = 0;
    this.#context.sender.tcp(station, packet.destination, reset);
  }
}
