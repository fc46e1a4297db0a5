/** Tier 1 of one vCPU: takes the hot blocks that the run loop lists, and installs translations of them. */

import type { Core } from '../core-module.js';
import { operationNumbers } from '../isa/table.js';
import * as L from '../layout.js';
import { Installer } from './installer.js';
import { RegionReader, regionKey } from './region.js';
import { type TranslatedModule, type TranslatedRegion, Translator } from './translator.js';

/** Entries of a block before it is translated. */
export const HOT_THRESHOLD = 300;

/** All translations of the process, by content. */
const known = new Map<
  string,
  { readonly owner: TranslatedModule; readonly region: TranslatedRegion }
>();
let translator: Translator | undefined;

export class Tier {
  readonly #view: DataView;
  readonly #at: number;
  readonly #installer: Installer;
  readonly #reader: RegionReader;

  constructor(core: Core, memory: WebAssembly.Memory, cpu: number) {
    this.#at = cpu;
    this.#view = new DataView(memory.buffer);
    this.#installer = new Installer(core, memory, cpu);
    this.#reader = new RegionReader(memory, operationNumbers());
    this.#view.setUint32(cpu + L.HOT_THRESHOLD, HOT_THRESHOLD, true);
  }

  /** Takes the list of hot blocks; the vCPU is not running. */
  serve(): void {
    const count = this.#view.getUint32(this.#at + L.HOT_COUNT, true);
    if (count === 0) return;
    translator ??= new Translator();
    this.#view.setUint32(this.#at + L.HOT_COUNT, 0, true);
    const wanted: { block: number; key: string }[] = [];
    const fresh = new Map<string, NonNullable<ReturnType<RegionReader['read']>>>();
    for (let i = 0; i < count; i++) {
      const entry = this.#at + L.HOT_LIST + i * L.HOT_ENTRY;
      const block = this.#view.getUint32(entry, true);
      const set = this.#view.getUint32(entry + 4, true);
      const rip = this.#view.getBigUint64(entry + 8, true);
      const region = this.#reader.read(block, rip, set, translator.successors);
      if (!region) continue;
      const key = regionKey(region);
      wanted.push({ block, key });
      if (!known.has(key)) fresh.set(key, region);
    }
    if (fresh.size > 0) {
      const owner = translator.translate([...fresh.values()]);
      for (const region of owner.regions) known.set(region.key, { owner, region });
    }
    for (const { block, key } of wanted) {
      const found = known.get(key);
      if (found) this.#installer.install(block, found.owner, found.region);
    }
  }
}
