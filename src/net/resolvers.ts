/** The name servers that the host asks: those of /etc/resolv.conf (resolv.conf(5)), or named ones. */
import { readFileSync, statSync } from 'node:fs';
import { isIP } from 'node:net';
import { PandoError } from '../error.js';

const RESOLV_CONF = '/etc/resolv.conf';
/** How long the file is taken for unchanged. */
const FRESH_MS = 2000;
const DNS_PORT = 53;

/** A name server. */
export interface Resolver {
  readonly address: string;
  readonly port: number;
}

/** `ADDRESS` or `ADDRESS:PORT`, IPv6 with a port in brackets. @throws PandoError NET_RESOLVER_INVALID */
export function parseResolver(text: string): Resolver {
  const parts = /^(?:\[([^\]]+)\]|([^:]+))(?::([0-9]{1,5}))?$/.exec(text);
  const address = isIP(text) ? text : (parts?.[1] ?? parts?.[2] ?? '');
  const port = isIP(text) || parts?.[3] === undefined ? DNS_PORT : Number(parts[3]);
  if (isIP(address) === 0 || port < 1 || port > 65535) {
    throw new PandoError(
      'NET_RESOLVER_INVALID',
      `name server ${JSON.stringify(text)} is no address, or its port not 1–65535`,
      { remedy: 'write it as 192.0.2.1, 192.0.2.1:5353 or [2001:db8::1]:53' },
    );
  }
  return { address, port };
}

/** The servers that a resolv.conf names, in order; what is not understood is passed over. */
export function parseResolvConf(text: string): Resolver[] {
  const resolvers: Resolver[] = [];
  for (const line of text.split('\n')) {
    const [keyword, address = ''] = line.trim().split(/[ \t]+/);
    if (keyword === 'nameserver' && isIP(address) !== 0) {
      resolvers.push({ address, port: DNS_PORT });
    }
  }
  return resolvers;
}

/** The host's servers as its file has them now. */
export class HostResolvers {
  #resolvers: readonly Resolver[] = [];
  #changed = -1;
  #lookedAt = Number.NEGATIVE_INFINITY;

  list(): readonly Resolver[] {
    const now = performance.now();
    if (now - this.#lookedAt < FRESH_MS) return this.#resolvers;
    this.#lookedAt = now;
    try {
      const { mtimeMs } = statSync(RESOLV_CONF);
      if (mtimeMs !== this.#changed) {
        this.#resolvers = parseResolvConf(readFileSync(RESOLV_CONF, 'utf8'));
        this.#changed = mtimeMs;
      }
    } catch {
      // Without the file there is nobody to ask; each query then fails as one.
      this.#resolvers = [];
      this.#changed = -1;
    }
    return this.#resolvers;
  }
}
