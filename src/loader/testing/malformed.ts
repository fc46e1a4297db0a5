/** Kernels for the loader's tests: good ones, and malformed ones with the error code and what is wrong. */
import { gzipSync } from 'node:zlib';
import {
  buildBzImage,
  buildElf,
  concat,
  ENTRY,
  ENTRY_NOTE,
  kernelLayout,
  note,
  patched,
  ph64,
  sectionNotes,
  words,
} from './elf-builder.js';
import { FIXTURES } from './fixtures.js';

export const good = buildElf(kernelLayout(64));
export const good32 = buildElf(kernelLayout(32));
export const withNotes = (notes: Uint8Array, align = 4) => buildElf(kernelLayout(64, notes, align));
const P_OFFSET = 8;
export const P_PADDR = 24;
const P_FILESZ = 32;
const P_MEMSZ = 40;

/** e_shoff, e_shentsize and e_shnum of ELF64. */
const SHOFF = 40;
const SHENTSIZE = 58;
const SHNUM = 60;

const gz = new Uint8Array(gzipSync(good));
export const goodBz = buildBzImage(gz);
const fixture = (format: string) =>
  new Uint8Array(Buffer.from(FIXTURES.find((entry) => entry.format === format)!.base64, 'base64'));
const bzWith = (format: string, size: number) => buildBzImage(concat(fixture(format), words(size)));

const withXen19 = (descriptor: Uint8Array) =>
  withNotes(concat(ENTRY_NOTE, note('Xen\0', 19, descriptor)));
const withCutSections = (kept: number) => {
  const bytes = buildElf({ ...kernelLayout(64), sections: [{ type: 1, offset: 0, size: 0 }] });
  return bytes.subarray(0, bytes.length + kept);
};
/** A note of another owner whose descriptor is no multiple of 8, then the entry. */
const merged = (padding: number) =>
  concat(
    note('GNU\0', 5, words(1, 2, 3), padding),
    note('Xen\0', 7, Uint8Array.of(0x32, 0x2e, 0x36, 0), padding),
    note('Xen\0', 18, words(ENTRY, 0), padding),
  );
type Segment = ReturnType<typeof kernelLayout>['segments'][number];

