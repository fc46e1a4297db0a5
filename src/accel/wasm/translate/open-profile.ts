/**
 * A profile while VMs of its kernel run. Regions age: one that several processes in a row did without goes,
 * so that a profile holds what this kernel's guests do now, and not all that any of them ever did. What a process used is
 * written where it costs least: the ages in their place, and the whole file only when regions come or go.
 */
import { readProfile, writeAges, writeProfile } from './profile.js';
import type { EncodedRegion } from './translator.js';
import type { Uses } from './uses.js';

/** Regions kept at most. */
const REGION_LIMIT = 6000;
/** A file is written again when more than this part of it would come or go. */
const GROWTH = 0.05;
/**
 * Processes in a row that do without a region until it goes. Four workloads that take turns, each with two boots,
 * keep theirs.
 */
export const AGE_LIMIT = 8;
/** A process in which fewer regions were used tells nothing of the others: its guest hardly ran. */
export const TELLING = 64;

/** What is known of a region. */
interface Known {
  /** Its age, if this process tells nothing of it. */
  readonly age: number;
  /** Its age, if this process does without it. */
  readonly next: number;
  /** Whether it was translated in this process, for it was hot. */
  hot: boolean;
  /** Where its uses stand, once it is in a module. */
  uses?: Uses;
  index: number;
}

const known = (age: number, next: number, hot = false): Known => ({ age, next, hot, index: 0 });

/** When it was first used, by the clock of uses; 0 if it has not been. */
const firstUse = ({ uses, index }: Known): number =>
  uses === undefined ? 0 : Atomics.load(uses.first, index);

const isUsed = (region: Known): boolean => region.hot || firstUse(region) > 0;

export class OpenProfile {
  readonly #path: string;
  /** By key: the regions of the file, in its order, then those that it does not hold. */
  #known = new Map<string, Known>();
  /** Regions that the file does not hold, by key, in the order in which they were made. */
  readonly #made = new Map<string, EncodedRegion>();
  /** What the file begins with, and its ages. */
  #head: Uint8Array = new Uint8Array();
  #ages: Uint8Array = new Uint8Array();

  constructor(path: string) {
    this.#path = path;
  }

  /** Reads the file: its regions, those that were used last first. */
  read(): EncodedRegion[] {
    const profile = readProfile(this.#path);
    if (profile === undefined) return [];
    const { head, kept } = profile;
    this.#head = head;
    this.#ages = Uint8Array.from(kept, ({ age }) => age);
    for (const { region, age } of kept) {
      this.#known.set(region.key, known(age, Math.min(age + 1, AGE_LIMIT)));
    }
    return kept
      .filter(({ age }) => age < AGE_LIMIT)
      .sort((a, b) => a.age - b.age)
      .map(({ region }) => region);
  }

  /** Regions were hot, and have been translated. */
  add(regions: readonly EncodedRegion[]): void {
    for (const region of regions) {
      const old = this.#known.get(region.key);
      if (old !== undefined) old.hot = true;
      else if (this.#made.size < REGION_LIMIT) {
        this.#known.set(region.key, known(0, 0, true));
        this.#made.set(region.key, region);
      }
    }
  }

  /**
   * A module has been made.
   * @param keys of its regions
   */
  follow(keys: readonly string[], uses: Uses): void {
    keys.forEach((key, index) => {
      const region = this.#known.get(key);
      if (region === undefined || firstUse(region) > 0) return;
      region.uses = uses;
      region.index = index;
    });
  }

  /**
   * Brings the file up to date. It may be done again: a process counts once.
   * @returns whether the file was written anew
   */
  save(): boolean {
    const regions = [...this.#known.values()];
    const tells = regions.filter(isUsed).length >= TELLING;
    const ageOf = (region: Known): number => {
      if (isUsed(region)) return 0;
      return tells ? region.next : region.age;
    };
    const held = this.#ages.length;
    const ages = Uint8Array.from(regions.slice(0, held), ageOf);
    const gone = ages.filter((age) => age >= AGE_LIMIT).length;
    if (this.#made.size + gone > held * GROWTH) {
      this.#rewrite(ageOf);
      return true;
    }
    if (ages.some((age, index) => age !== this.#ages[index])) {
      this.#ages = ages;
      writeAges(this.#path, this.#head, ages);
    }
    return false;
  }

  /** Puts what was used first, in the order of its use, and leaves out what goes. */
  #rewrite(ageOf: (region: Known) => number): void {
    // Another process may have written it meanwhile: of what that one has added, this one tells nothing.
    const kept = (readProfile(this.#path)?.kept ?? []).map(({ region, age }) => {
      const own = this.#known.get(region.key) ?? known(age, age);
      return { region, own };
    });
    const there = new Set(kept.map(({ region }) => region.key));
    for (const [key, region] of this.#made) {
      const own = this.#known.get(key);
      if (own !== undefined && !there.has(key)) kept.push({ region, own });
    }
    const place = (own: Known): number =>
      firstUse(own) || (own.hot ? Number.MAX_SAFE_INTEGER - 1 : Number.MAX_SAFE_INTEGER);
    const written = kept
      .map(({ region, own }) => ({ region, own, age: ageOf(own), place: place(own) }))
      .filter(({ age }) => age < AGE_LIMIT)
      .sort((a, b) => a.place - b.place)
      .slice(0, REGION_LIMIT);
    this.#head = writeProfile(this.#path, written);
    this.#ages = Uint8Array.from(written, ({ age }) => age);
    this.#known = new Map(written.map(({ region, own }) => [region.key, own]));
    this.#made.clear();
  }
}
