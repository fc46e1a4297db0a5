/** Regions in several pages, with the routines that they call and the blocks that their jumps lead to. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { coreModule, instantiateCore } from '../core-module.js';
import * as L from '../layout.js';
import { SILENT_HOST } from '../testing/silent-host.js';
import { CODE, CPU, compareTiers, type SmallGuest } from '../testing/small-guest.js';
import { emptyTlbs } from '../testing/tlb.js';
import { execSlot } from './exec-tlb.js';

const word = (value: number): number[] => [0, 8, 16, 24].map((shift) => (value >> shift) & 0xff);
/** E8 or E9: a call or jump at `at` to `to`. */
const branch = (opcode: number, at: number, to: number): number[] => [opcode, ...word(to - at - 5)];
/** A conditional jump with a 32-bit distance. */
const branchIf = (condition: number, at: number, to: number): number[] => [
  ...[0x0f, 0x80 | condition],
  ...word(to - at - 6),
];
const CALL = 0xe8;
const JUMP = 0xe9;
const NOT_ZERO = 5;
const FOREVER = 0x4000_0000;
const DATA = 0x9000;

/** mov ecx, 0x40000000; mov esp, 0x8000; jmp `to` */
const begin = (to: number): number[] => [
  ...[0xb9, ...word(FOREVER), 0xbc, ...word(0x8000)],
  ...branch(JUMP, CODE + 10, to),
];

/** Puts code at several places. */
const parts =
  (...all: readonly (readonly [at: number, code: readonly number[]])[]) =>
  (guest: SmallGuest): void => {
    for (const [at, code] of all) guest.put(at, code);
  };

/** A loop around the end of a page, with an instruction that lies in both. */
const ACROSS = parts([
  0x1ff5,
  [
    // add eax, 3; imul ebx, eax, 7; add edx, 0x332211 (6 bytes from 0x1ffb); xor edx, ebx; dec ecx
    ...[0x83, 0xc0, 3, 0x6b, 0xd8, 7, 0x81, 0xc2, 0x11, 0x22, 0x33, 0, 0x31, 0xda, 0xff, 0xc9],
    ...branchIf(NOT_ZERO, 0x2005, 0x1ff5),
  ],
]);

/** add eax, imm8 in one page; inc byte of that in another; and so on. */
const REWRITTEN = parts(
  [0x3000, [0x83, 0xc0, 1, ...branch(JUMP, 0x3003, 0x5000)]],
  [0x5000, [0xfe, 0x04, 0x25, ...word(0x3002), 0x01, 0xc2, ...branch(JUMP, 0x5009, 0x3000)]],
);

/** A loop that calls a routine of another page, twice. */
const ROUTINE = parts(
  [
    0x3000,
    [
      // call; inc ebx; call; dec ecx; jnz
      ...[...branch(CALL, 0x3000, 0x6010), 0xff, 0xc3, ...branch(CALL, 0x3007, 0x6010)],
      ...[0xff, 0xc9, ...branchIf(NOT_ZERO, 0x300e, 0x3000)],
    ],
  ],
  // add eax, ecx; test al, 1; jz 2 on; add edx, ebx; ret
  [0x6010, [0x01, 0xc8, 0xa8, 1, 0x74, 2, 0x01, 0xda, 0xc3]],
);

/** As ROUTINE, but the routine changes the constant of `add ebx, imm8` behind its call. */
const REWRITING_ROUTINE = parts(
  [0x3000, [...branch(CALL, 0x3000, 0x6010), 0x83, 0xc3, 1, ...branch(JUMP, 0x3008, 0x3000)]],
  [0x6010, [0xfe, 0x04, 0x25, ...word(0x3007), 0x01, 0xd8, 0xc3]],
);

/** Handlers in four pages, each of which jumps to the next through a table. */
const HANDLERS = [0x3000, 0x4010, 0x5020, 0x3100];
function handlers(guest: SmallGuest): void {
  HANDLERS.forEach((at, index) => {
    const after = HANDLERS[(index * 3 + 1) % 4] ?? 0;
    guest.view.setUint32(L.GUEST_BASE + DATA + index * 8, after, true);
    guest.put(at, [
      // add eax, 3 + n; xor edx, eax; dec ecx; mov ebx, [table + 8 n]; jmp rbx
      ...[0x83, 0xc0, 3 + index, 0x31, 0xc2, 0xff, 0xc9],
      ...[0x8b, 0x1c, 0x25, ...word(DATA + index * 8), 0xff, 0xe3],
    ]);
  });
}

/** A loop whose halves are 39 MiB from each other; the second runs five times each turn. */
const FAR = parts(
  [0x3000, [0x83, 0xc0, 3, 0xbe, ...word(5), ...branch(JUMP, 0x3008, 0x270_0000)]],
  [
    0x270_0000,
    [
      // add edx, eax; dec esi; jnz; dec ecx; jnz
      ...[0x01, 0xc2, 0xff, 0xce, ...branchIf(NOT_ZERO, 0x270_0004, 0x270_0000)],
      ...[0xff, 0xc9, ...branchIf(NOT_ZERO, 0x270_000c, 0x3000)],
    ],
  ],
);

