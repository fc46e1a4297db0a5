/**
 * Where the RAM of two guests differs that were given the same images. Only pages that one of them has
 * written are looked at where the kernel tells which those are (pagemap.ts), else all.
 */
import { PAGE_SIZE } from '../arch/layout.js';
import { HostError } from '../host/errno.js';
import { PAGE_OWN, readPageStates } from '../host/pagemap.js';
import type { GuestRam } from './guest-ram.js';

/** A comparison of two guests' RAM. */
export interface RamComparison {
  /** Pages of 4 KiB that were compared, and those that no guest had written. */
  readonly compared: number;
  readonly untouched: number;
  /** Guest physical addresses of the first differing byte of each page that differs. */
  readonly differences: readonly number[];
}

function ownPages(guest: GuestRam): Uint8Array | undefined {
  try {
    return readPageStates(guest.ramHostAddress, guest.ramBytes / PAGE_SIZE);
  } catch (error) {
    if (error instanceof HostError) return undefined;
    throw error;
  }
}

const bytesOf = (guest: GuestRam): Buffer => {
  const { buffer, byteOffset, byteLength } = guest.bytes(0, guest.ramBytes);
  return Buffer.from(buffer, byteOffset, byteLength);
};

/** Guest physical address of the first byte of a range in which two RAMs differ, or -1. */
function firstDifference(mine: Buffer, its: Buffer, from: number, to: number): number {
  if (mine.compare(its, from, to, from, to) === 0) return -1;
  let at = from;
  while (mine[at] === its[at]) at++;
  return at;
}

/** Compares all RAM of two guests of the same size, made from the same images; neither runs. */
export function compareRam(one: GuestRam, other: GuestRam): RamComparison {
  const pages = one.ramBytes / PAGE_SIZE;
  const own = ownPages(one);
  const its = ownPages(other);
  const written = (page: number): boolean =>
    own === undefined || its === undefined || own[page] === PAGE_OWN || its[page] === PAGE_OWN;
  const mine = bytesOf(one);
  const theirs = bytesOf(other);
  const differences: number[] = [];
  let compared = 0;
  for (let page = 0; page < pages; page++) {
    if (!written(page)) continue;
    let end = page + 1;
    while (end < pages && written(end)) end++;
    compared += end - page;
    let from = page * PAGE_SIZE;
    while (from < end * PAGE_SIZE) {
      const at = firstDifference(mine, theirs, from, end * PAGE_SIZE);
      if (at < 0) break;
      differences.push(at);
      from = at - (at % PAGE_SIZE) + PAGE_SIZE;
    }
    page = end;
  }
  return { compared, untouched: pages - compared, differences };
}

/** Of pages given by an address in each: where they differ now. */
export function comparePages(
  one: GuestRam,
  other: GuestRam,
  addresses: readonly number[],
): number[] {
  const mine = bytesOf(one);
  const its = bytesOf(other);
  return addresses
    .map((address) => {
      const from = address - (address % PAGE_SIZE);
      return firstDifference(mine, its, from, from + PAGE_SIZE);
    })
    .filter((at) => at >= 0);
}