export const MALFORMED: readonly (readonly [string, string, Uint8Array])[] = [
  ['KERNEL_EMPTY', 'an empty file', new Uint8Array(0)],
  ['KERNEL_FORMAT_UNKNOWN', 'one byte', Uint8Array.of(0x7f)],
  ['KERNEL_FORMAT_UNKNOWN', 'zeros', new Uint8Array(4096)],
  ['KERNEL_FORMAT_UNKNOWN', 'a compressed vmlinux without a setup header', gz],
  ['ELF_TRUNCATED', 'only the magic', good.subarray(0, 4)],
  ['ELF_TRUNCATED', 'an ELF64 header cut at 63 bytes', good.subarray(0, 63)],
  ['ELF_TRUNCATED', 'an ELF32 header cut at 51 bytes', good32.subarray(0, 51)],
  ['ELF_CLASS_UNSUPPORTED', 'EI_CLASS 0', patched(good, 4, 1, 0)],
  ['ELF_CLASS_UNSUPPORTED', 'EI_CLASS 3', patched(good, 4, 1, 3)],
  ['ELF_BYTE_ORDER_UNSUPPORTED', 'big-endian', patched(good, 5, 1, 2)],
  ['ELF_TYPE_UNSUPPORTED', 'an object file', patched(good, 16, 2, 1)],
  ['ELF_TYPE_UNSUPPORTED', 'a core file', patched(good, 16, 2, 4)],
  ['ELF_MACHINE_UNSUPPORTED', 'AArch64', patched(good, 18, 2, 183)],
  ['ELF_MACHINE_UNSUPPORTED', 'EM_386 in ELF64', patched(good, 18, 2, 3)],
  ['ELF_PROGRAM_HEADER_SIZE', 'e_phentsize of ELF32', patched(good, 54, 2, 32)],
  ['ELF_PROGRAM_HEADER_SIZE', 'e_phentsize 0', patched(good, 54, 2, 0)],
  ['PVH_NOTE_MISSING', 'e_phentsize of ELF64 in ELF32', patched(good32, 42, 2, 56)],
  ['ELF_NO_PROGRAM_HEADERS', 'e_phnum 0', patched(good, 56, 2, 0)],
  ['ELF_PROGRAM_TABLE_PAST_EOF', 'e_phnum 1000', patched(good, 56, 2, 1000)],
  ['ELF_PROGRAM_TABLE_PAST_EOF', 'e_phnum PN_XNUM', patched(good, 56, 2, 0xffff)],
  ['ELF_PROGRAM_TABLE_PAST_EOF', 'e_phoff at the end', patched(good, 32, 8, good.length)],
  ['ELF_PROGRAM_TABLE_PAST_EOF', 'e_phoff that wraps', patched(good, 32, 8, 2n ** 64n - 16n)],
  ['ELF_PROGRAM_TABLE_PAST_EOF', 'e_phoff above 2^53', patched(good, 32, 8, 2n ** 53n + 1n)],
  [
    'ELF_PROGRAM_TABLE_PAST_EOF',
    'e_phoff of ELF32 past the end',
    patched(good32, 28, 4, 0xfffffff0),
  ],
  [
    'PVH_NOTE_MISSING',
    'an entry note in sections that are cut off',
    buildElf(sectionNotes(ENTRY_NOTE)).subarray(0, -1),
  ],
  [
    'ELF_NO_LOAD_SEGMENT',
    'only a PT_NOTE',
    buildElf({ ...kernelLayout(64), segments: kernelLayout(64).segments.slice(2) }),
  ],
  ['ELF_SEGMENT_FILE_SIZE', 'p_filesz above p_memsz', patched(good, ph64(1, P_MEMSZ), 8, 0x7ff)],
  ['ELF_SEGMENT_PAST_EOF', 'p_filesz one too long', patched(good, ph64(1, P_FILESZ), 8, 0x801)],
  ['ELF_SEGMENT_PAST_EOF', 'p_offset at the end', patched(good, ph64(1, P_OFFSET), 8, good.length)],
  [
    'ELF_SEGMENT_PAST_EOF',
    'p_offset above 2^53',
    patched(good, ph64(0, P_OFFSET), 8, 2n ** 53n + 1n),
  ],
  ['ELF_SEGMENT_PAST_EOF', 'a file cut inside its data', good.subarray(0, 0x3400)],
  [
    'ELF_SEGMENT_WRAPS',
    'p_offset + p_filesz past 2^64',
    patched(good, ph64(0, P_OFFSET), 8, 2n ** 64n - 16n),
  ],
  [
    'ELF_SEGMENT_WRAPS',
    'p_paddr + p_memsz past 2^64',
    patched(good, ph64(0, P_PADDR), 8, 2n ** 64n - 16n),
  ],
  ['ELF_SEGMENT_WRAPS', 'p_memsz 2^64 - 1', patched(good, ph64(1, P_MEMSZ), 8, 2n ** 64n - 1n)],
  ['ELF_SEGMENT_WRAPS', 'ELF32 address past 2^32', patched(good32, 52 + 12, 4, 0xfffff000)],
  ['ELF_SEGMENT_ABOVE_4G', 'p_paddr 4 GiB', patched(good, ph64(0, P_PADDR), 8, 2n ** 32n)],
  [
    'ELF_SEGMENT_ABOVE_4G',
    'p_memsz that ends one past 4 GiB',
    patched(good, ph64(1, P_MEMSZ), 8, 2n ** 32n - 0x1400000n + 1n),
  ],
  [
    'ELF_SEGMENT_ABOVE_4G',
    'a virtual address in p_paddr',
    patched(good, ph64(0, P_PADDR), 8, 0xffffffff81000000n),
  ],
  ['ELF_SEGMENT_BELOW_1M', 'p_paddr 0', patched(good, ph64(0, P_PADDR), 8, 0)],
  [
    'ELF_SEGMENT_BELOW_1M',
    'p_paddr in the legacy hole',
    patched(good, ph64(0, P_PADDR), 8, 0xa0000),
  ],
  [
    'ELF_SEGMENTS_OVERLAP',
    'data on the last byte of text',
    patched(good, ph64(1, P_PADDR), 8, 0x1001fff),
  ],
  [
    'ELF_SEGMENTS_OVERLAP',
    'BSS that reaches into text',
    patched(good, ph64(1, P_PADDR), 8, 0xffe000),
  ],
  [
    'ELF_SEGMENTS_OVERLAP',
    'file bytes where another segment has zeros',
    patched(good, ph64(0, P_PADDR), 8, 0x1400800),
  ],
  [
    'ELF_TOO_MANY_SEGMENTS',
    '1025 segments',
    buildElf({
      ...kernelLayout(64),
      size: 0x20000,
      contents: [[0x1e000, ENTRY_NOTE]],
      segments: Array.from({ length: 1025 }, (_, index) => ({
        type: 1,
        offset: 0,
        paddr: 0x1000000 + index * 0x1000,
        filesz: 0,
        memsz: 0x1000,
      })),
    }),
  ],
  [
    'ELF_SEGMENTS_OVERLAP',
    'two segments at one address',
    patched(good, ph64(1, P_PADDR), 8, 0x1000000),
  ],
  [
    'ELF_NOTES_PAST_EOF',
    'PT_NOTE past the end',
    patched(good, ph64(2, P_OFFSET), 8, good.length - 8),
  ],
  ['ELF_NOTES_PAST_EOF', 'PT_NOTE that wraps', patched(good, ph64(2, P_OFFSET), 8, 2n ** 64n - 4n)],
  [
    'ELF_NOTES_PAST_EOF',
    'SHT_NOTE past the end',
    buildElf(sectionNotes(ENTRY_NOTE, { sections: [{ type: 7, offset: 0x37f0, size: 0x1000 }] })),
  ],
  [
    'ELF_NOTES_TOO_LARGE',
    'an entry behind more than 1 MiB of notes',
    buildElf({
      ...kernelLayout(64),
      size: 0x200000,
      contents: [
        [0x10000, words(4, 0x100000 - 16, 1)],
        [0x110000, ENTRY_NOTE],
      ],
      segments: [
        ...kernelLayout(64).segments.slice(0, 2),
        { type: 4, offset: 0x10000, filesz: 0x100000 + ENTRY_NOTE.length },
      ],
    }),
  ],
  [
    'ELF_NOTES_TOO_LARGE',
    'notes that are short one by one, not together',
    buildElf({
      ...kernelLayout(64),
      size: 0x100000,
      segments: [
        ...kernelLayout(64).segments.slice(0, 2),
        ...Array.from({ length: 3 }, () => ({ type: 4, offset: 0x10000, filesz: 0x60000 })),
      ],
    }),
  ],
  ['ELF_NOTE_PAST_END', 'a note header cut off', withNotes(Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8))],
  [
    'ELF_NOTE_PAST_END',
    'n_namesz 0xffffffff',
    withNotes(concat(words(0xffffffff, 8, 18), words(0, 0))),
  ],
  ['ELF_NOTE_PAST_END', 'n_descsz 0xffffffff', withNotes(patched(ENTRY_NOTE, 4, 4, 0xffffffff))],
  ['ELF_NOTE_PAST_END', 'a descriptor one byte too long', withNotes(patched(ENTRY_NOTE, 4, 4, 9))],
  [
    'PVH_NOTE_MISSING',
    'no notes at all',
    buildElf({ ...kernelLayout(64), segments: kernelLayout(64).segments.slice(0, 2) }),
  ],
  ['PVH_NOTE_MISSING', 'the wrong owner', withNotes(note('GNU\0', 18, words(ENTRY)))],
  [
    'PVH_NOTE_MISSING',
    'an owner that begins with Xen',
    withNotes(note('Xen\0evil', 18, words(ENTRY))),
  ],
  ['PVH_NOTE_MISSING', 'other Xen notes only', withNotes(note('Xen\0', 6, words(0)))],
  ['PVH_NOTE_MISSING', 'an empty PT_NOTE', withNotes(new Uint8Array(0))],
  [
    'PVH_NOTE_TOO_SHORT',
    'a descriptor of 0 bytes',
    withNotes(note('Xen\0', 18, new Uint8Array(0))),
  ],
  [
    'PVH_NOTE_TOO_SHORT',
    'a descriptor of 3 bytes',
    withNotes(note('Xen\0', 18, new Uint8Array(3))),
  ],
  [
    'PVH_NOTE_CONFLICT',
    'a later entry that replaces',
    withNotes(concat(ENTRY_NOTE, note('Xen\0', 18, words(0x1000080, 0)))),
  ],
  ['PVH_ENTRY_OUTSIDE_KERNEL', 'an entry at 0', withNotes(note('Xen\0', 18, words(0)))],
  ['PVH_ENTRY_OUTSIDE_KERNEL', 'an entry in BSS', withNotes(note('Xen\0', 18, words(0x1400800)))],
  [
    'PVH_ENTRY_OUTSIDE_KERNEL',
    'an entry one past the text',
    withNotes(note('Xen\0', 18, words(0x1002000))),
  ],
  ['BZIMAGE_TRUNCATED', 'a setup header cut off', goodBz.subarray(0, 0x24f)],
  ['BZIMAGE_BAD_BOOT_FLAG', 'no boot flag', patched(goodBz, 0x1fe, 2, 0)],
  ['BZIMAGE_PROTOCOL_TOO_OLD', 'protocol 2.07', patched(goodBz, 0x206, 2, 0x207)],
  ['BZIMAGE_NO_PAYLOAD', 'payload_length 0', patched(goodBz, 0x24c, 4, 0)],
  ['BZIMAGE_NO_PAYLOAD', 'payload_length of only the trailer', patched(goodBz, 0x24c, 4, 4)],
  ['BZIMAGE_PAYLOAD_PAST_EOF', 'a payload cut off', goodBz.subarray(0, -1)],
  ['BZIMAGE_PAYLOAD_PAST_EOF', 'payload_offset 0xffffffff', patched(goodBz, 0x248, 4, 0xffffffff)],
  [
    'BZIMAGE_COMPRESSION_UNSUPPORTED',
    'an LZO payload',
    buildBzImage(Uint8Array.of(0x89, 0x4c, 0x5a, 0x4f, 0, 0x0d, 0x0a, 0x1a, 0x0a, 0, 0, 0)),
  ],
  ['BZIMAGE_COMPRESSION_UNSUPPORTED', 'a payload of zeros', buildBzImage(new Uint8Array(64))],
  ['BZIMAGE_PAYLOAD_TOO_LARGE', 'a trailer of 4 GiB', bzWith('xz', 0xffffffff)],
  ['BZIMAGE_SIZE_MISMATCH', 'an xz trailer one too small', bzWith('xz', 2999)],
  ['BZIMAGE_SIZE_MISMATCH', 'a zstd trailer one too large', bzWith('zstd', 3001)],
  ['ELF_BAD_MAGIC', 'a payload that is no ELF', bzWith('bzip2', 3000)],
  [
    'DECOMPRESS_TRUNCATED',
    'an xz payload cut short',
    buildBzImage(concat(fixture('xz').subarray(0, 400), words(3000))),
  ],
  ['DECOMPRESS_CORRUPT', 'a gzip payload with a bad header', buildBzImage(patched(gz, 2, 1, 7))],
];

