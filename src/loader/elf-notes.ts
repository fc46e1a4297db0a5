/**
 * ELF notes, and the two that PVH defines (System V ABI, "Note Section"; Xen, "x86/HVM direct boot
 * ABI": XEN_ELFNOTE_PHYS32_ENTRY and XEN_ELFNOTE_PHYS32_RELOC).
 *
 * A kernel boots by one note. Whatever is odd about the others, or about their table, decides nothing
 * once that one has been found: it is reported only when the search ends without it.
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
const XEN_OWNER = 'Xen';
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

/** Notes as far as they can be read, and what kept the rest from being read. */
interface NotesFound {
  readonly notes: readonly ElfNote[];
  readonly damage?: PandoError;
}

/** The notes of one range with one padding, up to the first that is damaged. */
function walk(bytes: Uint8Array, base: number, align: number, what: string): NotesFound {
  const notes: ElfNote[] = [];
  try {
    for (const note of notesIn(bytes, base, align, what)) notes.push(note);
  } catch (error) {
    if (!(error instanceof PandoError)) throw error;
    return { notes, damage: error };
  }
  return { notes };
}

function isEntry(note: ElfNote): boolean {
  return isXen(note) && note.type === XEN_ELFNOTE_PHYS32_ENTRY;
}

/** The bytes of a range that are there and within the limit, and what is wrong with the rest. */
function readRange(
  source: ByteSource,
  range: NoteRange,
  room: number,
): { bytes: Uint8Array; damage?: PandoError } {
  const inFile = BigInt(source.size) - range.offset;
  const there = inFile < 0n ? 0n : inFile < range.size ? inFile : range.size;
  const length = Math.min(Number(there), room);
  const bytes = length === 0 ? new Uint8Array(0) : source.read(Number(range.offset), length);
  if (there < range.size) {
    const damage = new PandoError(
      'ELF_NOTES_PAST_EOF',
      `${range.what} at offset ${range.offset}, ${range.size} bytes, ` +
        `reaches past the end of the file at ${source.size}`,
      { remedy: 'the file is truncated or damaged: fetch it again' },
    );
    return { bytes, damage };
  }
  if (range.size > BigInt(room)) {
    const damage = new PandoError(
      'ELF_NOTES_TOO_LARGE',
      `${range.what} brings the notes to more than ${MAX_NOTE_BYTES} bytes, which is the limit`,
    );
    return { bytes, damage };
  }
  return { bytes };
}

function readRanges(source: ByteSource, ranges: readonly NoteRange[]): NotesFound {
  const notes: ElfNote[] = [];
  let damage: PandoError | undefined;
  let room = MAX_NOTE_BYTES;
  for (const range of ranges) {
    const read = readRange(source, range, room);
    room -= read.bytes.length;
    const offset = Number(range.offset);
    // Only 8 asks for 8: 0, 1 and everything else are written with the padding of 4. Linkers that merge
    // notes of both kinds give one alignment for both: the other padding is tried when it finds more.
    const asked = range.align === 8n ? 8 : 4;
    const first = walk(read.bytes, offset, asked, range.what);
    const other = walk(read.bytes, offset, 12 - asked, range.what);
    const found = !first.notes.some(isEntry) && other.notes.some(isEntry) ? other : first;
    notes.push(...found.notes);
    damage ??= read.damage ?? found.damage;
  }
  return damage === undefined ? { notes } : { notes, damage };
}

/** The notes of the PT_NOTE segments. */
export function readSegmentNotes(source: ByteSource, elf: ElfFile): NotesFound {
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

/** The notes of the SHT_NOTE sections. */
export function readSectionNotes(source: ByteSource, elf: ElfFile): NotesFound {
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

/** Nothing here moves a kernel: a note that makes no sense says nothing. */
function relocationOf(note: ElfNote): PvhRelocation | undefined {
  const words = descriptorWords(note);
  const relocation = {
    align: words[0] ?? RELOC_DEFAULT_ALIGN,
    min: words[1] ?? RELOC_DEFAULT_MIN,
    max: words[2] ?? RELOC_DEFAULT_MAX,
  };
  const powerOfTwo = relocation.align > 0 && Number.isInteger(Math.log2(relocation.align));
  return powerOfTwo && relocation.min <= relocation.max ? relocation : undefined;
}

/** The name with or without its NUL, and with the padding counted as a part of it. */
function isXen(note: ElfNote): boolean {
  return note.owner.replace(/\0+$/, '') === XEN_OWNER;
}

/** The entry that all its notes give; two that differ are an error, not a replacement. */
function singleEntry(notes: readonly ElfNote[]): number | undefined {
  const [first, ...others] = notes.filter(isEntry);
  if (first === undefined) return undefined;
  const entry = entryOf(first);
  for (const other of others) {
    if (entryOf(other) !== entry) {
      throw new PandoError(
        'PVH_NOTE_CONFLICT',
        `Xen notes of type ${first.type} at offsets ${first.fileOffset} and ${other.fileOffset} disagree`,
      );
    }
  }
  return entry;
}

/**
 * Finds the PVH entry: in the PT_NOTE segments, and when none has it in the SHT_NOTE sections.
 * @throws PandoError PVH_NOTE_MISSING, PVH_NOTE_TOO_SHORT, PVH_NOTE_CONFLICT; and when the notes are
 *   damaged so that it was not found, ELF_NOTES_PAST_EOF, ELF_NOTES_TOO_LARGE or ELF_NOTE_PAST_END
 */
export function readPvhNotes(source: ByteSource, elf: ElfFile): PvhNotes {
  let firstDamage: PandoError | undefined;
  for (const read of [readSegmentNotes, readSectionNotes]) {
    const { notes, damage } = read(source, elf);
    firstDamage ??= damage;
    const entry = singleEntry(notes);
    if (entry === undefined) continue;
    const note = notes.find((other) => isXen(other) && other.type === XEN_ELFNOTE_PHYS32_RELOC);
    const relocation = note === undefined ? undefined : relocationOf(note);
    return relocation === undefined ? { entry } : { entry, relocation };
  }
  if (firstDamage !== undefined) throw firstDamage;
  throw new PandoError(
    'PVH_NOTE_MISSING',
    'the kernel has no XEN_ELFNOTE_PHYS32_ENTRY note (owner "Xen", type 18), so it cannot start by PVH',
    { remedy: 'use a kernel built with CONFIG_PVH=y, such as any Debian amd64 kernel' },
  );
}
