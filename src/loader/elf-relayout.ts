/**
 * Rewrites a vmlinux so that all of its segments can be mapped: each PT_LOAD moves to a file offset that
 * is congruent with its physical address modulo the page size. Guest memory comes out the same.
 */

import { PAGE_SIZE } from '../arch/layout.js';
import { PandoError } from '../error.js';
import { BytesSource } from './byte-source.js';
import { ELF_LAYOUT, type ProgramHeader, PT_LOAD, PT_PHDR, readElf, SHT_NOBITS } from './elf.js';
import { loadSegments, planElf } from './elf-plan.js';

/** Alignment of what is not loaded; covers every field of ELF64. */
const TABLE_ALIGN = 16;

/** Ranges that overlap come apart, so the file may grow; past this it is not a kernel's. */
const GROWTH_LIMIT = 4;
const GROWTH_BASE = 1 << 20;

interface Extent {
  readonly from: number;
  readonly to: number;
  readonly length: number;
}

const alignUp = (value: number, align: number) => Math.ceil(value / align) * align;

/** File bytes of a segment after the rewrite: its last page filled up with what is zero anyway. */
function paddedFileSize(paddr: number, filesz: number, memsz: number): number {
  return Math.min(memsz, alignUp(paddr + filesz, PAGE_SIZE) - paddr);
}

/** Hands out file offsets and remembers what moved where. */
class Layout {
  readonly extents: Extent[] = [];
  end: number;

  readonly #limit: number;

  constructor(end: number, limit: number) {
    this.end = end;
    this.#limit = limit;
  }

  add(from: number, length: number, room: number, align: number, residue: number): number {
    const to = alignUp(this.end - residue, align) + residue;
    this.extents.push({ from, to, length });
    this.end = to + room;
    if (this.end > this.#limit) {
      throw new PandoError(
        'ELF_RELAYOUT_TOO_LARGE',
        `segments and sections share so many bytes that apart they pass ${this.#limit} bytes`,
      );
    }
    return to;
  }

  /** New offset of a range: inside an extent that holds it, or a copy of its own. */
  move(from: number, length: number, align: number): number {
    const holder = this.extents.find(
      (extent) => from >= extent.from && from + length <= extent.from + extent.length,
    );
    if (holder !== undefined) return holder.to + from - holder.from;
    return this.add(from, length, length, Math.max(align, TABLE_ALIGN), 0);
  }
}

function isPageCongruent(segments: readonly ProgramHeader[]): boolean {
  return segments.every(
    ({ offset, paddr, filesz }) => filesz === 0n || (offset - paddr) % BigInt(PAGE_SIZE) === 0n,
  );
}

/**
 * @param vmlinux an ELF kernel that `planElf` accepts
 * @returns the same bytes when every segment is page-congruent already, else a new file whose headers,
 *   sections and notes are adjusted
 * @throws PandoError ELF_RELAYOUT_TOO_LARGE, and what `planElf` throws
 */
