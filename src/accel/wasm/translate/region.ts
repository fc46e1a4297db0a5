/**
 * A region: a hot block and the blocks that it reaches by direct branches and behind calls inside its guest page. It is
 * a copy: the translator works on it while the guest goes on, and whoever installs the translation
 * compares the copied code bytes with the guest's. Nothing in it depends on the linear address that
 * the page is seen at: one translation serves all mappings, processes and VMs.
 */

import { createHash } from 'node:crypto';
import { CONDITIONS } from '../isa/integer.js';
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
  /** May be where a jump through a table of the region leads. */
  readonly selected: boolean;
}

/** A region as the translator sees it. */
export interface Region {
  readonly mode: number;
  /** The root first. */
  readonly blocks: readonly RegionBlock[];
}

/* A packed region: u8 mode, u8 number of blocks, u16 number of records; for each block u16 offset,
 * length, count and FALLS and SELECTED; the records; the code bytes, block after block. */
const PACKED_HEADER = 4;
const PACKED_BLOCK = 8;
const FALLS = 1;
const SELECTED = 2;

/** What installing a translation needs to know of a packed region. */
export interface PackedHead {
  readonly mode: number;
  readonly blocks: readonly { readonly offset: number; readonly length: number }[];
  readonly bytes: Uint8Array;
}

