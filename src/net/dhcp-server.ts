/**
 * The DHCP server (RFC 2131, 4.3). Addresses are fixed: each MAC address of the LAN has one for as long
 * as its port lives, so leases never run out and are never another's.
 */
import { write16, write32 } from './bytes.js';
import {
  addressOption,
  buildDhcpReply,
  DHCPACK,
  DHCPDISCOVER,
  DHCPINFORM,
  DHCPNAK,
  DHCPOFFER,
  DHCPREQUEST,
  type DhcpOption,
  type DhcpRequest,
  OPTION_BROADCAST,
  OPTION_DNS,
  OPTION_DOMAIN_NAME,
  OPTION_HOST_NAME,
  OPTION_LEASE_TIME,
  OPTION_MESSAGE_TYPE,
  OPTION_MTU,
  OPTION_REBINDING_TIME,
  OPTION_RENEWAL_TIME,
  OPTION_ROUTER,
  OPTION_SERVER,
  OPTION_SUBNET_MASK,
} from './dhcp-message.js';

/** Seconds: a guest that stood still for a night has its address still. */
const LEASE_SECONDS = 86_400;

/** What all stations of a LAN are told. */
export interface DhcpSettings {
  /** The gateway: router, name server and DHCP server. */
  readonly gateway: number;
  readonly mask: number;
  readonly broadcast: number;
  readonly mtu: number;
  /** The domain of the LAN's names. */
  readonly domain: string;
}

/** The station that asks: the address it has, and its name. */
export interface DhcpClient {
  readonly address: number;
  readonly hostName: string;
}

/** The answer to a client's message, or undefined when there is none. */
export function answerDhcp(
  request: DhcpRequest,
  client: DhcpClient,
  settings: DhcpSettings,
): Uint8Array | undefined {
  const { gateway } = settings;
  switch (request.type) {
    case DHCPDISCOVER:
      return reply(request, DHCPOFFER, client.address, client, settings);
    case DHCPREQUEST: {
      if (request.server !== undefined && request.server !== gateway) return undefined;
      const wanted = request.requestedAddress ?? request.clientAddress;
      if (wanted === client.address) {
        return reply(request, DHCPACK, client.address, client, settings);
      }
      const refusal: DhcpOption[] = [
        [OPTION_MESSAGE_TYPE, Uint8Array.of(DHCPNAK)],
        addressOption(OPTION_SERVER, gateway),
      ];
      return buildDhcpReply(request, 0, gateway, refusal);
    }
    case DHCPINFORM:
      return reply(request, DHCPACK, 0, client, settings);
    default:
      // DHCPDECLINE and DHCPRELEASE need no answer, and the address stays the station's.
      return undefined;
  }
}

function reply(
  request: DhcpRequest,
  type: number,
  address: number,
  client: DhcpClient,
  settings: DhcpSettings,
): Uint8Array {
  const text = new TextEncoder();
  const mtu = new Uint8Array(2);
  write16(mtu, 0, settings.mtu);
  const options: DhcpOption[] = [
    [OPTION_MESSAGE_TYPE, Uint8Array.of(type)],
    addressOption(OPTION_SERVER, settings.gateway),
  ];
  // RFC 2131, 4.3.5: who only informs itself gets no lease.
  if (address !== 0) {
    options.push(
      seconds(OPTION_LEASE_TIME, LEASE_SECONDS),
      seconds(OPTION_RENEWAL_TIME, LEASE_SECONDS / 2),
      seconds(OPTION_REBINDING_TIME, (LEASE_SECONDS / 8) * 7),
    );
  }
  options.push(
    addressOption(OPTION_SUBNET_MASK, settings.mask),
    addressOption(OPTION_BROADCAST, settings.broadcast),
    addressOption(OPTION_ROUTER, settings.gateway),
    addressOption(OPTION_DNS, settings.gateway),
    [OPTION_MTU, mtu],
    [OPTION_DOMAIN_NAME, text.encode(settings.domain)],
    [OPTION_HOST_NAME, text.encode(client.hostName)],
  );
  return buildDhcpReply(request, address, settings.gateway, options);
}

function seconds(option: number, value: number): DhcpOption {
  const bytes = new Uint8Array(4);
  write32(bytes, 0, value);
  return [option, bytes];
}
