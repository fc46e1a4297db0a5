/**
 * A LAN of VMs with a gateway to the host's network, for which no privilege is needed. Each VM gets a
 * link, which is what a network device is plugged into.
 */
import { PandoError } from '../error.js';
import { contains, formatIpv4, formatMac, parseIpv4, parseMac } from './address.js';
import { DnsRelay, LAN_DOMAIN } from './dns-relay.js';
import { Gateway } from './gateway.js';
import { Lan } from './lan.js';
import {
  checkHostName,
  checkNetworkOptions,
  freeAddress,
  type NetworkOptions,
  type NetworkSettings,
} from './options.js';
import { Policy } from './policy.js';
import { Port } from './port.js';
import { parsePublication } from './publish.js';
import { HostResolvers } from './resolvers.js';
import { type NetworkLink, VmLink } from './vm-link.js';
import { VmNetwork } from './vm-network.js';

/** The gateway's own name in the LAN. */
const GATEWAY_NAME = 'gateway';

/** One VM of the LAN. */
export interface LinkOptions {
  /** Its name, which the LAN's others can look up; `vmN` when absent. */
  readonly name?: string;
  /** Its MAC address; made from its IPv4 address when absent. */
  readonly mac?: string;
  /** Its IPv4 address; the first free one when absent. */
  readonly address?: string;
  /** Ports of the host that lead to the VM, `[ADDRESS:]HOST_PORT:GUEST_PORT`. */
  readonly publish?: readonly string[];
}

export class Network {
  readonly #settings: NetworkSettings;
  readonly #policy: Policy;
  readonly #options: NetworkOptions;
  readonly #gateway: Gateway;
  readonly #lan: Lan;
  readonly #links = new Set<VmLink>();
  #created = 0;
  #closed = false;

  /** @throws PandoError NET_… for options that do not fit */
  constructor(options: NetworkOptions = {}) {
    const settings = checkNetworkOptions(options);
    this.#options = options;
    this.#settings = settings;
    this.#policy = new Policy(options);
    const host = new HostResolvers();
    const relay = new DnsRelay(
      {
        addressOf: (name) => this.#addressOf(name),
        nameOf: (address) => this.#nameOf(address),
        holds: (address) => contains(settings.subnet, address),
      },
      () => settings.resolvers ?? host.list(),
    );
    this.#gateway = new Gateway({
      ...settings,
      domain: LAN_DOMAIN,
      mac: macFor(settings.gateway),
      relay,
      now: () => performance.now(),
    });
    this.#lan = new Lan(this.#gateway);
  }

  /** The gateway's address, which stands for the host's loopback where the policy names that. */
  get gatewayAddress(): string {
    return formatIpv4(this.#settings.gateway);
  }

  /**
   * Plugs one more VM in.
   * @throws PandoError NET_NAME_INVALID, NET_NAME_TAKEN, NET_MAC_INVALID, NET_MAC_TAKEN,
   * NET_ADDRESS_INVALID, NET_ADDRESS_TAKEN, NET_SUBNET_FULL, NET_PUBLISH_INVALID, NET_PUBLISH_FAILED
   */
  async link(options: LinkOptions = {}): Promise<NetworkLink> {
    if (this.#closed) throw new PandoError('NET_CLOSED', 'the network is closed');
    const name = checkHostName(options.name ?? `vm${this.#created}`);
    if (this.#addressOf(name) !== undefined) {
      throw new PandoError('NET_NAME_TAKEN', `name ${name} is another's in this network`);
    }
    const publications = (options.publish ?? []).map(parsePublication);
    const address = this.#checkAddress(options.address);
    const mac = options.mac === undefined ? macFor(address) : parseMac(options.mac);
    const port = new Port({ name, mac, address, mtu: this.#settings.mtu }, this.#lan);
    if (!this.#lan.add(port)) {
      throw new PandoError('NET_MAC_TAKEN', `MAC address ${formatMac(mac)} is another's`);
    }
    this.#created += 1;
    const { limits } = this.#settings;
    const rules = { policy: this.#policy, hook: this.#options.onConnection };
    const vm = new VmNetwork(port, limits, rules, this.#settings, () => performance.now());
    const link = new VmLink(vm, this.#gateway, (closed) => this.#links.delete(closed));
    this.#links.add(link);
    try {
      for (const publication of publications) await link.publish(publication);
    } catch (error) {
      link.close();
      throw error;
    }
    return link;
  }

  /** Unplugs all VMs and ends all connections. */
  close(): void {
    this.#closed = true;
    for (const link of [...this.#links]) link.close();
    this.#gateway.close();
  }

  #checkAddress(text: string | undefined): number {
    const { subnet, gateway, broadcast } = this.#settings;
    const taken = (address: number): boolean => this.#lan.portOf(address) !== undefined;
    if (text === undefined) return freeAddress(this.#settings, taken);
    const address = parseIpv4(text);
    if (address === undefined || !contains(subnet, address)) {
      throw new PandoError(
        'NET_ADDRESS_INVALID',
        `address ${JSON.stringify(text)} is not in ${formatIpv4(subnet.base)}/${subnet.prefix}`,
      );
    }
    if (address === gateway || address === broadcast || address === subnet.base || taken(address)) {
      throw new PandoError('NET_ADDRESS_TAKEN', `address ${text} is another's in this network`);
    }
    return address;
  }

  #addressOf(name: string): number | undefined {
    if (name === GATEWAY_NAME) return this.#settings.gateway;
    for (const port of this.#lan.ports) if (port.name === name) return port.address;
    return this.#settings.names.get(name);
  }

  #nameOf(address: number): string | undefined {
    if (address === this.#settings.gateway) return GATEWAY_NAME;
    return this.#lan.portOf(address)?.name;
  }
}

/** A locally administered address that no two stations of a LAN share. */
function macFor(address: number): Uint8Array {
  return Uint8Array.of(
    0x52,
    0x55,
    address >>> 24,
    (address >>> 16) & 255,
    (address >>> 8) & 255,
    address & 255,
  );
}
