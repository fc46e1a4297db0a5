/**
 * The gateway's name server: answers for the LAN's own names itself, and passes other queries on to
 * the host's servers when the policy lets it. What it answered is what domain rules go by.
 */
import { Duplex } from 'node:stream';
import { parseIpv4 } from './address.js';
import { read16, write32 } from './bytes.js';
import {
  addressesOf,
  buildDnsResponse,
  buildTruncated,
  type DnsQuery,
  encodeName,
  isStandardQuery,
  parseDnsQuery,
  RCODE_NO_SUCH_NAME,
  RCODE_NOT_IMPLEMENTED,
  RCODE_OK,
  RCODE_REFUSED,
  RCODE_SERVER_FAILURE,
  TYPE_A,
  TYPE_AAAA,
  TYPE_PTR,
} from './dns-message.js';
import { type Exchange, exchangeTcp, exchangeUdp, framed } from './dns-upstream.js';
import type { Resolver } from './resolvers.js';
import type { VmNetwork } from './vm-network.js';

/** The domain of the LAN's names; ICANN keeps it free for private networks. */
export const LAN_DOMAIN = 'internal';
/** Seconds that an answer of our own holds: VMs come and go. */
const OWN_TTL = 5;
/** Servers asked for one query. */
const RESOLVER_LIMIT = 3;
const REVERSE = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.in-addr\.arpa$/;
/** Headers of IPv4 and UDP. */
const UDP_OVERHEAD = 28;

/** The LAN's own names. */
export interface LanNames {
  /** @param name without the domain */
  addressOf(name: string): number | undefined;
  nameOf(address: number): string | undefined;
  /** Whether an address is the LAN's: such are never asked for elsewhere. */
  holds(address: number): boolean;
}

export class DnsRelay {
  readonly #names: LanNames;
  readonly #resolvers: () => readonly Resolver[];
  #pending = new WeakMap<VmNetwork, number>();

  constructor(names: LanNames, resolvers: () => readonly Resolver[]) {
    this.#names = names;
    this.#resolvers = resolvers;
  }

  /** Answers a query that came in a datagram; undefined leaves it unanswered. */
  async answerDatagram(vm: VmNetwork, message: Uint8Array): Promise<Uint8Array | undefined> {
    const query = parseDnsQuery(message);
    if (query === undefined) return undefined;
    const answer = await this.#answer(vm, message, query, exchangeUdp);
    return answer.length + UDP_OVERHEAD <= vm.port.mtu ? answer : buildTruncated(message, query);
  }

  /** A connection to the name server (RFC 7766). */
  stream(vm: VmNetwork): Duplex {
    return new DnsStream(async (message) => {
      const query = parseDnsQuery(message);
      return query === undefined ? undefined : this.#answer(vm, message, query, exchangeTcp);
    });
  }

  async #answer(
    vm: VmNetwork,
    message: Uint8Array,
    query: DnsQuery,
    exchange: Exchange,
  ): Promise<Uint8Array> {
    vm.counters.lookups += 1;
    if (!isStandardQuery(query)) return buildDnsResponse(message, query, RCODE_NOT_IMPLEMENTED);
    const own = this.#ownAnswer(message, query);
    if (own !== undefined) return own;
    if (!vm.mayResolve(query.name)) {
      vm.counters.refused += 1;
      return buildDnsResponse(message, query, RCODE_REFUSED);
    }
    // The gateway forwards no IPv6: an address that cannot be reached would only be tried first.
    if (query.type === TYPE_AAAA) return buildDnsResponse(message, query, RCODE_OK);
    const pending = this.#pending.get(vm) ?? 0;
    if (pending >= vm.limits.lookups) {
      vm.counters.limited += 1;
      return buildDnsResponse(message, query, RCODE_SERVER_FAILURE);
    }
    this.#pending.set(vm, pending + 1);
    try {
      return await this.#forward(vm, message, query, exchange);
    } finally {
      this.#pending.set(vm, this.#pending.get(vm)! - 1);
    }
  }

  async #forward(
    vm: VmNetwork,
    message: Uint8Array,
    query: DnsQuery,
    exchange: Exchange,
  ): Promise<Uint8Array> {
    for (const resolver of this.#resolvers().slice(0, RESOLVER_LIMIT)) {
      const answer = await exchange(resolver, message, query);
      if (answer === undefined) continue;
      if (query.isInternet) vm.names.learn(query.name, addressesOf(answer, query));
      return answer;
    }
    return buildDnsResponse(message, query, RCODE_SERVER_FAILURE);
  }

  /** The answer for a name or address of the LAN. */
  #ownAnswer(message: Uint8Array, query: DnsQuery): Uint8Array | undefined {
    if (!query.isInternet) return undefined;
    const reverse = REVERSE.exec(query.name);
    if (reverse !== null) {
      const [, d, c, b, a] = reverse;
      const address = parseIpv4([a, b, c, d].map(Number).join('.'));
      if (address === undefined || !this.#names.holds(address)) return undefined;
      return this.#ownPointer(message, query, address);
    }
    const suffix = `.${LAN_DOMAIN}`;
    const inside = query.name.endsWith(suffix);
    const label = inside ? query.name.slice(0, -suffix.length) : query.name;
    const address = this.#names.addressOf(label);
    if (address === undefined) {
      return inside ? buildDnsResponse(message, query, RCODE_NO_SUCH_NAME) : undefined;
    }
    if (query.type !== TYPE_A) return buildDnsResponse(message, query, RCODE_OK);
    const data = new Uint8Array(4);
    write32(data, 0, address);
    return buildDnsResponse(message, query, RCODE_OK, [data], OWN_TTL);
  }

  #ownPointer(message: Uint8Array, query: DnsQuery, address: number): Uint8Array {
    const name = this.#names.nameOf(address);
    if (name === undefined) return buildDnsResponse(message, query, RCODE_NO_SUCH_NAME);
    if (query.type !== TYPE_PTR) return buildDnsResponse(message, query, RCODE_OK);
    return buildDnsResponse(
      message,
      query,
      RCODE_OK,
      [encodeName(`${name}.${LAN_DOMAIN}`)],
      OWN_TTL,
    );
  }
}

/** Messages behind their lengths in, answers out, in order. */
class DnsStream extends Duplex {
  readonly #ask: (message: Uint8Array) => Promise<Uint8Array | undefined>;
  #received: Uint8Array = new Uint8Array(0);

  constructor(ask: (message: Uint8Array) => Promise<Uint8Array | undefined>) {
    super({ allowHalfOpen: false });
    this.#ask = ask;
  }

  override _read(): void {}

  override _write(chunk: Uint8Array, _encoding: string, done: (error?: Error) => void): void {
    this.#received = Buffer.concat([this.#received, chunk]);
    this.#next().then(
      () => done(),
      (error: Error) => done(error),
    );
  }

  /** A stream that waits for an answer takes no more bytes, so at most one query is open. */
  async #next(): Promise<void> {
    for (;;) {
      if (this.#received.length < 2) return;
      const end = 2 + read16(this.#received, 0);
      if (this.#received.length < end) return;
      const message = this.#received.slice(2, end);
      this.#received = this.#received.slice(end);
      const answer = await this.#ask(message);
      if (answer === undefined) throw new Error('no query');
      if (!this.destroyed) this.push(framed(answer));
    }
  }

  override _final(done: (error?: Error | null) => void): void {
    this.push(null);
    done();
  }
}
