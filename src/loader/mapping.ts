/**
 * Which bytes of a placement can be mapped over guest memory, and which have to be read (mmap(2):
 * offset and address are whole pages, and what follows the end of the file in its last page is zeros).
 */
import type { Placement } from "./plan.js";

export const PAGE_SIZE = 4096;

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
  /** Whole pages to map; its last page may end with the file. */
  readonly mapped?: ByteRange;
  /** What is left: all of an incongruent placement, else parts of its first and last page. */
  readonly read: readonly ByteRange[];
  readonly zeroLength: number;
}

/**
 * Splits by pages. Only pages that hold nothing but this placement's file bytes are mapped, so that no
 * other byte of the file shows up beside them. A last page that the file ends in is mapped too when the
 * rest of that page belongs to the placement: the kernel fills it with zeros.
 * @param fileSize size of the file that the placement is in
 */
export function splitPlacement(placement: Placement, fileSize: number): PlacementSplit {
  const { fileOffset, guestAddress, fileLength, zeroLength } = placement;
  const range = (from: number, to: number): ByteRange => ({
    fileOffset: fileOffset + from - guestAddress,
    guestAddress: from,
    length: to - from,
  });
  const congruent = fileOffset % PAGE_SIZE === guestAddress % PAGE_SIZE;
  const end = guestAddress + fileLength;
  if (!congruent) {
    return { congruent, read: fileLength > 0 ? [range(guestAddress, end)] : [], zeroLength };
  }
  const first = Math.ceil(guestAddress / PAGE_SIZE) * PAGE_SIZE;
  const pageAfter = Math.ceil(end / PAGE_SIZE) * PAGE_SIZE;
  const ownsLastPage = fileOffset + fileLength === fileSize && end + zeroLength >= pageAfter;
  const last = ownsLastPage ? end : Math.floor(end / PAGE_SIZE) * PAGE_SIZE;
  if (last <= first) {
    return { congruent, read: fileLength > 0 ? [range(guestAddress, end)] : [], zeroLength };
  }
  const read = [range(guestAddress, first), range(last, end)].filter(({ length }) => length > 0);
  return { congruent, mapped: range(first, last), read, zeroLength };
}
