/**
 * ELF file header, program headers and section headers, 32- and 64-bit, little-endian, x86
 * (System V ABI, "Object Files" and "Program Header"; AMD64 supplement for EM_X86_64).
 * 64-bit fields stay BigInt until their use has checked them: a double loses bits above 2^53.
 *
 * Only what loading needs is checked: the class, the byte order, the machine and the program headers.
 * Versions and sizes that nothing here depends on are not looked at, and a section table that cannot
 * be read is none.
 */
import { PandoError } from '../error.js';
import type { ByteSource } from './byte-source.js';

export const PT_LOAD = 1;
export const PT_NOTE = 4;
export const PT_PHDR = 6;
export const PF_X = 1;
export const PF_W = 2;
export const PF_R = 4;
export const SHT_NOTE = 7;
export const SHT_NOBITS = 8;
export const SHF_WRITE = 1n;
export const SHF_ALLOC = 2n;
export const SHF_EXECINSTR = 4n;

const ELFCLASS32 = 1;
const ELFCLASS64 = 2;
const ELFDATA2LSB = 1;
const ET_REL = 1;
const ET_CORE = 4;
const EM_386 = 3;
const EM_X86_64 = 62;

/** e_phnum of a file whose number of program headers stands in sh_info of section 0. */
const PN_XNUM = 0xffff;
/** A Linux vmlinux has about forty sections; of a file with more than this, none is read. */
const MAX_SECTION_HEADERS = 8192;

/** Elf32_Phdr or Elf64_Phdr, fields by their own names. */
export interface ProgramHeader {
  readonly index: number;
  readonly type: number;
  readonly flags: number;
  readonly offset: bigint;
  readonly vaddr: bigint;
  readonly paddr: bigint;
  readonly filesz: bigint;
  readonly memsz: bigint;
  readonly align: bigint;
}

/** Elf32_Shdr or Elf64_Shdr, as far as a loader needs it. */
export interface SectionHeader {
  readonly index: number;
  readonly type: number;
  readonly flags: bigint;
  readonly addr: bigint;
  readonly offset: bigint;
  readonly size: bigint;
  readonly addralign: bigint;
}

/** A parsed ELF file; the tables are bounded by the file, the ranges they describe are not yet. */
export interface ElfFile {
  readonly elfClass: 32 | 64;
  readonly machine: number;
  readonly phoff: number;
  /** Bytes from one program header to the next. */
  readonly phentsize: number;
  /** 0 without section headers. */
  readonly shoff: number;
  readonly programHeaders: readonly ProgramHeader[];
  readonly sectionHeaders: readonly SectionHeader[];
}

/** Sizes and field offsets that differ between the classes; `fields` are a program header's. */
export const ELF_LAYOUT = {
  32: {
    ehsize: 52,
    phentsize: 32,
    shentsize: 40,
    phoff: 28,
    shoff: 32,
    halves: 40,
    fields: { offset: 4, vaddr: 8, paddr: 12, filesz: 16, memsz: 20 },
  },
  64: {
    ehsize: 64,
    phentsize: 56,
    shentsize: 64,
    phoff: 32,
    shoff: 40,
    halves: 52,
    fields: { offset: 8, vaddr: 16, paddr: 24, filesz: 32, memsz: 40 },
  },
} as const;

/** True when the bytes begin with the ELF magic. */
export function isElf(bytes: Uint8Array): boolean {
  return bytes[0] === 0x7f && bytes[1] === 0x45 && bytes[2] === 0x4c && bytes[3] === 0x46;
}

