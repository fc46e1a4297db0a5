/**
 * From program headers to a KernelPlan: every PT_LOAD checked, placed at its physical address and
 * named for accounting (System V ABI, "Program Loading"; Xen PVH text for the entry).
 */
import { PandoError } from '../error.js';
import type { ByteSource } from './byte-source.js';
import {
  type ElfFile,
  PF_R,
  PF_W,
  PF_X,
  type ProgramHeader,
  PT_LOAD,
  readElf,
  type SectionHeader,
  SHF_ALLOC,
  SHF_EXECINSTR,
  SHF_WRITE,
} from './elf.js';
import { readPvhNotes } from './elf-notes.js';
import { placementEnd } from './mapping.js';
import type { ImagePart, KernelPlan, PartRange, Placement } from './plan.js';

/** A PVH kernel is entered in 32-bit mode: all of it has to be below this. */
const ADDRESS_LIMIT = 0x1_0000_0000n;
/** Below are the boot tables and the legacy hole, which no kernel may cover. */
const KERNEL_ADDRESS_MIN = 0x100000;
/** Each is a mapping, and all are compared with each other; a Linux vmlinux has four. */
const MAX_LOAD_SEGMENTS = 1024;
/** A gap between two sections shorter than this is alignment padding of the first. */
const PADDING_LIMIT = 4096;

function name(header: ProgramHeader): string {
  return `PT_LOAD (program header ${header.index})`;
}

function segmentPart(flags: number): ImagePart {
  const access = flags & (PF_R | PF_W | PF_X);
  if (access === (PF_R | PF_X) || access === PF_X) return 'text';
  if (access === PF_R) return 'rodata';
  if (access === (PF_R | PF_W) || access === PF_W) return 'data';
  return 'rest';
}

function placementOf(header: ProgramHeader, elf: ElfFile, size: number): Placement {
  const wrap = 1n << BigInt(elf.elfClass);
  if (header.filesz > header.memsz) {
    throw new PandoError(
      'ELF_SEGMENT_FILE_SIZE',
      `${name(header)}: p_filesz ${header.filesz} is greater than p_memsz ${header.memsz}`,
    );
  }
  // The offset of a segment without file bytes means nothing.
  const offset = header.filesz === 0n ? 0n : header.offset;
  const fileEnd = offset + header.filesz;
  const guestEnd = header.paddr + header.memsz;
  // An end of exactly 2^32 (or 2^64) is the last byte of the address space, not a wrap.
  if (fileEnd > wrap || guestEnd > wrap) {
    throw new PandoError(
      'ELF_SEGMENT_WRAPS',
      `${name(header)}: offset ${header.offset} + ${header.filesz} or address ` +
        `0x${header.paddr.toString(16)} + ${header.memsz} exceeds ${elf.elfClass} bits`,
    );
  }
  if (fileEnd > BigInt(size)) {
    throw new PandoError(
      'ELF_SEGMENT_PAST_EOF',
      `${name(header)}: ${header.filesz} bytes at offset ${header.offset} reach past the end of ` +
        `the file at ${size}`,
      { remedy: 'the file is truncated or damaged: fetch it again' },
    );
  }
  if (guestEnd > ADDRESS_LIMIT) {
    throw new PandoError(
      'ELF_SEGMENT_ABOVE_4G',
      `${name(header)}: address 0x${header.paddr.toString(16)} + ${header.memsz} is above 4 GiB, ` +
        'out of reach of the 32-bit entry',
    );
  }
  if (header.paddr < BigInt(KERNEL_ADDRESS_MIN)) {
    throw new PandoError(
      'ELF_SEGMENT_BELOW_1M',
      `${name(header)}: address 0x${header.paddr.toString(16)} is below 0x100000, ` +
        'where the boot tables and the legacy hole are',
    );
  }
  return {
    source: 'kernel',
    part: segmentPart(header.flags),
    fileOffset: Number(offset),
    fileLength: Number(header.filesz),
    guestAddress: Number(header.paddr),
    zeroLength: Number(header.memsz - header.filesz),
  };
}

/** Whether two segments give the addresses from `b`'s start to `end` the same bytes. */
function agree(a: ProgramHeader, b: ProgramHeader, end: bigint): boolean {
  const fileBytes = ({ paddr, filesz }: ProgramHeader) => {
    const fileEnd = paddr + filesz < end ? paddr + filesz : end;
    return fileEnd > b.paddr ? fileEnd - b.paddr : 0n;
  };
  if (fileBytes(a) !== fileBytes(b)) return false;
  return fileBytes(b) === 0n || a.offset - a.paddr === b.offset - b.paddr;
}

/** What is left of a segment behind its first `length` bytes. */
function without(header: ProgramHeader, length: bigint): ProgramHeader {
  const fileBytes = header.filesz < length ? header.filesz : length;
  return {
    ...header,
    offset: header.offset + fileBytes,
    vaddr: header.vaddr + length,
    paddr: header.paddr + length,
    filesz: header.filesz - fileBytes,
    memsz: header.memsz - length,
  };
}

