/** Reads regions out of a VM's block cache, and copies them. */
import * as L from '../layout.js';
import { BlockReader } from './block-reader.js';
import { Collection, type RegionChoice, type RegionLimits } from './collection.js';
import { knownPage, pageFrom } from './exec-tlb.js';
import { BLOCK_FLAG, type PackedBlock, type PackedHead, pack, rootHash } from './region.js';

/** Where a block was entered: the TLB set of the privilege, and the linear address. */
export interface Entered {
  readonly set: number;
  readonly rip: bigint;
}

export class RegionReader {
  readonly #view: DataView;
  readonly #bytes: Uint8Array;
  readonly #cpu: number;
  readonly #blocks: BlockReader;
  readonly #limits: RegionLimits;

  /** @param warmth see `BlockReader` */
  constructor(
    memory: WebAssembly.Memory,
    cpu: number,
    operations: ReadonlyMap<string, number>,
    limits: RegionLimits,
    warmth: number,
  ) {
    this.#view = new DataView(memory.buffer);
    this.#bytes = new Uint8Array(memory.buffer);
    this.#cpu = cpu;
    this.#blocks = new BlockReader(this.#view, cpu, operations, warmth);
    this.#limits = limits;
  }

  /** The context of the translation that a live block has; 0 without one. */
  context(block: number): number {
    return this.#blocks.isLive(block) ? this.#blocks.context(block) : 0;
  }

  /** Whether `block` is a live block that a region may start with. */
  eligible(block: number): boolean {
    return this.#blocks.isLive(block) && this.#blocks.mayBeRoot(block);
  }

  /** What starts at a block, as `rootHash` tells it. */
  rootHash(block: number): number {
    const phys = this.#blocks.phys(block);
    const from = L.GUEST_BASE + phys;
    const length = this.#blocks.length(block);
    return rootHash(this.#blocks.mode(block), phys & 0xfff, this.#bytes, from, length);
  }

  /** Whether `block` is where a region starts, as far as mode and place in the page tell. */
  isRoot(block: number, { mode, root }: PackedHead): boolean {
    const offset = this.#blocks.phys(block) & 0xfff;
    return this.#blocks.mode(block) === mode && root.offset === offset;
  }

  /**
   * The region rooted at `root`, which must be eligible.
   * @param entered with it the region is a wide one: it goes on in pages that the exec TLB knows, and in routines
   */
  collect(root: number, entered?: Entered): RegionChoice {
    if (!entered) return new Collection(this.#blocks, this.#limits, root).collect();
    const mode = this.#blocks.mode(root);
    const page = (distance: number): number =>
      knownPage(this.#view, this.#cpu + entered.set, pageFrom(entered.rip, distance, mode));
    const { wide } = this.#limits;
    return new Collection(this.#blocks, wide, root, page).collect(wide.target);
  }

  /** Guest physical addresses of the blocks that the region's jumps lead to. */
  targets({ blocks, flags }: RegionChoice): number[] {
    return [...blocks]
      .filter(([offset]) => ((flags.get(offset) ?? 0) & BLOCK_FLAG.target) !== 0)
      .map(([, block]) => this.#blocks.phys(block));
  }

  /** Whether calls of the region lead to routines in it. */
  entersRoutines({ flags }: RegionChoice): boolean {
    return [...flags.values()].some((flag) => (flag & BLOCK_FLAG.enters) !== 0);
  }

  /** A copy of what a region of these blocks is made of. */
  pack({ blocks, flags, wide }: RegionChoice): Uint8Array {
    const reader = this.#blocks;
    const [root = 0] = blocks.values();
    const packed = [...blocks].map(([offset, block]): PackedBlock => {
      const count = reader.count(block);
      const length = reader.length(block);
      const from = block + L.BLK_HEADER;
      const code = reader.code(block);
      const falls = reader.ending(block) === 'falls' ? BLOCK_FLAG.falls : 0;
      return {
        offset,
        length,
        count,
        flags: falls | (flags.get(offset) ?? 0),
        records: this.#bytes.subarray(from, from + count * L.REC_SIZE),
        code: this.#bytes.subarray(code, code + length),
      };
    });
    return pack(reader.mode(root), wide, packed);
  }
}
