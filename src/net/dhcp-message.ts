/** DHCP messages (RFC 2131, 2) and their options (RFC 2132). */
import { read16, read32, sameBytes, write16, write32 } from './bytes.js';

export const DHCP_SERVER_PORT = 67;

export const DHCPDISCOVER = 1;
export const DHCPOFFER = 2;
export const DHCPREQUEST = 3;
export const DHCPACK = 5;
export const DHCPNAK = 6;
export const DHCPINFORM = 8;

export const OPTION_SUBNET_MASK = 1;
export const OPTION_ROUTER = 3;
export const OPTION_DNS = 6;
export const OPTION_HOST_NAME = 12;
export const OPTION_DOMAIN_NAME = 15;
export const OPTION_MTU = 26;
export const OPTION_BROADCAST = 28;
export const OPTION_REQUESTED_ADDRESS = 50;
export const OPTION_LEASE_TIME = 51;
export const OPTION_MESSAGE_TYPE = 53;
export const OPTION_SERVER = 54;
export const OPTION_RENEWAL_TIME = 58;
export const OPTION_REBINDING_TIME = 59;
const OPTION_PAD = 0;
const OPTION_END = 255;

const BOOTREQUEST = 1;
const BOOTREPLY = 2;
const HARDWARE_ETHERNET = 1;
const COOKIE = Uint8Array.of(99, 130, 83, 99);
const FLAGS = 10;
const COOKIE_AT = 236;
const OPTIONS_AT = 240;
const BROADCAST_FLAG = 0x8000;
/** BOOTP's least message (RFC 1542, 2.1). */
const LEAST_BYTES = 300;

/** A client's message. */
export interface DhcpRequest {
  readonly type: number;
  readonly transaction: number;
  readonly flags: number;
  /** The client answers ARP for this address; 0 when it has none. */
  readonly clientAddress: number;
  readonly mac: Uint8Array;
  readonly requestedAddress: number | undefined;
  readonly server: number | undefined;
}

/** A client's message in bytes[start, end), a datagram's payload; undefined when it is none. */
export function parseDhcp(bytes: Uint8Array, start: number, end: number): DhcpRequest | undefined {
  if (end - start < OPTIONS_AT) return undefined;
  if (bytes[start] !== BOOTREQUEST || bytes[start + 1] !== HARDWARE_ETHERNET) return undefined;
  if (bytes[start + 2] !== 6 || !sameBytes(bytes, start + COOKIE_AT, COOKIE, 0, 4))
    return undefined;
  let type: number | undefined;
  let requestedAddress: number | undefined;
  let server: number | undefined;
  for (let at = start + OPTIONS_AT; at < end; ) {
    const option = bytes[at]!;
    if (option === OPTION_END) break;
    if (option === OPTION_PAD) {
      at += 1;
      continue;
    }
    const length = at + 1 < end ? bytes[at + 1]! : 255;
    if (at + 2 + length > end) return undefined;
    if (option === OPTION_MESSAGE_TYPE && length === 1) type = bytes[at + 2]!;
    if (option === OPTION_REQUESTED_ADDRESS && length === 4)
      requestedAddress = read32(bytes, at + 2);
    if (option === OPTION_SERVER && length === 4) server = read32(bytes, at + 2);
    at += 2 + length;
  }
  if (type === undefined) return undefined;
  return {
    type,
    transaction: read32(bytes, start + 4),
    flags: read16(bytes, start + FLAGS),
    clientAddress: read32(bytes, start + 12),
    mac: bytes.slice(start + 28, start + 34),
    requestedAddress,
    server,
  };
}

/** Whether the answer must be broadcast (RFC 2131, 4.1). */
export function wantsBroadcast({ flags }: DhcpRequest): boolean {
  return (flags & BROADCAST_FLAG) !== 0;
}

/** One option of an answer: its bytes. */
export type DhcpOption = readonly [option: number, value: Uint8Array];

/** An address as an option's value. */
export function addressOption(option: number, address: number): DhcpOption {
  const value = new Uint8Array(4);
  write32(value, 0, address);
  return [option, value];
}

/** The server's answer, a datagram's payload. @param address the client's to be, or 0 */
export function buildDhcpReply(
  request: DhcpRequest,
  address: number,
  server: number,
  options: readonly DhcpOption[],
): Uint8Array {
  const optionBytes = options.reduce((sum, [, value]) => sum + 2 + value.length, 1);
  const bytes = new Uint8Array(Math.max(LEAST_BYTES, OPTIONS_AT + optionBytes));
  bytes[0] = BOOTREPLY;
  bytes[1] = HARDWARE_ETHERNET;
  bytes[2] = 6;
  write32(bytes, 4, request.transaction);
  write16(bytes, FLAGS, request.flags);
  write32(bytes, 12, request.clientAddress);
  write32(bytes, 16, address);
  write32(bytes, 20, server);
  bytes.set(request.mac, 28);
  bytes.set(COOKIE, COOKIE_AT);
  let at = OPTIONS_AT;
  for (const [option, value] of options) {
    bytes[at] = option;
    bytes[at + 1] = value.length;
    bytes.set(value, at + 2);
    at += 2 + value.length;
  }
  bytes[at] = OPTION_END;
  return bytes;
}
