/**
 * ELF notes, and the two that PVH defines (System V ABI, "Note Section"; Xen, "x86/HVM direct boot
 * ABI": XEN_ELFNOTE_PHYS32_ENTRY and XEN_ELFNOTE_PHYS32_RELOC).
 */
import { PandoError } from '../error.js';
import type { ByteSource } from './byte-source.js';
import { type ElfFile, PT_NOTE, SHT_NOTE } from './elf.js';
import type { PvhRelocation } from './plan.js';

const XEN_ELFNOTE_PHYS32_ENTRY = 18;
const XEN_ELFNOTE_PHYS32_RELOC = 19;

/** A kernel's notes are some hundred bytes; all of a file's together may not pass this. */
const MAX_NOTE_BYTES = 1 << 20;

const NOTE_HEADER_SIZE = 12;
const XEN_OWNER = 'Xen\0';
const RELOC_DEFAULT_ALIGN = 0x200000;
const RELOC_DEFAULT_MIN = 0;
const RELOC_DEFAULT_MAX = 0xffffffff;

/** One note. */
export interface ElfNote {
  /** The name as stored, terminating NUL included, one character per byte. */
  readonly owner: string;
  readonly type: number;
  readonly descriptor: Uint8Array;
  /** File offset of the note's header. */
  readonly fileOffset: number;
}

/** What PVH takes from the notes. */
export interface PvhNotes {
  readonly entry: number;
  readonly relocation?: PvhRelocation;
}

interface NoteRange {
  readonly what: string;
  readonly offset: bigint;
  readonly size: bigint;
  readonly align: bigint;
}

function* notesIn(
  bytes: Uint8Array,
  base: number,
  align: number,
  what: string,
): Generator<ElfNote> {
  const data = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const padded = (value: number) => Math.ceil(value / align) * align;
  let at = 0;
  while (at < bytes.length) {
    if (bytes.length - at < NOTE_HEADER_SIZE) {
      // Linkers pad a note range with zeros to its alignment.
      if (bytes.subarray(at).every((byte) => byte === 0)) return;
      throw new PandoError(
        'ELF_NOTE_PAST_END',
        `${what}: note header at offset ${base + at} needs 12 bytes, ${bytes.length - at} are left`,
      );
    }
    const namesz = data.getUint32(at, true);
    const descsz = data.getUint32(at + 4, true);
    const descriptorAt = at + padded(NOTE_HEADER_SIZE + namesz);
    const end = descriptorAt + descsz;
    const nameEnd = at + NOTE_HEADER_SIZE + namesz;
    if (nameEnd > bytes.length || (descsz > 0 && end > bytes.length)) {
      throw new PandoError(
        'ELF_NOTE_PAST_END',
        `${what}: note at offset ${base + at} (name ${namesz}, descriptor ${descsz} bytes) ` +
          `reaches past the end of the notes at ${base + bytes.length}`,
      );
    }
    yield {
      owner: String.fromCharCode(
        ...bytes.subarray(at + NOTE_HEADER_SIZE, Math.min(nameEnd, at + 76)),
      ),
      type: data.getUint32(at + 8, true),
      descriptor: bytes.subarray(descriptorAt, end),
      fileOffset: base + at,
    };
    at += padded(end - at);
  }
}

function readRanges(source: ByteSource, ranges: readonly NoteRange[]): ElfNote[] {
  const notes: ElfNote[] = [];
  let total = 0n;
  for (const range of ranges) {
    if (range.offset + range.size > BigInt(source.size)) {
      throw new PandoError(
        'ELF_NOTES_PAST_EOF',
        `${range.what} at offset ${range.offset}, ${range.size} bytes, ` +
          `reaches past the end of the file at ${source.size}`,
        { remedy: 'the file is truncated or damaged: fetch it again' },
      );
    }
    total += range.size;
    if (total > BigInt(MAX_NOTE_BYTES)) {
      throw new PandoError(
        'ELF_NOTES_TOO_LARGE',
        `${range.what} brings the notes to ${total} bytes, the limit is ${MAX_NOTE_BYTES}`,
      );
    }
    const offset = Number(range.offset);
    const bytes = source.read(offset, Number(range.size));
    // Only 8 asks for 8: 0, 1 and everything else are written with the padding of 4.
    for (const note of notesIn(bytes, offset, range.align === 8n ? 8 : 4, range.what))
      notes.push(note);
  }
  return notes;
}

/**
 * All notes of the PT_NOTE segments.
 * @throws PandoError ELF_NOTES_PAST_EOF, ELF_NOTES_TOO_LARGE, ELF_NOTE_PAST_END
 */
