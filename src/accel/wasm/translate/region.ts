/**
 * A region: a hot block and the blocks that it reaches by direct branches and behind calls, inside its guest page or,
 * when it is wide, in others too. It is a copy: the translator works on it while the guest goes on, and whoever
 * installs the translation compares the copied code bytes with the guest's. Nothing in it depends on the linear
 * address that the code is seen at: one translation serves all mappings, processes and VMs.
 */

import { nameOf } from '../../../platform/hash.js';
import * as L from '../layout.js';

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
  /** Orders what stands before and behind it (core/order.ts). */
  readonly locked: boolean;
  readonly disp: number;
  readonly imm: number;
  /** The record itself, for the interpreter's routines. */
  readonly record: Uint8Array;
}

export interface RegionBlock {
  /** Offset of the first byte from the root's guest page. */
  readonly offset: number;
  /** Bytes of code. */
  readonly length: number;
  /** Retired when the block runs to its end. */
  readonly count: number;
  readonly operations: readonly Operation[];
  /** Ends with FALL, which is not an instruction: goes on at `offset + length`. */
  readonly falls: boolean;
  /** May be where a block that `selects` leads. */
  readonly selected: boolean;
  /** Ends with a jump or return to an address that may be that of a `selected` block. */
  readonly selects: boolean;
  /** Ends with a call whose routine is in the region: control goes on there. */
  readonly enters: boolean;
}

/** A region as the translator sees it. */
export interface Region {
  readonly mode: number;
  /** The root first. */
  readonly blocks: readonly RegionBlock[];
}

/** What a region is packed from: its blocks, flags of BLOCK_FLAG. */
export interface PackedBlock {
  readonly offset: number;
  readonly length: number;
  readonly count: number;
  readonly flags: number;
  readonly records: Uint8Array;
  readonly code: Uint8Array;
}

/* A packed region: u8 mode, u8 whether it is wide, u16 number of blocks, u16 number of records, u16 nothing; for
 * each block i32 offset, u16 length, count, flags and nothing; the records; the code bytes, block after block. */
const PACKED_HEADER = 8;
const PACKED_BLOCK = 12;
export const BLOCK_FLAG = { falls: 1, selected: 2, selects: 4, enters: 8, target: 16 } as const;

/** Offset in its page and length of some code, and where in the region's code bytes it is. */
interface CodePart {
  readonly offset: number;
  readonly length: number;
  readonly at: number;
}

/** The code of a region in one page. */
export interface PackedPage {
  /** Pages from the root's. */
  readonly distance: number;
  /** Sub-blocks of 128 bytes that the code lies in, as core/blocks.ts counts them. */
  readonly bitmap: number;
  readonly code: readonly CodePart[];
  /** Offsets in the page of the blocks that the region's jumps lead to. */
  readonly targets: readonly number[];
}

/** Whether a packed region is a wide one. */
export const isWide = (packed: Uint8Array): boolean => packed[1] === 1;

interface Extent {
  readonly offset: number;
  readonly length: number;
}

/** Pages that a region's pages lie from its root's at most, so that offsets have 24 bits and a sign. */
export const REACH = 1 << 12;

/** The pages that a block lies in: one, or two when its only instruction crosses. */
export function pagesOf({ offset, length }: Extent): number[] {
  const first = offset >> 12;
  const last = (offset + length - 1) >> 12;
  return first === last ? [first] : [first, last];
}

/** The pages of blocks, counted from the root's, in the order of their numbers. */
export function regionPages(blocks: readonly Extent[]): number[] {
  return [...new Set(blocks.flatMap(pagesOf))];
}

function subBlocks(offset: number, length: number): number {
  let bitmap = 0;
  for (let sub = offset >> 7; sub <= (offset + length - 1) >> 7; sub++) bitmap |= 1 << sub;
  return bitmap;
}

/** What installing a translation needs to know of a packed region: most of it only once it is installed. */
export class PackedHead {
  readonly #packed: Uint8Array;
  readonly #view: DataView;
  #pages: readonly PackedPage[] | undefined;

  constructor(packed: Uint8Array) {
    this.#packed = packed;
    this.#view = new DataView(packed.buffer, packed.byteOffset, packed.byteLength);
  }

  get mode(): number {
    return this.#packed[0] ?? 0;
  }

