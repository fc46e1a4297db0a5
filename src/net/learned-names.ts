/** What the DNS relay told one VM: for which names it gave an address, and until when. */
import type { DnsAddress } from './dns-message.js';

/** Addresses remembered; the oldest answers go first. */
const ADDRESS_LIMIT = 4096;
const NAMES_PER_ADDRESS = 32;
/** A guest may connect a little later than the answer holds, and resolvers round up. */
const GRACE_MS = 30_000;
/** Longer answers are asked for again all the same. */
const LONGEST_MS = 86_400_000;

export class LearnedNames {
  readonly #names = new Map<number, Map<string, number>>();
  readonly #now: () => number;

  constructor(now: () => number) {
    this.#now = now;
  }

  /** The relay answered `name` with these addresses. */
  learn(name: string, addresses: readonly DnsAddress[]): void {
    for (const { address, ttl } of addresses) {
      const names = this.#names.get(address) ?? new Map<string, number>();
      names.delete(name);
      names.set(name, this.#now() + Math.min(ttl * 1000, LONGEST_MS) + GRACE_MS);
      trim(names, NAMES_PER_ADDRESS);
      this.#names.delete(address);
      this.#names.set(address, names);
    }
    trim(this.#names, ADDRESS_LIMIT);
  }

  /** The names whose answers hold. */
  namesOf(address: number): readonly string[] {
    const names = this.#names.get(address);
    if (names === undefined) return [];
    const now = this.#now();
    for (const [name, until] of names) if (until < now) names.delete(name);
    if (names.size === 0) this.#names.delete(address);
    return [...names.keys()];
  }
}

function trim<Key>(map: Map<Key, unknown>, limit: number): void {
  for (const key of map.keys()) {
    if (map.size <= limit) return;
    map.delete(key);
  }
}