describe('wide regions', () => {
  it('go on in the next page, by an instruction that lies in both', () => {
    const { fast, wide } = compareTiers(begin(0x1ff5), 1_000_000n, L.MODE_CODE64, ACROSS);
    assert.ok(fast.entriesIn(100_000n) > 1000);
    assert.ok(wide.entriesIn(100_000n) < 10);
  });

  it('of 32-bit code do so too', () => {
    const mode = L.MODE_CODE32 | L.MODE_STACK32 | L.MODE_FLAT;
    const across = compareTiers(begin(0x1ff5), 1_000_000n, mode, ACROSS);
    assert.ok(across.wide.entriesIn(100_000n) < 10);
    const routine = compareTiers(begin(0x3000), 1_000_000n, mode, ROUTINE);
    assert.ok(routine.wide.entriesIn(100_000n) < 10);
  });

  it('leave code alone that is far away', () => {
    const { wide } = compareTiers(begin(0x3000), 1_000_000n, L.MODE_CODE64, FAR);
    // The budget ends at each instruction of the turn.
    for (let turn = 0; turn < 20; turn++) {
      wide.advance(wide.count + 1001n);
      const [rip = 0n] = wide.registers().slice(16);
      assert.ok(
        rip < 0x4000n || (rip >= 0x270_0000n && rip < 0x270_0100n),
        `0x${rip.toString(16)}`,
      );
    }
  });

  it('see their code in another page rewritten', () => {
    compareTiers(begin(0x3000), 300_000n, L.MODE_CODE64, REWRITTEN);
  });

  it('hold the routines that they call', () => {
    const { fast, wide } = compareTiers(begin(0x3000), 1_000_000n, L.MODE_CODE64, ROUTINE);
    assert.ok(fast.entriesIn(100_000n) > 1000);
    assert.ok(wide.entriesIn(100_000n) < 10);
  });

  it('see a routine rewrite its caller', () => {
    compareTiers(begin(0x3000), 300_000n, L.MODE_CODE64, REWRITING_ROUTINE);
  });

  it('hold the blocks that their jumps lead to', () => {
    const { fast, wide } = compareTiers(begin(0x3000), 1_000_000n, L.MODE_CODE64, handlers);
    assert.ok(fast.entriesIn(100_000n) > 1000);
    assert.ok(wide.entriesIn(100_000n) < 10);
  });
});

describe('enterPage', () => {
  const memory = new WebAssembly.Memory({ initial: 0x200, maximum: 65536, shared: true });
  const core = instantiateCore(coreModule(), memory, SILENT_HOST);
  const view = new DataView(memory.buffer);
  const bytes = new Uint8Array(memory.buffer);
  const CONTEXT = L.CONTEXT_ARENA + 0x100;
  const PAGE = 0xffff_8000_0123_4000n;
  const PHYS = 0x5000;
  const slot = CONTEXT - 8;

  function entered(bound: number, page: bigint | undefined): boolean {
    emptyTlbs(bytes, CPU);
    view.setUint32(CPU + L.TLB_SET, L.TLB_USER, true);
    view.setUint32(CPU + L.HOT_COUNT, 0, true);
    view.setUint32(slot, bound, true);
    if (page !== undefined) {
      const entry = CPU + L.TLB_USER + L.TLB_EXEC + execSlot(page);
      view.setBigUint64(entry, page, true);
      view.setUint32(entry + 8, PHYS, true);
    }
    return core.enterPage(CPU, CONTEXT, 2, PAGE) !== 0;
  }

  it('takes the page that the region was compared with, where the exec TLB has it', () => {
    assert.equal(entered(PHYS, PAGE), true);
    assert.equal(entered(PHYS, undefined), false);
    assert.equal(entered(0x6000, PAGE), false);
    assert.equal(view.getUint32(CPU + L.HOT_COUNT, true), 0);
  });

  it('puts a page that has not been compared on the list, once', () => {
    assert.equal(entered(L.PAGE_UNBOUND, undefined), false);
    assert.equal(view.getUint32(CPU + L.HOT_COUNT, true), 0);
    assert.equal(entered(L.PAGE_UNBOUND, PAGE), false);
    assert.equal(view.getUint32(CPU + L.HOT_COUNT, true), 1);
    assert.equal(view.getUint32(CPU + L.HOT_LIST, true), CONTEXT);
    assert.equal(view.getUint32(CPU + L.HOT_LIST + 4, true), L.TLB_USER);
    assert.equal(view.getBigUint64(CPU + L.HOT_LIST + 8, true), PAGE | 2n);
    assert.equal(view.getUint32(slot, true), L.PAGE_ASKED);
    assert.equal(core.enterPage(CPU, CONTEXT, 2, PAGE) !== 0, false);
    assert.equal(view.getUint32(CPU + L.HOT_COUNT, true), 1);
  });
});
