/**
 * What the data TLBs have given up: 64 sets of four entries behind all of them. Pages that take turns in one entry of a
 * data TLB, which has one way only, come back from here without a page walk. A page's set follows from its entry in
 * the TLB, so the page that it drives out there takes its place here.
 *
 * An entry's tag is the page's linear address with VICTIM_WRITE and VICTIM_USER; the other words are as in the TLBs.
 */
import { TLB_USER, VICTIMS, VICTIMS_BYTES } from "../layout";

const VICTIM_WRITE: u64 = 1;
const VICTIM_USER: u64 = 2;
const WAYS: usize = 4;
const SETS: u32 = 64;
const EMPTY: u64 = u64.MAX_VALUE;

// @ts-ignore: decorator
@inline
function tagOf(set: u32, page: u64, write: bool): u64 {
  return page | (write ? VICTIM_WRITE : 0) | (set == TLB_USER ? VICTIM_USER : 0);
}

/** First way of the set that a page belongs to. */
// @ts-ignore: decorator
@inline
function waysOf(cpu: usize, page: u64): usize {
  return cpu + VICTIMS + (((page >> 12) as u32) & (SETS - 1)) * (WAYS * 16);
}

/** Puts what stands in `entry` of a data TLB of `set` aside, before it is overwritten: the oldest of its victims goes. */
export function putAside(cpu: usize, set: u32, entry: usize, write: bool): void {
  const page = load<u64>(entry);
  if (page == EMPTY) return;
  const ways = waysOf(cpu, page);
  store<v128>(ways, load<v128>(ways, 32), 48);
  store<v128>(ways, load<v128>(ways, 16), 32);
  store<v128>(ways, load<v128>(ways), 16);
  store<u64>(ways, tagOf(set, page, write));
  store<u64>(ways, load<u64>(entry, 8), 8);
}

/** Whether `page` has been put aside: then it is in `entry` again, and what was there has its place. */
export function recall(cpu: usize, set: u32, page: u64, entry: usize, write: bool): bool {
  const tag = tagOf(set, page, write);
  let way = waysOf(cpu, page);
  if (load<u64>(way) != tag) {
    if (load<u64>(way, 16) == tag) way += 16;
    else if (load<u64>(way, 32) == tag) way += 32;
    else if (load<u64>(way, 48) == tag) way += 48;
    else return false;
  }
  const found = load<u64>(way, 8);
  const other = load<u64>(entry);
  store<u64>(way, other == EMPTY ? EMPTY : tagOf(set, other, write));
  store<u64>(way, load<u64>(entry, 8), 8);
  store<u64>(entry, page);
  store<u64>(entry, found, 8);
  return true;
}

/** Forgets a page. */
export function forgetPage(cpu: usize, page: u64): void {
  const ways = waysOf(cpu, page);
  for (let way = ways; way < ways + WAYS * 16; way += 16) {
    if ((load<u64>(way) & ~0xfff) == page) store<u64>(way, EMPTY);
  }
}

/** Forgets those that can be written and lead to `target` in linear memory. */
export function forgetWritable(cpu: usize, target: usize): void {
  for (let entry = cpu + VICTIMS, end = entry + VICTIMS_BYTES; entry < end; entry += 16) {
    const tag = load<u64>(entry);
    if (!(tag & VICTIM_WRITE)) continue;
    if (((tag as u32) & ~0xfff) + load<u32>(entry, 8) == target) store<u64>(entry, EMPTY);
  }
}
