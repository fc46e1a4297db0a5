/**
 * The network of one VM: from options to the link that its device is plugged into. Most VMs have none, so what makes
 * one is loaded with the first.
 */
import type { FrameLink } from '../devices/frame-link.js';
import type { NetworkOptions } from '../net/options.js';
import type { LinkStatistics, NetworkLink, PublishedAddress } from '../net/vm-link.js';

export type { LinkStatistics, PublishedAddress };

/** A network of the VM's own, with Pando's gateway (docs/network.md). */
export interface UserNetworkOptions extends NetworkOptions {
  readonly mode: 'user';
  /** Ports of the host that lead to the VM, `[ADDRESS:]HOST_PORT:GUEST_PORT`. */
  readonly publish?: readonly string[];
}

/** passt, which has neither policy nor published ports here. */
export interface PasstNetworkOptions {
  readonly mode: 'passt';
}

export type VmNetworkOptions = UserNetworkOptions | PasstNetworkOptions;

/** A VM's network that is open. */
export interface VmNetwork {
  readonly link: FrameLink;
  /** Set for the gateway's. */
  readonly counted?: NetworkLink;
  /**
   * The options of one like it for another VM; undefined for a link, whose network is its owner's. Ports of
   * the host that led to this VM are any free ones there.
   */
  readonly another?: VmNetworkOptions;
  close(): void;
}

const GUEST_NAME = 'pando';

/**
 * @param net a link is closed with the network; `user` is a gateway with the default policy
 * @throws PandoError NET_…
 */
export async function openVmNetwork(
  net: FrameLink | 'user' | VmNetworkOptions,
): Promise<VmNetwork> {
  if (net === 'user') return openUserNetwork({ mode: 'user' });
  if (!('mode' in net)) return { link: net, close: () => net.close() };
  if (net.mode === 'user') return openUserNetwork(net);
  const { PasstLink } = await import('../net/passt.js');
  const link = await PasstLink.open();
  return { link, another: net, close: () => link.close() };
}

async function openUserNetwork(options: UserNetworkOptions): Promise<VmNetwork> {
  const { Network } = await import('../net/network.js');
  const network = new Network(options);
  try {
    const publish = options.publish ?? [];
    const link = await network.link({ name: GUEST_NAME, publish });
    const another = { ...options, publish: publish.map(anyHostPort) };
    return { link, counted: link, another, close: () => network.close() };
  } catch (error) {
    network.close();
    throw error;
  }
}

/** `[ADDRESS:]HOST_PORT:GUEST_PORT` with 0 for the port of the host. */
function anyHostPort(publication: string): string {
  return publication.replace(/[0-9]+:([0-9]+(?:\/tcp)?)$/, '0:$1');
}
