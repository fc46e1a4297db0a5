/** One VM's link into a network: its port, its published ports, its counters. */
import type { Socket } from 'node:net';
import type { Frame, FrameLink, FrameStation, Offloads } from '../devices/frame-link.js';
import { formatIpv4 } from './address.js';
import type { ConnectionInfo } from './connection-info.js';
import type { Gateway } from './gateway.js';
import type { PortCounters } from './port.js';
import { type Publication, PublishedPort } from './publish.js';
import { BLOCK_BYTES } from './tcp/blocks.js';
import type { TcpFlows } from './tcp-flows.js';
import type { ConnectionCounters, VmNetwork } from './vm-network.js';

/** A port of the host that leads to a VM. */
export interface PublishedAddress {
  readonly address: string;
  readonly hostPort: number;
  readonly guestPort: number;
}

/** What a VM has sent and received. */
export interface LinkStatistics extends Readonly<PortCounters>, Readonly<ConnectionCounters> {
  readonly openTcp: number;
  readonly openUdp: number;
  /** Memory of streams' blocks in use. */
  readonly queuedBytes: number;
}

/** A VM's link with what can be seen of it. */
export interface NetworkLink extends FrameLink {
  readonly name: string;
  /** Dotted decimal. */
  readonly ipAddress: string;
  readonly published: readonly PublishedAddress[];
  statistics(): LinkStatistics;
}

export class VmLink implements NetworkLink {
  readonly name: string;
  readonly ipAddress: string;
  readonly mac: Uint8Array;
  readonly mtu: number;
  readonly offloads: Offloads;
  readonly #vm: VmNetwork;
  readonly #gateway: Gateway;
  readonly #tcp: TcpFlows;
  readonly #closed: (link: VmLink) => void;
  readonly #published: { readonly port: PublishedPort; readonly address: string }[] = [];

  constructor(vm: VmNetwork, gateway: Gateway, closed: (link: VmLink) => void) {
    const { port } = vm;
    this.name = port.name;
    this.ipAddress = formatIpv4(port.address);
    this.mac = port.mac;
    this.mtu = port.mtu;
    this.offloads = port.offloads;
    this.#vm = vm;
    this.#gateway = gateway;
    this.#tcp = gateway.add(vm);
    this.#closed = closed;
  }

  get published(): readonly PublishedAddress[] {
    return this.#published.map(({ port, address }) => ({
      address,
      hostPort: port.hostPort,
      guestPort: port.guestPort,
    }));
  }

  /** @throws PandoError NET_PUBLISH_FAILED */
  async publish(publication: Publication): Promise<void> {
    const { address, guestPort } = publication;
    const port = await PublishedPort.open(publication, (socket) =>
      this.#connected(socket, guestPort),
    );
    if (this.#vm.port.closed) port.close();
    else this.#published.push({ port, address });
  }

  attach(station: FrameStation): void {
    this.#vm.port.attach(station);
  }

  send(frame: Frame): boolean {
    return this.#vm.port.send(frame);
  }

  receiveReady(): void {
    this.#vm.port.receiveReady();
  }

  close(): void {
    for (const { port } of this.#published) port.close();
    this.#published.length = 0;
    this.#vm.port.close();
    this.#closed(this);
  }

  statistics(): LinkStatistics {
    const { tcp, udp } = this.#gateway.openFlows(this.#vm.port);
    return {
      ...this.#vm.port.counters,
      ...this.#vm.counters,
      openTcp: tcp,
      openUdp: udp,
      queuedBytes: this.#vm.account.used * BLOCK_BYTES,
    };
  }

  /** Somebody has connected to a published port. */
  #connected(socket: Socket, guestPort: number): void {
    // Until the guest's connection stands for it.
    socket.on('error', () => socket.destroy());
    const { hook } = this.#vm;
    if (hook === undefined) {
      this.#carry(socket, guestPort);
      return;
    }
    const info: ConnectionInfo = {
      vm: this.name,
      protocol: 'tcp',
      direction: 'in',
      source: { address: socket.remoteAddress ?? '', port: socket.remotePort ?? 0 },
      destination: { address: this.ipAddress, port: guestPort },
      names: [],
      policy: 'allow',
      reason: 'published',
    };
    Promise.resolve()
      .then(() => hook(info))
      .then(
        (answer) => {
          if (answer === undefined || answer === 'allow') this.#carry(socket, guestPort);
          else this.#refuse(socket);
        },
        () => this.#refuse(socket),
      );
  }

  #carry(socket: Socket, guestPort: number): void {
    const { port } = this.#vm;
    const station = { port, mac: port.mac, address: port.address };
    if (port.closed || !this.#tcp.publish(station, guestPort, socket)) socket.resetAndDestroy();
  }

  #refuse(socket: Socket): void {
    this.#vm.counters.refused += 1;
    socket.resetAndDestroy();
  }
}
