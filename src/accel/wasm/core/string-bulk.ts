/**
 * Runs of string elements within one page of plain RAM, on pointers. Each routine answers how many
 * elements it has done: 0 sends the caller to the element-wise path, which fills the TLBs and sees to
 * devices, code pages, faults and elements that cross a page.
 */
import { TLB_ENTRIES, TLB_READ, TLB_SET, TLB_WRITE } from "../layout";

/** Pointer to the byte at `va` when the TLB of `kind` knows its page, else 0. */
function cached(cpu: usize, kind: usize, va: u64): usize {
  const entry = cpu + load<u32>(cpu, TLB_SET) + kind + ((((va as u32) >> 12) & (TLB_ENTRIES - 1)) << 4);
  return load<u64>(entry) == (va & ~0xfff) ? ((va as u32) + load<u32>(entry, 8)) as usize : 0;
}

/** Whole elements from `va` to the end of its page, at most `most`. */
// @ts-ignore: decorator
@inline
function inPage(va: u64, size: u32, most: u64): u64 {
  const room: u64 = (0x1000 - (va & 0xfff)) >> size;
  return room < most ? room : most;
}

// @ts-ignore: decorator
@inline
function element(ptr: usize, size: u32): u64 {
  switch (size) {
    case 0: return load<u8>(ptr) as u64;
    case 1: return load<u16>(ptr) as u64;
    case 2: return load<u32>(ptr) as u64;
    default: return load<u64>(ptr);
  }
}

// @ts-ignore: decorator
@inline
function put(ptr: usize, size: u32, value: u64): void {
  switch (size) {
    case 0: store<u8>(ptr, value as u8); break;
    case 1: store<u16>(ptr, value as u16); break;
    case 2: store<u32>(ptr, value as u32); break;
    default: store<u64>(ptr, value); break;
  }
}

/** Copies upwards, as a loop over the elements would. */
export function bulkCopy(cpu: usize, to: u64, from: u64, size: u32, most: u64): u64 {
  const count = inPage(from, size, inPage(to, size, most));
  if (count == 0) return 0;
  const source = cached(cpu, TLB_READ, from);
  if (!source) return 0;
  const target = cached(cpu, TLB_WRITE, to);
  if (!target) return 0;
  const bytes = (count as usize) << size;
  if (target - source >= bytes) {
    memory.copy(target, source, bytes);
    return count;
  }
  // The target begins inside the source: what has been written is read again.
  for (let at: usize = 0; at < bytes; at += 1 << size) put(target + at, size, element(source + at, size));
  return count;
}

export function bulkFill(cpu: usize, to: u64, value: u64, size: u32, most: u64): u64 {
  const count = inPage(to, size, most);
  if (count == 0) return 0;
  const target = cached(cpu, TLB_WRITE, to);
  if (!target) return 0;
  const bytes = (count as usize) << size;
  const low = value & 0xff;
  const mask: u64 = u64.MAX_VALUE >> (64 - (8 << size));
  if (value == ((low * 0x0101010101010101) & mask)) {
    memory.fill(target, low as u8, bytes);
    return count;
  }
  for (let at: usize = 0; at < bytes; at += 1 << size) put(target + at, size, value);
  return count;
}

/** Elements before the first for which first == second is not `equal`. */
export function bulkCompare(cpu: usize, first: u64, second: u64, size: u32, most: u64, equal: bool): u64 {
  const count = inPage(first, size, inPage(second, size, most));
  if (count == 0) return 0;
  const a = cached(cpu, TLB_READ, first);
  if (!a) return 0;
  const b = cached(cpu, TLB_READ, second);
  if (!b) return 0;
  const bytes = (count as usize) << size;
  let at: usize = 0;
  if (equal) while (at + 8 <= bytes && load<u64>(a + at) == load<u64>(b + at)) at += 8;
  const stride: usize = 1 << size;
  while (at < bytes && (element(a + at, size) == element(b + at, size)) == equal) at += stride;
  return (at >> size) as u64;
}

/** Elements before the first for which it == `value` is not `equal`. */
export function bulkScan(cpu: usize, va: u64, value: u64, size: u32, most: u64, equal: bool): u64 {
  const count = inPage(va, size, most);
  if (count == 0) return 0;
  const ptr = cached(cpu, TLB_READ, va);
  if (!ptr) return 0;
  const bytes = (count as usize) << size;
  const stride: usize = 1 << size;
  let at: usize = 0;
  while (at < bytes && (element(ptr + at, size) == value) == equal) at += stride;
  return (at >> size) as u64;
}
