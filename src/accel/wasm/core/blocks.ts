/**
 * The cache of decoded blocks, keyed by guest physical address and mode. A block lies within one
 * guest page. Each page knows, by a bitmap of 128-byte sub-blocks, where code was decoded from it, and
 * the blocks; a store there kills the blocks whose bytes it touches and no others.
 *
 * A killed block's operations become BREAK, so a block that rewrites itself ends after the storing
 * instruction, and links to it are found stale by its physical address. Memory comes back when the
 * arena is full: then all blocks go.
 */
import {
  ARENA_FLUSHES, ARENA_NEXT, BLK_CHAIN, BLK_CODE, BLK_COUNT, BLK_HEADER, BLK_HEAT, BLK_LENGTH, BLK_MODE, BLK_PAGE_NEXT,
  BLK_PHYS, BLK_TAKEN, CONTEXT_ARENA, CONTEXT_NEXT, CTX_BITMAP, CTX_FUNCTION, CTX_ROOT, MODE_OUTLIER, BLOCK_ARENA, BLOCK_ARENA_END, BLOCK_HEAT, BLOCK_HEAT_SHIFT, BLOCK_HASH, BLOCK_HASH_ENTRIES, DEAD_BLOCK, PAGE_CODE,
  PAGE_CODE_ENTRY, RAM_PAGES, REC_OP, REC_SIZE, VCPU_BLOCKS, VCPU_LIMIT, VCPU_SIZE, HOT_COUNT,
  CROSSING_BLOCKS, CROSSING_ENTRIES, CROSSING_SIZE, JUMP_CACHE, JUMP_CACHE_ENTRIES,
} from "../layout";
import { protectCode } from "./mmu";
import { BREAK } from "./ops";
import { charge, COST_BLOCK_WRITTEN, COST_BLOCKS_FLUSH } from "./work";

/** Room that a block may need: header, operations, FALL. */
export const BLOCK_MAX_OPERATIONS: u32 = 32;
const BLOCK_ROOM: u32 = BLK_HEADER + (BLOCK_MAX_OPERATIONS + 1) * REC_SIZE;

// @ts-ignore: decorator
@inline
function bucket(phys: u32): usize {
  return BLOCK_HASH + (((phys ^ (phys >> 13)) & (BLOCK_HASH_ENTRIES - 1)) << 2);
}

// @ts-ignore: decorator
@inline
function pageEntry(phys: u32): usize {
  return PAGE_CODE + (phys >> 12) * PAGE_CODE_ENTRY;
}

/** Where the entries of a block are counted. */
// @ts-ignore: decorator
@inline
export function heatOf(block: usize): usize {
  return block >= (BLOCK_ARENA as usize)
    ? BLOCK_HEAT + (((block - BLOCK_ARENA) >> BLOCK_HEAT_SHIFT) << 2)
    : block + BLK_HEAT;
}

/** Bits of the sub-blocks that `size` bytes at `phys` touch (within one page). */
function subBlocks(phys: u32, size: u32): u32 {
  const first = (phys & 0xfff) >> 7;
  const last = ((phys & 0xfff) + size - 1) >> 7;
  return ((0xffffffff >> (31 - last)) >> first) << first;
}

/** The block at `phys` for `mode`, or 0. */
// @ts-ignore: decorator
@inline
export function findBlock(phys: u32, mode: u32): usize {
  let block = load<u32>(bucket(phys)) as usize;
  while (block != 0 && (load<u32>(block, BLK_PHYS) != phys || load<u32>(block, BLK_MODE) != mode)) {
    block = load<u32>(block, BLK_CHAIN);
  }
  return block;
}

/** Where the next block may be written; throws all blocks away when there is no room. */
export function reserveBlock(): usize {
  const next = load<u32>(VCPU_BLOCKS, ARENA_NEXT);
  if (next + BLOCK_ROOM <= (BLOCK_ARENA_END as u32)) return next;
  flushBlocks();
  return BLOCK_ARENA;
}

/** Enters a block that was decoded at `reserveBlock()` with `BLK_PHYS`, `BLK_MODE`, count and length set. */
export function enterBlock(cpu: usize, block: usize, end: usize): void {
  const phys = load<u32>(block, BLK_PHYS);
  const head = bucket(phys);
  store<u32>(block, load<u32>(head), BLK_CHAIN);
  store<u32>(head, block as u32);
  const page = pageEntry(phys);
  if (load<u32>(page) == 0) protectCode(cpu, phys);
  store<u32>(page, load<u32>(page) | subBlocks(phys, load<u16>(block, BLK_LENGTH)));
  store<u32>(block, load<u32>(page, 4), BLK_PAGE_NEXT);
  store<u32>(page, block as u32, 4);
  store<u32>(heatOf(block), 0);
  store<u32>(VCPU_BLOCKS, ((end + 15) & ~15) as u32, ARENA_NEXT);
}

function clearWords(start: usize, bytes: usize): void {
  for (let at = start, end = start + bytes; at < end; at += 8) {
    if (load<u64>(at)) store<u64>(at, 0);
  }
}

