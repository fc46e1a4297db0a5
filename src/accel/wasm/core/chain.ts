/**
 * How control finds the next block without the page walk and the hash table: by the exec TLB, which
 * gives the physical address, and a cache of blocks by linear address, for branches whose target
 * changes (returns, above all). And how translated code calls translated code: the guest's CALL is a
 * call of the host's, so that the code behind it goes on with what it has in hand once the guest
 * returns. Nothing rests on the guest's calls and returns being paired: state is in memory across a
 * call, and control that comes out elsewhere unwinds the host's calls.
 */
import {
  BLK_CODE, BLK_MODE, BLK_PHYS, CTX_FUNCTION, DEAD_BLOCK, JIT_DEPTH, JIT_LINK, JIT_RIP, JIT_STATUS, JUMP_CACHE,
  JUMP_CACHE_ENTRIES, MODE, POLL, RIP, ST_AWAY, ST_NEXT, TLB_ENTRIES, TLB_EXEC, TLB_SET,
} from "../layout";

/** Nested calls at most; V8's smallest default stack holds several times as many. */
const DEPTH_LIMIT: u32 = 64;
/** Physical address that no block has. */
const NOWHERE: u32 = DEAD_BLOCK - 1;

/** Guest physical address of the code at linear address `rip` when the exec TLB has it, else NOWHERE. */
// @ts-ignore: decorator
@inline
export function knownPhys(cpu: usize, set: u32, rip: u64): u32 {
  const entry = cpu + set + ((((rip as u32) >> 12) & (TLB_ENTRIES - 1)) << 4);
  return load<u64>(entry, TLB_EXEC) == (rip & ~0xfff)
    ? load<u32>(entry, TLB_EXEC + 8) | ((rip as u32) & 0xfff)
    : NOWHERE;
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

/**
 * Runs translated code from `rip`, which the caller's `link` leads to, until control comes to `back`:
 * JIT_STATUS is then ST_NEXT, and the state is in memory. Anything else that ends it (code without a
 * translation, the budget, POLL, a fault) leaves JIT_* as a translation does that leaves, with
 * JIT_STATUS not ST_NEXT, and the caller returns at once. Returns the instructions left.
 */
export function callRegion(cpu: usize, left: i32, link: usize, rip: u64, back: u64): i32 {
  const depth = load<u32>(cpu, JIT_DEPTH);
  if (depth < DEPTH_LIMIT) {
    const set = load<u32>(cpu, TLB_SET);
    const mode = load<u32>(cpu, MODE);
    store<u32>(cpu, depth + 1, JIT_DEPTH);
    while (left > 0 && load<u32>(cpu, POLL) == 0 && link != 0) {
      const phys = knownPhys(cpu, set, rip);
      let block = load<u32>(link) as usize;
      if (block == 0 || load<u32>(block, BLK_PHYS) != phys) {
        block = cachedBlock(cpu, rip, phys, mode);
        if (block == 0) break;
        store<u32>(link, block as u32);
      }
      const context = load<u32>(block, BLK_CODE) as usize;
      if (context == 0) break;
      store<u64>(cpu, rip, RIP);
      left = call_indirect<i32>(load<u32>(context, CTX_FUNCTION), cpu, left, context);
      rip = load<u64>(cpu, JIT_RIP);
      if (load<u32>(cpu, JIT_STATUS) != ST_NEXT || rip == back) {
        store<u32>(cpu, depth, JIT_DEPTH);
        return left;
      }
      link = load<u32>(cpu, JIT_LINK);
    }
    store<u32>(cpu, depth, JIT_DEPTH);
  }
  store<u64>(cpu, rip, JIT_RIP);
  store<u32>(cpu, link as u32, JIT_LINK);
  store<u32>(cpu, ST_AWAY, JIT_STATUS);
  return left;
}
