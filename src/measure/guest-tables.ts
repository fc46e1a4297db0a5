/**
 * What a Linux guest's page tables say about its RAM: which pages are tables themselves, which hold the
 * kernel's array of page descriptors, which a process has mapped. Four-level paging (Intel SDM vol. 3,
 * 4.5.4); the guest's linear addresses are Linux's (Documentation/arch/x86/x86_64/mm.rst), which are
 * fixed on this path, for there is no decompressor to randomise them.
 */
import { closeSync, openSync, readSync } from 'node:fs';
import { PandoError } from '../error.js';
import { errnoOf } from '../host/errno.js';
import type { NamedRange } from './guest-pages.js';

const PAGE = 4096;
const ENTRIES = 512;
const PRESENT = 1n << 0n;
const PAGE_SIZE_BIT = 1n << 7n;
const ADDRESS = 0x000f_ffff_ffff_f000n;
/** Entry of the top table from which on linear addresses are the kernel's. */
const KERNEL_HALF = 256;
/** Entries of the top table that cover vmemmap, ffffea0000000000 to ffffeaffffffffff: two of 512 GiB. */
const VMEMMAP = [468, 469];

/** What the tables tell apart, in the order of tables and legends. */
export const TABLE_PARTS = ['page tables', 'struct page', 'user space'] as const;
type TablePart = (typeof TABLE_PARTS)[number];

/**
 * Reads a page of guest RAM.
 * @param address guest physical, page-aligned
 */
export type ReadPage = (address: number) => Uint8Array;

/**
 * Reads another process's memory, or this one's, through /proc/PID/mem (proc(5)).
 * @throws PandoError MEASURE_NOT_PERMITTED
 */
export function withGuestPages<T>(pid: number, ram: number, work: (read: ReadPage) => T): T {
  const path = `/proc/${pid}/mem`;
  let fd: number | undefined;
  try {
    const opened = openSync(path, 'r');
    fd = opened;
    return work((address) => {
      const page = new Uint8Array(PAGE);
      readSync(opened, page, 0, PAGE, ram + address);
      return page;
    });
  } catch (cause) {
    const name = errnoOf(cause);
    if (name === undefined) throw cause;
    throw new PandoError('MEASURE_NOT_PERMITTED', `${path}: ${name}`, { cause });
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

/**
 * Follows the tables of an address space.
 *
 * @param cr3 of a vCPU in long mode
 * @param ramBytes entries that lead beyond it are not followed
 * @returns ranges of guest physical addresses, ascending; a page of several kinds is of the first
 */
export function tableRanges(read: ReadPage, cr3: bigint, ramBytes: number): NamedRange[] {
  const owners = new Map<number, TablePart>();
  const claim = (part: TablePart, address: number, bytes: number): void => {
    for (let at = address; at < Math.min(address + bytes, ramBytes); at += PAGE) {
      const owner = owners.get(at);
      if (owner === undefined || TABLE_PARTS.indexOf(owner) > TABLE_PARTS.indexOf(part)) {
        owners.set(at, part);
      }
    }
  };
  const seen = new Set<string>();
  /** @param level 4 for the top table, 1 for the one whose entries are pages */
  const follow = (table: number, level: number, part: TablePart | undefined): void => {
    const key = `${table} ${part}`;
    if (table >= ramBytes || seen.has(key)) return;
    seen.add(key);
    claim('page tables', table, PAGE);
    const page = read(table);
    const entries = new BigUint64Array(page.buffer, page.byteOffset, ENTRIES);
    for (const [index, entry] of entries.entries()) {
      if ((entry & PRESENT) === 0n) continue;
      const kind = level === 4 ? partOf(index) : part;
      const address = Number(entry & ADDRESS);
      const leaf = level === 1 || (level < 4 && (entry & PAGE_SIZE_BIT) !== 0n);
      if (!leaf) follow(address, level - 1, kind);
      else if (kind !== undefined) {
        const size = PAGE * ENTRIES ** (level - 1);
        claim(kind, Math.floor(address / size) * size, size);
      }
    }
  };
  follow(Number(cr3 & ADDRESS), 4, undefined);
  const ranges: { name: string; start: number; length: number }[] = [];
  for (const [start, name] of [...owners].sort(([a], [b]) => a - b)) {
    const last = ranges.at(-1);
    if (last?.name === name && last.start + last.length === start) last.length += PAGE;
    else ranges.push({ name, start, length: PAGE });
  }
  return ranges;
}

function partOf(topIndex: number): TablePart | undefined {
  if (topIndex < KERNEL_HALF) return 'user space';
  return VMEMMAP.includes(topIndex) ? 'struct page' : undefined;
}
