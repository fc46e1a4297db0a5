/**
 * Tier 1 of one vCPU on one thread: takes the hot blocks that the run loop lists, asks for
 * translations, and installs those that are there. A block whose translation is still under way
 * becomes hot again a little later.
 */
import type { Core } from '../core-module.js';
import { operationNumbers } from '../isa/table.js';
import * as L from '../layout.js';
import { heatAddress } from './block-reader.js';
import type { RegionLimits } from './collection.js';
import { Installer } from './installer.js';
import { type Library, TranslationsLost } from './library.js';
import { type Entered, RegionReader } from './region-reader.js';

export interface TierOptions {
  /** Entries of a block before it is translated; 1: before it first runs, for tests. */
  readonly threshold: number;
  /** Entries of a block before a translation that is there already is used, if these are fewer. */
  readonly warm: number;
  /** Entries of a region by others before it is made wide; 0: never. */
  readonly wideThreshold: number;
  /** Translations from which on a VM counts as provided with them. */
  readonly provided: number;
  readonly limits: RegionLimits;
  /** Regions in one request, and milliseconds that the first waits for others at most. */
  readonly batch: number;
  readonly delay: number;
  /** How many regions a VM may ask for; without it any number. */
  readonly allowance?: Allowance;
}

/** Regions that may be asked for at once, and what is added each second up to that. */
export interface Allowance {
  readonly most: number;
  readonly perSecond: number;
}

export const TIER_OPTIONS: TierOptions = {
  // Of whole boots on two processors: with 2,500 they take 5 % longer, with 12,000 those with a profile do.
  threshold: 5000,
  // A boot takes as long with 10 as with 2,500, but uses three times as many regions of a large profile. Commands in a VM
  // that goes on from a snapshot take half as long again with 2,000.
  warm: 500,
  wideThreshold: 200_000,
  provided: 500,
  limits: {
    ...{ blocks: 160, operations: 1500, heat: 10 },
    wide: { blocks: 200, operations: 1500, heat: 1 / 32, target: 500 },
  },
  batch: 48,
  delay: 3,
  // A boot asks for 13,000, most of them while they are under way.
  allowance: { most: 20_000, perSecond: 100 },
};

/** Everything is translated before it first runs. */
export const FORCED_TIER: TierOptions = {
  threshold: 1,
  warm: 1,
  wideThreshold: 2,
  provided: Number.POSITIVE_INFINITY,
  limits: {
    ...{ blocks: 48, operations: 400, heat: 0 },
    wide: { blocks: 200, operations: 1500, heat: 0, target: 0 },
  },
  batch: 1,
  delay: 0,
};

/**
 * What multiplies the thresholds of a VM that begins without translations, and with what others have had made: what
 * those lack is mostly what is not worth much.
 */
const FIRST = { hot: 1, wide: 1 };
const LATER = { hot: 1.5, wide: 8 };
/** Entries until a block whose translation is under way is looked at again. */
const AGAIN = 64;
/** Entries until a region whose wide one is under way is looked at again. */
const WIDE_AGAIN = 1000;
/** How long it may be under way before it is asked for again. */
const WIDE_MILLISECONDS = 5000;
/** A block translated more often than this waits longer each time. */
const PATIENCE = 4;
const LONGEST_WAIT = 24;
const INSTALLS_KEPT = 8192;

/** A hot block, and where it was entered. */
interface Hot {
  readonly block: number;
  readonly entered: Entered;
}

const isContext = (address: number): boolean =>
  address >= L.CONTEXT_ARENA && address < L.CONTEXT_ARENA_END;

export class Tier {
  readonly #view: DataView;
  readonly #at: number;
  readonly #installer: Installer;
  readonly #reader: RegionReader;
  readonly #library: Library;
  readonly #options: TierOptions;
  readonly #core: Core;
  readonly #threshold: number;
  readonly #wideThreshold: number;
  /** Entries after which a block is looked at first. */
  readonly #first: number;
  /** By guest physical address: until when a wide region of the block is waited for. */
  readonly #underWay = new Map<number, number>();
  #wanted: Uint8Array[] = [];
  #since = 0;
  /** Regions that may be asked for, as of when. */
  #allowed: number;
  #allowedAt = performance.now();
  /** By guest physical address: how often a block was given a translation. */
  readonly #installs = new Map<number, number>();
  #lost: TranslationsLost | undefined;

