/**
 * Guests' memory in another process, found and counted from outside: /proc/PID/smaps tells where it is,
 * /proc/PID/pagemap whose each page is.
 */
import { PandoError } from '../error.js';
import { HostError } from '../host/errno.js';
import { readPageStates } from '../host/pagemap.js';
import type { Mapping } from '../host/smaps.js';

const PAGE_SIZE = 4096;

/**
 * State of each page of a range of a process, as host/pagemap.ts numbers them.
 *
 * @param address page-aligned host address
 * @throws PandoError MEASURE_NO_PAGEMAP
 */
export function pageStates(pid: number, address: number, bytes: number): Uint8Array {
  try {
    return readPageStates(BigInt(address), bytes / PAGE_SIZE, pid);
  } catch (cause) {
    if (!(cause instanceof HostError)) throw cause;
    throw new PandoError('MEASURE_NO_PAGEMAP', cause.message, { cause });
  }
}

/**
 * Where mappings that lie end to end make up exactly `bytes`: a guest's memory, whatever files are mapped
 * over parts of it and whatever lies beside it. Of several places that overlap, the first.
 *
 * @returns host addresses, ascending
 */
export function findRegions(mappings: readonly Mapping[], bytes: number): number[] {
  const found: number[] = [];
  const writable = mappings.filter(({ permissions }) => permissions === 'rw-p');
  for (let first = 0; first < writable.length; first++) {
    const start = writable[first]!.start;
    let end = start;
    for (let last = first; writable[last]?.start === end && end - start < bytes; last++) {
      end = writable[last]!.end;
      if (end - start !== bytes) continue;
      found.push(start);
      first = last;
    }
  }
  return found;
}

/** A named range of a guest's memory, in bytes from its first one. */
export interface NamedRange {
  readonly name: string;
  readonly start: number;
  readonly length: number;
}

/** Pages of one name. */
export interface RangePages {
  readonly name: string;
  readonly total: number;
  readonly shared: number;
  readonly own: number;
  readonly untouched: number;
}

/** Counts pages by name; a page of two names counts for the first, one of none for `rest`. */
export function countPages(
  states: Uint8Array,
  ranges: readonly NamedRange[],
  rest: string,
): RangePages[] {
  const names = [...new Set(ranges.map(({ name }) => name).filter((name) => name !== rest)), rest];
  const owners = new Uint8Array(states.length).fill(names.indexOf(rest));
  for (const { name, start, length } of [...ranges].reverse()) {
    owners.fill(
      names.indexOf(name),
      Math.floor(start / PAGE_SIZE),
      Math.ceil((start + length) / PAGE_SIZE),
    );
  }
  const counts = names.map(() => [0, 0, 0]);
  for (let page = 0; page < states.length; page++) {
    const count = counts[owners[page] ?? 0];
    if (count !== undefined) count[states[page] ?? 0]!++;
  }
  return names.map((name, index) => {
    const [untouched = 0, shared = 0, own = 0] = counts[index] ?? [];
    return { name, total: untouched + shared + own, shared, own, untouched };
  });
}
