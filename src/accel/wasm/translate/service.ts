/**
 * Where translations come from. All threads of a process see the same sequence of modules, whose
 * functions are numbered through: the number is the function's place in every core's table.
 */
import { TABLE_SIZE } from '../core-module.js';
import { regionKey } from './region.js';
import { type TranslatedModule, Translator } from './translator.js';

/** A module as it is made known to all threads. */
export interface Release extends TranslatedModule {
  /** Counts how often all translations were given up because the table was full, from 1. */
  readonly generation: number;
  /** Place in the sequence of its generation, from 0. */
  readonly sequence: number;
  /** Number of its first function. */
  readonly first: number;
}

export interface TranslationService {
  /** Asks for translations; regions asked for before, by whomever, are not translated again. */
  request(regions: readonly Uint8Array[]): void;
  /** The next module of the sequence, if it is there. */
  receive(): Release | undefined;
}

/** Numbers modules and functions, and remembers what has been translated. */
export class Releases {
  readonly #translator = new Translator();
  #known = new Set<string>();
  #generation = 1;
  #sequence = 0;
  #next = 1;

  /** Those regions that are not known yet; they are from now on. */
  fresh(regions: readonly Uint8Array[]): Uint8Array[] {
    return regions.filter((packed) => {
      const key = regionKey(packed);
      if (this.#known.has(key)) return false;
      this.#known.add(key);
      return true;
    });
  }

  /** Translates at least one region, at most a table's. */
  make(regions: readonly Uint8Array[]): Release {
    if (this.#next + regions.length > TABLE_SIZE) {
      this.#generation++;
      this.#sequence = 0;
      this.#next = 1;
      this.#known = new Set(regions.map(regionKey));
    }
    const made = this.#translator.translate(regions);
    const first = this.#next;
    this.#next += regions.length;
    return { ...made, generation: this.#generation, sequence: this.#sequence++, first };
  }
}

/** Translates at once in the thread that asks. */
export class LocalService implements TranslationService {
  readonly #releases = new Releases();
  readonly #made: Release[] = [];

  request(regions: readonly Uint8Array[]): void {
    const fresh = this.#releases.fresh(regions);
    if (fresh.length > 0) this.#made.push(this.#releases.make(fresh));
  }

  receive(): Release | undefined {
    return this.#made.shift();
  }
}
