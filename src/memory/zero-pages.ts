/**
 * Gives pages back to the host that a guest has filled with zeros: an anonymous page that madvise(2) drops
 * (MADV_DONTNEED) reads as zeros again, and costs nothing until it is written. Pages of images are left
 * alone: mapped ones would show their file again, and read ones are there to be compared with those.
 */
import { PAGE_SIZE } from '../arch/layout.js';
import { HostError } from '../host/errno.js';
import { libc } from '../host/libc.js';
import { discard } from '../host/mmap.js';
import { PAGE_OWN, PAGE_UNTOUCHED, readPageStates } from '../host/pagemap.js';
import type { GuestRam } from './guest-ram.js';
import type { ImageRange } from './image-pages.js';

const WORDS = PAGE_SIZE / 4;

/**
 * Gives back what malloc holds of memory that has been freed: compiling the core frees some 10 MiB.
 */
export function trimHeap(): void {
  libc().mallocTrim?.(0);
}

/**
 * Drops zero pages. No thread runs the guest meanwhile.
 *
 * @param ranges of the images in guest RAM, as they were placed
 * @returns how many pages were given back; 0 where the kernel does not tell which pages there are
 */
export function discardZeroPages(guest: GuestRam, ranges: readonly ImageRange[]): number {
  const pages = guest.ramBytes / PAGE_SIZE;
  let states: Uint8Array;
  try {
    states = readPageStates(guest.ramHostAddress, pages);
  } catch (error) {
    if (error instanceof HostError) return 0;
    throw error;
  }
  for (const { how, guestAddress, length } of ranges) {
    if (how === 'zero') continue;
    const first = Math.floor(guestAddress / PAGE_SIZE);
    states.fill(PAGE_UNTOUCHED, first, Math.ceil((guestAddress + length) / PAGE_SIZE));
  }
  const { buffer, byteOffset } = guest.bytes(0, guest.ramBytes);
  const words = new Uint32Array(buffer, byteOffset, guest.ramBytes / 4);
  let dropped = 0;
  for (let page = 0; page < pages; page++) {
    let end = page;
    while (end < pages && states[end] === PAGE_OWN && isZero(words, end * WORDS)) end++;
    if (end === page) continue;
    discard(guest.ramHostAddress + BigInt(page * PAGE_SIZE), (end - page) * PAGE_SIZE);
    dropped += end - page;
    page = end;
  }
  return dropped;
}

function isZero(words: Uint32Array, from: number): boolean {
  for (let at = from; at < from + WORDS; at++) if (words[at] !== 0) return false;
  return true;
}
