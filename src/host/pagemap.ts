/**
 * Which pages of a process are its own: /proc/PID/pagemap (Linux, admin-guide/mm/pagemap.rst). 64 bits a
 * page; the flag bits need no privilege beyond that to look at the process, only the frame number does.
 */
import { closeSync, openSync, readSync } from 'node:fs';
import { errnoOf, HostError } from './errno.js';
import { ioctlBytes } from './ioctl.js';
import { addressOf } from './libc.js';

/** Not in the page table: it costs nothing; a file page is read from the file when it is touched. */
export const PAGE_UNTOUCHED = 0;
/** Present, and the file's own page (or shared memory): every process that maps it has the same one. */
export const PAGE_SHARED = 1;
/** Present or swapped out, and private to this process. */
export const PAGE_OWN = 2;

// Bits of the upper half of an entry: 63 present, 62 swapped, 61 file page or shared anonymous page,
// 56 mapped by nobody else.
const PRESENT = 1 << (63 - 32);
const SWAPPED = 1 << (62 - 32);
const FILE_OR_SHARED = 1 << (61 - 32);
const EXCLUSIVE = 1 << (56 - 32);

const PAGE_SIZE = 4096;
const CHUNK_PAGES = 0x10000;

/** _IOWR('f', 16, struct pm_scan_arg), of Linux 6.7 and later. */
const PAGEMAP_SCAN = 0xc060_6610;
const PAGE_IS_FILE = 1n << 2n;
const PAGE_IS_PRESENT = 1n << 3n;
const PAGE_IS_SWAPPED = 1n << 4n;
const PAGE_IS_PFNZERO = 1n << 5n;
/** Of struct page_region: start, end, categories. */
const REGION_WORDS = 3;
/** Pages that the lower half of an address counts. */
const PAGES_OF_HALF = 2 ** 32 / PAGE_SIZE;
/** Regions that one call gives at most. */
const REGIONS = 4096;

let scans = true;

/** What the upper half of an entry means. */
export function pageState(high: number): number {
  if ((high & PRESENT) === 0) return (high & SWAPPED) === 0 ? PAGE_UNTOUCHED : PAGE_OWN;
  if ((high & FILE_OR_SHARED) !== 0) return PAGE_SHARED;
  // The kernel's page of zeros, put in place by a mere read, is anonymous yet nobody's alone.
  return (high & EXCLUSIVE) === 0 ? PAGE_UNTOUCHED : PAGE_OWN;
}

/** @throws HostError when the kernel keeps pagemap to itself */
function openPagemap(path: string): number {
  try {
    return openSync(path, 'r');
  } catch (error) {
    throw hostError(error, path);
  }
}

function hostError(error: unknown, path: string): unknown {
  const name = errnoOf(error);
  if (error instanceof HostError || name === undefined) return error;
  return new HostError(`read of ${path}`, name);
}

/**
 * State of each page of a range of a process.
 *
 * @param address page-aligned host address
 * @param pid of the process, or `self`
 * @returns one PAGE_ value per page
 * @throws HostError when the kernel keeps pagemap to itself
 */
export function readPageStates(
  address: bigint,
  pages: number,
  pid: number | 'self' = 'self',
): Uint8Array {
  const path = `/proc/${pid}/pagemap`;
  const states = new Uint8Array(pages);
  const entries = new Uint32Array(2 * Math.min(pages, CHUNK_PAGES));
  const firstPage = Number(address / BigInt(PAGE_SIZE));
  const fd = openPagemap(path);
  try {
    for (let page = 0; page < pages; ) {
      const wanted = Math.min(CHUNK_PAGES, pages - page);
      const read = readSync(fd, entries, 0, wanted * 8, (firstPage + page) * 8) >>> 3;
      if (read === 0) throw new HostError(`read of ${path} at page ${page}`, 'EIO');
      for (let i = 0; i < read; i++) {
        const high = entries[2 * i + 1]!;
        // Most pages of a guest have not been touched.
        if (high !== 0) states[page + i] = pageState(high);
      }
      page += read;
    }
  } catch (error) {
    throw hostError(error, path);
  } finally {
    closeSync(fd);
  }
  return states;
}

/**
 * Which pages of a range of this process are its own.
 * @returns PAGE_OWN for those, another value for others
 * @throws HostError when the kernel keeps pagemap to itself
 */
export function readOwnPages(address: bigint, pages: number): Uint8Array {
  return (scans ? scanOwnPages(address, pages) : undefined) ?? readPageStates(address, pages);
}

/** The same by PAGEMAP_SCAN, which gives an account of these pages only; undefined where there is none. */
function scanOwnPages(address: bigint, pages: number): Uint8Array | undefined {
  const states = new Uint8Array(pages);
  // Halves of words: a bigint for each, and a view for each region, take ten times as long as the kernel.
  const regions = new Uint32Array(2 * REGION_WORDS * REGIONS);
  const vector = addressOf(new Uint8Array(regions.buffer));
  const end = address + BigInt(pages) * BigInt(PAGE_SIZE);
  const firstPage = Number(address / BigInt(PAGE_SIZE));
  const pageAt = (half: number): number =>
    regions[half + 1]! * PAGES_OF_HALF + regions[half]! / PAGE_SIZE - firstPage;
  const fd = openPagemap('/proc/self/pagemap');
  try {
    for (let start = address; start < end; ) {
      // struct pm_scan_arg: size, flags, start, end, walk_end, vec, vec_len, max_pages, category_inverted,
      // category_mask, category_anyof_mask, return_mask
      const none = PAGE_IS_FILE | PAGE_IS_PFNZERO;
      const any = PAGE_IS_PRESENT | PAGE_IS_SWAPPED;
      const size = 12n * 8n;
      const words = [size, 0n, start, end, 0n, vector, BigInt(REGIONS), 0n, none, none, any, any];
      const argument = BigUint64Array.from(words);
      const found = ioctlBytes(fd, PAGEMAP_SCAN, new Uint8Array(argument.buffer));
      if (found < 0) {
        scans = false;
        return undefined;
      }
      for (let region = 0; region < found; region++) {
        const half = 2 * REGION_WORDS * region;
        states.fill(PAGE_OWN, pageAt(half), pageAt(half + 2));
      }
      start = argument[4]!;
    }
    return states;
  } finally {
    closeSync(fd);
  }
}