const [text, data, notes] = kernelLayout(64).segments as [Segment, Segment, Segment];
const withSegments = (...segments: Segment[]) => buildElf({ ...kernelLayout(64), segments });

/** Kernels that are odd where loading does not look: the sound one comes out, with the same memory. */
export const ODD: readonly (readonly [string, Uint8Array])[] = [
  ['EI_VERSION 0', patched(good, 6, 1, 0)],
  ['e_version 2', patched(good, 20, 4, 2)],
  ['e_type ET_NONE', patched(good, 16, 2, 0)],
  ['e_type of an operating system', patched(good, 16, 2, 0xfe00)],
  ['e_entry nowhere', patched(good, 24, 8, 2n ** 64n - 1n)],
  ['e_flags', patched(good, 48, 4, 0xffffffff)],
  ['e_ehsize 0', patched(good, 52, 2, 0)],
  ['e_shstrndx past the sections', patched(good, 62, 2, 99)],
  ['sections cut off', withCutSections(-1)],
  ['e_shoff at the end', patched(good, SHOFF, 8, good.length)],
  ['e_shoff that wraps', patched(patched(good, SHOFF, 8, 2n ** 64n - 1n), SHNUM, 2, 3)],
  ['e_shentsize 0', patched(withCutSections(0), SHENTSIZE, 2, 0)],
  ['e_shnum 65535', patched(withCutSections(0), SHNUM, 2, 0xffff)],
  [
    'a section that reaches past the end',
    buildElf({ ...kernelLayout(64), sections: [{ type: 7, offset: 0x37f0, size: 0x100000 }] }),
  ],
  ['an owner without its NUL', withNotes(note('Xen', 18, words(ENTRY)))],
  ['an owner with its padding', withNotes(note('Xen\0\0\0\0\0', 18, words(ENTRY)))],
  ['a note behind the entry that overruns', withNotes(concat(ENTRY_NOTE, words(4, 64, 1)))],
  ['a note header cut off behind the entry', withNotes(concat(ENTRY_NOTE, words(4, 64)))],
  ['n_namesz 0xffffffff behind the entry', withNotes(concat(ENTRY_NOTE, words(0xffffffff, 0, 1)))],
  ['padding of 4 in an alignment of 8', withNotes(merged(4), 8)],
  ['padding of 8 in an alignment of 4', withNotes(merged(8), 4)],
  ['a relocation of 5 bytes', withXen19(new Uint8Array(5))],
  ['a relocation aligned to 3', withXen19(words(3))],
  ['a relocation with min above max', withXen19(words(0x200000, 2, 1))],
  ['an alignment of 3', patched(good, ph64(0, 48), 8, 3)],
  ['notes that reach past the end', withSegments(text, data, { ...notes, filesz: 0x100000 })],
  ['a PT_NOTE past the end', withSegments(text, data, notes, { ...notes, offset: 0x100000 })],
  ['a PT_NOTE past the end first', withSegments(text, data, { ...notes, offset: 0x100000 }, notes)],
  ['a damaged PT_NOTE first', withSegments(text, data, { ...notes, offset: 0x1000 }, notes)],
  [
    'segments of unknown types that lie anywhere',
    withSegments(
      text,
      { ...data, type: 0x6474e551, offset: 0x7fffffff, filesz: 0x7fffffff },
      data,
      notes,
    ),
  ],
  [
    'many program headers',
    buildElf({
      ...kernelLayout(64),
      size: 0x20000,
      contents: [...kernelLayout(64).contents!, [0x1f000, ENTRY_NOTE]],
      segments: [
        ...Array.from({ length: 40 }, () => ({ type: 0x60000000, offset: 0, filesz: 0 })),
        text,
        data,
        ...Array.from({ length: 20 }, () => ({ type: 0, offset: 1, filesz: 1 })),
        { ...notes, offset: 0x1f000 },
      ],
    }),
  ],
  ['a segment of no memory', withSegments(text, data, notes, { ...data, memsz: 0, paddr: 0 })],
  ['the same segment twice', withSegments(text, text, data, notes, data)],
  [
    'a segment inside another',
    withSegments(
      { ...text, offset: 0x1800, paddr: 0x1000800, filesz: 0x100 },
      text,
      data,
      { ...data, offset: 0, paddr: 0x1401000, filesz: 0, memsz: 0x1000 },
      notes,
    ),
  ],
  [
    'a segment that goes on where another overlaps it',
    withSegments(
      { ...text, filesz: 0x1800 },
      { ...text, offset: 0x2000, vaddr: 0xc1001000n, paddr: 0x1001000, filesz: 0x1000 },
      data,
      notes,
    ),
  ],
];