function view(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function readIdent(source: ByteSource): 32 | 64 {
  const ident = source.read(0, Math.min(16, source.size));
  if (!isElf(ident)) throw new PandoError('ELF_BAD_MAGIC', 'ELF magic missing at offset 0');
  if (ident.length < 16) {
    throw new PandoError('ELF_TRUNCATED', `e_ident needs 16 bytes, the file has ${source.size}`);
  }
  const elfClass = ident[4];
  if (elfClass !== ELFCLASS32 && elfClass !== ELFCLASS64) {
    throw new PandoError(
      'ELF_CLASS_UNSUPPORTED',
      `EI_CLASS at offset 4 is ${elfClass}, not 1 or 2`,
    );
  }
  if (ident[5] !== ELFDATA2LSB) {
    throw new PandoError(
      'ELF_BYTE_ORDER_UNSUPPORTED',
      `EI_DATA at offset 5 is ${ident[5]}, x86 is little-endian (1)`,
    );
  }
  return elfClass === ELFCLASS64 ? 64 : 32;
}

function readProgramHeader(
  data: DataView,
  at: number,
  index: number,
  is64: boolean,
): ProgramHeader {
  const word = (offset: number) => BigInt(data.getUint32(at + offset, true));
  const long = (offset: number) => data.getBigUint64(at + offset, true);
  const type = data.getUint32(at, true);
  if (is64) {
    return {
      index,
      type,
      flags: data.getUint32(at + 4, true),
      offset: long(8),
      vaddr: long(16),
      paddr: long(24),
      filesz: long(32),
      memsz: long(40),
      align: long(48),
    };
  }
  return {
    index,
    type,
    flags: data.getUint32(at + 24, true),
    offset: word(4),
    vaddr: word(8),
    paddr: word(12),
    filesz: word(16),
    memsz: word(20),
    align: word(28),
  };
}

function readSectionHeader(
  data: DataView,
  at: number,
  index: number,
  is64: boolean,
): SectionHeader {
  const word = (offset: number) => BigInt(data.getUint32(at + offset, true));
  const long = (offset: number) => data.getBigUint64(at + offset, true);
  const type = data.getUint32(at + 4, true);
  return is64
    ? {
        index,
        type,
        flags: long(8),
        addr: long(16),
        offset: long(24),
        size: long(32),
        addralign: long(48),
      }
    : {
        index,
        type,
        flags: word(8),
        addr: word(12),
        offset: word(16),
        size: word(20),
        addralign: word(32),
      };
}

/** Loading can do without them: a table that is damaged, cut off or too long counts as none. */
function readSections(
  source: ByteSource,
  at: bigint,
  entsize: number,
  count: number,
  elfClass: 32 | 64,
): SectionHeader[] {
  const length = count * entsize;
  if (at === 0n || count === 0 || count > MAX_SECTION_HEADERS) return [];
  if (entsize !== ELF_LAYOUT[elfClass].shentsize) return [];
  if (at + BigInt(length) > BigInt(source.size)) return [];
  const data = view(source.read(Number(at), length));
  return Array.from({ length: count }, (_, index) =>
    readSectionHeader(data, index * entsize, index, elfClass === 64),
  );
}

/** The number of program headers where e_phnum is too small for it: sh_info of section 0. */
function extendedCount(source: ByteSource, shoff: bigint, elfClass: 32 | 64): number {
  const { shentsize } = ELF_LAYOUT[elfClass];
  if (shoff === 0n || shoff + BigInt(shentsize) > BigInt(source.size)) return PN_XNUM;
  const section = view(source.read(Number(shoff), shentsize));
  return section.getUint32(elfClass === 64 ? 44 : 28, true);
}

/**
 * Reads the three kinds of headers.
 * @throws PandoError ELF_BAD_MAGIC, ELF_TRUNCATED, ELF_CLASS_UNSUPPORTED, ELF_BYTE_ORDER_UNSUPPORTED,
 *   ELF_TYPE_UNSUPPORTED, ELF_MACHINE_UNSUPPORTED, ELF_PROGRAM_HEADER_SIZE, ELF_NO_PROGRAM_HEADERS,
 *   ELF_PROGRAM_TABLE_PAST_EOF
 */
export function readElf(source: ByteSource): ElfFile {
  const elfClass = readIdent(source);
  const is64 = elfClass === 64;
  const layout = ELF_LAYOUT[elfClass];
  if (source.size < layout.ehsize) {
    throw new PandoError(
      'ELF_TRUNCATED',
      `the ELF${elfClass} header needs ${layout.ehsize} bytes, the file has ${source.size}`,
    );
  }
  const data = view(source.read(0, layout.ehsize));
  const type = data.getUint16(16, true);
  if (type === ET_REL || type === ET_CORE) {
    throw new PandoError(
      'ELF_TYPE_UNSUPPORTED',
      `e_type at offset 16 is ${type}, not an executable`,
      {
        remedy: 'give a linked kernel (vmlinux or bzImage), not an object or core file',
      },
    );
  }
  const machine = data.getUint16(18, true);
  if (machine !== EM_X86_64 && (machine !== EM_386 || is64)) {
    throw new PandoError(
      'ELF_MACHINE_UNSUPPORTED',
      `e_machine at offset 18 is ${machine}, ELF${elfClass} kernels here are ${is64 ? EM_X86_64 : EM_386}`,
      { remedy: 'give an x86 kernel' },
    );
  }
  const offsetField = (at: number) =>
    is64 ? data.getBigUint64(at, true) : BigInt(data.getUint32(at, true));
  const half = (index: number) => data.getUint16(layout.halves + 2 * index, true);
  const [phentsize, shentsize, shnum] = [half(1), half(3), half(4)];
  const shoff = offsetField(layout.shoff);
  const phnum = half(2) === PN_XNUM ? extendedCount(source, shoff, elfClass) : half(2);
  if (phnum === 0) {
    throw new PandoError('ELF_NO_PROGRAM_HEADERS', 'e_phnum is 0: nothing to load');
  }
  if (phentsize < layout.phentsize) {
    throw new PandoError(
      'ELF_PROGRAM_HEADER_SIZE',
      `e_phentsize is ${phentsize}, ELF${elfClass} needs ${layout.phentsize}`,
    );
  }
  const length = (phnum - 1) * phentsize + layout.phentsize;
  const phoff = offsetField(layout.phoff);
  if (phoff + BigInt(length) > BigInt(source.size)) {
    throw new PandoError(
      'ELF_PROGRAM_TABLE_PAST_EOF',
      `${phnum} program headers at offset ${phoff}, ${length} bytes, reach past the end of the file ` +
        `at ${source.size}`,
      { remedy: 'the file is truncated or damaged: fetch it again' },
    );
  }
  const table = view(source.read(Number(phoff), length));
  const sectionHeaders = readSections(source, shoff, shentsize, shnum, elfClass);
  return {
    elfClass,
    machine,
    phoff: Number(phoff),
    phentsize,
    shoff: sectionHeaders.length === 0 ? 0 : Number(shoff),
    programHeaders: Array.from({ length: phnum }, (_, index) =>
      readProgramHeader(table, index * phentsize, index, is64),
    ),
    sectionHeaders,
  };
}
