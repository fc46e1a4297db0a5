/**
 * Accounting of copy-on-write: how many pages of each part of a guest's image are still the file's, and
 * how many the VM has of its own. Counts what is in this process's page table; the kernel maps up to 16
 * file pages around a touched one, so `shared` includes neighbours of what the guest touched.
 */
import { readFileSync } from 'node:fs';
import { PAGE_SIZE } from '../arch/layout.js';
import { HostError } from '../host/errno.js';
import { PAGE_OWN, PAGE_SHARED, readPageStates } from '../host/pagemap.js';
import { parseSmaps } from '../host/smaps.js';
import type { ImagePart } from '../loader/plan.js';
import type { GuestRam } from './guest-ram.js';

/** Pages of 4 KiB; `total` is the sum of the other three. */
export interface PageCounts {
  readonly total: number;
  /** Present, and the file's own. */
  readonly shared: number;
  /** Present or swapped out, and this VM's alone. */
  readonly own: number;
  /**
   * Not in the page table, or the kernel's page of zeros: no cost. In a mapped image such a page is
   * still the file's. The kernel may take file pages out of the table again, e.g. the neighbours of one
   * that is written while they are mapped as a huge page.
   */
  readonly untouched: number;
}

/** Pages of one VM's RAM by part; a page that two parts enter counts for the first. */
export interface Sharing {
  /** Where the figures come from. */
  readonly source: '/proc/self/pagemap' | '/proc/self/smaps';
  /** False when a mapping spans parts and its pages were divided in proportion (smaps alone). */
  readonly exact: boolean;
  readonly parts: Readonly<Record<ImagePart, PageCounts>>;
}

/** A run of guest RAM that belongs to a part. */
export interface PartRange {
  readonly part: ImagePart;
  readonly guestAddress: number;
  /** Bytes. */
  readonly length: number;
}

const PARTS: readonly ImagePart[] = ['text', 'rodata', 'data', 'initrd', 'rest'];
const REST = PARTS.indexOf('rest');

/** Pages by part and kind of the VM whose memory lives in this process. All else is `rest`. */
export function accountSharing(guest: GuestRam, ranges: readonly PartRange[]): Sharing {
  try {
    return accountByPagemap(guest, partOfPage(guest.ramBytes / PAGE_SIZE, ranges));
  } catch (error) {
    if (!(error instanceof HostError)) throw error;
    return accountSharingBySmaps(guest, ranges, readFileSync('/proc/self/smaps', 'latin1'));
  }
}

/** Index into PARTS for every page of guest RAM. */
function partOfPage(pages: number, ranges: readonly PartRange[]): Uint8Array {
  const owners = new Uint8Array(pages).fill(REST);
  for (const { part, guestAddress, length } of ranges) {
    const index = PARTS.indexOf(part);
    const end = Math.min(pages, Math.ceil((guestAddress + length) / PAGE_SIZE));
    let page = Math.floor(guestAddress / PAGE_SIZE);
    if (length > 0 && owners[page] !== REST) page++;
    if (page < end) owners.fill(index, page, end);
  }
  return owners;
}

function accountByPagemap(guest: GuestRam, owners: Uint8Array): Sharing {
  const states = readPageStates(guest.ramHostAddress, owners.length);
  const tally = new Tally();
  for (let page = 0; page < owners.length; page++) {
    const state = states[page];
    const owner = owners[page] ?? REST;
    tally.add(owner, 1, state === PAGE_SHARED ? 1 : 0, state === PAGE_OWN ? 1 : 0);
  }
  return { source: '/proc/self/pagemap', exact: true, parts: tally.counts() };
}

/**
 * The same from the text of /proc/self/smaps, whose figures are per mapping: exact as long as every
 * mapping lies within one part.
 */
export function accountSharingBySmaps(
  guest: GuestRam,
  ranges: readonly PartRange[],
  smaps: string,
): Sharing {
  const owners = partOfPage(guest.ramBytes / PAGE_SIZE, ranges);
  const ram = Number(guest.ramHostAddress);
  const tally = new Tally();
  let exact = true;
  for (const mapping of parseSmaps(smaps)) {
    const first = Math.max(0, (mapping.start - ram) / PAGE_SIZE);
    const end = Math.min(owners.length, (mapping.end - ram) / PAGE_SIZE);
    if (end <= first) continue;
    const figure = (name: string): number => (mapping.figures.get(name) ?? 0) / PAGE_SIZE;
    const own = figure('Anonymous') + figure('Swap');
    const shared = figure('Rss') - figure('Anonymous');
    const perPart = new Array<number>(PARTS.length).fill(0);
    for (let page = first; page < end; page++) perPart[owners[page] ?? REST]!++;
    const mapped = (mapping.end - mapping.start) / PAGE_SIZE;
    for (const [part, pages] of perPart.entries()) {
      if (pages === 0) continue;
      if (pages !== mapped) exact = false;
      const share = pages / mapped;
      tally.add(part, pages, Math.round(shared * share), Math.round(own * share));
    }
  }
  return { source: '/proc/self/smaps', exact, parts: tally.counts() };
}

/** Running sums per part. */
class Tally {
  readonly #total = new Float64Array(PARTS.length);
  readonly #shared = new Float64Array(PARTS.length);
  readonly #own = new Float64Array(PARTS.length);

  add(part: number, total: number, shared: number, own: number): void {
    this.#total[part]! += total;
    this.#shared[part]! += shared;
    this.#own[part]! += own;
  }

  counts(): Record<ImagePart, PageCounts> {
    const of = (part: ImagePart): PageCounts => {
      const index = PARTS.indexOf(part);
      const total = this.#total[index] ?? 0;
      const shared = this.#shared[index] ?? 0;
      const own = this.#own[index] ?? 0;
      return { total, shared, own, untouched: total - shared - own };
    };
    return {
      text: of('text'),
      rodata: of('rodata'),
      data: of('data'),
      initrd: of('initrd'),
      rest: of('rest'),
    };
  }
}