  constructor(
    core: Core,
    memory: WebAssembly.Memory,
    cpu: number,
    library: Library,
    options: TierOptions = TIER_OPTIONS,
  ) {
    this.#core = core;
    this.#at = cpu;
    this.#view = new DataView(memory.buffer);
    this.#library = library;
    this.#options = options;
    library.update();
    const patience = library.size >= options.provided ? LATER : FIRST;
    this.#threshold = options.threshold * patience.hot;
    this.#wideThreshold = options.wideThreshold * patience.wide;
    this.#first = Math.min(options.warm, options.threshold);
    this.#allowed = options.allowance?.most ?? Number.POSITIVE_INFINITY;
    this.#installer = new Installer(core, memory, cpu, library);
    this.#reader = new RegionReader(
      memory,
      cpu,
      operationNumbers(),
      options.limits,
      this.#threshold - this.#first,
    );
    this.#view.setUint32(cpu + L.HOT_THRESHOLD, this.#first, true);
    this.#view.setUint32(cpu + L.WIDE_THRESHOLD, this.#wideThreshold, true);
  }

  /** This thread no longer runs the VM. */
  close(): void {
    this.#installer.close();
  }

  /**
   * Runs the vCPU as Core.run does.
   * @throws TranslationsLost before the vCPU has run
   */
  run(budget: number): number {
    if (this.#lost !== undefined) throw this.#lost;
    this.#installer.synchronise();
    const reason = this.#core.run(this.#at, budget);
    try {
      this.#serve();
    } catch (error) {
      // Why the vCPU stopped is told first.
      if (!(error instanceof TranslationsLost)) throw error;
      this.#lost = error;
    }
    return reason;
  }

  /** As `run`, going on where it returned because a block had not been translated; for a threshold of 1. */
  runTranslated(budget: number): number {
    const view = this.#view;
    for (;;) {
      const before = view.getBigUint64(this.#at + L.ICOUNT, true);
      this.#installer.synchronise();
      const reason = this.#core.run(this.#at, budget);
      const stopped = view.getUint32(this.#at + L.HOT_COUNT, true) > 0;
      this.#serve();
      if (!stopped || view.getBigUint64(this.#at + L.ICOUNT, true) !== before) return reason;
    }
  }

  /** The block becomes hot again after so many entries. */
  #again(block: number, entries: number): void {
    if (this.#options.threshold === 1) return;
    this.#view.setUint32(heatAddress(block), (this.#first - entries) >>> 0, true);
  }

  #flushes(): number {
    return this.#view.getUint32(L.VCPU_BLOCKS + L.ARENA_FLUSHES, true);
  }

  /** Takes the list of hot blocks; the vCPU is not running. */
  #serve(): void {
    const view = this.#view;
    const count = view.getUint32(this.#at + L.HOT_COUNT, true);
    if (count > 0) {
      view.setUint32(this.#at + L.HOT_COUNT, 0, true);
      this.#installer.synchronise();
      const missing: Hot[] = [];
      const flushes = this.#flushes();
      // Once all blocks have gone, so have those of the list.
      for (let i = 0; i < count && this.#flushes() === flushes; i++) {
        const entry = this.#at + L.HOT_LIST + i * L.HOT_ENTRY;
        const block = view.getUint32(entry, true);
        const set = view.getUint32(entry + 4, true);
        const rip = view.getBigUint64(entry + 8, true);
        const hot = { block, entered: { set, rip } };
        if (isContext(block)) {
          this.#installer.bind(block, Number(rip & 0xfffn), set, rip & ~0xfffn);
        } else if (this.#reader.context(block) !== 0) this.#widen(hot);
        else if (this.#reader.eligible(block) && !this.#install(hot) && this.#isHot(block)) {
          missing.push(hot);
        }
      }
      if (missing.length > 0 && this.#flushes() === flushes) this.#ask(missing);
    }
    this.#send();
  }

  /**
   * A region is entered often: a wide one in its place would go on in other pages and in routines. Not where a
   * wide one jumps to: its own root leads there.
   */
  #widen(hot: Hot): void {
    const view = this.#view;
    const context = this.#reader.context(hot.block);
    const own = this.#library.at(view.getUint32(context + L.CTX_FUNCTION, true));
    if (own === undefined || own.head.wide || this.#install(hot, true)) return;
    const phys = view.getUint32(hot.block + L.BLK_PHYS, true);
    let entries = L.CTX_SETTLED;
    if (this.#isUnderWay(phys)) entries = this.#wideThreshold - WIDE_AGAIN;
    else if (!this.#installer.isTarget(phys) && this.#allowed >= 1) {
      const region = this.#reader.collect(hot.block, hot.entered);
      if (region.blocks.size > own.head.blocks || this.#reader.entersRoutines(region)) {
        entries = this.#wideThreshold - WIDE_AGAIN;
        this.#allowed--;
        const until = performance.now() + WIDE_MILLISECONDS;
        for (const covered of [phys, ...this.#reader.targets(region)])
          this.#underWay.set(covered, until);
        this.#want(this.#reader.pack(region));
      }
    }
    view.setUint32(context + L.CTX_ENTRIES, entries, true);
  }

  /** Whether a wide region for the block, or one whose jumps lead to it, has been asked for lately. */
  #isUnderWay(phys: number): boolean {
    const until = this.#underWay.get(phys);
    if (until === undefined) return false;
    if (performance.now() < until) return true;
    this.#underWay.delete(phys);
    return false;
  }

  /** False the first time: the block was only warm, and is looked at again when it is hot. */
  #isHot(block: number): boolean {
    const wait = this.#threshold - this.#first;
    if (wait === 0 || this.#view.getUint16(block + L.BLK_WARM, true) !== 0) return true;
    this.#view.setUint16(block + L.BLK_WARM, 1, true);
    this.#again(block, wait);
    return false;
  }

  /** Installs what is there, wide regions first; false when there is nothing. */
  #install({ block, entered }: Hot, wideOnly = false): boolean {
    const candidates = this.#library.candidates(this.#reader.rootHash(block));
    if (candidates.length === 0) return false;
    const phys = this.#view.getUint32(block + L.BLK_PHYS, true);
    for (const wide of wideOnly ? [true] : [true, false]) {
      for (const candidate of candidates) {
        if (candidate.head.wide !== wide || !this.#reader.isRoot(block, candidate.head)) continue;
        if (!this.#installer.install(block, candidate, entered)) continue;
        if (this.#installs.size > INSTALLS_KEPT) this.#installs.clear();
        if (!wideOnly) this.#installs.set(phys, (this.#installs.get(phys) ?? 0) + 1);
        return true;
      }
    }
    return false;
  }

  /** Asks for regions with these roots, but for blocks that another of them holds. */
  #ask(roots: readonly Hot[]): void {
    const { threshold } = this.#options;
    const covered = new Set<number>();
    this.#refill();
    for (const { block: root, entered } of roots) {
      if (covered.has(root) || !this.#reader.eligible(root) || this.#allowed < 1) {
        this.#again(root, threshold);
        continue;
      }
      const installs = this.#installs.get(this.#view.getUint32(root + L.BLK_PHYS, true)) ?? 0;
      if (installs > PATIENCE && this.#wait(root, installs)) continue;
      this.#allowed--;
      const region = this.#reader.collect(root, threshold === 1 ? entered : undefined);
      for (const block of region.blocks.values()) covered.add(block);
      this.#want(this.#reader.pack(region));
      this.#again(root, AGAIN);
    }
    this.#send();
    if (threshold !== 1) return;
    this.#installer.synchronise();
    for (const root of roots) if (this.#reader.eligible(root.block)) this.#install(root);
  }

  #want(packed: Uint8Array): void {
    if (this.#wanted.length === 0) this.#since = performance.now();
    this.#wanted.push(packed);
  }

  /** A guest that makes new code all the time must not take the translator from the others. */
  #refill(): void {
    const { allowance } = this.#options;
    if (!allowance) return;
    const now = performance.now();
    const fresh = ((now - this.#allowedAt) / 1000) * allowance.perSecond;
    this.#allowed = Math.min(allowance.most, this.#allowed + fresh);
    this.#allowedAt = now;
  }

  /** Puts a block off whose code keeps being rewritten. */
  #wait(root: number, installs: number): boolean {
    const phys = this.#view.getUint32(root + L.BLK_PHYS, true);
    this.#installs.set(phys, installs - 1);
    this.#again(root, 2 ** Math.min(LONGEST_WAIT, 8 + installs));
    return true;
  }

  #send(): void {
    if (this.#wanted.length === 0) return;
    const { batch, delay } = this.#options;
    if (this.#wanted.length < batch && performance.now() - this.#since < delay) return;
    this.#library.request(this.#wanted);
    this.#wanted = [];
  }
}
