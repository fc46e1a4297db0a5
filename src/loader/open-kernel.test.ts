import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PandoError } from '../error.js';
import { BytesSource } from './byte-source.js';
import { relayoutElf } from './elf-relayout.js';
import { inspectKernel } from './inspect.js';
import { openKernel } from './open-kernel.js';
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
} from './testing/elf-builder.js';
import { good, good32, goodBz, MALFORMED, ODD, P_PADDR, withNotes } from './testing/malformed.js';

function codeOf(bytes: Uint8Array): string {
  try {
    openKernel(new BytesSource(bytes));
  } catch (error) {
    if (error instanceof PandoError) return error.code;
    throw error;
  }
  return 'none';
}

for (const [code, what, bytes] of MALFORMED) {
  test(`${code}: ${what}`, () => {
    assert.equal(codeOf(bytes), code);
  });
}

/** Guest memory of a kernel: address, bytes, and zeros behind them; neighbours joined. */
function memoryOf(bytes: Uint8Array): { at: number; bytes: Buffer }[] {
  const { elf, plan } = openKernel(new BytesSource(bytes));
  const runs: { at: number; bytes: Buffer }[] = [];
  const sorted = [...plan.placements].sort((a, b) => a.guestAddress - b.guestAddress);
  for (const { guestAddress, fileOffset, fileLength, zeroLength } of sorted) {
    const run = Buffer.concat([elf.read(fileOffset, fileLength), Buffer.alloc(zeroLength)]);
    const last = runs.at(-1);
    if (last !== undefined && last.at + last.bytes.length === guestAddress) {
      last.bytes = Buffer.concat([last.bytes, run]);
    } else runs.push({ at: guestAddress, bytes: run });
  }
  return runs;
}

for (const [what, bytes] of ODD) {
  test(`loads all the same: ${what}`, () => {
    // The notes lie in the text, so kernels with other notes have other text.
    const { plan } = openKernel(new BytesSource(bytes));
    const { lowest, highest } = openKernel(new BytesSource(good)).plan;
    assert.deepEqual([plan.entry, plan.lowest, plan.highest], [ENTRY, lowest, highest]);
    const [text, data] = memoryOf(bytes);
    const [soundText, soundData] = memoryOf(good);
    assert.deepEqual(text!.bytes.subarray(0, 0x1800), soundText!.bytes.subarray(0, 0x1800));
    assert.equal(text!.bytes.length, soundText!.bytes.length);
    assert.deepEqual(data, soundData);
    assert.doesNotThrow(() => inspectKernel(new BytesSource(bytes)));
    assert.deepEqual(memoryOf(relayoutElf(bytes)), memoryOf(bytes));
  });
}

test('segments that overlap harmlessly can be moved apart', () => {
  const layout = kernelLayout(64);
  const [text, data, notes] = layout.segments;
  const bytes = buildElf({
    ...layout,
    segments: [
      { ...text!, paddr: 0x1000010, filesz: 0x1800 },
      { ...text!, offset: 0x2000, vaddr: 0xc1001000n, paddr: 0x1001010, filesz: 0x1000 },
      data!,
      data!,
      notes!,
    ],
  });
  // ENTRY is 30h bytes into the text here.
  assert.deepEqual(memoryOf(relayoutElf(bytes)), memoryOf(bytes));
});

test('an ELF without the note says what to do', () => {
  const bytes = withNotes(note('GNU\0', 18, words(ENTRY)));
  assert.throws(
    () => openKernel(new BytesSource(bytes)),
    (error: PandoError) => error.remedy?.includes('CONFIG_PVH') === true,
  );
});

test('a sound kernel is planned the same in both classes and inside a bzImage', () => {
  for (const [bytes, elfClass, format] of [
    [good, 64, 'elf'],
    [good32, 32, 'elf'],
    [goodBz, 64, 'bzImage'],
    [buildBzImage(good), 64, 'bzImage'],
  ] as const) {
    const opened = openKernel(new BytesSource(bytes));
    assert.equal(opened.format, format);
    assert.deepEqual(opened.plan, {
      entry: ENTRY,
      elfClass,
      placements: [
        {
          source: 'kernel',
          part: 'text',
          fileOffset: 0x1000,
          fileLength: 0x2000,
          guestAddress: 0x1000000,
          zeroLength: 0,
        },
        {
          source: 'kernel',
          part: 'data',
          fileOffset: 0x3000,
          fileLength: 0x800,
          guestAddress: 0x1400000,
          zeroLength: 0x2800,
        },
      ],
      parts: [
        { part: 'text', guestAddress: 0x1000000, length: 0x2000 },
        { part: 'data', guestAddress: 0x1400000, length: 0x3000 },
      ],
      lowest: 0x1000000,
      highest: 0x1403000,
    });
  }
});