export function relayoutElf(vmlinux: Uint8Array): Uint8Array {
  const source = new BytesSource(vmlinux);
  const elf = readElf(source);
  planElf(source, elf);
  const segments = loadSegments(elf, vmlinux.length);
  if (isPageCongruent(segments)) return vmlinux;

  const sizes = ELF_LAYOUT[elf.elfClass];
  const phoff = sizes.ehsize;
  const tableSize = elf.programHeaders.length * sizes.phentsize;
  const layout = new Layout(phoff + tableSize, GROWTH_LIMIT * vmlinux.length + GROWTH_BASE);
  const newOffsets = new Map<number, number>();
  const newFileSizes = new Map<number, number>();
  for (const header of segments) {
    if (header.filesz === 0n) continue;
    const [offset, paddr] = [Number(header.offset), Number(header.paddr)];
    const [filesz, memsz] = [Number(header.filesz), Number(header.memsz)];
    const padded = paddedFileSize(paddr, filesz, memsz);
    newFileSizes.set(header.index, padded);
    newOffsets.set(header.index, layout.add(offset, filesz, padded, PAGE_SIZE, paddr % PAGE_SIZE));
    // Zeros to the end of its last page let that page be mapped as well.
    layout.end = alignUp(layout.end, PAGE_SIZE);
  }
  for (const header of elf.programHeaders) {
    if (header.type === PT_LOAD || header.filesz === 0n) continue;
    // Headers that nothing here reads may point anywhere; only ranges inside the file can move.
    if (header.offset + header.filesz > BigInt(vmlinux.length)) continue;
    newOffsets.set(
      header.index,
      header.type === PT_PHDR
        ? phoff
        : layout.move(Number(header.offset), Number(header.filesz), TABLE_ALIGN),
    );
  }
  const newSectionOffsets = elf.sectionHeaders.map(({ type, offset, size, addralign }) => {
    const inFile = type !== SHT_NOBITS && size > 0n && offset + size <= BigInt(vmlinux.length);
    if (!inFile) return undefined;
    return layout.move(Number(offset), Number(size), Math.min(Number(addralign), PAGE_SIZE));
  });
  const shoff = alignUp(layout.end, TABLE_ALIGN);
  const sectionTableSize = elf.sectionHeaders.length * sizes.shentsize;

  const result = new Uint8Array(shoff + sectionTableSize);
  const data = new DataView(result.buffer);
  const setOffset = (at: number, value: number | bigint) => {
    if (elf.elfClass === 64) data.setBigUint64(at, BigInt(value), true);
    else data.setUint32(at, Number(value), true);
  };
  result.set(vmlinux.subarray(0, sizes.ehsize));
  for (const { index } of elf.programHeaders) {
    const from = elf.phoff + index * elf.phentsize;
    result.set(vmlinux.subarray(from, from + sizes.phentsize), phoff + index * sizes.phentsize);
  }
  for (const { from, to, length } of layout.extents) {
    result.set(vmlinux.subarray(from, from + length), to);
  }
  result.set(vmlinux.subarray(elf.shoff, elf.shoff + sectionTableSize), shoff);
  data.setUint16(sizes.halves, sizes.ehsize, true);
  data.setUint16(sizes.halves + 2, sizes.phentsize, true);
  setOffset(sizes.phoff, phoff);
  setOffset(sizes.shoff, elf.sectionHeaders.length === 0 ? 0 : shoff);
  data.setUint16(sizes.halves + 8, elf.sectionHeaders.length, true);
  const { fields } = sizes;
  const [offsetField, fileSizeField] = [fields.offset, fields.filesz];
  // What another segment brings already is taken out, as it is when the kernel is loaded.
  const byIndex = new Map(segments.map((segment) => [segment.index, segment]));
  for (const { index, type } of elf.programHeaders) {
    if (type !== PT_LOAD) continue;
    const segment = byIndex.get(index);
    const at = phoff + index * sizes.phentsize;
    setOffset(at + fields.vaddr, segment?.vaddr ?? 0n);
    setOffset(at + fields.paddr, segment?.paddr ?? 0n);
    setOffset(at + fields.filesz, segment?.filesz ?? 0n);
    setOffset(at + fields.memsz, segment?.memsz ?? 0n);
  }
  for (const [index, offset] of newOffsets) {
    setOffset(phoff + index * sizes.phentsize + offsetField, offset);
  }
  for (const [index, filesz] of newFileSizes) {
    setOffset(phoff + index * sizes.phentsize + fileSizeField, filesz);
  }
  const sectionOffsetField = elf.elfClass === 64 ? 24 : 16;
  for (const [index, offset] of newSectionOffsets.entries()) {
    if (offset !== undefined)
      setOffset(shoff + index * sizes.shentsize + sectionOffsetField, offset);
  }
  return result;
}
