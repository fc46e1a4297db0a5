/**
 * Gives pages back to the host that a guest says it does not use (madvise(2), MADV_DONTNEED): they read as
 * zeros until they are written again, where a file is mapped as that file.
 */
import { PAGE_SIZE } from '../arch/layout.js';
import { discard } from '../host/mmap.js';
import type { GuestRam } from './guest-ram.js';

/**
 * Drops the whole pages of a range, which does not cross RAM's hole.
 * @param kept ranges whose pages stay
 * @returns bytes of the pages that were dropped
 * @throws PandoError GUEST_ADDRESS_RANGE, GUEST_RAM_RELEASED
 */
export function giveBack(
  guest: GuestRam,
  address: number,
  length: number,
  kept: readonly { readonly guestAddress: number; readonly length: number }[] = [],
): number {
  const end = Math.floor((address + length) / PAGE_SIZE) * PAGE_SIZE;
  let at = Math.ceil(address / PAGE_SIZE) * PAGE_SIZE;
  let dropped = 0;
  const dropTo = (limit: number): void => {
    if (limit <= at) return;
    discard(guest.hostRange(at, limit - at), limit - at);
    dropped += limit - at;
  };
  const inside = kept
    .map((range) => ({ start: range.guestAddress, end: range.guestAddress + range.length }))
    .filter((range) => range.start < end && range.end > at)
    .sort((a, b) => a.start - b.start);
  for (const range of inside) {
    dropTo(Math.min(end, Math.floor(range.start / PAGE_SIZE) * PAGE_SIZE));
    at = Math.max(at, Math.ceil(range.end / PAGE_SIZE) * PAGE_SIZE);
  }
  dropTo(end);
  return dropped;
}
