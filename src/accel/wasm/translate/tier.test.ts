/** Translated code against the interpreter: loops, code that rewrites itself, instruction counts, sharing. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { operationNumbers } from '../isa/table.js';
import * as L from '../layout.js';
import { CODE, CPU, compareTiers, SmallGuest } from '../testing/small-guest.js';
import { Library } from './library.js';
import {
  LocalService,
  type Release,
  type TranslationLimits,
  type TranslationService,
} from './service.js';

/** mov ecx, 0x40000000; 2: add eax, 3; imul ebx, eax, 7; xor edx, ebx; dec ecx; jnz 2 */
const LOOP = [
  0xb9, 0, 0, 0, 0x40, 0x83, 0xc0, 3, 0x6b, 0xd8, 7, 0x31, 0xda, 0xff, 0xc9, 0x75, 0xf4,
];
/** mov ecx, 0x40000000; 2: add eax, imm8; inc byte [that imm8]; add edx, eax; dec ecx; jnz 2 */
const SELF_MODIFYING = [
  0xb9, 0, 0, 0, 0x40, 0x83, 0xc0, 1, 0xfe, 0x04, 0x25, 0x07, 0x10, 0, 0, 0x01, 0xc2, 0xff, 0xc9,
  0x75, 0xf0,
];

/** mov ecx, 0x40000000; 5: add eax, 3; jz 10; 10: inc ebx; dec ecx; jnz 5 */
const BRANCH_TO_NEXT = [
  0xb9, 0, 0, 0, 0x40, 0x83, 0xc0, 3, 0x74, 0, 0xff, 0xc3, 0xff, 0xc9, 0x75, 0xf5,
];
/** mov esp, 0x8000; 5: mov ecx, 100; call f; add eax, 1; jmp 5; f: add eax, ecx; dec ecx; jz 31; call f; 31: add edx, eax; ret */
const RECURSION = [
  0xbc, 0, 0x80, 0, 0, 0xb9, 100, 0, 0, 0, 0xe8, 5, 0, 0, 0, 0x83, 0xc0, 1, 0xeb, 0xf1, 0x01, 0xc8,
  0xff, 0xc9, 0x74, 5, 0xe8, 0xf5, 0xff, 0xff, 0xff, 0x01, 0xc2, 0xc3,
];
/** mov esp, 0x8000; 5: call f; add eax, 1; jmp 5; f: inc ebx; test bl, 3; jz 23; ret; 23: add rsp, 8; jmp 5 */
const DROPPED_RETURN = [
  0xbc, 0, 0x80, 0, 0, 0xe8, 5, 0, 0, 0, 0x83, 0xc0, 1, 0xeb, 0xf6, 0xff, 0xc3, 0xf6, 0xc3, 3, 0x74,
  1, 0xc3, 0x48, 0x83, 0xc4, 8, 0xeb, 0xe8,
];
/** mov esp, 0x8000; 5: call f; add eax, imm8; jmp 5; f: inc byte [that imm8]; ret */
const REWRITTEN_CALLER = [
  0xbc, 0, 0x80, 0, 0, 0xe8, 5, 0, 0, 0, 0x83, 0xc0, 1, 0xeb, 0xf6, 0xfe, 0x04, 0x25, 0x0c, 0x10, 0,
  0, 0xc3,
];

/** mov ecx, 0x40000000; 5: test cl, 1; jnz 13; 10: add eax, 3; 13: add edx, eax; dec ecx; test cl, 3; jnz 10; jmp 5 */
const ENTERED_BESIDE_HEAD = [
  0xb9, 0, 0, 0, 0x40, 0xf6, 0xc1, 1, 0x75, 3, 0x83, 0xc0, 3, 0x01, 0xc2, 0xff, 0xc9, 0xf6, 0xc1, 3,
  0x75, 0xf4, 0xeb, 0xed,
];
/** mov ecx, 0x40000000; 5: add eax, 5; cmp eax, edx; je 16; jb 17; adc edx, eax; 16: nop; 17: inc ebx; dec ecx; jnz 5 */
const FLAGS_ACROSS_BLOCKS = [
  0xb9, 0, 0, 0, 0x40, 0x83, 0xc0, 5, 0x39, 0xd0, 0x74, 4, 0x72, 3, 0x11, 0xc2, 0x90, 0xff, 0xc3,
  0xff, 0xc9, 0x75, 0xee,
];

