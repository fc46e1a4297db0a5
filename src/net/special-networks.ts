/** Networks that are not the Internet (RFC 6890), and those that only their name opens. */
import { networkInterfaces } from 'node:os';
import { type Cidr, contains, parseCidr, parseIpv4 } from './address.js';

function networks(...texts: readonly string[]): readonly Cidr[] {
  return texts.map((text) => parseCidr(text)!);
}

/** No single host: this network, multicast, reserved, broadcast. Linux takes 0.0.0.0 for itself. */
const NO_HOST = networks('0.0.0.0/8', '224.0.0.0/4', '240.0.0.0/4');

/** Loopback, link-local with most clouds' metadata, and the metadata addresses of other clouds. */
const GUARDED = networks(
  '127.0.0.0/8',
  '169.254.0.0/16',
  '100.100.100.200/32',
  '168.63.129.16/32',
  '192.0.0.192/32',
);

/** Networks of one's own, which a name of the Internet has no business to lead into. */
const PRIVATE = networks(
  '10.0.0.0/8',
  '100.64.0.0/10',
  '172.16.0.0/12',
  '192.0.0.0/24',
  '192.168.0.0/16',
  '198.18.0.0/15',
);

/** How long the host's list of addresses is taken for current. */
const HOST_LIST_MS = 1000;

export function isNoHost(address: number): boolean {
  return NO_HOST.some((network) => contains(network, address));
}

export function isPrivate(address: number): boolean {
  return PRIVATE.some((network) => contains(network, address));
}

/** The addresses of the host's interfaces, looked up again when they are old. */
export class HostAddresses {
  #addresses: ReadonlySet<number> = new Set();
  #readAt = Number.NEGATIVE_INFINITY;

  has(address: number): boolean {
    const now = performance.now();
    if (now - this.#readAt > HOST_LIST_MS) {
      this.#readAt = now;
      const found = Object.values(networkInterfaces())
        .flatMap((list) => list ?? [])
        .map((entry) => parseIpv4(entry.address));
      this.#addresses = new Set(found.filter((known) => known !== undefined));
    }
    return this.#addresses.has(address);
  }
}

/** The guarded network that an address is in, or undefined: only a rule inside it opens it. */
export function guardedNetworkOf(address: number, host: HostAddresses): Cidr | undefined {
  const guarded = GUARDED.find((network) => contains(network, address));
  if (guarded !== undefined) return guarded;
  return host.has(address) ? { base: address, prefix: 32 } : undefined;
}
