import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { PandoError } from '../error.js';
import { BytesSource } from './byte-source.js';
import { inspectKernel } from './inspect.js';
import { openKernel } from './open-kernel.js';
import {
  buildBzImage,
  buildElf,
  concat,
  ENTRY_NOTE,
  kernelLayout,
  NOTE_OFFSET,
  note,
  patched,
  sectionNotes,
  words,
} from './testing/elf-builder.js';

/** Values at which header checks go wrong. */
const boundary = fc.oneof(
  fc.constantFrom(
    0n,
    1n,
    4n,
    8n,
    0x1000n,
    0x2000n,
    0x3000n,
    0x3800n,
    0x1000000n,
    0x1400000n,
    2n ** 31n,
    2n ** 32n - 1n,
    2n ** 32n,
    2n ** 53n,
    2n ** 53n + 1n,
    2n ** 63n,
    2n ** 64n - 1n,
  ),
  fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  fc.bigInt({ min: 0n, max: 0x4000n }),
);

const seeds = [
  buildElf(kernelLayout(64)),
  buildElf(kernelLayout(32)),
  buildElf(sectionNotes(ENTRY_NOTE)),
  buildElf(
    kernelLayout(
      64,
      concat(note('Linux\0', 1, Uint8Array.of(1)), ENTRY_NOTE, note('Xen\0', 19, words(0x1000))),
    ),
  ),
  buildElf({
    ...kernelLayout(64),
    sections: [
      { type: 1, flags: 6, addr: 0xc1000000n, offset: 0x1000, size: 0x800 },
      { type: 1, flags: 2, addr: 0xc1001000n, offset: 0x2000, size: 0x800 },
    ],
  }),
  buildBzImage(buildElf(kernelLayout(64))),
];

/** Offsets that headers, program headers, notes and section headers are at. */
const fieldOffset = fc.oneof(
  fc.nat(63),
  fc.nat(64 + 56 * 3),
  fc.integer({ min: NOTE_OFFSET, max: NOTE_OFFSET + 64 }),
  fc.integer({ min: 0x3800, max: 0x3800 + 128 }),
  fc.integer({ min: 0x1f0, max: 0x250 }),
);

test('10,000 fuzzed headers: a sound plan or a coded error', () => {
  let planned = 0;
  const codes = new Set<string>();
  fc.assert(
    fc.property(
      fc.constantFrom(...seeds),
      fc.array(fc.tuple(fieldOffset, fc.constantFrom(1, 2, 4, 8), boundary), {
        minLength: 1,
        maxLength: 4,
      }),
      fc.oneof(
        { weight: 9, arbitrary: fc.constant(1) },
        { weight: 1, arbitrary: fc.double({ min: 0, max: 1, noNaN: true }) },
      ),
      (seed, changes, kept) => {
        let bytes = seed;
        for (const [offset, size, value] of changes) {
          if (offset + size <= bytes.length)
            bytes = patched(bytes, offset, size as 1 | 2 | 4 | 8, value);
        }
        bytes = bytes.subarray(0, Math.floor(bytes.length * kept));
        try {
          const { plan, elf } = openKernel(new BytesSource(bytes));
          planned++;
          const ends = [...plan.placements].sort((a, b) => a.guestAddress - b.guestAddress);
          let previousEnd = 0x100000;
          for (const { fileOffset, fileLength, guestAddress, zeroLength } of ends) {
            assert.ok(fileOffset >= 0 && fileLength >= 0 && fileOffset + fileLength <= elf.size);
            assert.ok(zeroLength >= 0 && guestAddress >= previousEnd);
            previousEnd = guestAddress + fileLength + zeroLength;
          }
          assert.ok(previousEnd <= 2 ** 32);
          assert.equal(plan.highest, previousEnd);
          const total = ends.reduce(
            (sum, { fileLength, zeroLength }) => sum + fileLength + zeroLength,
            0,
          );
          assert.equal(
            plan.parts.reduce((sum, { length }) => sum + length, 0),
            total,
          );
          inspectKernel(new BytesSource(bytes));
        } catch (error) {
          if (!(error instanceof PandoError)) throw error;
          codes.add(error.code);
        }
      },
    ),
    { numRuns: 10_000 },
  );
  assert.ok(planned > 500, `${planned} plans`);
  assert.ok(codes.size > 15, [...codes].join(' '));
});