const FLAT32 = L.MODE_CODE32 | L.MODE_STACK32 | L.MODE_FLAT;
/**
 * mov esp, 0x8000; mov ebx, 0x8100; 10: mov [ebx+ecx*2-0x80], eax where ecx = -1 or 0; inc eax; dec eax;
 * add eax, 7; push eax; push -2; pop edx; pop esi; not ecx; mov [0x8200], eax; mov eax, [0x8200]; jmp 10
 */
const NARROW = [
  [0xbc, 0, 0x80, 0, 0, 0xbb, 0, 0x81, 0, 0],
  [0x89, 0x44, 0x4b, 0x80, 0x40, 0x48, 0x83, 0xc0, 7, 0x50, 0x6a, 0xfe, 0x5a, 0x5e, 0xf7, 0xd1],
  [0xa3, 0, 0x82, 0, 0, 0xa1, 0, 0x82, 0, 0, 0xeb, 0xe4],
].flat();
/**
 * mov esp, 0x8000; mov ebx, 0x101d; mov [0x8200], ebx; 16: call ebx; push 0x55; call [0x8200];
 * pop edi; jmp 16; 29: push ebp; mov ebp, esp; inc eax; push eax; leave; ret 0
 */
const INDIRECT = [
  [0xbc, 0, 0x80, 0, 0, 0xbb, 0x1d, 0x10, 0, 0, 0x89, 0x1d, 0, 0x82, 0, 0],
  [0xff, 0xd3, 0x6a, 0x55, 0xff, 0x15, 0, 0x82, 0, 0, 0x5f, 0xeb, 0xf3],
  [0x55, 0x89, 0xe5, 0x40, 0x50, 0xc9, 0xc2, 0, 0],
].flat();
/**
 * 0: inc ecx; mov eax, ecx; and eax, 7; cmp eax, 4; ja 42; jmp [0x1100 + 4 eax]; 18: add edx, 1; jmp 0;
 * 23: xor edx, ecx; jmp 0; 27: imul edx, edx, 3; 30: sub edx, eax; jmp 0; 34: test dl, 1; jz 0; inc ebx; jmp 0;
 * 42: add edx, 5; jmp 0
 */
const SWITCH = [
  [0x41, 0x89, 0xc8, 0x83, 0xe0, 7, 0x83, 0xf8, 4, 0x77, 0x1f, 0xff, 0x24, 0x85, 0, 0x11, 0, 0],
  [0x83, 0xc2, 1, 0xeb, 0xe9, 0x31, 0xca, 0xeb, 0xe5, 0x6b, 0xd2, 3, 0x29, 0xc2, 0xeb, 0xde],
  [0xf6, 0xc2, 1, 0x74, 0xd9, 0x43, 0xeb, 0xd6, 0x83, 0xc2, 5, 0xeb, 0xd1],
].flat();
const CASES = [18, 23, 27, 30, 34];
/** 0: mov ebx, fs:[0x9000]; add eax, ebx; jmp 0 */
const THREAD = [0x64, 0x8b, 0x1d, 0, 0x90, 0, 0, 0x01, 0xd8, 0xeb, 0xf5];
/** 0: inc eax; pxor xmm0, xmm0; cvtsi2sd xmm0, eax; addsd xmm1, xmm0; movapd xmm2, xmm1; divsd xmm2, xmm0; jmp 0 */
const CONVERSIONS = [
  [0xff, 0xc0, 0x66, 0x0f, 0xef, 0xc0, 0xf2, 0x0f, 0x2a, 0xc0, 0xf2, 0x0f, 0x58, 0xc8],
  [0x66, 0x0f, 0x28, 0xd1, 0xf2, 0x0f, 0x5e, 0xd0, 0xeb, 0xe8],
].flat();

