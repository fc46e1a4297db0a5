/**
 * What the loader hands to memory: which bytes of which file go where. The loader reads headers and
 * decides; it touches no guest memory (docs/architecture.md, "The loader plans, memory places").
 */

/** The part of the guest's image that a placement belongs to, for accounting. */
export type ImagePart = 'text' | 'rodata' | 'data' | 'initrd' | 'rest';

/** One run of bytes from a file, followed by zeros. All numbers are bytes, below 2^53. */
export interface Placement {
  /** Which file of the plan the bytes come from. */
  readonly source: 'kernel' | 'initrd' | 'modules' | `pmem${number}`;
  /** What the bytes are, for accounting. */
  readonly part: ImagePart;
  /** Offset in the file. */
  readonly fileOffset: number;
  /** How many bytes of the file; may be 0 for a pure zero segment. */
  readonly fileLength: number;
  /** Guest physical address of the first byte. */
  readonly guestAddress: number;
  /** How many zero bytes follow the file's bytes (BSS). */
  readonly zeroLength: number;
}

/**
 * A run of guest memory that accounting reports under one name. Finer than placements: Linux's first
 * segment holds both .text and .rodata, which only the section headers tell apart.
 */
export interface PartRange {
  readonly part: ImagePart;
  readonly guestAddress: number;
  readonly length: number;
}

/** Where a kernel with XEN_ELFNOTE_PHYS32_RELOC may be moved to; all physical addresses below 2^32. */
export interface PvhRelocation {
  readonly align: number;
  readonly min: number;
  readonly max: number;
}

/** Everything that is needed to place a kernel. */
export interface KernelPlan {
  /** 32-bit physical address at which the vCPU starts (XEN_ELFNOTE_PHYS32_ENTRY). */
  readonly entry: number;
  /** ELF class of the kernel: it decides nothing at the entry (always 32-bit), but is reported. */
  readonly elfClass: 32 | 64;
  /** The PT_LOAD segments in file order, non-overlapping. */
  readonly placements: readonly Placement[];
  /** The same memory cut for accounting: ascending, non-overlapping, inside the placements. */
  readonly parts: readonly PartRange[];
  /** Present when the kernel says that it can be moved; Pando loads it at `p_paddr` all the same. */
  readonly relocation?: PvhRelocation;
  /** Lowest guest address used. */
  readonly lowest: number;
  /** One past the highest guest address used, BSS included. */
  readonly highest: number;
}
