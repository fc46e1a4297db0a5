/** ARP for IPv4 over Ethernet (RFC 826). */
import { read16, read32, write16, write32 } from './bytes.js';

export const ARP_BYTES = 28;
const HARDWARE_ETHERNET = 1;
const PROTOCOL_IPV4 = 0x0800;
export const ARP_REQUEST = 1;
export const ARP_REPLY = 2;

/** One packet's fields, reused from packet to packet. */
export class ArpPacket {
  operation = 0;
  readonly senderMac = new Uint8Array(6);
  senderAddress = 0;
  targetAddress = 0;

  /** @returns false when bytes[start, end) is no ARP packet of IPv4 over Ethernet */
  parse(bytes: Uint8Array, start: number, end: number): boolean {
    if (end - start < ARP_BYTES) return false;
    if (read16(bytes, start) !== HARDWARE_ETHERNET) return false;
    if (read16(bytes, start + 2) !== PROTOCOL_IPV4) return false;
    if (bytes[start + 4] !== 6 || bytes[start + 5] !== 4) return false;
    this.operation = read16(bytes, start + 6);
    for (let i = 0; i < 6; i += 1) this.senderMac[i] = bytes[start + 8 + i]!;
    this.senderAddress = read32(bytes, start + 14);
    this.targetAddress = read32(bytes, start + 24);
    return true;
  }
}

/** Writes a packet of ARP_BYTES at `at`. */
export function writeArp(
  bytes: Uint8Array,
  at: number,
  operation: number,
  sender: { readonly mac: Uint8Array; readonly address: number },
  target: { readonly mac: Uint8Array; readonly address: number },
): void {
  write16(bytes, at, HARDWARE_ETHERNET);
  write16(bytes, at + 2, PROTOCOL_IPV4);
  bytes[at + 4] = 6;
  bytes[at + 5] = 4;
  write16(bytes, at + 6, operation);
  bytes.set(sender.mac, at + 8);
  write32(bytes, at + 14, sender.address);
  bytes.set(target.mac, at + 18);
  write32(bytes, at + 24, target.address);
}
