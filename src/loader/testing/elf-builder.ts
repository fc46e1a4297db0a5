/**
 * Makes small ELF kernels for tests: sound ones by default, damaged ones by patching fields at the offsets
 * that the System V ABI gives them.
 */

/** A program header; what is left out is 0, and `align` 0x1000. */
interface TestSegment {
  readonly type: number;
  readonly flags?: number;
  readonly offset: number;
  readonly vaddr?: bigint;
  readonly paddr?: number;
  readonly filesz: number;
  readonly memsz?: number;
  readonly align?: number;
}

/** A section header. */
interface TestSection {
  readonly type: number;
  readonly flags?: number;
  readonly addr?: bigint;
  readonly offset: number;
  readonly size: number;
  readonly align?: number;
}

export interface TestElf {
  readonly elfClass: 32 | 64;
  readonly segments: readonly TestSegment[];
  readonly sections?: readonly TestSection[];
  /** Bytes at file offsets. */
  readonly contents?: readonly (readonly [number, Uint8Array])[];
  /** File size; the section headers come behind it. */
  readonly size: number;
}

export const ENTRY = 0x1000040;
const TEXT_OFFSET = 0x1000;
export const NOTE_OFFSET = 0x2800;
const DATA_OFFSET = 0x3000;

/** One note in the given padding, its name given with its NUL. */
export function note(owner: string, type: number, descriptor: Uint8Array, align = 4): Uint8Array {
  const padded = (value: number) => Math.ceil(value / align) * align;
  const descriptorAt = padded(12 + owner.length);
  const bytes = new Uint8Array(padded(descriptorAt + descriptor.length));
  const data = new DataView(bytes.buffer);
  data.setUint32(0, owner.length, true);
  data.setUint32(4, descriptor.length, true);
  data.setUint32(8, type, true);
  for (let index = 0; index < owner.length; index++) bytes[12 + index] = owner.charCodeAt(index);
  bytes.set(descriptor, descriptorAt);
  return bytes;
}

/** 32-bit little-endian words. */
export function words(...values: number[]): Uint8Array {
  return new Uint8Array(new Uint32Array(values).buffer);
}

export function concat(...chunks: Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(chunks));
}

/** The PVH entry note as 64-bit Linux writes it. */
export const ENTRY_NOTE = note('Xen\0', 18, words(ENTRY, 0));

/** Text, data with BSS, and a note inside the text segment. */
export function kernelLayout(
  elfClass: 32 | 64,
  notes: Uint8Array = ENTRY_NOTE,
  align = 4,
): TestElf {
  const text = Uint8Array.from({ length: 0x2000 }, (_, index) => index * 7 + (index >> 8));
  const data = Uint8Array.from({ length: 0x800 }, (_, index) => index * 3 + 1);
  return {
    elfClass,
    size: 0x3800,
    contents: [
      [TEXT_OFFSET, text],
      [NOTE_OFFSET, notes],
      [DATA_OFFSET, data],
    ],
    segments: [
      {
        type: 1,
        flags: 5,
        offset: TEXT_OFFSET,
        vaddr: 0xc1000000n,
        paddr: 0x1000000,
        filesz: 0x2000,
      },
      {
        type: 1,
        flags: 6,
        offset: DATA_OFFSET,
        vaddr: 0xc1400000n,
        paddr: 0x1400000,
        filesz: 0x800,
        memsz: 0x3000,
      },
      { type: 4, flags: 4, offset: NOTE_OFFSET, paddr: 0x1001800, filesz: notes.length, align },
    ],
  };
}

/** The layout without PT_NOTE, its notes in sections instead. */
export function sectionNotes(notes: Uint8Array, change: Partial<TestElf> = {}): TestElf {
  const layout = kernelLayout(64, notes);
  return {
    ...layout,
    segments: layout.segments.slice(0, 2),
    sections: [
      { type: 0, offset: 0, size: 0 },
      { type: 7, flags: 2, addr: 0xc1001800n, offset: NOTE_OFFSET, size: notes.length, align: 4 },
    ],
    ...change,
  };
}

