/**
 * Which decoded blocks make up a region: those that its root leads to by direct branches and behind calls inside its page. A
 * wide region goes on in other pages, in small routines that it calls, and where its jumps through registers and memory
 * lead.
 */
import * as L from '../layout.js';
import type { BlockReader } from './block-reader.js';
import { BLOCK_FLAG, REACH } from './region.js';

/** Cases of a switch lie at most so many bytes from its jump. */
const CASES_NEAR = 1024;
/** Pages that a region lies in at most: they are bits of a word. */
const PAGES_MOST = 32;
/** A routine becomes part of the regions that call it when it is no larger. */
const ROUTINE = { blocks: 32, operations: 250 };
/** Where jumps of a wide region lead to: so many blocks, so many pages away. */
const TARGETS = { most: 64, pages: 16 };

/** How large a region becomes. */
export interface RegionSize {
  readonly blocks: number;
  readonly operations: number;
  /** A neighbour that was entered less often than this stays outside; in a wide region, than this part of the root. */
  readonly heat: number;
}

/** How large wide regions become. */
export interface WideSize extends RegionSize {
  /** Entries of a region that a jump of the wide one may lead to. */
  readonly target: number;
}

/** How large regions become, and wide ones. */
export interface RegionLimits extends RegionSize {
  readonly wide: WideSize;
}

/** A region's blocks by their offsets from the root's page, the root first, with flags of BLOCK_FLAG. */
export interface RegionChoice {
  readonly blocks: ReadonlyMap<number, number>;
  readonly flags: ReadonlyMap<number, number>;
  readonly wide: boolean;
}

/** One region while it is being collected. */
export class Collection implements RegionChoice {
  readonly blocks = new Map<number, number>();
  readonly flags = new Map<number, number>();
  readonly wide: boolean;
  readonly #reader: BlockReader;
  readonly #size: RegionSize;
  readonly #mode: number;
  readonly #page: (distance: number) => number;
  /** Guest physical addresses of the region's pages by their distance from the root's. */
  readonly #pages: Map<number, number>;
  readonly #queue: (readonly [offset: number, block: number])[] = [];
  readonly #seen = new Set<number>();
  /** Entries of a block that is worth having. */
  readonly #least: number;
  #operations = 0;

  /** @param page the guest physical address of the page so many from the root's, -1 when it is not known */
  constructor(
    reader: BlockReader,
    size: RegionSize,
    root: number,
    page?: (distance: number) => number,
  ) {
    this.#reader = reader;
    this.#size = size;
    this.wide = page !== undefined;
    this.#page = page ?? (() => -1);
    this.#mode = reader.mode(root);
    this.#least = this.wide ? reader.entries(root) * size.heat : size.heat;
    const phys = reader.phys(root);
    this.#pages = new Map([[0, phys - (phys & 0xfff)]]);
    this.#take(phys & 0xfff, root);
  }

  /** @param target of a wide region, see `WideSize` */
  collect(target?: number): this {
    if (target !== undefined) {
      this.#drain(this.#size.operations / 4);
      this.#selectTargets(target);
    }
    let switches = new Set<number>();
    let calls = new Set<number>();
    for (let progress = true; progress && !this.#full; ) {
      this.#drain();
      const known = this.blocks.size;
      switches = this.#selectCases(switches);
      if (this.wide) calls = this.#enterRoutines(calls);
      progress = this.#queue.length > 0 || this.blocks.size > known;
    }
    if (target !== undefined) this.#markJumps();
    return this;
  }

