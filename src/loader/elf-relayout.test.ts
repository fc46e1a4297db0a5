import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PandoError } from '../error.js';
import { BytesSource } from './byte-source.js';
import { PT_NOTE, readElf } from './elf.js';
import { planElf } from './elf-plan.js';
import { relayoutElf } from './elf-relayout.js';
import { inspectKernel } from './inspect.js';
import {
  buildElf,
  ENTRY_NOTE,
  kernelLayout,
  NOTE_OFFSET,
  type TestElf,
} from './testing/elf-builder.js';

/** Guest memory of a plan, by address: file bytes, then zeros. */
function memoryOf(bytes: Uint8Array): Map<number, Buffer> {
  const source = new BytesSource(bytes);
  return new Map(
    planElf(source).placements.map(({ fileOffset, fileLength, guestAddress, zeroLength }) => [
      guestAddress,
      Buffer.concat([source.read(fileOffset, fileLength), Buffer.alloc(zeroLength)]),
    ]),
  );
}

/** Segments at odd addresses, a section inside one and a section outside all. */
function incongruent(elfClass: 32 | 64): TestElf {
  const layout = kernelLayout(elfClass);
  const [text, data, notes] = layout.segments as [
    TestElf['segments'][0],
    TestElf['segments'][0],
    TestElf['segments'][0],
  ];
  return {
    ...layout,
    size: 0x3a00,
    contents: [
      ...layout.contents!,
      [0x3900, Uint8Array.from({ length: 0x40 }, (_, index) => index)],
    ],
    segments: [{ ...text, paddr: 0x1000020 }, { ...data, paddr: 0x1400ff0 }, notes],
    sections: [
      { type: 0, offset: 0, size: 0 },
      {
        type: 7,
        flags: 2,
        addr: 0xc1001800n,
        offset: NOTE_OFFSET,
        size: ENTRY_NOTE.length,
        align: 4,
      },
      { type: 3, offset: 0x3900, size: 0x40, align: 1 },
      { type: 8, flags: 3, addr: 0xc1401000n, offset: 0x3800, size: 0x1000 },
    ],
  };
}

test('a page-congruent kernel stays as it is', () => {
  const bytes = buildElf(kernelLayout(64));
  assert.equal(relayoutElf(bytes), bytes);
});

for (const elfClass of [32, 64] as const) {
  test(`ELF${elfClass}: segments become page-congruent, memory, notes and sections stay`, () => {
    const before = buildElf(incongruent(elfClass));
    const after = relayoutElf(before);
    assert.deepEqual(memoryOf(after), memoryOf(before));
    for (const { fileOffset, guestAddress } of planElf(new BytesSource(after)).placements) {
      assert.equal(fileOffset % 4096, guestAddress % 4096);
    }
    const [old, now] = [readElf(new BytesSource(before)), readElf(new BytesSource(after))];
    const noteHeader = now.programHeaders.find(({ type }) => type === PT_NOTE)!;
    const noteAt = Number(noteHeader.offset);
    assert.deepEqual(
      Buffer.from(after.subarray(noteAt, noteAt + ENTRY_NOTE.length)),
      Buffer.from(ENTRY_NOTE),
    );
    for (const index of [1, 2]) {
      const range = (bytes: Uint8Array, elf: typeof old) => {
        const { offset, size } = elf.sectionHeaders[index]!;
        return Buffer.from(bytes.subarray(Number(offset), Number(offset + size)));
      };
      assert.deepEqual(range(after, now), range(before, old));
    }
    assert.deepEqual(planElf(new BytesSource(after)).parts, planElf(new BytesSource(before)).parts);
    assert.equal(inspectKernel(new BytesSource(before)).mappedBytes, 0);
    // Only the first part page of each is read: their last pages go on with zeros in the file.
    assert.equal(inspectKernel(new BytesSource(after)).mappedBytes, 0x1020 + 0x1000);
  });
}

test('sections that overlap without end are refused', () => {
  const layout = incongruent(64);
  const sections = Array.from({ length: 2000 }, (_, index) => ({
    type: 3,
    offset: 0x3000 - index * 4,
    size: 0xa00,
  }));
  assert.throws(
    () => relayoutElf(buildElf({ ...layout, sections })),
    (error: PandoError) => error.code === 'ELF_RELAYOUT_TOO_LARGE',
  );
});
