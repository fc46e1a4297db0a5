/**
 * Puts translations into one VM: functions into the core's table, contexts into the VM's memory, and
 * from then on the root blocks run translated. Which modules a VM uses stands in its memory, so that
 * each thread that runs the VM has their functions in its own core's table.
 */
import type { Core } from '../core-module.js';
import * as L from '../layout.js';
import type { Candidate, Library } from './library.js';
import { CORE_IMPORTS } from './locals.js';
import { sameCode } from './region.js';
import type { Release } from './service.js';

export class Installer {
  readonly #core: Core;
  readonly #memory: WebAssembly.Memory;
  readonly #view: DataView;
  readonly #bytes: Uint8Array;
  readonly #library: Library;
  /** Modules whose functions are in this core's table, by sequence. */
  #present = new Set<number>();
  #generation = 0;
  /** How many entries of the VM's list have been looked at. */
  #seen = 0;

  constructor(core: Core, memory: WebAssembly.Memory, library: Library) {
    this.#core = core;
    this.#memory = memory;
    this.#view = new DataView(memory.buffer);
    this.#bytes = new Uint8Array(memory.buffer);
    this.#library = library;
  }

  /** Makes this core ready for what other threads have installed. Before the vCPU runs. */
  synchronise(): void {
    const view = this.#view;
    const generation = view.getUint32(L.TIER_STATE + L.TIER_GENERATION, true);
    if (generation !== this.#library.generation) {
      this.#library.update();
      if (generation > this.#library.generation) this.#library.release(0);
      if (generation < this.#library.generation) {
        // All that the VM uses has been given up.
        if (generation !== 0) this.#core.flushBlocks();
        view.setUint32(L.TIER_STATE + L.TIER_GENERATION, this.#library.generation, true);
        view.setUint32(L.TIER_STATE + L.TIER_COUNT, 0, true);
      }
    }
    if (this.#generation !== this.#library.generation) {
      this.#generation = this.#library.generation;
      this.#present = new Set();
      this.#seen = 0;
    }
    const count = view.getUint32(L.TIER_STATE + L.TIER_COUNT, true);
    for (; this.#seen < count; this.#seen++) {
      const sequence = view.getUint32(L.TIER_STATE + L.TIER_LIST + this.#seen * 4, true);
      this.#provide(this.#library.release(sequence));
    }
  }

  /** Puts a module's functions into the table. */
  #provide(release: Release): void {
    if (this.#present.has(release.sequence)) return;
    this.#present.add(release.sequence);
    const core: Record<string, WebAssembly.ImportValue> = {};
    const exports = this.#core as unknown as Record<string, WebAssembly.ImportValue>;
    for (const [name] of CORE_IMPORTS) core[name] = exports[name] as WebAssembly.ImportValue;
    const instance = new WebAssembly.Instance(release.module, {
      env: { memory: this.#memory },
      core,
    });
    for (let index = 0; index < release.regions.length; index++) {
      this.#core.table.set(release.first + index, instance.exports[`f${index}`] as never);
    }
  }

  /** Enters a module in the VM's list; false when the list is full. */
  #announce(release: Release): boolean {
    if (this.#present.has(release.sequence)) return true;
    const view = this.#view;
    const count = view.getUint32(L.TIER_STATE + L.TIER_COUNT, true);
    if (count >= L.TIER_LIMIT) return false;
    view.setUint32(L.TIER_STATE + L.TIER_LIST + count * 4, release.sequence, true);
    view.setUint32(L.TIER_STATE + L.TIER_COUNT, count + 1, true);
    this.#seen = count + 1;
    this.#provide(release);
    return true;
  }

  /** Makes `block` run translated; false when the guest's code is not (any more) what was translated. */
  install(block: number, { head, region, release, number, bitmap }: Candidate): boolean {
    const view = this.#view;
    const phys = view.getUint32(block + L.BLK_PHYS, true);
    if (!sameCode(this.#bytes, phys - (phys & 0xfff), head)) return false;
    const linkBytes = (region.links * 4 + 15) & ~15;
    const size = linkBytes + L.CTX_RECORDS + region.records.length;
    const at = view.getUint32(L.VCPU_BLOCKS + L.CONTEXT_NEXT, true) || L.CONTEXT_ARENA;
    if (at + size > L.CONTEXT_ARENA_END) {
      this.#core.flushBlocks();
      return false;
    }
    if (!this.#announce(release)) return false;
    view.setUint32(L.VCPU_BLOCKS + L.CONTEXT_NEXT, at + size, true);
    const context = at + linkBytes;
    this.#bytes.fill(0, at, context + L.CTX_RECORDS);
    view.setUint32(context + L.CTX_FUNCTION, number, true);
    view.setUint32(context + L.CTX_BITMAP, bitmap, true);
    this.#bytes.set(region.records, context + L.CTX_RECORDS);
    this.#core.coverCode(L.VCPU_BLOCKS, phys, bitmap | 0);
    view.setUint32(block + L.BLK_CODE, context, true);
    return true;
  }
}
