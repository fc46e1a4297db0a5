/**
 * Which pages of an image can be the file's own: the arithmetic between a plan and mmap(2), which maps
 * whole pages at page-aligned file offsets only. Touches neither files nor memory.
 */
import { PAGE_SIZE } from '../arch/layout.js';
import { PandoError } from '../error.js';
import { placementEnd, splitPlacement as splitByPages } from '../loader/mapping.js';
import type { ImagePart, Placement } from '../loader/plan.js';

/** One run of guest RAM and where its bytes come from. */
export interface ImageRange {
  readonly source: Placement['source'];
  readonly part: ImagePart;
  /** Guest physical address of the first byte. */
  readonly guestAddress: number;
  /** Bytes, above 0. A mapped range may end past the file's bytes, in zeros of its last page. */
  readonly length: number;
  /** Offset in the file of the first byte; 0 for a zero range. */
  readonly fileOffset: number;
  /** `mapped`: the file's pages, copy-on-write; `read`: a copy; `zero`: BSS, no bytes of the file. */
  readonly how: 'mapped' | 'read' | 'zero';
  /** Why a range is read; undefined for the others. */
  readonly reason: string | undefined;
}

/** Why ranges are read, for reports. */
export const READ_REASON = {
  asked: 'reading was asked for',
  shrunk: 'the file is shorter than when it was opened',
  incongruent: 'file offset and guest address differ within the page',
  partialPage: 'the page is not all of this range',
} as const;

const up = (value: number): number => Math.ceil(value / PAGE_SIZE) * PAGE_SIZE;

/**
 * @throws PandoError IMAGE_OVERLAP when two placements share a byte, IMAGE_PAST_RAM when one does not
 * fit in guest RAM
 */
export function checkPlacements(placements: readonly Placement[], ramBytes: number): void {
  const sorted = [...placements].sort((a, b) => a.guestAddress - b.guestAddress);
  let end = 0;
  for (const placement of sorted) {
    const at = `${placement.source} ${placement.part} at 0x${placement.guestAddress.toString(16)}`;
    if (placementEnd(placement) > ramBytes)
      throw new PandoError(
        'IMAGE_PAST_RAM',
        `${at} ends at 0x${placementEnd(placement).toString(16)}, guest RAM at 0x${ramBytes.toString(16)}`,
        { remedy: 'give the guest more memory' },
      );
    if (placement.guestAddress < end && placementEnd(placement) > placement.guestAddress)
      throw new PandoError(
        'IMAGE_OVERLAP',
        `${at} overlaps another segment that ends at 0x${end.toString(16)}`,
        { remedy: 'give the guest more memory, or check the image with `pando image inspect`' },
      );
    end = Math.max(end, placementEnd(placement));
  }
}

/** What decides about mapping beside the addresses. */
export interface MappingTerms {
  /** Every placement of the VM: a page that two of them enter is never mapped. */
  readonly all: readonly Placement[];
  /** Why nothing of this file is to be mapped; undefined when mapping is wanted and works. */
  readonly unmappable: string | undefined;
  /**
   * Whether the file's bytes from an offset to the end of that page are all zero or past the end of
   * the file: only then may a last, partial page be the file's.
   */
  zeroAfter(fileOffset: number): boolean;
}

/** Splits a placement into ranges, in guest order, as the loader's plan says. */
export function splitPlacement(placement: Placement, terms: MappingTerms): ImageRange[] {
  const { guestAddress: start, fileLength, fileOffset, source, part } = placement;
  const end = start + fileLength;
  const ranges: ImageRange[] = [];
  const add = (from: number, to: number, how: ImageRange['how'], reason?: string): void => {
    if (to <= from) return;
    const offset = how === 'zero' ? 0 : fileOffset + (from - start);
    const length = to - from;
    ranges.push({ source, part, guestAddress: from, length, fileOffset: offset, how, reason });
  };

  const { congruent, mapped } = splitByPages(placement, terms.all, terms.zeroAfter);
  if (terms.unmappable !== undefined || !congruent) {
    add(start, end, 'read', terms.unmappable ?? READ_REASON.incongruent);
  } else if (mapped === undefined) {
    add(start, end, 'read', READ_REASON.partialPage);
  } else {
    // mmap(2) takes whole pages; what follows the file's bytes in the last one is zeros.
    const last = up(mapped.guestAddress + mapped.length);
    add(start, mapped.guestAddress, 'read', READ_REASON.partialPage);
    add(mapped.guestAddress, last, 'mapped');
    add(last, end, 'read', READ_REASON.partialPage);
    add(Math.max(last, end), end + placement.zeroLength, 'zero');
    return ranges;
  }
  add(end, end + placement.zeroLength, 'zero');
  return ranges;
}
