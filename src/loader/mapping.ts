/**
 * Which bytes of a placement can be mapped over guest memory, and which have to be read (mmap(2):
 * offset and address are whole pages, and what follows the end of the file in its last page is zeros).
 */
import { PAGE_SIZE } from '../arch/layout.js';
import type { ByteSource } from './byte-source.js';
import type { Placement } from './plan.js';

/** A run of bytes, in a file and in the guest. */
export interface ByteRange {
  readonly fileOffset: number;
  readonly guestAddress: number;
  readonly length: number;
}

/** A placement cut into what is mapped, what is read and what is zero. All lengths in bytes. */
export interface PlacementSplit {
  /** `fileOffset` and `guestAddress` agree modulo the page size. */
  readonly congruent: boolean;
  /** What to map, from a page boundary on; the rest of its last page is zeros in the file too. */
  readonly mapped?: ByteRange;
  /** What is left: all of an incongruent placement, else parts of its first and last page. */
  readonly read: readonly ByteRange[];
  readonly zeroLength: number;
}

/** One past the last guest byte of a placement, zeros included. */
export function placementEnd(placement: Placement): number {
  return placement.guestAddress + placement.fileLength + placement.zeroLength;
}

/** True when the file has nothing but zeros, or nothing, from `offset` to the end of that page. */
export function isZeroAfter(source: ByteSource, offset: number): boolean {
  const pageEnd = Math.ceil(offset / PAGE_SIZE) * PAGE_SIZE;
  const length = Math.min(pageEnd, source.size) - offset;
  return length <= 0 || source.read(offset, length).every((byte) => byte === 0);
}

/**
 * Splits by pages. A page is mapped when it holds nothing but this placement: the last page may hold a
 * part of it when the file goes on with zeros (or ends) and no other placement is in that page.
 * @param all every placement of the guest, this one among them
 * @param zeroAfter whether its file has nothing but zeros from an offset to the end of that page
 */
export function splitPlacement(
  placement: Placement,
  all: readonly Placement[],
  zeroAfter: (fileOffset: number) => boolean,
): PlacementSplit {
  const { fileOffset, guestAddress, fileLength, zeroLength } = placement;
  const range = (from: number, to: number): ByteRange => ({
    fileOffset: fileOffset + from - guestAddress,
    guestAddress: from,
    length: to - from,
  });
  const congruent = fileOffset % PAGE_SIZE === guestAddress % PAGE_SIZE;
  const end = guestAddress + fileLength;
  const whole = fileLength > 0 ? [range(guestAddress, end)] : [];
  if (!congruent) return { congruent, read: whole, zeroLength };
  const first = Math.ceil(guestAddress / PAGE_SIZE) * PAGE_SIZE;
  const lastPage = Math.floor(end / PAGE_SIZE) * PAGE_SIZE;
  const isAlone = all.every(
    (other) =>
      other === placement ||
      other.guestAddress >= lastPage + PAGE_SIZE ||
      placementEnd(other) <= lastPage,
  );
  const partial = end > lastPage;
  const last = partial && isAlone && zeroAfter(fileOffset + fileLength) ? end : lastPage;
  if (last <= first) return { congruent, read: whole, zeroLength };
  const read = [range(guestAddress, first), range(last, end)].filter(({ length }) => length > 0);
  return { congruent, mapped: range(first, last), read, zeroLength };
}