export function readSegmentNotes(source: ByteSource, elf: ElfFile): ElfNote[] {
  return readRanges(
    source,
    elf.programHeaders
      .filter((header) => header.type === PT_NOTE)
      .map((header) => ({
        what: `PT_NOTE (program header ${header.index})`,
        offset: header.offset,
        size: header.filesz,
        align: header.align,
      })),
  );
}

/** All notes of the SHT_NOTE sections; throws as `readSegmentNotes` does. */
export function readSectionNotes(source: ByteSource, elf: ElfFile): ElfNote[] {
  return readRanges(
    source,
    elf.sectionHeaders
      .filter((header) => header.type === SHT_NOTE)
      .map((header) => ({
        what: `SHT_NOTE (section ${header.index})`,
        offset: header.offset,
        size: header.size,
        align: header.addralign,
      })),
  );
}

function descriptorWords(note: ElfNote): number[] {
  const { buffer, byteOffset, byteLength } = note.descriptor;
  const data = new DataView(buffer, byteOffset, byteLength);
  return Array.from({ length: byteLength >> 2 }, (_, index) => data.getUint32(4 * index, true));
}

function entryOf(note: ElfNote): number {
  const entry = descriptorWords(note)[0];
  if (entry === undefined) {
    throw new PandoError(
      'PVH_NOTE_TOO_SHORT',
      `XEN_ELFNOTE_PHYS32_ENTRY at offset ${note.fileOffset} has a descriptor of ` +
        `${note.descriptor.length} bytes, the entry needs 4`,
    );
  }
  return entry;
}

function relocationOf(note: ElfNote): PvhRelocation {
  if (note.descriptor.length % 4 !== 0) {
    throw new PandoError(
      'PVH_RELOC_NOTE_MALFORMED',
      `XEN_ELFNOTE_PHYS32_RELOC at offset ${note.fileOffset} has a descriptor of ` +
        `${note.descriptor.length} bytes, not whole 32-bit words`,
    );
  }
  const words = descriptorWords(note);
  const relocation = {
    align: words[0] ?? RELOC_DEFAULT_ALIGN,
    min: words[1] ?? RELOC_DEFAULT_MIN,
    max: words[2] ?? RELOC_DEFAULT_MAX,
  };
  const powerOfTwo = relocation.align > 0 && Number.isInteger(Math.log2(relocation.align));
  if (!powerOfTwo || relocation.min > relocation.max) {
    throw new PandoError(
      'PVH_RELOC_NOTE_MALFORMED',
      `XEN_ELFNOTE_PHYS32_RELOC at offset ${note.fileOffset} asks for alignment ${relocation.align} ` +
        `between ${relocation.min} and ${relocation.max}`,
    );
  }
  return relocation;
}

/** The one value that all notes of a kind give; two that differ are an error, not a replacement. */
function single<T>(
  notes: readonly ElfNote[],
  type: number,
  parse: (note: ElfNote) => T,
): T | undefined {
  const [first, ...others] = notes.filter((note) => note.owner === XEN_OWNER && note.type === type);
  if (first === undefined) return undefined;
  const value = parse(first);
  for (const other of others) {
    if (JSON.stringify(parse(other)) !== JSON.stringify(value)) {
      throw new PandoError(
        'PVH_NOTE_CONFLICT',
        `Xen notes of type ${type} at offsets ${first.fileOffset} and ${other.fileOffset} disagree`,
      );
    }
  }
  return value;
}

/**
 * Finds the PVH entry: in the PT_NOTE segments, and when none has it in the SHT_NOTE sections.
 * @throws PandoError PVH_NOTE_MISSING, PVH_NOTE_TOO_SHORT, PVH_NOTE_CONFLICT,
 *   PVH_RELOC_NOTE_MALFORMED, and what `readSegmentNotes` throws
 */
export function readPvhNotes(source: ByteSource, elf: ElfFile): PvhNotes {
  for (const read of [readSegmentNotes, readSectionNotes]) {
    const notes = read(source, elf);
    const entry = single(notes, XEN_ELFNOTE_PHYS32_ENTRY, entryOf);
    if (entry === undefined) continue;
    const relocation = single(notes, XEN_ELFNOTE_PHYS32_RELOC, relocationOf);
    return relocation === undefined ? { entry } : { entry, relocation };
  }
  throw new PandoError(
    'PVH_NOTE_MISSING',
    'the kernel has no XEN_ELFNOTE_PHYS32_ENTRY note (owner "Xen", type 18), so it cannot start by PVH',
    { remedy: 'use a kernel built with CONFIG_PVH=y, such as any Debian amd64 kernel' },
  );
}
