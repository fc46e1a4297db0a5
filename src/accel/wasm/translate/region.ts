/**
 * A region: a hot block and the blocks that it reaches by direct branches inside its guest page. It is
 * a copy: the translator works on it while the guest goes on, and whoever installs the translation
 * compares the copied code bytes with the guest's.
 */
import { createHash } from 'node:crypto';
import * as L from '../layout.js';

/** Blocks and operations that one region holds at most. */
const BLOCK_LIMIT = 48;
const OPERATION_LIMIT = 400;
/** A neighbour that ran less often than this stays outside. */
const NEIGHBOUR_HEAT = 8;

/** A decoded operation (layout.ts REC_*). */
export interface Operation {
  readonly op: number;
  readonly r: number;
  readonly b: number;
  readonly x: number;
  readonly ea: number;
  /** Offset of the instruction in its block, and its length in bytes. */
  readonly off: number;
  readonly length: number;
  /** Operand size index 0–3. */
  readonly size: number;
  readonly memory: boolean;
  readonly disp: number;
  readonly imm: number;
  /** The record itself, for the interpreter's routines. */
  readonly record: Uint8Array;
}

export interface RegionBlock {
  /** Offset of the first byte in the guest page. */
  readonly offset: number;
  /** Bytes of code. */
  readonly length: number;
  /** Retired when the block runs to its end. */
  readonly count: number;
  readonly operations: readonly Operation[];
  /** Ends with FALL, which is not an instruction: goes on at `offset + length`. */
  readonly falls: boolean;
}

export interface Region {
  /** Linear address of the root block. */
  readonly rip: bigint;
  readonly mode: number;
  /** TLB_SUPERVISOR or TLB_USER: the privilege that the code was seen at. */
  readonly set: number;
  /** The root first. */
  readonly blocks: readonly RegionBlock[];
  /** Code bytes, block after block. */
  readonly bytes: Uint8Array;
}

/** Reads regions out of a VM's block cache. */
export class RegionReader {
  readonly #view: DataView;
  readonly #bytes: Uint8Array;
  readonly #fall: number;

  constructor(memory: WebAssembly.Memory, operations: ReadonlyMap<string, number>) {
    this.#view = new DataView(memory.buffer);
    this.#bytes = new Uint8Array(memory.buffer);
    this.#fall = operations.get('FALL') ?? 0;
  }

  #word(at: number): number {
    return this.#view.getUint32(at, true);
  }

  /** The block at guest physical `phys`, or 0 (core/blocks.ts findBlock). */
  #find(phys: number, mode: number): number {
    const bucket = ((phys ^ (phys >>> 13)) & (L.BLOCK_HASH_ENTRIES - 1)) * 4;
    let block = this.#word(L.BLOCK_HASH + bucket);
    for (let steps = 0; block !== 0 && steps < 1000; steps++) {
      if (block < L.BLOCK_ARENA || block >= L.BLOCK_ARENA_END) return 0;
      if (this.#word(block + L.BLK_PHYS) === phys && this.#word(block + L.BLK_MODE) === mode) {
        return block;
      }
      block = this.#word(block + L.BLK_CHAIN);
    }
    return 0;
  }

  #operation(at: number): Operation {
    const view = this.#view;
    const packed = view.getUint8(at + L.REC_LEN);
    return {
      op: view.getUint16(at + L.REC_OP, true),
      r: view.getUint8(at + L.REC_R),
      b: view.getUint8(at + L.REC_B),
      x: view.getUint8(at + L.REC_X),
      ea: view.getUint8(at + L.REC_EA),
      off: view.getUint8(at + L.REC_OFF),
      length: packed & L.LEN_MASK,
      size: (packed >> L.LEN_SIZE_SHIFT) & 3,
      memory: (packed & L.LEN_MEM) !== 0,
      disp: view.getInt32(at + L.REC_DISP, true),
      imm: view.getInt32(at + L.REC_IMM, true),
      record: this.#bytes.slice(at, at + L.REC_SIZE),
    };
  }

  #block(at: number): RegionBlock {
    const count = this.#view.getUint16(at + L.BLK_COUNT, true);
    const operations: Operation[] = [];
    for (let i = 0; i < count; i++) {
      operations.push(this.#operation(at + L.BLK_HEADER + i * L.REC_SIZE));
    }
    const after = at + L.BLK_HEADER + count * L.REC_SIZE;
    const length = this.#view.getUint16(at + L.BLK_LENGTH, true);
    return {
      offset: this.#word(at + L.BLK_PHYS) & 0xfff,
      length,
      count,
      operations,
      falls:
        this.#view.getUint16(after, true) === this.#fall &&
        this.#view.getUint8(after + L.REC_OFF) === length,
    };
  }

  /**
   * The region rooted at `root`; undefined when the block is gone or is not 64-bit code.
   * @param successors offsets in the page that a block's last operation may go to directly
   */
  read(
    root: number,
    rip: bigint,
    set: number,
    successors: (block: RegionBlock) => readonly number[],
  ): Region | undefined {
    const phys = this.#word(root + L.BLK_PHYS);
    const mode = this.#word(root + L.BLK_MODE);
    if (phys === L.DEAD_BLOCK || (mode & (L.MODE_CODE_MASK | L.MODE_STEP)) !== L.MODE_CODE64) {
      return undefined;
    }
    const page = phys - (phys & 0xfff);
    const blocks: RegionBlock[] = [];
    const known = new Set<number>();
    const queue = [phys & 0xfff];
    let operations = 0;
    while (queue.length > 0 && blocks.length < BLOCK_LIMIT && operations < OPERATION_LIMIT) {
      const offset = queue.shift() ?? 0;
      if (known.has(offset)) continue;
      known.add(offset);
      const at = blocks.length === 0 ? root : this.#find(page + offset, mode);
      if (at === 0) continue;
      if (blocks.length > 0 && this.#word(at + L.BLK_HEAT) < NEIGHBOUR_HEAT) continue;
      const block = this.#block(at);
      if (block.count === 0 || block.length === 0) continue;
      blocks.push(block);
      operations += block.count;
      for (const next of successors(block)) if (next >= 0 && next < 0x1000) queue.push(next);
    }
    if (blocks.length === 0) return undefined;
    return { rip, mode, set, blocks, bytes: codeBytes(this.#bytes, page, blocks) };
  }
}

/** The code bytes of a region's blocks as they are in guest page `page` now. */
export function codeBytes(
  memory: Uint8Array,
  page: number,
  blocks: readonly { readonly offset: number; readonly length: number }[],
): Uint8Array {
  const total = blocks.reduce((sum, { length }) => sum + length, 0);
  const bytes = new Uint8Array(total);
  let at = 0;
  for (const { offset, length } of blocks) {
    const from = L.GUEST_BASE + page + offset;
    bytes.set(memory.subarray(from, from + length), at);
    at += length;
  }
  return bytes;
}

/** Names a root by what can be known before its region is: address, mode, privilege, first bytes. */
export function rootKey(rip: bigint, mode: number, set: number): string {
  return `${rip.toString(16)}.${mode}.${set}`;
}

/** Names a translation: equal keys mean equal code. */
export function regionKey(region: Region): string {
  const hash = createHash('sha256');
  for (const { offset, length } of region.blocks) hash.update(`${offset},${length};`);
  hash.update(region.bytes);
  return `${rootKey(region.rip, region.mode, region.set)}.${hash.digest('hex')}`;
}
