/**
 * Reassembly of IPv4 datagrams (RFC 791, 3.2; RFC 815). Fragments that overlap make the datagram
 * void, as nobody who means well sends them (RFC 5722 says so for IPv6).
 */
import type { Ipv4Packet } from './ipv4.js';

/** Datagrams of one VM in the making. */
const DATAGRAM_LIMIT = 16;
const FRAGMENT_LIMIT = 64;
const LIFETIME_MS = 15_000;
const MAX_PAYLOAD = 65535 - 20;

interface Datagram {
  readonly since: number;
  readonly pieces: { readonly offset: number; readonly bytes: Uint8Array }[];
  bytes: number;
  /** Known once the last fragment is there. */
  total: number | undefined;
}

export class Fragments {
  readonly #datagrams = new Map<string, Datagram>();
  readonly #now: () => number;

  constructor(now: () => number) {
    this.#now = now;
  }

  /** Takes a fragment. @returns the whole payload when it completes a datagram */
  add(packet: Ipv4Packet): Uint8Array | undefined {
    this.#expire();
    const { source, destination, protocol, identification } = packet;
    const key = `${source} ${destination} ${protocol} ${identification}`;
    const datagram = this.#datagrams.get(key) ?? this.#begin(key);
    if (!this.#insert(datagram, packet)) {
      this.#datagrams.delete(key);
      return undefined;
    }
    if (datagram.bytes !== datagram.total) return undefined;
    this.#datagrams.delete(key);
    const whole = new Uint8Array(datagram.total);
    for (const { offset, bytes } of datagram.pieces) whole.set(bytes, offset);
    return whole;
  }

  #begin(key: string): Datagram {
    if (this.#datagrams.size >= DATAGRAM_LIMIT) {
      const [oldest] = this.#datagrams.keys();
      if (oldest !== undefined) this.#datagrams.delete(oldest);
    }
    const datagram: Datagram = { since: this.#now(), pieces: [], bytes: 0, total: undefined };
    this.#datagrams.set(key, datagram);
    return datagram;
  }

  /** @returns false when the fragment contradicts the others */
  #insert(datagram: Datagram, packet: Ipv4Packet): boolean {
    const offset = packet.fragmentOffset;
    const bytes = packet.bytes.slice(packet.payloadStart, packet.payloadEnd);
    const end = offset + bytes.length;
    if (bytes.length === 0 || end > MAX_PAYLOAD) return false;
    if (packet.moreFragments && bytes.length % 8 !== 0) return false;
    if (datagram.pieces.length >= FRAGMENT_LIMIT) return false;
    for (const piece of datagram.pieces) {
      if (offset < piece.offset + piece.bytes.length && piece.offset < end) return false;
    }
    if (!packet.moreFragments) {
      if (datagram.total !== undefined) return false;
      datagram.total = end;
    }
    datagram.pieces.push({ offset, bytes });
    datagram.bytes += bytes.length;
    const { total } = datagram;
    return total === undefined || datagram.pieces.every((p) => p.offset + p.bytes.length <= total);
  }

  #expire(): void {
    const limit = this.#now() - LIFETIME_MS;
    for (const [key, { since }] of this.#datagrams) {
      if (since > limit) return;
      this.#datagrams.delete(key);
    }
  }
}
