/** What a program's hook sees of each connection, and what it may say. */
import type { Duplex } from 'node:stream';

/** One end of a connection. */
export interface ConnectionEnd {
  /** Dotted decimal. */
  readonly address: string;
  readonly port: number;
}

/** A connection about to be made. */
export interface ConnectionInfo {
  /** The VM's name. */
  readonly vm: string;
  readonly protocol: 'tcp' | 'udp';
  /** `out`: from the guest; `in`: to a published port. */
  readonly direction: 'out' | 'in';
  readonly source: ConnectionEnd;
  readonly destination: ConnectionEnd;
  /** Names for which the DNS relay gave the VM this address. */
  readonly names: readonly string[];
  /** What the policy says. */
  readonly policy: 'allow' | 'deny';
  /** Why: a rule's text, or what no rule has opened. */
  readonly reason: string;
}

/**
 * `deny` refuses. `allow` and undefined leave it to the policy, which a hook cannot overrule. A stream
 * answers in the destination's place, whatever the policy says of it; only for `tcp` and `out`.
 */
export type ConnectionAnswer = 'allow' | 'deny' | Duplex | undefined;

/** Sees each connection before it is made. What it throws refuses the connection. */
export type ConnectionHook = (info: ConnectionInfo) => ConnectionAnswer | Promise<ConnectionAnswer>;
