/**
 * Which connections a VM may open, and which names it may look up. What is refused without a rule that
 * names it: the host's loopback and own addresses, link-local and metadata addresses.
 */
import { covers } from './address.js';
import {
  matchesAddress,
  matchesName,
  matchesPort,
  namesPorts,
  parseRule,
  type Rule,
} from './rule.js';
import { guardedNetworkOf, HostAddresses, isNoHost, isPrivate } from './special-networks.js';

/** Ports of DNS, plain and over TLS. */
const DNS_PORTS = [53, 853];

/** Where a guest wants to. */
export interface Destination {
  /** The address on the host's side. */
  readonly address: number;
  readonly port: number;
  /** Names for which the relay gave this VM the address, and which hold still. */
  readonly names: readonly string[];
}

/** What becomes of a connection, and why. */
export interface Verdict {
  readonly allowed: boolean;
  /** The rule's text, or what no rule has opened. */
  readonly reason: string;
}

/** Rules as a user writes them. */
export interface PolicyOptions {
  /** When there is one, what no rule matches is refused. */
  readonly allow?: readonly string[];
  /** Goes before `allow`. */
  readonly deny?: readonly string[];
}

export class Policy {
  readonly #allow: readonly Rule[];
  readonly #deny: readonly Rule[];
  readonly #host = new HostAddresses();

  /** @throws PandoError NET_RULE_INVALID */
  constructor({ allow = [], deny = [] }: PolicyOptions) {
    this.#allow = allow.map(parseRule);
    this.#deny = deny.map(parseRule);
  }

  /** Whether the rules leave the whole Internet open. */
  get #open(): boolean {
    return (
      this.#allow.length === 0 ||
      this.#allow.some((rule) => rule.network?.prefix === 0 && !namesPorts(rule))
    );
  }

  decide(destination: Destination): Verdict {
    const { address, port, names } = destination;
    const denied = this.#deny.find((rule) => matches(rule, destination));
    if (denied !== undefined) return refused(`denied by ${denied.text}`);
    if (isNoHost(address)) return refused('not the address of a host');
    const networkRules = this.#allow.filter(
      (rule) => matchesPort(rule, port) && matchesAddress(rule, address),
    );
    const guarded = guardedNetworkOf(address, this.#host);
    if (guarded !== undefined) {
      const naming = networkRules.find(({ network }) => network && covers(guarded, network));
      return naming === undefined
        ? refused('an address of the host, link-local or for metadata, which no rule names')
        : allowed(naming.text);
    }
    if (this.#allow.length === 0) return allowed('no rule');
    if (DNS_PORTS.includes(port)) {
      const naming = networkRules.find(namesPorts);
      return naming === undefined
        ? refused("DNS elsewhere than at the gateway's, which no rule names")
        : allowed(naming.text);
    }
    const [network] = networkRules;
    if (network !== undefined) return allowed(network.text);
    const domain = this.#allow.find(
      (rule) => matchesPort(rule, port) && names.some((name) => matchesName(rule, name)),
    );
    if (domain === undefined) return refused('no rule allows it');
    if (isPrivate(address)) return refused(`${domain.text} leads to a private address`);
    return allowed(domain.text);
  }

  /** Whether a rule names an address as the host's own: alone, or with others of the loopback network. */
  namesHostAddress(address: number, port: number): boolean {
    return this.#allow.some(
      (rule) =>
        matchesPort(rule, port) &&
        matchesAddress(rule, address) &&
        rule.network !== undefined &&
        covers(
          guardedNetworkOf(address, this.#host) ?? { base: address, prefix: 32 },
          rule.network,
        ),
    );
  }

  /** Whether the relay may ask for a name: other names would be a way out. */
  mayResolve(name: string): boolean {
    if (this.#deny.some((rule) => matchesName(rule, name))) return false;
    return this.#open || this.#allow.some((rule) => matchesName(rule, name));
  }
}

function matches(rule: Rule, { address, port, names }: Destination): boolean {
  if (!matchesPort(rule, port)) return false;
  return matchesAddress(rule, address) || names.some((name) => matchesName(rule, name));
}

function allowed(reason: string): Verdict {
  return { allowed: true, reason };
}

function refused(reason: string): Verdict {
  return { allowed: false, reason };
}
