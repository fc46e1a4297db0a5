/** What the gateway keeps for one VM: its flows, the names it has learned, its counters and limits. */
import { type Cidr, contains, formatIpv4 } from './address.js';
import type { ConnectionHook, ConnectionInfo } from './connection-info.js';
import { Fragments } from './fragments.js';
import { LearnedNames } from './learned-names.js';
import type { Policy, Verdict } from './policy.js';
import type { Port } from './port.js';
import { BLOCK_BYTES, BlockAccount } from './tcp/blocks.js';

/** Limits of one VM. */
export interface NetworkLimits {
  /** TCP connections at a time. */
  readonly connections: number;
  /** UDP flows at a time; the one that was silent longest makes room. */
  readonly udpFlows: number;
  /** Bytes queued both ways in all TCP connections; each may have 64 KiB beyond it. */
  readonly queuedBytes: number;
  /** Names asked for at a time. */
  readonly lookups: number;
}

/** Connections of one VM since it was plugged in. */
export interface ConnectionCounters {
  tcpOut: number;
  tcpIn: number;
  udp: number;
  lookups: number;
  /** By the policy or the hook. */
  refused: number;
  /** By a limit. */
  limited: number;
}

/** 127.0.0.1: what the gateway's own address stands for on the host. */
const LOOPBACK = 0x7f000001;

export class VmNetwork {
  readonly port: Port;
  readonly limits: NetworkLimits;
  readonly account: BlockAccount;
  readonly names: LearnedNames;
  readonly fragments: Fragments;
  readonly counters: ConnectionCounters = {
    tcpOut: 0,
    tcpIn: 0,
    udp: 0,
    lookups: 0,
    refused: 0,
    limited: 0,
  };
  readonly #policy: Policy;
  readonly #hook: ConnectionHook | undefined;
  readonly #gatewayAddress: number;
  readonly #subnet: Cidr;

  constructor(
    port: Port,
    limits: NetworkLimits,
    rules: { readonly policy: Policy; readonly hook: ConnectionHook | undefined },
    lan: { readonly gateway: number; readonly subnet: Cidr },
    now: () => number,
  ) {
    this.port = port;
    this.limits = limits;
    this.account = new BlockAccount(Math.ceil(limits.queuedBytes / BLOCK_BYTES));
    this.names = new LearnedNames(now);
    this.fragments = new Fragments(now);
    this.#policy = rules.policy;
    this.#hook = rules.hook;
    this.#gatewayAddress = lan.gateway;
    this.#subnet = lan.subnet;
  }

  get hook(): ConnectionHook | undefined {
    return this.#hook;
  }

  /** The host's side of an address that the guest names. */
  hostAddressOf(address: number): number {
    return address === this.#gatewayAddress ? LOOPBACK : address;
  }

  /** What the policy says of a connection to where the guest wants. */
  decide(address: number, port: number): Verdict & { readonly names: readonly string[] } {
    const names = this.names.namesOf(address);
    if (contains(this.#subnet, address) && address !== this.#gatewayAddress) {
      return { allowed: false, reason: "an address of the LAN, which is not the gateway's", names };
    }
    const verdict = this.#policy.decide({ address: this.hostAddressOf(address), port, names });
    return { ...verdict, names };
  }

  /** Whether a rule names an address that has turned out to be the host's own. */
  namesHostAddress(address: number, port: number): boolean {
    return this.#policy.namesHostAddress(address, port);
  }

  mayResolve(name: string): boolean {
    return this.#policy.mayResolve(name);
  }

  /** What the hook is told of a connection from the guest. */
  outgoing(
    protocol: 'tcp' | 'udp',
    guest: { readonly address: number; readonly port: number },
    far: { readonly address: number; readonly port: number },
    verdict: Verdict & { readonly names: readonly string[] },
  ): ConnectionInfo {
    return {
      vm: this.port.name,
      protocol,
      direction: 'out',
      source: { address: formatIpv4(guest.address), port: guest.port },
      destination: { address: formatIpv4(this.hostAddressOf(far.address)), port: far.port },
      names: verdict.names,
      policy: verdict.allowed ? 'allow' : 'deny',
      reason: verdict.reason,
    };
  }
}
