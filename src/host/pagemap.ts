/**
 * Which pages of a process are its own: /proc/PID/pagemap (Linux, admin-guide/mm/pagemap.rst). 64 bits a
 * page; the flag bits need no privilege beyond that to look at the process, only the frame number does.
 */
import { closeSync, openSync, readSync } from 'node:fs';
import { errnoOf, HostError } from './errno.js';

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

/** What the upper half of an entry means. */
export function pageState(high: number): number {
  if ((high & PRESENT) === 0) return (high & SWAPPED) === 0 ? PAGE_UNTOUCHED : PAGE_OWN;
  if ((high & FILE_OR_SHARED) !== 0) return PAGE_SHARED;
  // The kernel's page of zeros, put in place by a mere read, is anonymous yet nobody's alone.
  return (high & EXCLUSIVE) === 0 ? PAGE_UNTOUCHED : PAGE_OWN;
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
  let fd: number | undefined;
  try {
    fd = openSync(path, 'r');
    for (let page = 0; page < pages; ) {
      const wanted = Math.min(CHUNK_PAGES, pages - page);
      const read = readSync(fd, entries, 0, wanted * 8, (firstPage + page) * 8) >>> 3;
      if (read === 0) throw new HostError(`read of ${path} at page ${page}`, 'EIO');
      for (let i = 0; i < read; i++) states[page + i] = pageState(entries[2 * i + 1] ?? 0);
      page += read;
    }
  } catch (error) {
    const name = errnoOf(error);
    if (error instanceof HostError || name === undefined) throw error;
    throw new HostError(`read of ${path}`, name);
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
  return states;
}
