/** The translations that one thread knows: modules in their sequence, regions by what they start with. */
import { type PackedHead, packedHead, rootKey } from './region.js';
import type { Release, TranslationService } from './service.js';
import type { TranslatedRegion } from './translator.js';

/** A translation that can be installed. */
export interface Candidate {
  readonly head: PackedHead;
  readonly region: TranslatedRegion;
  readonly release: Release;
  /** Its place in every core's table. */
  readonly number: number;
  /** Sub-blocks of 128 bytes that its code lies in, as core/blocks.ts counts them. */
  readonly bitmap: number;
}

function bitmapOf({ blocks }: PackedHead): number {
  let bitmap = 0;
  for (const { offset, length } of blocks) {
    for (let sub = offset >> 7; sub <= (offset + length - 1) >> 7; sub++) bitmap |= 1 << sub;
  }
  return bitmap >>> 0;
}

export class Library {
  readonly #service: TranslationService;
  readonly #roots = new Map<string, Candidate[]>();
  readonly #releases: Release[] = [];
  #generation = 1;

  constructor(service: TranslationService) {
    this.#service = service;
  }

  get generation(): number {
    return this.#generation;
  }

  request(regions: readonly Uint8Array[]): void {
    this.#service.request(regions);
  }

  /** Takes in the modules that have come. */
  update(): void {
    for (;;) {
      const release = this.#service.receive();
      if (!release) return;
      if (release.generation !== this.#generation) {
        this.#generation = release.generation;
        this.#roots.clear();
        this.#releases.length = 0;
      }
      this.#releases.push(release);
      release.regions.forEach((region, index) => {
        const head = packedHead(region.packed);
        const root = head.blocks[0];
        if (!root) return;
        const key = rootKey(head.mode, root.offset, head.bytes.subarray(0, root.length));
        const candidate: Candidate = {
          head,
          region,
          release,
          number: release.first + index,
          bitmap: bitmapOf(head),
        };
        const known = this.#roots.get(key);
        if (known) known.unshift(candidate);
        else this.#roots.set(key, [candidate]);
      });
    }
  }

  /** Translations of what begins so, the newest first. */
  candidates(key: string): readonly Candidate[] {
    return this.#roots.get(key) ?? [];
  }

  /** The module with a place in the sequence; waits for it, as another thread already has it. */
  release(sequence: number): Release {
    for (;;) {
      const known = this.#releases[sequence];
      if (known) return known;
      this.update();
      if (!this.#releases[sequence]) Atomics.wait(PAUSE, 0, 0, 0.2);
    }
  }
}

const PAUSE = new Int32Array(new SharedArrayBuffer(4));