  get #full(): boolean {
    const { blocks, operations } = this.#size;
    return this.blocks.size >= blocks || this.#operations >= operations;
  }

  /** Takes in what is in the queue, and what that leads to. */
  #drain(most = this.#size.operations): void {
    while (this.#queue.length > 0 && !this.#full && this.#operations < most) {
      const [offset, block] = this.#next();
      if (!this.blocks.has(offset)) this.#take(offset, block);
    }
  }

  /** Takes from the queue: what was entered most often first, when the region is wide; else in order. */
  #next(): readonly [offset: number, block: number] {
    let best = 0;
    let most = -1;
    if (this.wide) {
      this.#queue.forEach(([, block], index) => {
        const entries = this.#entries(block);
        if (entries <= most) return;
        most = entries;
        best = index;
      });
    }
    return this.#queue.splice(best, 1)[0] ?? [0, 0];
  }

  /** Puts the block at an offset into the queue, if it is worth having in the region. */
  #enqueue(offset: number): void {
    if (this.#seen.has(offset)) return;
    this.#seen.add(offset);
    const block = this.#find(offset);
    if (block !== 0) this.#queue.push([offset, block]);
  }

  #take(offset: number, block: number): void {
    this.#seen.add(offset);
    this.blocks.set(offset, block);
    this.#operations += this.#reader.count(block);
    for (const next of this.#successors(offset, block)) this.#enqueue(next);
  }

  #mark(offset: number, flag: number): void {
    this.flags.set(offset, (this.flags.get(offset) ?? 0) | flag);
  }

  /** The block at an offset, if it is worth having in a region; else 0. */
  #find(offset: number): number {
    const page = this.#pageAt(offset >> 12);
    if (page < 0) return 0;
    const phys = page + (offset & 0xfff);
    let block = this.#reader.find(phys, this.#mode);
    if (block === 0) {
      block = this.#reader.findCrossing(phys, this.#mode);
      if (block !== 0 && this.#pageAt((offset >> 12) + 1) < 0) return 0;
    }
    if (block === 0 || this.#reader.count(block) === 0) return 0;
    return this.#entries(block) >= this.#least ? block : 0;
  }

  /** How often a block was entered, as far as it was counted: no longer once it runs translated. */
  #entries(block: number): number {
    const translated = this.#reader.context(block) !== 0;
    return translated ? Number.POSITIVE_INFINITY : this.#reader.entries(block);
  }

  #pageAt(distance: number): number {
    let page = this.#pages.get(distance);
    if (page === undefined) {
      const near = Math.abs(distance) < REACH && this.#pages.size < PAGES_MOST;
      page = near ? this.#page(distance) : -1;
      if (page >= 0) this.#pages.set(distance, page);
    }
    return page;
  }

  /** Offsets that a block goes on to: directly, or after a call. */
  #successors(offset: number, block: number): number[] {
    const reader = this.#reader;
    const after = offset + reader.length(block);
    switch (reader.ending(block)) {
      case 'falls':
      case 'call':
      case 'indirectCall':
        return [after];
      case 'condition':
        return [after, offset + reader.target(block)];
      case 'jump':
        return [offset + reader.target(block)];
      default:
        return [];
    }
  }

  /**
   * A switch is a jump through a register or memory behind a comparison with the number of cases: takes the blocks near
   * to it. Returns the blocks whose cases have been taken.
   */
  #selectCases(done: ReadonlySet<number>): Set<number> {
    const reader = this.#reader;
    const jumps = new Set<number>();
    for (const [offset, block] of this.blocks) {
      const within = reader.withinBound(block);
      const jump = this.blocks.get(offset + (within ?? 0));
      if (within === undefined || jump === undefined) continue;
      if (reader.ending(jump) === 'indirectJump') jumps.add(offset + within);
    }
    for (const jump of jumps) {
      if (done.has(jump)) continue;
      this.#mark(jump, BLOCK_FLAG.selects);
      const near = [...this.#blocksOf(jump >> 12)].filter(
        (offset) => Math.abs(offset - jump) <= CASES_NEAR,
      );
      near.sort((a, b) => Math.abs(a - jump) - Math.abs(b - jump));
      for (const offset of near) {
        if (this.blocks.has(offset)) continue;
        this.#mark(offset, BLOCK_FLAG.selected);
        this.#enqueue(offset);
      }
    }
    return jumps;
  }

  /** Offsets of the blocks of a page. */
  *#blocksOf(distance: number): Generator<number> {
    const page = this.#pages.get(distance) ?? this.#page(distance);
    if (page < 0) return;
    for (const block of this.#reader.inPage(page, this.#mode)) {
      yield (distance << 12) + (this.#reader.phys(block) & 0xfff);
    }
  }

  /** Takes small routines that the region calls and comes back from. Returns the calls that have been looked at. */
  #enterRoutines(done: ReadonlySet<number>): Set<number> {
    const reader = this.#reader;
    const calls = new Set(done);
    for (const [offset, block] of this.blocks) {
      if (calls.has(offset) || reader.ending(block) !== 'call') continue;
      calls.add(offset);
      const after = offset + reader.length(block);
      if (!this.blocks.has(after)) continue;
      const routine = this.#routine(offset + reader.target(block));
      if (routine === undefined || this.#full) continue;
      this.#mark(offset, BLOCK_FLAG.enters);
      this.#mark(after, BLOCK_FLAG.selected);
      for (const [at, part] of routine) {
        if (reader.ending(part) === 'return') this.#mark(at, BLOCK_FLAG.selects);
        if (!this.blocks.has(at)) this.#take(at, part);
      }
    }
    return calls;
  }

  /** The blocks of the routine at `start` by their offsets; undefined when it is large or does not return. */
  #routine(start: number): Map<number, number> | undefined {
    const routine = new Map<number, number>();
    const queue = [start];
    let operations = 0;
    let returns = false;
    for (const offset of queue) {
      const block = routine.has(offset) ? 0 : this.#find(offset);
      if (block === 0) continue;
      routine.set(offset, block);
      operations += this.#reader.count(block);
      if (routine.size > ROUTINE.blocks || operations > ROUTINE.operations) return undefined;
      returns ||= this.#reader.ending(block) === 'return';
      queue.push(...this.#successors(offset, block));
    }
    return returns && routine.has(start) ? routine : undefined;
  }

  /** All jumps of a wide region may lead to what any of them leads to. */
  #markJumps(): void {
    for (const [offset, block] of this.blocks) {
      if (this.#reader.ending(block) === 'indirectJump') this.#mark(offset, BLOCK_FLAG.selects);
    }
  }

  /** Jumps to where a register or memory says: takes what is entered from elsewhere most often, and not far. */
  #selectTargets(least: number): void {
    const reader = this.#reader;
    const jumps = [...this.blocks.values()].some(
      (block) => reader.ending(block) === 'indirectJump',
    );
    if (!jumps) return;
    const targets: { offset: number; entries: number }[] = [];
    for (let distance = -TARGETS.pages; distance <= TARGETS.pages; distance++) {
      for (const offset of this.#blocksOf(distance)) {
        const block = this.blocks.get(offset) ?? this.#find(offset);
        const context = block === 0 ? 0 : reader.context(block);
        const entries = context === 0 ? 0 : reader.word(context + L.CTX_ENTRIES);
        if (context !== 0 && entries >= least) targets.push({ offset, entries });
      }
    }
    targets.sort((a, b) => b.entries - a.entries);
    for (const { offset } of targets.slice(0, TARGETS.most)) {
      this.#mark(offset, BLOCK_FLAG.selected | BLOCK_FLAG.target);
      this.#enqueue(offset);
    }
  }
}
