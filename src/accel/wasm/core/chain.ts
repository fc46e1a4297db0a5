/**
 * How control finds the next block without the page walk and the hash table: by the exec TLB, which
 * gives the physical address, and a cache of blocks by linear address, for branches whose target
 * changes (returns, above all). And how translated code calls translated code: the guest's CALL is a
 * call of the host's, so that the code behind it goes on with what it has in hand once the guest
 * returns. Nothing rests on the guest's calls and returns being paired: state is in memory across a
 * call, and control that comes out elsewhere unwinds the host's calls.
 */
import {
  BLK_CODE, BLK_MODE, BLK_PHYS, DEAD_BLOCK, CTX_ENTRIES, CTX_FUNCTION, CTX_ROOT, GPR, JIT_DEPTH, JIT_LINK, JIT_RIP, JIT_STATUS,
  JUMP_CACHE, JUMP_CACHE_ENTRIES, MODE, PAGE_ASKED, PAGE_UNBOUND, POLL, RIP, ST_AWAY, ST_NEXT, TLB_SET, WIDE_THRESHOLD,
} from "../layout";
import { noteHot } from "./hot-list";
import { execPage, NO_PAGE } from "./mmu";

/** Nested calls at most; V8's smallest default stack holds several times as many. */
const DEPTH_LIMIT: u32 = 64;
/**
 * Guest physical address of the code at linear address `rip` when the exec TLB has it, else one that no block but
 * a dead one has.
 */
// @ts-ignore: decorator
@inline
export function knownPhys(cpu: usize, set: u32, rip: u64): u32 {
  return execPage(cpu, set, rip & ~0xfff) | ((rip as u32) & 0xfff);
}

// @ts-ignore: decorator
@inline
function slot(cpu: usize, rip: u64): usize {
  const low = rip as u32;
  return cpu + (((low ^ (low >> 11)) & (JUMP_CACHE_ENTRIES - 1)) << 2);
}

/** The block at linear address `rip`, which is `phys`, if it is in the cache, else 0. */
// @ts-ignore: decorator
@inline
export function cachedBlock(cpu: usize, rip: u64, phys: u32, mode: u32): usize {
  const block = load<u32>(slot(cpu, rip), JUMP_CACHE) as usize;
  return block != 0 && load<u32>(block, BLK_PHYS) == phys && load<u32>(block, BLK_MODE) == mode ? block : 0;
}

// @ts-ignore: decorator
@inline
export function rememberBlock(cpu: usize, rip: u64, block: usize): void {
  store<u32>(slot(cpu, rip), block as u32, JUMP_CACHE);
}

/** Where `chain` never comes back to: no address of code. */
const NEVER: u64 = 1 << 63;

/**
 * Lets `link`, unless it leads to a block that is there, lead to `block`. A return's stays where it went first: were it to
 * follow each, VMs that go on from one snapshot would soon share no page of blocks.
 */
// @ts-ignore: decorator
@inline
export function setLink(link: usize, block: usize): void {
  const linked = load<u32>(link) as usize;
  if (linked == 0 || load<u32>(linked, BLK_PHYS) == DEAD_BLOCK) store<u32>(link, block as u32);
}

/** The block at `rip`, where `link` leads to, by what is known without a page walk; else 0. */
// @ts-ignore: decorator
@inline
export function linkedBlock(cpu: usize, set: u32, mode: u32, rip: u64, link: usize): usize {
  const phys = knownPhys(cpu, set, rip);
  let block = load<u32>(link) as usize;
  if (block == 0 || load<u32>(block, BLK_PHYS) != phys) {
    block = cachedBlock(cpu, rip, phys, mode);
    if (block != 0) setLink(link, block);
  }
  return block;
}

/**
 * Counts that control comes into the region of `context`, or back into it after a call; `rip` is in its root's page.
 * At the threshold its root is put on the list; when that is full, it is to be tried again later.
 */
// @ts-ignore: decorator
@inline
function countEntry(cpu: usize, set: u32, context: usize, threshold: u32, rip: u64): void {
  const entries = load<u32>(context, CTX_ENTRIES) + 1;
  store<u32>(context, entries, CTX_ENTRIES);
  if (entries == threshold && !noteHot(cpu, load<u32>(context, CTX_ROOT), set, rip)) store<u32>(context, 0, CTX_ENTRIES);
}