describe('translated code', () => {
  it('does what the interpreter does, instruction for instruction', () => {
    assert.equal(compareTiers(LOOP, 3_000_000n).fast.translated(), 1);
  });

  it('takes nothing that thrown away blocks have left behind for the end of a block', () => {
    const loop = 5;
    const left = new Uint8Array(8);
    left[0] = operationNumbers().get('FALL') ?? 0;
    left[L.REC_OFF] = LOOP.length - loop;
    const { fast: guest } = compareTiers(LOOP, 10_000n, L.MODE_CODE64, ({ view }) => {
      const arena = new Uint8Array(view.buffer, L.BLOCK_ARENA, 0x1000);
      for (let at = 0; at < arena.length; at += left.length) arena.set(left, at);
    });
    assert.ok(guest.translated() > 0);
  });

  it('sees the code that it rewrites, and is given up when that goes on', () => {
    compareTiers(SELF_MODIFYING, 300_000n);
  });

  it('takes a conditional branch to the next instruction', () => {
    compareTiers(BRANCH_TO_NEXT, 3_000_000n);
  });

  it('keeps a loop together that is entered beside its head', () => {
    compareTiers(ENTERED_BESIDE_HEAD, 3_000_000n);
  });

  it('looks at flags that the block before has set', () => {
    compareTiers(FLAGS_ACROSS_BLOCKS, 3_000_000n);
  });

  it('calls and returns, deeper than host calls may nest', () => {
    compareTiers(RECURSION, 3_000_000n);
  });

  it('follows a routine that does not return to its caller', () => {
    compareTiers(DROPPED_RETURN, 1_000_000n);
  });

  it('sees a routine rewrite its caller', () => {
    compareTiers(REWRITTEN_CALLER, 300_000n);
  });

  it('keeps XMM registers in locals', () => {
    assert.equal(compareTiers(CONVERSIONS, 300_000n).fast.translated(), 1);
  });

  it('of flat 32-bit code does what the interpreter does', () => {
    assert.equal(compareTiers(LOOP, 1_000_000n, FLAT32).fast.translated(), 1);
    assert.equal(compareTiers(NARROW, 1_000_000n, FLAT32).fast.translated(), 1);
  });

  it('of flat 32-bit code calls and returns', () => {
    assert.ok(compareTiers(RECURSION, 1_000_000n, FLAT32).fast.translated() > 1);
    assert.ok(compareTiers(INDIRECT, 1_000_000n, FLAT32).fast.translated() > 1);
  });

  it('stays in its region through the table of a switch', () => {
    const table = (guest: SmallGuest): void => {
      CASES.forEach((offset, index) => {
        guest.view.setUint32(L.GUEST_BASE + 0x1100 + index * 4, CODE + offset, true);
      });
    };
    const { fast, wide } = compareTiers(SWITCH, 1_000_000n, FLAT32, table);
    // It was left for the end of the budget, through no link.
    for (const guest of [fast, wide]) assert.equal(guest.lastLink(), 0);
  });

  it('of 32-bit code with FS adds its base and wraps at 4 GiB', () => {
    const base = (guest: SmallGuest): void => {
      guest.view.setBigUint64(CPU + L.SEG_BASE + L.SEG_FS * 8, 0xffff_f000n, true);
      guest.view.setUint32(L.GUEST_BASE + 0x8000, 0x1234_5678, true);
    };
    const { fast } = compareTiers(THREAD, 300_000n, FLAT32, base);
    assert.equal(fast.translated(), 1);
    assert.equal(fast.registers()[3], 0x1234_5678n);
  });

  it('is not made of 32-bit code that is not flat', () => {
    const mode = L.MODE_CODE32 | L.MODE_STACK32;
    assert.equal(compareTiers(LOOP, 300_000n, mode).fast.translated(), 0);
  });

  it('serves a second VM without being made again', () => {
    const service = new LocalService();
    let requests = 0;
    const library = new Library({
      request: (regions) => {
        requests += regions.length;
        service.request(regions);
      },
      receive: () => service.receive(),
      ended: false,
    });
    for (let i = 0; i < 2; i++) {
      const guest = new SmallGuest(LOOP, { threshold: 20, library });
      for (let limit = 1000n; limit < 50_000n; limit += 1000n) guest.advance(limit);
      assert.equal(guest.translated(), 1);
    }
    assert.equal(requests, 1);
  });

  it('is used once it is installed, in the order of that', () => {
    const service = new LocalService();
    const releases: Release[] = [];
    const library = new Library({
      request: (regions) => service.request(regions),
      receive: () => {
        const release = service.receive();
        if (release !== undefined) releases.push(release);
        return release;
      },
      ended: false,
    });
    const uses = (): number[] => releases.flatMap(({ uses }) => [...uses.first]);
    const advance = (guest: SmallGuest): void => {
      for (let turn = 0; turn < 50; turn++) guest.advance(guest.count + 1000n);
    };
    for (let vm = 0; vm < 2; vm++) {
      advance(new SmallGuest(LOOP, { threshold: 20, library }));
      assert.deepEqual(uses(), [1]);
    }
    const asking = new SmallGuest(BRANCH_TO_NEXT, { threshold: 20, library });
    while (service.counters.asked < 2) asking.advance(asking.count + 10n);
    library.update();
    assert.deepEqual(uses(), [1, 0]);
    advance(asking);
    assert.deepEqual(uses().slice(0, 2), [1, 2]);
  });
});

/**
 * Code in pages of its own at 0x10000 + 0x1000 n: 32 functions `imul eax, eax, 3 + 2n; add eax, n; loop
 * 2 + n times; ret`, and a main loop at CODE that calls them one after the other, for ever.
 */
