/**
 * What a station may say it is. IPv4 addresses belong to the port that DHCP gave them to; IPv6 addresses
 * to the port that used them first. Nobody but the gateway may be a DHCP server or a router.
 */
import { ETHERNET_HEADER_BYTES, type Frame } from '../devices/frame-link.js';
import { ARP_BYTES } from './arp.js';
import { read16, read32 } from './bytes.js';
import { ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, etherTypeOf } from './ethernet.js';
import { IPV4_HEADER_BYTES, PROTOCOL_UDP } from './ipv4.js';
import type { Port } from './port.js';

const IPV6_HEADER_BYTES = 40;
const PROTOCOL_ICMPV6 = 58;
const HOP_BY_HOP = 0;
const ROUTING = 43;
const FRAGMENT = 44;
const DESTINATION_OPTIONS = 60;
/** Extension headers in front of the transport; more are nobody's who means well. */
const EXTENSION_LIMIT = 4;
const ROUTER_ADVERTISEMENT = 134;
const NEIGHBOR_SOLICITATION = 135;
const NEIGHBOR_ADVERTISEMENT = 136;
const REDIRECT = 137;
const DHCP_SERVER_PORT = 67;
const DHCPV6_SERVER_PORT = 547;
/** IPv6 addresses of one port: link-local, and what it gives itself. */
const IPV6_LIMIT = 16;

const IP = ETHERNET_HEADER_BYTES;

export class SenderGuard {
  readonly #gatewayAddress: number;
  readonly #ipv4 = new Map<number, Port>();
  readonly #ipv6 = new Map<string, Port>();

  constructor(gatewayAddress: number) {
    this.#gatewayAddress = gatewayAddress;
  }

  /** Makes an IPv4 address a port's. */
  own(port: Port, address: number): void {
    this.#ipv4.set(address, port);
  }

  ownerOf(address: number): Port | undefined {
    return this.#ipv4.get(address);
  }

  forget(port: Port): void {
    for (const [address, owner] of this.#ipv4) if (owner === port) this.#ipv4.delete(address);
    for (const [address, owner] of this.#ipv6) if (owner === port) this.#ipv6.delete(address);
  }

  /** Whether a port may send this frame. */
  admits(port: Port, frame: Frame): boolean {
    switch (etherTypeOf(frame.head)) {
      case ETHERTYPE_ARP:
        return this.#admitsArp(port, frame);
      case ETHERTYPE_IPV4:
        return this.#admitsIpv4(port, frame);
      case ETHERTYPE_IPV6:
        return this.#admitsIpv6(port, frame);
      default:
        // Other protocols carry no address that the LAN gives out.
        return true;
    }
  }

  #admitsArp(port: Port, { head, headLength }: Frame): boolean {
    if (headLength < IP + ARP_BYTES) return false;
    const sender = read32(head, IP + 14);
    // 0.0.0.0 asks whether an address is free (RFC 5227, 2.1.1).
    return sender === 0 || this.#ipv4.get(sender) === port;
  }

  #admitsIpv4(port: Port, { head, headLength }: Frame): boolean {
    if (headLength < IP + IPV4_HEADER_BYTES) return false;
    const source = read32(head, IP + 12);
    if (source === this.#gatewayAddress) return false;
    const udp = IP + (head[IP]! & 15) * 4;
    const isUdp = head[IP + 9] === PROTOCOL_UDP && (read16(head, IP + 6) & 0x1fff) === 0;
    if (isUdp && read16(head, udp) === DHCP_SERVER_PORT) return false;
    if (source !== 0) return this.#ipv4.get(source) === port;
    // Only a DHCP client has no address yet.
    return isUdp && headLength >= udp + 4 && read16(head, udp + 2) === DHCP_SERVER_PORT;
  }

  #admitsIpv6(port: Port, { head, headLength }: Frame): boolean {
    if (headLength < IP + IPV6_HEADER_BYTES) return false;
    let next = head[IP + 6]!;
    let at = IP + IPV6_HEADER_BYTES;
    let fragment = false;
    for (let count = 0; isExtension(next); count += 1) {
      if (headLength < at + 8 || count === EXTENSION_LIMIT) return false;
      fragment ||= next === FRAGMENT;
      const bytes = next === FRAGMENT ? 8 : 8 + head[at + 1]! * 8;
      next = head[at]!;
      at += bytes;
    }
    // A fragment of ICMPv6 could hide what it says (RFC 6980).
    if (fragment && next === PROTOCOL_ICMPV6) return false;
    if (next === PROTOCOL_UDP && read16(head, at) === DHCPV6_SERVER_PORT) return false;
    if (next === PROTOCOL_ICMPV6) {
      const type = head[at];
      if (type === ROUTER_ADVERTISEMENT || type === REDIRECT) return false;
      if (type === NEIGHBOR_ADVERTISEMENT && !this.#ownsIpv6(port, head, at + 8)) return false;
      // From the unspecified address: whether the address is free.
      if (type === NEIGHBOR_SOLICITATION && isUnspecified(head, IP + 8)) return true;
    }
    return isUnspecified(head, IP + 8) || this.#ownsIpv6(port, head, IP + 8);
  }

  /** The first user of an IPv6 address keeps it. */
  #ownsIpv6(port: Port, bytes: Uint8Array, at: number): boolean {
    let key = '';
    for (let i = 0; i < 16; i += 2) key += String.fromCharCode(read16(bytes, at + i));
    const owner = this.#ipv6.get(key);
    if (owner !== undefined) return owner === port;
    let count = 0;
    for (const other of this.#ipv6.values()) if (other === port) count += 1;
    if (count >= IPV6_LIMIT) return false;
    this.#ipv6.set(key, port);
    return true;
  }
}

function isExtension(next: number): boolean {
  return (
    next === HOP_BY_HOP || next === ROUTING || next === FRAGMENT || next === DESTINATION_OPTIONS
  );
}

function isUnspecified(bytes: Uint8Array, at: number): boolean {
  for (let i = 0; i < 16; i += 1) if (bytes[at + i] !== 0) return false;
  return true;
}