/**
 * Runs the translation `context`, for whose code RIP stands at `rip`, and those that it leads to, until control
 * comes to `back`: JIT_STATUS is then ST_NEXT, and the state is in memory. Anything else that ends it
 * (code without a translation, the budget, POLL, a fault) leaves JIT_* as a translation does that
 * leaves, with JIT_STATUS not ST_NEXT. Returns the instructions left.
 */
// @ts-ignore: decorator
@inline
function chain(cpu: usize, left: i32, context: usize, rip: u64, back: u64): i32 {
  const set = load<u32>(cpu, TLB_SET);
  const mode = load<u32>(cpu, MODE);
  const threshold = load<u32>(cpu, WIDE_THRESHOLD);
  while (true) {
    countEntry(cpu, set, context, threshold, rip);
    // What FUNCTION_TYPE of translate/locals.ts tells.
    left = call_indirect<i32>(
      load<u32>(context, CTX_FUNCTION), cpu, left, context, cpu + set, rip & ~0xfff,
      load<u64>(cpu, GPR), load<u64>(cpu, GPR + 8), load<u64>(cpu, GPR + 16), load<u64>(cpu, GPR + 24),
      load<u64>(cpu, GPR + 32), load<u64>(cpu, GPR + 40), load<u64>(cpu, GPR + 48), load<u64>(cpu, GPR + 56),
    );
    if (load<u32>(cpu, JIT_STATUS) != ST_NEXT) return left;
    rip = load<u64>(cpu, JIT_RIP);
    if (rip == back) return left;
    const link = load<u32>(cpu, JIT_LINK) as usize;
    if (link == 0 || left <= 0 || load<u32>(cpu, POLL) != 0) break;
    const block = linkedBlock(cpu, set, mode, rip, link);
    if (block == 0) break;
    context = load<u32>(block, BLK_CODE) as usize;
    if (context == 0) break;
    store<u64>(cpu, rip, RIP);
  }
  store<u32>(cpu, ST_AWAY, JIT_STATUS);
  return left;
}

/** `chain` that never comes back by itself, for the run loop. */
export function follow(cpu: usize, left: i32, context: usize, rip: u64): i32 {
  return chain(cpu, left, context, rip, NEVER);
}

/** The guest's CALL in the region of `context` to `rip`, where the link at `offset` leads to: `chain` until it returns to `back`. */
export function callRegion(cpu: usize, left: i32, context: usize, offset: i32, rip: u64, back: u64): i32 {
  const link = context + offset;
  const set = load<u32>(cpu, TLB_SET);
  // The call lies in the root's page: only regions of one page count.
  countEntry(cpu, set, context, load<u32>(cpu, WIDE_THRESHOLD), back - 1);
  const depth = load<u32>(cpu, JIT_DEPTH);
  if (depth < DEPTH_LIMIT && left > 0 && load<u32>(cpu, POLL) == 0) {
    const block = linkedBlock(cpu, set, load<u32>(cpu, MODE), rip, link);
    const called = block == 0 ? 0 : (load<u32>(block, BLK_CODE) as usize);
    if (called != 0) {
      store<u64>(cpu, rip, RIP);
      store<u32>(cpu, depth + 1, JIT_DEPTH);
      left = chain(cpu, left, called, rip, back);
      store<u32>(cpu, depth, JIT_DEPTH);
      return left;
    }
  }
  store<u64>(cpu, rip, JIT_RIP);
  store<u32>(cpu, link as u32, JIT_LINK);
  store<u32>(cpu, ST_AWAY, JIT_STATUS);
  return left;
}

/**
 * Whether the region of `context` may go on in its page `number`, whose linear address is `linear`: the exec
 * TLB must lead to the physical page that holds the region's code. A page that has not been compared yet is put
 * on the list, and the region left for now.
 */
export function enterPage(cpu: usize, context: usize, number: u32, linear: u64): bool {
  const set = load<u32>(cpu, TLB_SET);
  const page = execPage(cpu, set, linear);
  const slot = context - number * 4;
  const bound = load<u32>(slot);
  if (page == NO_PAGE) return false;
  if (bound == page) return true;
  if (bound == PAGE_UNBOUND && noteHot(cpu, context, set, linear | number)) {
    store<u32>(slot, PAGE_ASKED);
  }
  return false;
}