/** Cuts off what an earlier segment brings already; an overlap that disagrees is an error. */
function withoutRepetition(segments: readonly ProgramHeader[]): ProgramHeader[] {
  const sorted = [...segments].sort((a, b) =>
    a.paddr < b.paddr ? -1 : a.paddr > b.paddr ? 1 : Number(b.memsz - a.memsz),
  );
  const kept: ProgramHeader[] = [];
  for (const next of sorted) {
    const previous = kept.at(-1);
    const end = previous === undefined ? 0n : previous.paddr + previous.memsz;
    if (previous === undefined || end <= next.paddr) {
      kept.push(next);
      continue;
    }
    const nextEnd = next.paddr + next.memsz;
    if (!agree(previous, next, nextEnd < end ? nextEnd : end)) {
      throw new PandoError(
        'ELF_SEGMENTS_OVERLAP',
        `PT_LOAD at 0x${next.paddr.toString(16)} overlaps the one that ends at ` +
          `0x${end.toString(16)}, with other bytes`,
      );
    }
    if (nextEnd > end) kept.push(without(next, end - next.paddr));
  }
  return kept.sort((a, b) => a.index - b.index);
}

/**
 * The PT_LOAD segments that have memory, each checked, in the order of their headers. Where two give
 * the same bytes to the same addresses, the second is cut short, or left out.
 * @param size of the file
 * @throws PandoError as `planElf` does for segments
 */
export function loadSegments(elf: ElfFile, size: number): ProgramHeader[] {
  const segments = elf.programHeaders.filter(
    (header) => header.type === PT_LOAD && header.memsz > 0n,
  );
  if (segments.length === 0) {
    throw new PandoError(
      'ELF_NO_LOAD_SEGMENT',
      'no PT_LOAD segment with any memory: nothing to load',
    );
  }
  if (segments.length > MAX_LOAD_SEGMENTS) {
    throw new PandoError(
      'ELF_TOO_MANY_SEGMENTS',
      `${segments.length} PT_LOAD segments, at most ${MAX_LOAD_SEGMENTS} are loaded`,
    );
  }
  for (const header of segments) placementOf(header, elf, size);
  return withoutRepetition(segments);
}

function sectionPart(section: SectionHeader, segment: ProgramHeader): ImagePart {
  if ((section.flags & SHF_EXECINSTR) !== 0n) return 'text';
  // Linux marks .rodata SHF_WRITE while its segment is not writable: the segment decides first.
  if ((segment.flags & PF_W) === 0 || (section.flags & SHF_WRITE) === 0n) return 'rodata';
  return 'data';
}

/** Cuts one segment by its sections; what no section covers is 'rest', or padding of the one before. */
function partsOf(segment: ProgramHeader, sections: readonly SectionHeader[]): PartRange[] {
  const end = segment.vaddr + segment.memsz;
  const inside = sections
    .filter(({ addr, size }) => size > 0n && addr >= segment.vaddr && addr + size <= end)
    .sort((a, b) => (a.addr < b.addr ? -1 : a.addr > b.addr ? 1 : a.index - b.index));
  const base = Number(segment.paddr);
  const length = Number(segment.memsz);
  if (inside.length === 0)
    return [{ part: segmentPart(segment.flags), guestAddress: base, length }];

  const parts: { part: ImagePart; guestAddress: number; length: number }[] = [];
  let covered = 0;
  const extend = (part: ImagePart, to: number) => {
    const last = parts.at(-1);
    if (last?.part === part) last.length += to - covered;
    else parts.push({ part, guestAddress: base + covered, length: to - covered });
    covered = to;
  };
  const gap = (to: number) => {
    if (to > covered) {
      extend(to - covered < PADDING_LIMIT ? (parts.at(-1)?.part ?? 'rest') : 'rest', to);
    }
  };
  for (const section of inside) {
    const start = Number(section.addr - segment.vaddr);
    const stop = start + Number(section.size);
    gap(start);
    if (stop > covered) extend(sectionPart(section, segment), stop);
  }
  gap(length);
  return parts;
}

/**
 * Decides where an ELF kernel goes.
 * @param elf the file's headers, when they have been read already
 * @throws PandoError what `readElf` and `readPvhNotes` throw, ELF_NO_LOAD_SEGMENT,
 *   ELF_TOO_MANY_SEGMENTS, ELF_SEGMENT_FILE_SIZE, ELF_SEGMENT_WRAPS, ELF_SEGMENT_PAST_EOF, ELF_SEGMENT_ABOVE_4G,
 *   ELF_SEGMENT_BELOW_1M, ELF_SEGMENTS_OVERLAP, PVH_ENTRY_OUTSIDE_KERNEL
 */
export function planElf(source: ByteSource, elf: ElfFile = readElf(source)): KernelPlan {
  const segments = loadSegments(elf, source.size);
  const placements = segments.map((header) => placementOf(header, elf, source.size));

  const { entry, relocation } = readPvhNotes(source, elf);
  const inFile = ({ guestAddress, fileLength }: Placement) =>
    entry >= guestAddress && entry < guestAddress + fileLength;
  if (!placements.some(inFile)) {
    throw new PandoError(
      'PVH_ENTRY_OUTSIDE_KERNEL',
      `the PVH entry 0x${entry.toString(16)} is in no PT_LOAD segment's file bytes`,
    );
  }
  const allocated = elf.sectionHeaders.filter(({ flags }) => (flags & SHF_ALLOC) !== 0n);
  return {
    entry,
    elfClass: elf.elfClass,
    placements,
    parts: segments
      .flatMap((segment) => partsOf(segment, allocated))
      .sort((a, b) => a.guestAddress - b.guestAddress),
    ...(relocation === undefined ? {} : { relocation }),
    lowest: Math.min(...placements.map(({ guestAddress }) => guestAddress)),
    highest: Math.max(...placements.map(placementEnd)),
  };
}