test('notes are found with either padding, in either place, and the low word counts', () => {
  const entryOf = (bytes: Uint8Array) => openKernel(new BytesSource(bytes)).plan.entry;
  const before = note('GNU\0', 3, words(1, 2, 3, 4, 5));
  assert.equal(entryOf(withNotes(concat(before, ENTRY_NOTE))), ENTRY);
  for (const align of [0, 1, 2]) assert.equal(entryOf(withNotes(ENTRY_NOTE, align)), ENTRY);
  const first8 = note('Linux\0', 1, Uint8Array.of(1, 2, 3), 8);
  assert.equal(entryOf(withNotes(concat(first8, note('Xen\0', 18, words(ENTRY), 8)), 8)), ENTRY);
  assert.equal(entryOf(withNotes(note('Xen\0', 18, words(ENTRY)))), ENTRY);
  assert.equal(entryOf(withNotes(note('Xen\0', 18, words(ENTRY, 0xffffffff)))), ENTRY);
  assert.equal(entryOf(withNotes(concat(ENTRY_NOTE, ENTRY_NOTE))), ENTRY);
  assert.equal(entryOf(buildElf(sectionNotes(ENTRY_NOTE))), ENTRY);
});

test('a relocation note is reported with its defaults', () => {
  const relocation = (descriptor: Uint8Array) =>
    openKernel(new BytesSource(withNotes(concat(ENTRY_NOTE, note('Xen\0', 19, descriptor))))).plan
      .relocation;
  assert.deepEqual(relocation(new Uint8Array(0)), { align: 0x200000, min: 0, max: 0xffffffff });
  assert.deepEqual(relocation(words(0x1000)), { align: 0x1000, min: 0, max: 0xffffffff });
  assert.deepEqual(relocation(words(0x1000, 5, 9)), { align: 0x1000, min: 5, max: 9 });
});

test('segments of no file bytes, and of no memory, are handled', () => {
  const layout = kernelLayout(64);
  const plan = openKernel(
    new BytesSource(
      buildElf({
        ...layout,
        segments: [
          ...layout.segments,
          { type: 1, flags: 6, offset: 0, paddr: 0x1600000, filesz: 0, memsz: 0x5000 },
          { type: 1, flags: 6, offset: 0, paddr: 0, filesz: 0 },
        ],
      }),
    ),
  ).plan;
  assert.equal(plan.placements.length, 3);
  assert.equal(plan.placements[2]?.fileLength, 0);
  assert.equal(plan.placements[2]?.zeroLength, 0x5000);
  assert.equal(plan.highest, 0x1605000);
});

test('sections cut a segment for accounting', () => {
  const { plan } = openKernel(
    new BytesSource(
      buildElf({
        ...kernelLayout(64),
        sections: [
          { type: 0, offset: 0, size: 0 },
          { type: 1, flags: 6, addr: 0xc1000000n, offset: 0x1000, size: 0x7f0 },
          // SHF_WRITE in a segment that is not writable, as Linux has it.
          { type: 1, flags: 3, addr: 0xc1000800n, offset: 0x1800, size: 0x200 },
          { type: 1, flags: 2, addr: 0xc1400000n, offset: 0x3000, size: 0x100 },
          { type: 1, flags: 3, addr: 0xc1400100n, offset: 0x3100, size: 0x700 },
          { type: 8, flags: 3, addr: 0xc1402000n, offset: 0x3800, size: 0x1000 },
        ],
      }),
    ),
  );
  assert.deepEqual(plan.parts, [
    { part: 'text', guestAddress: 0x1000000, length: 0x800 },
    { part: 'rodata', guestAddress: 0x1000800, length: 0x200 },
    { part: 'rest', guestAddress: 0x1000a00, length: 0x1600 },
    { part: 'rodata', guestAddress: 0x1400000, length: 0x100 },
    { part: 'data', guestAddress: 0x1400100, length: 0x700 },
    { part: 'rest', guestAddress: 0x1400800, length: 0x1800 },
    { part: 'data', guestAddress: 0x1402000, length: 0x1000 },
  ]);
});

test('inspection tells what is mapped and what is read', () => {
  const inspection = inspectKernel(new BytesSource(good));
  assert.equal(inspection.mappedBytes, 0x2000 + 0x800);
  assert.equal(inspection.readBytes, 0);
  assert.equal(inspection.zeroBytes, 0x2800);
  assert.deepEqual(
    inspection.notes.map(({ owner, type }) => [owner, type]),
    [['Xen\0', 18]],
  );
  const shifted = patched(good, ph64(0, P_PADDR), 8, 0x1000010);
  const other = inspectKernel(new BytesSource(shifted));
  assert.deepEqual(
    other.segments.map(({ split }) => split.congruent),
    [false, true],
  );
  assert.equal(other.readBytes, 0x2000);
});