  get wide(): boolean {
    return isWide(this.#packed);
  }

  /** Number of blocks. */
  get blocks(): number {
    return this.#view.getUint16(2, true);
  }

  /** Offset in its page and length of the root, whose code comes first. */
  get root(): Extent {
    return {
      offset: this.#view.getInt32(PACKED_HEADER, true),
      length: this.#view.getUint16(PACKED_HEADER + 4, true),
    };
  }

  /** The code, block after block. */
  get bytes(): Uint8Array {
    const records = this.#view.getUint16(4, true) * L.REC_SIZE;
    return this.#packed.subarray(PACKED_HEADER + this.blocks * PACKED_BLOCK + records);
  }

  /** `rootHash` of the root. */
  get hash(): number {
    const { offset, length } = this.root;
    return rootHash(this.mode, offset, this.bytes, 0, length);
  }

  /** The root's page first. */
  get pages(): readonly PackedPage[] {
    this.#pages ??= this.#findPages();
    return this.#pages;
  }

  #findPages(): PackedPage[] {
    const pages: { distance: number; bitmap: number; code: CodePart[]; targets: number[] }[] = [];
    let at = 0;
    for (let block = PACKED_HEADER, end = block + this.blocks * PACKED_BLOCK; block < end; ) {
      let offset = this.#view.getInt32(block, true);
      let rest = this.#view.getUint16(block + 4, true);
      const target = (this.#view.getUint16(block + 8, true) & BLOCK_FLAG.target) !== 0;
      block += PACKED_BLOCK;
      for (let first = true; rest > 0; first = false) {
        const distance = offset >> 12;
        let page = pages.find((known) => known.distance === distance);
        if (page === undefined) {
          page = { distance, bitmap: 0, code: [], targets: [] };
          pages.push(page);
        }
        const place = offset & 0xfff;
        const length = Math.min(rest, 0x1000 - place);
        page.bitmap = (page.bitmap | subBlocks(place, length)) >>> 0;
        page.code.push({ offset: place, length, at });
        if (target && first) page.targets.push(place);
        at += length;
        offset += length;
        rest -= length;
      }
    }
    return pages;
  }
}

/** Packs a region, the root first. */
export function pack(mode: number, wide: boolean, blocks: readonly PackedBlock[]): Uint8Array {
  const records = blocks.reduce((sum, block) => sum + block.records.length, 0);
  const code = blocks.reduce((sum, block) => sum + block.length, 0);
  let recordAt = PACKED_HEADER + blocks.length * PACKED_BLOCK;
  let codeAt = recordAt + records;
  const packed = new Uint8Array(codeAt + code);
  const view = new DataView(packed.buffer);
  packed[0] = mode;
  packed[1] = wide ? 1 : 0;
  view.setUint16(2, blocks.length, true);
  view.setUint16(4, records / L.REC_SIZE, true);
  blocks.forEach((block, index) => {
    const at = PACKED_HEADER + index * PACKED_BLOCK;
    view.setInt32(at, block.offset, true);
    view.setUint16(at + 4, block.length, true);
    view.setUint16(at + 6, block.count, true);
    view.setUint16(at + 8, block.flags, true);
    packed.set(block.records, recordAt);
    recordAt += block.records.length;
    packed.set(block.code, codeAt);
    codeAt += block.length;
  });
  return packed;
}

function operationAt(view: DataView, packed: Uint8Array, at: number): Operation {
  const sizes = view.getUint8(at + L.REC_LEN);
  return {
    op: view.getUint16(at + L.REC_OP, true),
    r: view.getUint8(at + L.REC_R),
    b: view.getUint8(at + L.REC_B),
    x: view.getUint8(at + L.REC_X),
    ea: view.getUint8(at + L.REC_EA),
    off: view.getUint8(at + L.REC_OFF),
    length: sizes & L.LEN_MASK,
    size: (sizes >> L.LEN_SIZE_SHIFT) & 3,
    memory: (sizes & L.LEN_MEM) !== 0,
    locked: (sizes & L.LEN_LOCK) !== 0,
    disp: view.getInt32(at + L.REC_DISP, true),
    imm: view.getInt32(at + L.REC_IMM, true),
    record: packed.subarray(at, at + L.REC_SIZE),
  };
}

/** Operations that call: control comes back behind them, most likely. */
export const CALLS: readonly string[] = ['64', '32'].flatMap((size) => [
  `CALL_${size}`,
  `CALL_R_${size}`,
  `CALL_M_${size}`,
]);

/** Operations that jump to where a register or memory says. */
export const INDIRECT_JUMPS: readonly string[] = ['64', '32'].flatMap((size) => [
  `JMP_R_${size}`,
  `JMP_M_${size}`,
]);

/** Operations that return to where the stack says. */
export const RETURNS: readonly string[] = ['64', '32'].flatMap((size) => [
  `RET_${size}`,
  `RET_I_${size}`,
]);

/** Takes a packed region apart. */
export function unpack(packed: Uint8Array): Region {
  const view = new DataView(packed.buffer, packed.byteOffset, packed.byteLength);
  const number = view.getUint16(2, true);
  let record = PACKED_HEADER + number * PACKED_BLOCK;
  const blocks = Array.from({ length: number }, (_, index): RegionBlock => {
    const at = PACKED_HEADER + index * PACKED_BLOCK;
    const count = view.getUint16(at + 6, true);
    const flags = view.getUint16(at + 8, true);
    const operations = Array.from({ length: count }, (_operation, i) =>
      operationAt(view, packed, record + i * L.REC_SIZE),
    );
    record += count * L.REC_SIZE;
    return {
      offset: view.getInt32(at, true),
      length: view.getUint16(at + 4, true),
      count,
      operations,
      falls: (flags & BLOCK_FLAG.falls) !== 0,
      selected: (flags & BLOCK_FLAG.selected) !== 0,
      selects: (flags & BLOCK_FLAG.selects) !== 0,
      enters: (flags & BLOCK_FLAG.enters) !== 0,
    };
  });
  return { mode: packed[0] ?? 0, blocks };
}

/** Whether guest page `page` holds the code that a region has in it. */
export function sameCode(
  memory: Uint8Array,
  page: number,
  part: PackedPage,
  bytes: Uint8Array,
): boolean {
  for (const { offset, length, at } of part.code) {
    const from = L.GUEST_BASE + page + offset;
    for (let i = 0; i < length; i++) if (memory[from + i] !== bytes[at + i]) return false;
  }
  return true;
}

/** A number for the mode, the place in the page and the code of a block: equal for equal ones (FNV-1a). */
export function rootHash(
  mode: number,
  offset: number,
  code: Uint8Array,
  from: number,
  length: number,
): number {
  let hash = 0x811c9dc5 ^ (mode << 12) ^ offset;
  for (let at = from; at < from + length; at++) {
    hash = Math.imul(hash ^ (code[at] ?? 0), 0x01000193);
  }
  return hash;
}

/** Names a region by its content: equal keys mean equal code. */
export function regionKey(packed: Uint8Array): string {
  return nameOf(packed);
}
