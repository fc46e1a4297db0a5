/** One rule of a policy: networks or domains, and ports. From text, and how it matches. */
import { domainToASCII } from 'node:url';
import { PandoError } from '../error.js';
import { type Cidr, contains, parseCidr } from './address.js';

/** `CIDR[:PORT[-PORT]]` or `[*.]DOMAIN[:PORT[-PORT]]`. */
export interface Rule {
  readonly text: string;
  /** undefined for a domain's rule. */
  readonly network: Cidr | undefined;
  /** Lower-case ASCII, without the `*.`; undefined for a network's rule. */
  readonly domain: string | undefined;
  /** `*.`: the names below the domain, and not the domain itself. */
  readonly wildcard: boolean;
  readonly firstPort: number;
  readonly lastPort: number;
}

const DOMAIN =
  /^(?=.{1,253}$)([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$/;
/** ADDRESS or DOMAIN, IPv6 in brackets or bare, and ports. */
const PORTS = /^(.*?[^:]):([0-9]{1,5})(?:-([0-9]{1,5}))?$/;

function invalid(text: string, why: string): PandoError {
  return new PandoError('NET_RULE_INVALID', `rule ${JSON.stringify(text)}: ${why}`, {
    remedy:
      'write a network (10.0.0.0/8), an address or a domain (*.example.org), and :PORT behind it',
  });
}

/** @throws PandoError NET_RULE_INVALID */
export function parseRule(text: string): Rule {
  const { target, first, last } = splitPorts(text);
  const bare = target.replace(/^\[(.*)\](\/[0-9]+)?$/, '$1$2');
  const network = parseCidr(bare);
  if (network !== undefined) {
    return { text, network, domain: undefined, wildcard: false, firstPort: first, lastPort: last };
  }
  if (bare.includes(':')) throw invalid(text, 'the gateway forwards IPv4 only');
  if (bare.includes('/')) throw invalid(text, 'this is no IPv4 network');
  const wildcard = bare.startsWith('*.');
  const domain = domainToASCII((wildcard ? bare.slice(2) : bare).replace(/\.$/, '')).toLowerCase();
  const numeric = /^[0-9]+$/.test(domain.split('.').at(-1) ?? '');
  if (!DOMAIN.test(domain) || numeric) throw invalid(text, 'this is neither network nor domain');
  return { text, network: undefined, domain, wildcard, firstPort: first, lastPort: last };
}

function splitPorts(text: string): { target: string; first: number; last: number } {
  // A second colon makes it an IPv6 address, whose ports stand behind a bracket.
  const parts = /^[^[\]]*:[^[\]]*:/.test(text) ? null : PORTS.exec(text);
  if (parts === null) return { target: text, first: 0, last: 65535 };
  const first = Number(parts[2]);
  const last = parts[3] === undefined ? first : Number(parts[3]);
  if (first < 1 || last > 65535 || last < first) {
    throw invalid(text, 'ports are numbers from 1 to 65535, the smaller first');
  }
  return { target: parts[1]!, first, last };
}

/** Whether the rule says which ports it means. */
export function namesPorts({ firstPort }: Rule): boolean {
  return firstPort > 0;
}

export function matchesPort({ firstPort, lastPort }: Rule, port: number): boolean {
  return port >= firstPort && port <= lastPort;
}

export function matchesAddress({ network }: Rule, address: number): boolean {
  return network !== undefined && contains(network, address);
}

/** @param name lower-case, without the dot at the end */
export function matchesName({ domain, wildcard }: Rule, name: string): boolean {
  if (domain === undefined) return false;
  return wildcard ? name.endsWith(`.${domain}`) : name === domain;
}
