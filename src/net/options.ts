/** The options of a network, their defaults and their limits. */
import { PandoError } from '../error.js';
import { type Cidr, formatIpv4, maskOf, parseCidr, parseIpv4 } from './address.js';
import type { ConnectionHook } from './connection-info.js';
import type { PolicyOptions } from './policy.js';
import { parseResolver, type Resolver } from './resolvers.js';
import type { NetworkLimits } from './vm-network.js';

/** A LAN with its gateway. */
export interface NetworkOptions extends PolicyOptions {
  /** IPv4 network of the LAN, /8 to /29; the gateway has its first address. 10.0.2.0/24 when absent. */
  readonly subnet?: string;
  /** Bytes of the longest IP packet, 1280–65535; 1500 when absent. */
  readonly mtu?: number;
  /** Name servers to ask, `ADDRESS[:PORT]`; those of the host's /etc/resolv.conf when absent. */
  readonly resolvers?: readonly string[];
  /** Names of the LAN beside its VMs', each with the address it stands for. */
  readonly names?: Readonly<Record<string, string>>;
  /** Sees each connection, may refuse it or answer it. */
  readonly onConnection?: ConnectionHook;
  /** Limits of each VM. */
  readonly limits?: Partial<NetworkLimits>;
}

/** The same, checked. */
export interface NetworkSettings {
  readonly subnet: Cidr;
  readonly gateway: number;
  readonly broadcast: number;
  readonly mask: number;
  readonly mtu: number;
  readonly resolvers: readonly Resolver[] | undefined;
  readonly names: ReadonlyMap<string, number>;
  readonly limits: NetworkLimits;
}

const DEFAULT_SUBNET = '10.0.2.0/24';
const DEFAULT_MTU = 1500;
/** RFC 8200, 5: what IPv6 inside the LAN needs. */
const LEAST_MTU = 1280;
const DEFAULT_LIMITS: NetworkLimits = {
  connections: 1024,
  udpFlows: 256,
  queuedBytes: 64 * 2 ** 20,
  lookups: 64,
};
const HOST_NAME = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;

/**
 * @throws PandoError NET_SUBNET_INVALID, NET_MTU_INVALID, NET_RESOLVER_INVALID, NET_NAME_INVALID,
 * NET_LIMIT_INVALID
 */
export function checkNetworkOptions(options: NetworkOptions): NetworkSettings {
  const subnet = checkSubnet(options.subnet ?? DEFAULT_SUBNET);
  const mtu = options.mtu ?? DEFAULT_MTU;
  if (!Number.isInteger(mtu) || mtu < LEAST_MTU || mtu > 65535) {
    const message = `MTU ${mtu} is not a number of bytes from ${LEAST_MTU} to 65535`;
    throw new PandoError('NET_MTU_INVALID', message);
  }
  const mask = maskOf(subnet.prefix);
  return {
    subnet,
    gateway: subnet.base + 1,
    broadcast: (subnet.base | ~mask) >>> 0,
    mask,
    mtu,
    resolvers: options.resolvers?.map(parseResolver),
    names: checkNames(options.names ?? {}),
    limits: checkLimits(options.limits ?? {}),
  };
}

function checkSubnet(text: string): Cidr {
  const subnet = text.includes('/') ? parseCidr(text) : undefined;
  if (subnet === undefined || subnet.prefix < 8 || subnet.prefix > 29 || subnet.base >>> 24 === 0) {
    throw new PandoError(
      'NET_SUBNET_INVALID',
      `subnet ${JSON.stringify(text)} is no IPv4 network from /8 to /29`,
      { remedy: `write it as ${DEFAULT_SUBNET}` },
    );
  }
  return subnet;
}

/** @throws PandoError NET_NAME_INVALID */
export function checkHostName(name: string): string {
  const lower = name.toLowerCase();
  if (HOST_NAME.test(lower)) return lower;
  throw new PandoError(
    'NET_NAME_INVALID',
    `name ${JSON.stringify(name)} is no label of letters, digits and hyphens, at most 63 long`,
  );
}

function checkNames(names: Readonly<Record<string, string>>): Map<string, number> {
  return new Map(
    Object.entries(names).map(([name, text]) => {
      const address = parseIpv4(text);
      if (address === undefined) {
        const message = `name ${name}: ${JSON.stringify(text)} is no IPv4 address`;
        throw new PandoError('NET_NAME_INVALID', message);
      }
      return [checkHostName(name), address];
    }),
  );
}

function checkLimits(limits: Partial<NetworkLimits>): NetworkLimits {
  for (const [name, value] of Object.entries(limits)) {
    if (Number.isInteger(value) && value >= 1 && value <= 2 ** 31) continue;
    const message = `limit ${name} is ${value}, not a whole number from 1 to 2147483648`;
    throw new PandoError('NET_LIMIT_INVALID', message);
  }
  return { ...DEFAULT_LIMITS, ...limits };
}

/** The first free address of the LAN behind the gateway's. @throws PandoError NET_SUBNET_FULL */
export function freeAddress(
  settings: NetworkSettings,
  taken: (address: number) => boolean,
): number {
  for (let address = settings.gateway + 1; address < settings.broadcast; address += 1) {
    if (!taken(address)) return address;
  }
  const { base, prefix } = settings.subnet;
  const message = `subnet ${formatIpv4(base)}/${prefix} has no address left for one more VM`;
  throw new PandoError('NET_SUBNET_FULL', message, { remedy: 'choose a larger subnet' });
}