function manyFunctions(): { at: number; bytes: number[] }[] {
  const word = (value: number): number[] => [0, 8, 16, 24].map((shift) => (value >> shift) & 0xff);
  const parts: { at: number; bytes: number[] }[] = [];
  const main: number[] = [0xbc, ...word(0x8000)];
  const again = main.length;
  for (let n = 0; n < 32; n++) {
    const at = 0x10000 + n * 0x1000;
    // mov ecx, 2 + n; 1: imul eax, eax, 3 + 2n; add eax, n; dec ecx; jnz 1; ret
    const loop = [0x6b, 0xc0, 3 + 2 * n, 0x83, 0xc0, n, 0xff, 0xc9, 0x75, 0xf6, 0xc3];
    parts.push({ at, bytes: [0xb9, ...word(2 + n), ...loop] });
    main.push(0xe8, ...word(at - (CODE + main.length + 5)));
  }
  main.push(0xe9, ...word(again - (main.length + 5)));
  return [{ at: CODE, bytes: main }, ...parts];
}

/** What one translator makes, for so many threads. */
function servicesOf(translator: LocalService, threads: number): TranslationService[] {
  const queues = Array.from({ length: threads }, (): Release[] => []);
  const request = (regions: readonly Uint8Array[]): void => {
    translator.request(regions);
    let release = translator.receive();
    for (; release !== undefined; release = translator.receive()) {
      for (const queue of queues) queue.push(release);
    }
  };
  return queues.map((queue) => ({ ended: false, request, receive: () => queue.shift() }));
}

describe('limits', () => {
  const place = (guest: SmallGuest): SmallGuest => {
    for (const { at, bytes } of manyFunctions()) guest.put(at, bytes);
    return guest;
  };
  it('a guest asks for no more than its allowance', () => {
    const service = new LocalService();
    const library = new Library(service);
    const guest = place(
      new SmallGuest([], {
        threshold: 20,
        library,
        allowance: { most: 3, perSecond: 0 },
      }),
    );
    const plain = place(new SmallGuest([], {}));
    for (let at = 1000n; at <= 200_000n; at += 1000n) guest.advance(at);
    plain.advance(guest.count);
    assert.deepEqual(guest.registers(), plain.registers());
    assert.equal(service.counters.asked, 3);
  });

  const limits: TranslationLimits[] = [
    { places: 9, modules: 100, bytes: 1 << 20 },
    { places: 1000, modules: 3, bytes: 1 << 20 },
    { places: 1000, modules: 100, bytes: 4000 },
  ];
  for (const limit of limits) {
    it(`${JSON.stringify(limit)}: the oldest go, and results stay right`, () => {
      const service = new LocalService(limit);
      const library = new Library(service);
      // Two VMs share the translations and take turns, as on one worker thread.
      const guests = [
        place(new SmallGuest([], { threshold: 20, library })),
        place(new SmallGuest([], { threshold: 20, library })),
      ];
      const plain = place(new SmallGuest([], {}));
      for (let at = 500n; at < 300_000n; at += 500n) {
        for (const guest of guests) guest.advance(at);
        for (const guest of guests) {
          plain.advance(guest.count);
          if (plain.count !== guest.count) guest.advance(plain.count);
          assert.equal(guest.count, plain.count);
          assert.deepEqual(guest.registers(), plain.registers());
        }
      }
      const { evicted, modules, liveBytes, translated } = service.counters;
      assert.ok(evicted > 10, `${evicted} evicted`);
      assert.ok(modules - evicted <= limit.modules && liveBytes <= limit.bytes);
      assert.ok(modules - evicted < limit.places);
      assert.ok(translated > 40, `${translated} translated`);
      for (const guest of guests) assert.ok(guest.translated() < 32);
    });

    it(`${JSON.stringify(limit)}: a VM has what it uses on each thread that runs it`, () => {
      const translator = new LocalService(limit);
      const [first, second] = servicesOf(translator, 2).map((service) => new Library(service));
      const guest = place(new SmallGuest([], { threshold: 20, library: first! }));
      const threads = [guest, new SmallGuest([], { threshold: 20, library: second!, same: guest })];
      const plain = place(new SmallGuest([], {}));
      for (let at = 500n; at < 300_000n; at += 500n) {
        for (const thread of threads) {
          thread.advance(guest.count + 250n);
          plain.advance(guest.count);
          if (plain.count !== guest.count) thread.advance(plain.count);
          assert.equal(guest.count, plain.count);
          assert.deepEqual(guest.registers(), plain.registers());
        }
      }
      assert.ok(translator.counters.evicted > 10);
    });
  }
});
