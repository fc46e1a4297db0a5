/**
 * Where translations come from. All threads of a process see the same sequence of modules, each with a
 * range of places in every core's table. What is alive at one time is bounded: a new module takes the
 * oldest ones' places when there is no room.
 */
import { threadMilliseconds } from '../../../platform/clock.js';
import { TABLE_SIZE } from '../core-module.js';
import { regionKey } from './region.js';
import { type EncodedRegion, moduleOf, type TranslatedModule, Translator } from './translator.js';
import { makeClock, makeUses, type Uses } from './uses.js';

/** A range of places in the table. */
export interface Places {
  /** The first place. */
  readonly first: number;
  readonly count: number;
}

/** A module as it is made known to all threads. */
export interface Release extends TranslatedModule {
  /** Place in the sequence of modules, from 1. */
  readonly sequence: number;
  /** Place of its first function. */
  readonly first: number;
  /** The oldest module that is still alive: the places of those before it are free or taken. */
  readonly oldest: number;
  /** Made of a profile, whose regions come in the order in which they are preferred. */
  readonly kept: boolean;
  readonly uses: Uses;
}

export interface TranslationService {
  /** Asks for translations; regions that are there already, for whomever, are not translated again. */
  request(regions: readonly Uint8Array[]): void;
  /** The next module of the sequence, if it is there. */
  receive(): Release | undefined;
  /** Whether it makes no more modules, for good. */
  readonly ended: boolean;
}

/** How much may be alive at one time. */
export interface TranslationLimits {
  /** Places in the table, with the first, which stays empty. */
  readonly places: number;
  /** V8 ends the process at some 30,000 live modules. */
  readonly modules: number;
  /** Bytes of WebAssembly; machine code is some five times as large. */
  readonly bytes: number;
}

export const TRANSLATION_LIMITS: TranslationLimits = {
  places: TABLE_SIZE,
  modules: 4096,
  bytes: 48 << 20,
};

/** What has been translated, and what that took. */
export interface TranslationCounters {
  /** Regions asked for, by all VMs, and those that were there already or under way. */
  asked: number;
  reused: number;
  translated: number;
  modules: number;
  evicted: number;
  /** Bytes of WebAssembly, of all modules and of those alive. */
  bytes: number;
  liveBytes: number;
  /** Processor time of the thread that translates, in milliseconds. */
  milliseconds: number;
}

interface LiveModule extends Places {
  readonly keys: readonly string[];
  readonly release: Release;
}

/** Places and numbers modules, and remembers what has been translated. */
export class Releases {
  readonly counters: TranslationCounters = {
    asked: 0,
    reused: 0,
    translated: 0,
    modules: 0,
    evicted: 0,
    bytes: 0,
    liveBytes: 0,
    milliseconds: 0,
  };
  readonly #translator = new Translator();
  readonly #limits: TranslationLimits;
  readonly #known = new Set<string>();
  readonly #clock = makeClock();
  /** The oldest first. */
  #live: LiveModule[] = [];
  #sequence = 0;
  #next = 1;

  constructor(limits: TranslationLimits = TRANSLATION_LIMITS) {
    this.#limits = limits;
  }

  /** Modules that are alive, the oldest first. */
  get live(): Release[] {
    return this.#live.map(({ release }) => release);
  }

  /** Keys of the regions of a module that is alive. */
  keysOf(release: Release): readonly string[] {
    return this.#live.findLast((module) => module.release === release)?.keys ?? [];
  }