/** Throws all blocks away. What is zero is only read: a write would make the host keep a page for it. */
export function flushBlocks(): void {
  charge(VCPU_BLOCKS, COST_BLOCKS_FLUSH);
  clearWords(BLOCK_HASH, BLOCK_HASH_ENTRIES * 4);
  clearWords(PAGE_CODE, load<u32>(VCPU_BLOCKS, RAM_PAGES) * PAGE_CODE_ENTRY);
  store<u32>(VCPU_BLOCKS, BLOCK_ARENA, ARENA_NEXT);
  store<u32>(VCPU_BLOCKS, CONTEXT_ARENA, CONTEXT_NEXT);
  for (let id: usize = 0; id < (VCPU_LIMIT as usize); id++) {
    store<u32>(VCPU_BLOCKS + id * VCPU_SIZE, 0, HOT_COUNT);
    clearWords(VCPU_BLOCKS + id * VCPU_SIZE + JUMP_CACHE, JUMP_CACHE_ENTRIES * 4);
    clearWords(VCPU_BLOCKS + id * VCPU_SIZE + CROSSING_BLOCKS, CROSSING_ENTRIES * CROSSING_SIZE);
  }
  store<u32>(VCPU_BLOCKS, load<u32>(VCPU_BLOCKS, ARENA_FLUSHES) + 1, ARENA_FLUSHES);
}

function unchain(block: usize): void {
  let at = bucket(load<u32>(block, BLK_PHYS));
  while ((load<u32>(at) as usize) != block) at = (load<u32>(at) as usize) + BLK_CHAIN;
  store<u32>(at, load<u32>(block, BLK_CHAIN));
}

/** Gives up a translation. One that is running sees it in its context and leaves. */
function dropTranslation(context: usize): void {
  store<u32>(context, 0, CTX_FUNCTION);
  const root = load<u32>(context, CTX_ROOT) as usize;
  if ((load<u32>(root, BLK_CODE) as usize) != context) return;
  store<u32>(root, 0, BLK_CODE);
  store<u32>(heatOf(root), 0);
}

function kill(block: usize): void {
  const context = load<u32>(block, BLK_CODE) as usize;
  if (context) dropTranslation(context);
  unchain(block);
  store<u32>(block, DEAD_BLOCK, BLK_PHYS);
  const count = load<u16>(block, BLK_COUNT);
  for (let i: usize = 0; i < count; i++) store<u16>(block + BLK_HEADER + i * REC_SIZE, BREAK as u16, REC_OP);
}

/** `size` bytes of RAM at `phys`, within one page, have been written: kills the blocks they belong to. */
export function codeWritten(cpu: usize, phys: u32, size: u32): void {
  const page = pageEntry(phys);
  const written = subBlocks(phys, size);
  if (!(load<u32>(page) & written)) return;
  let bitmap: u32 = 0;
  let at = page + 4;
  while (load<u32>(at) != 0) {
    charge(cpu, COST_BLOCK_WRITTEN);
    const block = load<u32>(at) as usize;
    const start = load<u32>(block, BLK_PHYS);
    const length = load<u16>(block, BLK_LENGTH) as u32;
    const context = load<u32>(block, BLK_CODE) as usize;
    const outlier = load<u32>(block, BLK_MODE) == MODE_OUTLIER;
    if (!outlier && start < phys + size && phys < start + length) {
      kill(block);
      store<u32>(at, load<u32>(block, BLK_PAGE_NEXT));
      continue;
    }
    const covered = outlier ? load<u32>(block, BLK_TAKEN) : context ? load<u32>(context, CTX_BITMAP) : 0;
    if (context && covered & written) dropTranslation(context);
    if (outlier && load<u32>(context, CTX_FUNCTION) == 0) {
      store<u32>(at, load<u32>(block, BLK_PAGE_NEXT));
      continue;
    }
    if (!(covered & written)) bitmap |= covered;
    if (!outlier) bitmap |= subBlocks(start, length);
    at = block + BLK_PAGE_NEXT;
  }
  store<u32>(page, bitmap);
}

/**
 * Enters `block`, a header, in the list of the page at `phys`: code of the region of `context`, whose root is in
 * another page, lies in these sub-blocks of it.
 */
export function enterOutlier(cpu: usize, block: usize, phys: u32, context: usize, bitmap: u32): void {
  coverCode(cpu, phys, bitmap);
  const page = pageEntry(phys);
  store<u32>(block, phys, BLK_PHYS);
  store<u32>(block, MODE_OUTLIER, BLK_MODE);
  store<u32>(block, bitmap, BLK_TAKEN);
  store<u32>(block, context as u32, BLK_CODE);
  store<u32>(block, load<u32>(page, 4), BLK_PAGE_NEXT);
  store<u32>(page, block as u32, 4);
}

/** Lets stores to the sub-blocks `bitmap` of the page at `phys` be noticed: translated code lies there. */
export function coverCode(cpu: usize, phys: u32, bitmap: u32): void {
  const page = pageEntry(phys);
  if (load<u32>(page) == 0) protectCode(cpu, phys);
  store<u32>(page, load<u32>(page) | bitmap);
}
