/**
 * Discards pages that a guest says it does not use (madvise(2), MADV_DONTNEED): they read as
 * zeros until they are written again, where a file is mapped as that file.
 */
import { PAGE_SIZE } from '../arch/layout.js';
import { discard } from '../host/mmap.js';
import type { GuestRam } from './guest-ram.js';

/**
 * Discards the whole pages of a range, which does not cross RAM's hole.
 * @param kept ranges whose pages stay
 * @returns bytes of the pages that were discarded
 * @throws PandoError GUEST_ADDRESS_RANGE, GUEST_RAM_RELEASED
 */
export function discardPages(
  guest: GuestRam,
  address: number,
  length: number,
  kept: readonly { readonly guestAddress: number; readonly length: number }[] = [],
): number {
  const end = Math.floor((address + length) / PAGE_SIZE) * PAGE_SIZE;
  let at = Math.ceil(address / PAGE_SIZE) * PAGE_SIZE;
  let discarded = 0;
  const discardTo = (limit: number): void => {
    if (limit <= at) return;
    discard(guest.hostRange(at, limit - at), limit - at);
    discarded += limit - at;
  };
  const inside = kept
    .map((range) => ({ start: range.guestAddress, end: range.guestAddress + range.length }))
    .filter((range) => range.start < end && range.end > at)
    .sort((a, b) => a.start - b.start);
  for (const range of inside) {
    discardTo(Math.min(end, Math.floor(range.start / PAGE_SIZE) * PAGE_SIZE));
    at = Math.max(at, Math.ceil(range.end / PAGE_SIZE) * PAGE_SIZE);
  }
  discardTo(end);
  return discarded;
}
