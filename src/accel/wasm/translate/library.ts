/** The translations that one thread knows: modules in their sequence, regions by what they start with. */
import { PackedHead } from './region.js';
import type { Release, TranslationService } from './service.js';
import type { TranslatedRegion } from './translator.js';

/** A translation that can be installed. */
export class Candidate {
  readonly region: TranslatedRegion;
  readonly release: Release;
  /** Its place in every core's table. */
  readonly number: number;
  #head: PackedHead | undefined;

  constructor(region: TranslatedRegion, release: Release, number: number) {
    this.region = region;
    this.release = release;
    this.number = number;
  }

  get head(): PackedHead {
    this.#head ??= new PackedHead(this.region.packed);
    return this.#head;
  }
}

/** A core's table: gives up functions whose places others will have. */
export interface TableOwner {
  vacate(release: Release): void;
}

const NONE: readonly Candidate[] = [];

/** How long a module is waited for that another thread already has, in milliseconds. */
const PATIENCE = 20_000;
const LOOK_AGAIN = 0.2;

/** A module that the VM uses will never come to this thread: the translator ended while it gave it out. */
export class TranslationsLost extends Error {}

export class Library {
  readonly #service: TranslationService;
  readonly #roots = new Map<number, Candidate[]>();
  readonly #places = new Map<number, Candidate>();
  readonly #live = new Map<number, { readonly release: Release; readonly hashes: number[] }>();
  readonly #owners = new Set<TableOwner>();
  #position = 0;
  #oldest = 0;

  constructor(service: TranslationService) {
    this.#service = service;
  }

  /** Place in the sequence of the oldest module that is alive. */
  get oldest(): number {
    return this.#oldest;
  }

  /** How many translations are alive. */
  get size(): number {
    return this.#places.size;
  }

  /** Tells a table of this thread from now on which places become free. */
  serve(owner: TableOwner): void {
    this.#owners.add(owner);
  }

  leave(owner: TableOwner): void {
    this.#owners.delete(owner);
  }

  request(regions: readonly Uint8Array[]): void {
    this.#service.request(regions);
  }

  /** Takes in the modules that have come. */
  update(): void {
    for (;;) {
      const release = this.#service.receive();
      if (!release) return;
      this.#evict(release.oldest);
      this.#enter(release);
      this.#position = release.sequence;
    }
  }

  #enter(release: Release): void {
    const hashes: number[] = [];
    release.regions.forEach((region, index) => {
      const { hash } = region;
      const number = release.first + index;
      const candidate = new Candidate(region, release, number);
      this.#places.set(number, candidate);
      const known = this.#roots.get(hash);
      if (known) known[release.kept ? 'push' : 'unshift'](candidate);
      else this.#roots.set(hash, [candidate]);
      hashes.push(hash);
    });
    this.#live.set(release.sequence, { release, hashes });
  }

  /** Gives up all modules before one. */
  #evict(oldest: number): void {
    this.#oldest = oldest;
    for (const [sequence, { release, hashes }] of this.#live) {
      if (sequence >= oldest) return;
      this.#live.delete(sequence);
      for (const hash of hashes) this.#forget(hash, release);
      release.regions.forEach((_, index) => {
        this.#places.delete(release.first + index);
      });
      for (const owner of this.#owners) owner.vacate(release);
    }
  }

  #forget(hash: number, gone: Release): void {
    const others = this.#roots.get(hash)?.filter(({ release }) => release !== gone) ?? [];
    if (others.length > 0) this.#roots.set(hash, others);
    else this.#roots.delete(hash);
  }

  /** The translation whose function has this place in the table. */
  at(number: number): Candidate | undefined {
    return this.#places.get(number);
  }

  /** Translations of what has this `rootHash`, the newest first, a profile's last; others may have it too. */
  candidates(hash: number): readonly Candidate[] {
    return this.#roots.get(hash) ?? NONE;
  }

  /**
   * The module with a place in the sequence; waits for it, as another thread already has it. Undefined
   * when it has been given up.
   * @throws TranslationsLost when it does not come
   */
  release(sequence: number): Release | undefined {
    for (const began = performance.now(); this.#position < sequence; ) {
      const { ended } = this.#service;
      this.update();
      if (this.#position >= sequence) break;
      if (ended || performance.now() - began > PATIENCE) throw new TranslationsLost();
      Atomics.wait(PAUSE, 0, 0, LOOK_AGAIN);
    }
    return this.#live.get(sequence)?.release;
  }
}

const PAUSE = new Int32Array(new SharedArrayBuffer(4));
