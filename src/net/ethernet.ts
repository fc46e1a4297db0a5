/** Ethernet II headers: 6 bytes of destination, 6 of source, the type of what follows (IEEE 802.3). */
import { read16 } from './bytes.js';

export const ETHERTYPE_IPV4 = 0x0800;
export const ETHERTYPE_ARP = 0x0806;
export const ETHERTYPE_IPV6 = 0x86dd;

export const DESTINATION = 0;
export const SOURCE = 6;
const TYPE = 12;

export const BROADCAST_MAC = Uint8Array.of(255, 255, 255, 255, 255, 255);

/** The EtherType of a frame, in its whole bytes. */
export function etherTypeOf(bytes: Uint8Array): number {
  return read16(bytes, TYPE);
}

/** A MAC address as a number: exact, and cheap as a key. */
export function macKey(bytes: Uint8Array, at: number): number {
  return (
    ((bytes[at]! << 8) | bytes[at + 1]!) * 0x100000000 +
    (((bytes[at + 2]! << 24) | (bytes[at + 3]! << 16) | (bytes[at + 4]! << 8) | bytes[at + 5]!) >>>
      0)
  );
}

/** Whether the address at `at` is a group's: broadcast or multicast. */
export function isGroup(bytes: Uint8Array, at: number): boolean {
  return (bytes[at]! & 1) !== 0;
}
