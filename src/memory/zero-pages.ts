/**
 * Gives pages back to the host that a guest has filled with zeros: an anonymous page that madvise(2) drops
 * (MADV_DONTNEED) reads as zeros again, and costs nothing until it is written. Pages of images are left
 * alone: mapped ones would show their file again, and read ones are there to be compared with those.
 */
import { HIGH_MEMORY_START, LOW_MEMORY_LIMIT, PAGE_SIZE } from '../arch/layout.js';
import { HostError } from '../host/errno.js';
import { discard } from '../host/mmap.js';
import { PAGE_OWN, PAGE_UNTOUCHED, readPageStates } from '../host/pagemap.js';
import type { GuestRam } from './guest-ram.js';
import type { ImageRange } from './image-pages.js';

const WORDS = PAGE_SIZE / 4;

/**
 * Drops zero pages. No thread runs the guest meanwhile.
 *
 * @param ranges of the images in guest RAM, as they were placed
 * @returns how many pages were discarded; 0 where the kernel does not tell which pages there are
 */
export function discardZeroPages(
  guest: GuestRam,
  ranges: readonly Pick<ImageRange, 'guestAddress' | 'length' | 'how'>[],
): number {
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
  const low = Math.min(pages, LOW_MEMORY_LIMIT / PAGE_SIZE);
  const discardRun = (page: number, count: number): void =>
    discard(guest.ramHostAddress + BigInt(page * PAGE_SIZE), count * PAGE_SIZE);
  return (
    discardZeroRuns(guest.bytes(0, low * PAGE_SIZE), states, 0, discardRun) +
    (pages === low
      ? 0
      : discardZeroRuns(
          guest.bytes(HIGH_MEMORY_START, (pages - low) * PAGE_SIZE),
          states,
          low,
          discardRun,
        ))
  );
}

/** @param first the page of RAM, as `states` counts them, that `bytes` begins with */
function discardZeroRuns(
  bytes: Uint8Array,
  states: Uint8Array,
  first: number,
  discardRun: (page: number, count: number) => void,
): number {
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  const pages = bytes.length / PAGE_SIZE;
  let dropped = 0;
  for (let page = 0; page < pages; page++) {
    let end = page;
    while (end < pages && states[first + end] === PAGE_OWN && isZero(words, end * WORDS)) end++;
    if (end === page) continue;
    discardRun(first + page, end - page);
    dropped += end - page;
    page = end;
  }
  return dropped;
}

/** Whether a page, at a multiple of 4 of its buffer, is all zeros. */
export function isZeroPage(page: Uint8Array): boolean {
  return isZero(new Uint32Array(page.buffer, page.byteOffset, WORDS), 0);
}

function isZero(words: Uint32Array, from: number): boolean {
  for (let at = from; at < from + WORDS; at++) if (words[at] !== 0) return false;
  return true;
}