  /** Those regions that are not known yet; they are from now on. */
  fresh<Region>(regions: readonly Region[], keyOf: (region: Region) => string): Region[] {
    const fresh = regions.filter((region) => {
      const key = keyOf(region);
      if (this.#known.has(key)) return false;
      this.#known.add(key);
      return true;
    });
    this.counters.asked += regions.length;
    this.counters.reused += regions.length - fresh.length;
    return fresh;
  }

  /** Translates at least one region, at most as many as there are places. */
  make(regions: readonly Uint8Array[]): Release {
    return this.adopt(this.translate(regions));
  }

  /** Translates regions; they have gone through `fresh`. */
  translate(regions: readonly Uint8Array[]): EncodedRegion[] {
    const began = threadMilliseconds();
    const encoded = regions.map((packed) => this.#translator.translate(packed));
    this.counters.translated += regions.length;
    this.counters.milliseconds += threadMilliseconds() - began;
    return encoded;
  }

  /**
   * Compiles at least one region, at most as many as there are places.
   * @param kept whether they are of a profile
   */
  adopt(regions: readonly EncodedRegion[], kept = false): Release {
    const began = threadMilliseconds();
    const bytes = moduleOf(regions);
    const module = new WebAssembly.Module(bytes as Uint8Array<ArrayBuffer>);
    const release = this.#release(regions, module, bytes.length, kept);
    this.counters.milliseconds += threadMilliseconds() - began;
    return release;
  }

  /** As `adopt`, by the optimising compiler, which other threads run. */
  async adoptOptimised(regions: readonly EncodedRegion[]): Promise<Release> {
    const bytes = moduleOf(regions, true);
    const module = await WebAssembly.compile(bytes as Uint8Array<ArrayBuffer>);
    return this.#release(regions, module, bytes.length);
  }

  #release(
    encoded: readonly EncodedRegion[],
    module: WebAssembly.Module,
    bytes: number,
    kept = false,
  ): Release {
    const places = this.#place(encoded.length);
    this.#makeRoom(places, bytes);
    const sequence = ++this.#sequence;
    const oldest = this.#live[0]?.release.sequence ?? sequence;
    // Without the functions, which other threads have no use for.
    const regions = encoded.map(({ body: _body, key: _key, ...region }) => region);
    const uses = makeUses(this.#clock, encoded.length);
    const release = { module, bytes, regions, sequence, first: places.first, oldest, kept, uses };
    this.#live.push({ ...places, keys: encoded.map(({ key }) => key), release });
    const { counters } = this;
    counters.modules++;
    counters.bytes += bytes;
    counters.liveBytes += bytes;
    return release;
  }

  /** Places go round, so what has to make room is old. */
  #place(count: number): Places {
    if (this.#next + count > this.#limits.places) this.#next = 1;
    const first = this.#next;
    this.#next += count;
    return { first, count };
  }

  /** Gives up the oldest modules until nothing is in the way. */
  #makeRoom({ first, count }: Places, bytes: number): void {
    const live = this.#live;
    const { counters } = this;
    const { modules, bytes: byteLimit } = this.#limits;
    let gone = live.findLastIndex(
      (module) => module.first < first + count && first < module.first + module.count,
    );
    gone = Math.max(gone + 1, live.length + 1 - modules);
    for (let index = 0; index < live.length; index++) {
      if (index >= gone && counters.liveBytes + bytes <= byteLimit) break;
      const module = live[index];
      if (!module) break;
      counters.liveBytes -= module.release.bytes;
      counters.evicted++;
      for (const key of module.keys) this.#known.delete(key);
      gone = Math.max(gone, index + 1);
    }
    this.#live = live.slice(Math.max(0, gone));
  }
}

/** Translates at once in the thread that asks. */
export class LocalService implements TranslationService {
  readonly #releases: Releases;
  readonly #made: Release[] = [];

  constructor(limits?: TranslationLimits) {
    this.#releases = new Releases(limits);
  }

  readonly ended = false;

  get counters(): Readonly<TranslationCounters> {
    return this.#releases.counters;
  }

  request(regions: readonly Uint8Array[]): void {
    const fresh = this.#releases.fresh(regions, regionKey);
    if (fresh.length > 0) this.#made.push(this.#releases.make(fresh));
  }

  receive(): Release | undefined {
    return this.#made.shift();
  }
}
