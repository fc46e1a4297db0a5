/** IPv4 addresses and networks as numbers: from text in any notation that C's inet_aton takes, and to text. */
import { isIPv6 } from 'node:net';
import { PandoError } from '../error.js';

/** An IPv4 network. */
export interface Cidr {
  /** The network's first address, unsigned. */
  readonly base: number;
  /** Bits of the prefix, 0–32. */
  readonly prefix: number;
}

/** An IPv4-mapped IPv6 address in the form that the URL standard gives it. */
const IPV4_MAPPED = /^\[::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})\]$/;

/** One number of a dotted notation: decimal, octal behind 0, hexadecimal behind 0x. */
function part(text: string): number | undefined {
  if (/^0x[0-9a-f]{1,8}$/i.test(text)) return Number.parseInt(text, 16);
  if (/^0[0-7]{1,11}$/.test(text)) return Number.parseInt(text, 8);
  if (/^(0|[1-9][0-9]{0,9})$/.test(text)) return Number.parseInt(text, 10);
  return undefined;
}

/** `127.0.0.1`, `127.1`, `0x7f000001`, `2130706433`: the notations of inet_aton. */
function parseDotted(text: string): number | undefined {
  const parts = text.split('.').map(part);
  if (parts.length > 4) return undefined;
  let address = 0;
  for (const [index, value] of parts.entries()) {
    if (value === undefined) return undefined;
    const last = index === parts.length - 1;
    // The last number fills all the bytes that are left.
    const limit = last ? 2 ** (8 * (4 - index)) : 256;
    if (value >= limit) return undefined;
    address += last ? value : value * 2 ** (8 * (3 - index));
  }
  return address;
}

/**
 * The address that a text names, or undefined. Takes what inet_aton takes, and IPv4-mapped IPv6
 * addresses (RFC 4291, 2.5.5.2), so that one address has one form inside.
 */
export function parseIpv4(text: string): number | undefined {
  if (!text.includes(':')) return parseDotted(text);
  if (!isIPv6(text) || text.includes('%')) return undefined;
  const words = IPV4_MAPPED.exec(new URL(`http://[${text}]`).hostname);
  if (words === null) return undefined;
  return Number.parseInt(words[1]!, 16) * 0x10000 + Number.parseInt(words[2]!, 16);
}

/** Dotted decimal. */
export function formatIpv4(address: number): string {
  return `${address >>> 24}.${(address >>> 16) & 255}.${(address >>> 8) & 255}.${address & 255}`;
}

/** The mask of a prefix, unsigned. */
export function maskOf(prefix: number): number {
  return prefix === 0 ? 0 : (0xffffffff << (32 - prefix)) >>> 0;
}

/** Whether a network holds an address. */
export function contains({ base, prefix }: Cidr, address: number): boolean {
  return (address & maskOf(prefix)) >>> 0 === base;
}

/** Whether every address of `inner` is one of `outer`. */
export function covers(outer: Cidr, inner: Cidr): boolean {
  return inner.prefix >= outer.prefix && contains(outer, inner.base);
}

/**
 * `ADDRESS` or `ADDRESS/PREFIX`; bits behind the prefix are cleared. undefined when it is not one.
 * An IPv4-mapped network counts its prefix from 96.
 */
export function parseCidr(text: string): Cidr | undefined {
  const [addressText = '', prefixText, ...more] = text.split('/');
  const address = parseIpv4(addressText);
  if (address === undefined || more.length > 0) return undefined;
  if (prefixText === undefined) return { base: address, prefix: 32 };
  if (!/^[0-9]{1,3}$/.test(prefixText)) return undefined;
  const prefix = Number(prefixText) - (addressText.includes(':') ? 96 : 0);
  if (prefix < 0 || prefix > 32) return undefined;
  return { base: (address & maskOf(prefix)) >>> 0, prefix };
}

/** `52:54:00:12:34:56`, 6 bytes. @throws PandoError NET_MAC_INVALID */
export function parseMac(text: string): Uint8Array {
  const parts = text.split(':');
  if (parts.length !== 6 || !parts.every((byte) => /^[0-9a-f]{2}$/i.test(byte))) {
    throw new PandoError(
      'NET_MAC_INVALID',
      `MAC address ${JSON.stringify(text)} is not six bytes`,
      {
        remedy: 'write it as 52:54:00:12:34:56',
      },
    );
  }
  const mac = Uint8Array.from(parts, (byte) => Number.parseInt(byte, 16));
  if ((mac[0]! & 1) !== 0) {
    throw new PandoError('NET_MAC_INVALID', `MAC address ${text} is a group's, not a station's`, {
      remedy: 'the first byte must be even',
    });
  }
  return mac;
}

/** Lower-case, with colons. */
export function formatMac(mac: Uint8Array): string {
  return Array.from(mac.subarray(0, 6), (byte) => byte.toString(16).padStart(2, '0')).join(':');
}
