/**
 * What `pando image inspect` shows of a kernel: segments, notes, entry, and which bytes would be mapped.
 */
import type { ByteSource } from './byte-source.js';
import type { CompressionFormat } from './decompress/decompress.js';
import { readElf } from './elf.js';
import { type ElfNote, readSectionNotes, readSegmentNotes } from './elf-notes.js';
import { loadSegments } from './elf-plan.js';
import { isZeroAfter, type PlacementSplit, splitPlacement } from './mapping.js';
import { openKernel } from './open-kernel.js';
import type { KernelPlan, Placement } from './plan.js';

/** One PT_LOAD segment. */
export interface SegmentInspection {
  readonly index: number;
  /** p_flags: PF_X 1, PF_W 2, PF_R 4. */
  readonly flags: number;
  readonly virtualAddress: bigint;
  readonly placement: Placement;
  readonly split: PlacementSplit;
}

/** A kernel, laid open. Lengths in bytes. */
export interface KernelInspection {
  readonly format: 'elf' | 'bzImage';
  readonly compression?: CompressionFormat;
  /** Size of the ELF file, after unpacking. */
  readonly elfSize: number;
  readonly machine: number;
  readonly plan: KernelPlan;
  readonly segments: readonly SegmentInspection[];
  /** Notes of the segments, or of the sections when no segment has any. */
  readonly notes: readonly ElfNote[];
  readonly mappedBytes: number;
  readonly readBytes: number;
  readonly zeroBytes: number;
}

/**
 * Opens and describes a kernel.
 * @throws PandoError what `openKernel` throws
 */
export function inspectKernel(source: ByteSource): KernelInspection {
  const opened = openKernel(source);
  const { format, compression, plan } = opened;
  const elf = readElf(opened.elf);
  const loads = loadSegments(elf, opened.elf.size);
  const segments = plan.placements.map((placement, index): SegmentInspection => {
    const header = loads[index]!;
    return {
      index: header.index,
      flags: header.flags,
      virtualAddress: header.vaddr,
      placement,
      split: splitPlacement(placement, plan.placements, (offset) =>
        isZeroAfter(opened.elf, offset),
      ),
    };
  });
  const sum = (lengthOf: (segment: SegmentInspection) => number) =>
    segments.reduce((total, segment) => total + lengthOf(segment), 0);
  const segmentNotes = readSegmentNotes(opened.elf, elf).notes;
  return {
    format,
    ...(compression === undefined ? {} : { compression }),
    elfSize: opened.elf.size,
    machine: elf.machine,
    plan,
    segments,
    notes: segmentNotes.length > 0 ? segmentNotes : readSectionNotes(opened.elf, elf).notes,
    mappedBytes: sum(({ split }) => split.mapped?.length ?? 0),
    readBytes: sum(({ split }) => split.read.reduce((total, { length }) => total + length, 0)),
    zeroBytes: sum(({ split }) => split.zeroLength),
  };
}
