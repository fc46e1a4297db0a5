/**
 * Puts translations into one VM: functions into the core's table, contexts into the VM's memory, and
 * from then on the root blocks run translated. Which modules a VM uses stands in its memory, so that
 * each thread that runs the VM has their functions in its own core's table.
 */
import { type Core, growTable, TABLE_SIZE } from '../core-module.js';
import { ForeignWrites } from '../foreign-writes.js';
import * as L from '../layout.js';
import { heatAddress } from './block-reader.js';
import { FUNCTIONS } from './encoder.js';
import { knownPage, pageFrom } from './exec-tlb.js';
import type { Candidate, Library, TableOwner } from './library.js';
import { CORE_IMPORTS } from './locals.js';
import { type PackedPage, sameCode } from './region.js';
import type { Entered } from './region-reader.js';
import type { Places, Release } from './service.js';
import type { TranslatedRegion } from './translator.js';
import { noteUse } from './uses.js';

/** What core/blocks.ts `enterOutlier` fills, in steps of 16: one for each page but the root's, behind the records. */
const OUTLIER_BYTES = (L.BLK_HEADER + 15) & ~15;

const PAGE_BYTES = 0x1000;
const TARGETS_KEPT = 16_384;

const recordsEnd = ({ records }: TranslatedRegion): number => L.CTX_RECORDS + records.length;

const hasBit = (bits: Uint32Array, at: number): boolean =>
  ((bits[at >>> 5] ?? 0) & (1 << (at & 31))) !== 0;

function setBit(bits: Uint32Array, at: number): void {
  bits[at >>> 5] = (bits[at >>> 5] ?? 0) | (1 << (at & 31));
}

function clearBits(bits: Uint32Array, first: number, count: number): void {
  for (let at = first; at < first + count; at++) {
    bits[at >>> 5] = (bits[at >>> 5] ?? 0) & ~(1 << (at & 31));
  }
}

/** A VM, whose blocks have been flushed, uses no module any more: the next may be another translator's. */
export function forgetModules(memory: WebAssembly.Memory): void {
  const view = new DataView(memory.buffer);
  const epoch = L.TIER_STATE + L.TIER_EPOCH;
  view.setUint32(L.TIER_STATE + L.TIER_COUNT, 0, true);
  new Uint8Array(memory.buffer, L.TIER_STATE + L.TIER_USED, L.TIER_USED_BYTES).fill(0);
  view.setUint32(epoch, view.getUint32(epoch, true) + 1, true);
}

export class Installer implements TableOwner {
  readonly #core: Core;
  readonly #cpu: number;
  readonly #memory: WebAssembly.Memory;
  readonly #view: DataView;
  readonly #bytes: Uint8Array;
  readonly #foreign: ForeignWrites;
  readonly #library: Library;
  /** Tables of the modules that are instantiated for this core, by sequence. */
  readonly #present = new Map<number, WebAssembly.Table>();
  /** Bits of the places of this core's table that have their function, and of those that the VM uses. */
  readonly #placed = new Uint32Array(L.TIER_USED_BYTES / 4);
  readonly #used: Uint32Array;
  /** How many uses have been looked at. */
  #uses = 0;
  /** Modules on the VM's list, as far as it has been looked at, in which epoch of it. */
  readonly #listed = new Set<number>();
  /** Contexts of the regions whose jumps lead to blocks, by the blocks' guest physical addresses. */
  readonly #targets = new Map<number, number>();
  #seen = 0;
  #epoch = 0;
  /** The oldest module that was alive when entries were last looked through. */
  #oldest = 0;

  constructor(core: Core, memory: WebAssembly.Memory, cpu: number, library: Library) {
    this.#core = core;
    this.#cpu = cpu;
    this.#memory = memory;
    this.#view = new DataView(memory.buffer);
    this.#bytes = new Uint8Array(memory.buffer);
    this.#used = new Uint32Array(memory.buffer, L.TIER_STATE + L.TIER_USED, L.TIER_USED_BYTES / 4);
    this.#foreign = new ForeignWrites(memory.buffer as SharedArrayBuffer);
    this.#library = library;
    library.serve(this);
  }