/** Writes the file. */
export function buildElf(elf: TestElf): Uint8Array {
  const is64 = elf.elfClass === 64;
  const ehsize = is64 ? 64 : 52;
  const phentsize = is64 ? 56 : 32;
  const shentsize = is64 ? 64 : 40;
  const sections = elf.sections ?? [];
  const bytes = new Uint8Array(elf.size + sections.length * shentsize);
  const data = new DataView(bytes.buffer);
  for (const [offset, content] of elf.contents ?? []) bytes.set(content, offset);
  const address = (at: number, value: bigint | number) => {
    if (is64) data.setBigUint64(at, BigInt(value), true);
    else data.setUint32(at, Number(BigInt(value) & 0xffffffffn), true);
  };
  bytes.set([0x7f, 0x45, 0x4c, 0x46, is64 ? 2 : 1, 1, 1]);
  data.setUint16(16, 2, true);
  data.setUint16(18, is64 ? 62 : 3, true);
  data.setUint32(20, 1, true);
  address(is64 ? 32 : 28, ehsize);
  address(is64 ? 40 : 32, sections.length === 0 ? 0 : elf.size);
  const halves = [ehsize, phentsize, elf.segments.length, shentsize, sections.length, 0];
  for (const [index, value] of halves.entries()) {
    data.setUint16((is64 ? 52 : 40) + 2 * index, value, true);
  }
  for (const [index, segment] of elf.segments.entries()) {
    const at = ehsize + index * phentsize;
    const { type, flags = 0, offset, vaddr = 0n, paddr = 0, filesz, align = 0x1000 } = segment;
    const memsz = segment.memsz ?? filesz;
    data.setUint32(at, type, true);
    data.setUint32(at + (is64 ? 4 : 24), flags, true);
    const fields = is64 ? [8, 16, 24, 32, 40, 48] : [4, 8, 12, 16, 20, 28];
    for (const [field, value] of [offset, vaddr, paddr, filesz, memsz, align].entries()) {
      address(at + fields[field]!, value);
    }
  }
  for (const [index, section] of sections.entries()) {
    const at = elf.size + index * shentsize;
    const { type, flags = 0, addr = 0n, offset, size, align = 1 } = section;
    data.setUint32(at + 4, type, true);
    const fields = is64 ? [8, 16, 24, 32, 48] : [8, 12, 16, 20, 32];
    for (const [field, value] of [flags, addr, offset, size, align].entries()) {
      address(at + fields[field]!, value);
    }
  }
  return bytes;
}

/** Offset of a field of ELF64 program header `index`, given the field's own offset. */
export function ph64(index: number, field: number): number {
  return 64 + 56 * index + field;
}

/** A copy with one little-endian field of `size` bytes replaced. */
export function patched(
  bytes: Uint8Array,
  offset: number,
  size: 1 | 2 | 4 | 8,
  value: bigint | number,
): Uint8Array {
  const copy = new Uint8Array(bytes);
  for (let index = 0; index < size; index++) {
    copy[offset + index] = Number((BigInt(value) >> BigInt(8 * index)) & 0xffn);
  }
  return copy;
}

/** A bzImage of protocol 2.15 around a payload, which stands at offset 0x600. */
export function buildBzImage(payload: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(0x600 + payload.length);
  const data = new DataView(bytes.buffer);
  data.setUint8(0x1f1, 1);
  data.setUint16(0x1fe, 0xaa55, true);
  data.setUint32(0x202, 0x53726448, true);
  data.setUint16(0x206, 0x20f, true);
  data.setUint32(0x248, 0x200, true);
  data.setUint32(0x24c, payload.length, true);
  bytes.set(payload, 0x600);
  return bytes;
}