export function packedHead(packed: Uint8Array): PackedHead {
  const view = new DataView(packed.buffer, packed.byteOffset, packed.byteLength);
  const count = packed[1] ?? 0;
  const blocks = Array.from({ length: count }, (_, index) => {
    const at = PACKED_HEADER + index * PACKED_BLOCK;
    return { offset: view.getUint16(at, true), length: view.getUint16(at + 2, true) };
  });
  const records = PACKED_HEADER + count * PACKED_BLOCK;
  return {
    mode: packed[0] ?? 0,
    blocks,
    bytes: packed.subarray(records + view.getUint16(2, true) * L.REC_SIZE),
  };
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

/** Cases of a switch lie at most so many bytes from its jump. */
const CASES_NEAR = 1024;

/** Whether code of a mode is translated: 64-bit code and flat 32-bit code. */
function isTranslated(mode: number): boolean {
  const kind = mode & (L.MODE_CODE_MASK | L.MODE_STEP | L.MODE_FLAT);
  return kind === L.MODE_CODE64 || kind === (L.MODE_CODE32 | L.MODE_FLAT);
}

/** Takes a packed region apart. */
export function unpack(packed: Uint8Array): Region {
  const view = new DataView(packed.buffer, packed.byteOffset, packed.byteLength);
  const number = packed[1] ?? 0;
  let record = PACKED_HEADER + number * PACKED_BLOCK;
  const blocks = Array.from({ length: number }, (_, index): RegionBlock => {
    const at = PACKED_HEADER + index * PACKED_BLOCK;
    const count = view.getUint16(at + 4, true);
    const operations = Array.from({ length: count }, (_operation, i) =>
      operationAt(view, packed, record + i * L.REC_SIZE),
    );
    record += count * L.REC_SIZE;
    return {
      offset: view.getUint16(at, true),
      length: view.getUint16(at + 2, true),
      count,
      operations,
      falls: (view.getUint16(at + 6, true) & FALLS) !== 0,
      selected: (view.getUint16(at + 6, true) & SELECTED) !== 0,
    };
  });
  return { mode: packed[0] ?? 0, blocks };
}

/** The blocks of a region, and which of them its jumps through tables may lead to. */
export interface RegionChoice {
  readonly blocks: readonly number[];
  readonly selected: ReadonlySet<number>;
}

/** How large regions become. */
export interface RegionLimits {
  readonly blocks: number;
  readonly operations: number;
  /** A neighbour that was entered less often than this stays outside. */
  readonly heat: number;
}

/** Reads regions out of a VM's block cache. */
export class RegionReader {
  readonly #view: DataView;
  readonly #bytes: Uint8Array;
  readonly #jump: number;
  readonly #conditional = new Set<number>();
  readonly #calls = new Set<number>();
  readonly #indirect = new Set<number>();
  readonly #above: number;
  readonly #notAbove: number;
  readonly #limits: RegionLimits;

  constructor(
    memory: WebAssembly.Memory,
    operations: ReadonlyMap<string, number>,
    limits: RegionLimits,
  ) {
    this.#view = new DataView(memory.buffer);
    this.#bytes = new Uint8Array(memory.buffer);
    this.#limits = limits;
    this.#jump = operations.get('JMP') ?? 0;
    for (const condition of CONDITIONS) {
      this.#conditional.add(operations.get(`J${condition}`) ?? 0);
    }
    for (const call of CALLS) this.#calls.add(operations.get(call) ?? 0);
    for (const jump of INDIRECT_JUMPS) this.#indirect.add(operations.get(jump) ?? 0);
    this.#above = operations.get('JA') ?? 0;
    this.#notAbove = operations.get('JBE') ?? 0;
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

  /** Whether `block` is a live block that a region may start with. */
  eligible(block: number): boolean {
    if (block < L.BLOCK_ARENA || block >= L.BLOCK_ARENA_END) return false;
    const phys = this.#word(block + L.BLK_PHYS);
    if (phys === L.DEAD_BLOCK || this.#word(block + L.BLK_CODE) !== 0) return false;
    if (!isTranslated(this.#word(block + L.BLK_MODE))) return false;
    return this.#view.getUint16(block + L.BLK_COUNT, true) > 0;
  }

  /** What starts at a block, as `rootHash` tells it. */
  rootHash(block: number): number {
    const phys = this.#word(block + L.BLK_PHYS);
    const from = L.GUEST_BASE + phys;
    const length = this.#view.getUint16(block + L.BLK_LENGTH, true);
    return rootHash(this.#word(block + L.BLK_MODE), phys & 0xfff, this.#bytes, from, length);
  }

  /** Whether `block` is where a region starts, as far as mode and place in the page tell. */
  isRoot(block: number, { mode, blocks }: PackedHead): boolean {
    const offset = this.#word(block + L.BLK_PHYS) & 0xfff;
    return this.#word(block + L.BLK_MODE) === mode && blocks[0]?.offset === offset;
  }

  #falls(block: number): boolean {
    return this.#view.getUint16(block + L.BLK_FALLS, true) !== 0;
  }

  /** Adds the offsets in the page that `block` goes on to. */
  #successors(block: number, offset: number, into: number[]): void {
    const count = this.#view.getUint16(block + L.BLK_COUNT, true);
    const length = this.#view.getUint16(block + L.BLK_LENGTH, true);
    if (this.#falls(block)) {
      into.push(offset + length);
      return;
    }
    const last = block + L.BLK_HEADER + (count - 1) * L.REC_SIZE;
    const op = this.#view.getUint16(last, true);
    const conditional = this.#conditional.has(op);
    if (conditional || this.#calls.has(op)) into.push(offset + length);
    if (conditional || op === this.#jump) {
      into.push(offset + this.#view.getInt32(last + L.REC_IMM, true));
    }
  }

  /**
   * Where a switch jumps through its table: the offset in the page of the block that runs when `block`
   * has found its operand to be in the table, and which jumps; -1 when that is not what the block does.
   */
  #tableJump(block: number, offset: number, mode: number): number {
    const count = this.#view.getUint16(block + L.BLK_COUNT, true);
    const last = block + L.BLK_HEADER + (count - 1) * L.REC_SIZE;
    const op = this.#view.getUint16(last, true);
    let into: number;
    if (op === this.#above) into = offset + this.#view.getUint16(block + L.BLK_LENGTH, true);
    else if (op === this.#notAbove) into = offset + this.#view.getInt32(last + L.REC_IMM, true);
    else return -1;
    if (into < 0 || into >= 0x1000) return -1;
    const phys = this.#word(block + L.BLK_PHYS);
    const next = this.#find(phys - (phys & 0xfff) + into, mode);
    const length = next === 0 ? 0 : this.#view.getUint16(next + L.BLK_COUNT, true);
    if (length === 0) return -1;
    const jump = next + L.BLK_HEADER + (length - 1) * L.REC_SIZE;
    return this.#indirect.has(this.#view.getUint16(jump, true)) ? into : -1;
  }

  /** Offsets of the blocks of a page that lie near to a jump through a table. */
  #near(page: number, jump: number, mode: number): number[] {
    const offsets: number[] = [];
    let block = this.#word(L.PAGE_CODE + (page >>> 12) * L.PAGE_CODE_ENTRY + 4);
    for (let steps = 0; block !== 0 && steps < 1000; steps++) {
      const offset = this.#word(block + L.BLK_PHYS) & 0xfff;
      const near = Math.abs(offset - jump) <= CASES_NEAR;
      if (near && this.#word(block + L.BLK_MODE) === mode) offsets.push(offset);
      block = this.#word(block + L.BLK_PAGE_NEXT);
    }
    return offsets.sort((a, b) => Math.abs(a - jump) - Math.abs(b - jump));
  }

  /** The region rooted at `root`, which must be eligible. */
  collect(root: number): RegionChoice {
    const { blocks: blockLimit, operations: operationLimit, heat } = this.#limits;
    const phys = this.#word(root + L.BLK_PHYS);
    const mode = this.#word(root + L.BLK_MODE);
    const page = phys - (phys & 0xfff);
    const blocks: number[] = [];
    const known = new Set<number>();
    const queue = [phys & 0xfff];
    const selected = new Set<number>();
    const tables: number[] = [];
    const cases = new Set<number>();
    let operations = 0;
    for (let next = 0; next < queue.length || tables.length > 0; next++) {
      if (next === queue.length) {
        for (const jump of tables.splice(0)) {
          for (const offset of this.#near(page, jump, mode)) {
            if (known.has(offset)) continue;
            cases.add(offset);
            queue.push(offset);
          }
        }
        if (next === queue.length) break;
      }
      if (blocks.length >= blockLimit || operations >= operationLimit) break;
      const offset = queue[next] ?? 0;
      if (offset < 0 || offset >= 0x1000 || known.has(offset)) continue;
      known.add(offset);
      const at = blocks.length === 0 ? root : this.#find(page + offset, mode);
      if (at === 0) continue;
      const entered = this.#word(at + L.BLK_HEAT) | 0;
      if (
        blocks.length > 0 &&
        entered >= 0 &&
        entered < heat &&
        this.#word(at + L.BLK_CODE) === 0
      ) {
        continue;
      }
      const count = this.#view.getUint16(at + L.BLK_COUNT, true);
      if (count === 0) continue;
      blocks.push(at);
      operations += count;
      if (cases.has(offset)) selected.add(at);
      this.#successors(at, offset, queue);
      const jump = this.#tableJump(at, offset, mode);
      if (jump >= 0) tables.push(jump);
    }
    return { blocks, selected };
  }

  /** A copy of what a region of these blocks is made of. */
  pack({ blocks, selected }: RegionChoice): Uint8Array {
    const view = this.#view;
    let records = 0;
    let code = 0;
    for (const block of blocks) {
      records += view.getUint16(block + L.BLK_COUNT, true);
      code += view.getUint16(block + L.BLK_LENGTH, true);
    }
    let recordAt = PACKED_HEADER + blocks.length * PACKED_BLOCK;
    let codeAt = recordAt + records * L.REC_SIZE;
    const packed = new Uint8Array(codeAt + code);
    const into = new DataView(packed.buffer);
    packed[0] = this.#word((blocks[0] ?? 0) + L.BLK_MODE);
    packed[1] = blocks.length;
    into.setUint16(2, records, true);
    blocks.forEach((block, index) => {
      const at = PACKED_HEADER + index * PACKED_BLOCK;
      const phys = this.#word(block + L.BLK_PHYS);
      const count = view.getUint16(block + L.BLK_COUNT, true);
      const length = view.getUint16(block + L.BLK_LENGTH, true);
      into.setUint16(at, phys & 0xfff, true);
      into.setUint16(at + 2, length, true);
      into.setUint16(at + 4, count, true);
      const falls = this.#falls(block) ? FALLS : 0;
      into.setUint16(at + 6, falls | (selected.has(block) ? SELECTED : 0), true);
      const from = block + L.BLK_HEADER;
      packed.set(this.#bytes.subarray(from, from + count * L.REC_SIZE), recordAt);
      recordAt += count * L.REC_SIZE;
      packed.set(this.#bytes.subarray(L.GUEST_BASE + phys, L.GUEST_BASE + phys + length), codeAt);
      codeAt += length;
    });
    return packed;
  }
}

/** Whether guest page `page` holds the code that a region was made of. */
export function sameCode(memory: Uint8Array, page: number, { blocks, bytes }: PackedHead): boolean {
  let at = 0;
  for (const { offset, length } of blocks) {
    const from = L.GUEST_BASE + page + offset;
    for (let i = 0; i < length; i++) if (memory[from + i] !== bytes[at + i]) return false;
    at += length;
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
  return createHash('sha1').update(packed).digest('base64');
}