  #state(word: number): number {
    return this.#view.getUint32(L.TIER_STATE + word, true);
  }

  #setState(word: number, value: number): void {
    this.#view.setUint32(L.TIER_STATE + word, value, true);
  }

  /**
   * Takes in the translations that have come, and makes this core ready for what other threads have
   * installed. Before the vCPU runs, and before anything is installed.
   */
  synchronise(): void {
    const library = this.#library;
    library.update();
    if (this.#oldest !== library.oldest) this.#dropEvicted();
    if (this.#epoch !== this.#state(L.TIER_EPOCH)) {
      this.#epoch = this.#state(L.TIER_EPOCH);
      this.#startList();
    }
    while (this.#seen < this.#state(L.TIER_COUNT)) {
      const sequence = this.#state(L.TIER_LIST + this.#seen * L.TIER_ENTRY);
      const release = library.release(sequence);
      // To learn of a module is to learn of evictions, and they change the list.
      if (release === undefined || this.#oldest !== library.oldest) this.#dropEvicted();
      else {
        this.#provide(release);
        this.#listed.add(sequence);
        this.#seen++;
      }
    }
    if (this.#uses !== this.#state(L.TIER_USES)) this.#placeUsed();
  }

  /** Puts the functions into the table that other threads have installed. */
  #placeUsed(): void {
    this.#uses = this.#state(L.TIER_USES);
    for (let word = 0; word < this.#used.length; word++) {
      let missing = (this.#used[word] ?? 0) & ~(this.#placed[word] ?? 0);
      for (; missing !== 0; missing &= missing - 1) {
        const candidate = this.#library.at(word * 32 + 31 - Math.clz32(missing & -missing));
        if (candidate !== undefined) this.#place(candidate);
      }
    }
  }

  /** Puts a function into the table. */
  #place({ release, number }: Candidate): void {
    const functions = this.#present.get(release.sequence);
    if (functions === undefined) return;
    this.#core.table.set(number, functions.get(number - release.first));
    setBit(this.#placed, number);
  }

  /** The VM uses a function, the module of which is on its list. */
  #use(candidate: Candidate): void {
    const { number } = candidate;
    if (!hasBit(this.#placed, number)) this.#place(candidate);
    if (hasBit(this.#used, number)) return;
    setBit(this.#used, number);
    // What others have used since this thread last looked is looked at again.
    const uses = this.#state(L.TIER_USES);
    if (this.#uses === uses) this.#uses = (uses + 1) >>> 0;
    this.#setState(L.TIER_USES, (uses + 1) >>> 0);
  }

  #startList(): void {
    this.#seen = 0;
    this.#listed.clear();
  }

  /** Takes what was given up out of the VM: the list's entries, and contexts with their places. */
  #dropEvicted(): void {
    const { oldest } = this.#library;
    this.#oldest = oldest;
    const count = this.#state(L.TIER_COUNT);
    const gone: Places[] = [];
    let kept = 0;
    for (let index = 0; index < count; index++) {
      const from = L.TIER_LIST + index * L.TIER_ENTRY;
      const sequence = this.#state(from);
      const places = this.#state(from + 4);
      if (sequence < oldest) {
        gone.push({ first: places & 0xffff, count: places >>> 16 });
        continue;
      }
      const to = L.TIER_LIST + kept++ * L.TIER_ENTRY;
      this.#setState(to, sequence);
      this.#setState(to + 4, places);
    }
    if (gone.length === 0) return;
    this.#setState(L.TIER_COUNT, kept);
    this.#epoch = (this.#state(L.TIER_EPOCH) + 1) >>> 0;
    this.#setState(L.TIER_EPOCH, this.#epoch);
    this.#startList();
    this.#dropContexts(gone);
  }

  /** Lets all blocks that run a function with one of these places be interpreted again. */
  #dropContexts(gone: readonly Places[]): void {
    const dropped = new Uint8Array(TABLE_SIZE);
    for (const { first, count } of gone) {
      dropped.fill(1, first, first + count);
      clearBits(this.#used, first, count);
    }
    const words = new Uint32Array(this.#memory.buffer, 0, L.CONTEXT_ARENA_END / 4);
    const word = (at: number): number => words[at >>> 2] ?? 0;
    for (let bucket = 0; bucket < L.BLOCK_HASH_ENTRIES; bucket++) {
      let block = word(L.BLOCK_HASH + bucket * 4);
      for (; block !== 0; block = word(block + L.BLK_CHAIN)) {
        const context = word(block + L.BLK_CODE);
        if (context === 0 || dropped[word(context + L.CTX_FUNCTION)] === 0) continue;
        words[(context + L.CTX_FUNCTION) >>> 2] = 0;
        words[(block + L.BLK_CODE) >>> 2] = 0;
        words[heatAddress(block) >>> 2] = 0;
      }
    }
  }

  /** The VM has gone. */
  close(): void {
    this.#library.leave(this);
  }

  vacate(release: Release): void {
    if (!this.#present.delete(release.sequence)) return;
    for (let index = 0; index < release.regions.length; index++) {
      this.#core.table.set(release.first + index, null);
    }
    clearBits(this.#placed, release.first, release.regions.length);
  }

  /**
   * Instantiates a module, and makes room for its functions in the table; a module that imports the table would get
   * a copy of it from V8.
   */
  #provide(release: Release): void {
    if (this.#present.has(release.sequence)) return;
    const core: Record<string, WebAssembly.ImportValue> = {};
    const exports = this.#core as unknown as Record<string, WebAssembly.ImportValue>;
    for (const [name] of CORE_IMPORTS) core[name] = exports[name] as WebAssembly.ImportValue;
    const instance = new WebAssembly.Instance(release.module, {
      env: { memory: this.#memory },
      core,
    });
    this.#present.set(release.sequence, instance.exports[FUNCTIONS] as WebAssembly.Table);
    growTable(this.#core.table, release.first + release.regions.length);
  }

  /** Enters a module in the VM's list, all of which this core has; false when the list is full. */
  #announce(release: Release): boolean {
    if (this.#listed.has(release.sequence)) return true;
    const count = this.#state(L.TIER_COUNT);
    if (count >= L.TIER_LIMIT) return false;
    const at = L.TIER_LIST + count * L.TIER_ENTRY;
    this.#setState(at, release.sequence);
    this.#setState(at + 4, release.first | (release.regions.length << 16));
    this.#setState(L.TIER_COUNT, count + 1);
    this.#seen = count + 1;
    this.#listed.add(release.sequence);
    this.#provide(release);
    return true;
  }

  /** Makes `block` run translated; false when the guest's code is not (any more) what was translated. */
  install(block: number, candidate: Candidate, entered: Entered): boolean {
    const { head, region, release, number } = candidate;
    const view = this.#view;
    const phys = view.getUint32(block + L.BLK_PHYS, true);
    const [own, ...others] = head.pages;
    const before = this.#foreign.count();
    if (!own || !sameCode(this.#bytes, phys - (phys & 0xfff), own, head.bytes)) return false;
    if (!this.#announce(release)) return false;
    const linkBytes = (region.links * 4 + 15) & ~15;
    const outliers = others.length * OUTLIER_BYTES;
    const context = this.#reserve(linkBytes, recordsEnd(region) + outliers);
    if (context === 0) return false;
    this.#use(candidate);
    view.setUint32(context + L.CTX_FUNCTION, number, true);
    view.setUint32(context + L.CTX_BITMAP, own.bitmap, true);
    view.setUint32(context + L.CTX_ROOT, block, true);
    view.setUint32(context + L.CTX_ENTRIES, head.wide ? L.CTX_SETTLED : 0, true);
    this.#bytes.set(region.records, context + L.CTX_RECORDS);
    this.#core.coverCode(L.VCPU_BLOCKS, phys, own.bitmap | 0);
    this.#recheck(before, phys - (phys & 0xfff));
    others.forEach((_, index) => {
      this.#setSlot(context, index + 1, L.PAGE_UNBOUND);
    });
    view.setUint32(block + L.BLK_CODE, context, true);
    noteUse(release.uses, number - release.first);
    this.#enterTargets(context, phys - (phys & 0xfff), own);
    others.forEach(({ distance }, index) => {
      this.bind(context, index + 1, entered.set, pageFrom(entered.rip, distance, head.mode));
    });
    return true;
  }

  /** Room for a context, with so many bytes below it; 0 when there is none, and all blocks have gone. */
  #reserve(below: number, above: number): number {
    const view = this.#view;
    const at = view.getUint32(L.VCPU_BLOCKS + L.CONTEXT_NEXT, true) || L.CONTEXT_ARENA;
    const end = at + below + above;
    if (end > L.CONTEXT_ARENA_END) {
      this.#core.flushBlocks();
      return 0;
    }
    view.setUint32(L.VCPU_BLOCKS + L.CONTEXT_NEXT, end, true);
    this.#bytes.fill(0, at, end);
    return at + below;
  }

  #setSlot(context: number, number: number, value: number): void {
    this.#view.setUint32(context - number * 4, value, true);
  }

  /**
   * Lets a wide region go on in its page `number`, which the exec TLB knows at linear address `page`; a page whose
   * code is not the region's is not asked about again.
   */
  bind(context: number, number: number, set: number, page: bigint): void {
    const view = this.#view;
    const candidate = this.#library.at(view.getUint32(context + L.CTX_FUNCTION, true));
    const part = candidate?.head.pages[number];
    if (!candidate || !part) return;
    const phys = knownPage(view, this.#cpu + set, page);
    this.#setSlot(context, number, phys < 0 ? L.PAGE_UNBOUND : L.PAGE_ASKED);
    const before = this.#foreign.count();
    if (phys < 0 || !sameCode(this.#bytes, phys, part, candidate.head.bytes)) return;
    const outlier = context + recordsEnd(candidate.region) + (number - 1) * OUTLIER_BYTES;
    this.#core.enterOutlier(this.#cpu, outlier, phys, context, part.bitmap | 0);
    this.#recheck(before, phys);
    this.#setSlot(context, number, phys);
    this.#enterTargets(context, phys, part);
  }

  /** Code that was compared may be old when somebody has written since: it is dropped before it runs. */
  #recheck(before: number, page: number): void {
    if (this.#foreign.count() !== before) this.#foreign.written(page, PAGE_BYTES);
  }

  #enterTargets(context: number, page: number, { targets }: PackedPage): void {
    if (this.#targets.size > TARGETS_KEPT) this.#targets.clear();
    for (const offset of targets) this.#targets.set(page + offset, context);
  }

  /** Whether jumps of a region that is alive lead to the block at guest physical `phys`. */
  isTarget(phys: number): boolean {
    const context = this.#targets.get(phys) ?? 0;
    if (context === 0) return false;
    const root = this.#view.getUint32(context + L.CTX_ROOT, true);
    return this.#view.getUint32(root + L.BLK_CODE, true) === context;
  }
}
