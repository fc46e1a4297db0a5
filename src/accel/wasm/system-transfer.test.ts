/** Segment loads, far transfers, IRET and fast system calls (Intel SDM vol. 2; vol. 3, chapter 5). */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as L from './layout.js';
import {
  CODE,
  code,
  DATA,
  FREE_SELECTOR,
  GDT,
  Guest,
  gate,
  KERNEL_CS,
  KERNEL_CS32,
  KERNEL_DS,
  le,
  RSP0,
  STACK,
  segment,
  USER_CS32,
  USER_CS64,
  USER_DS,
  USER_STACK,
} from './testing/guest.js';

const USER_CODE = 0x30000;
const UD2 = '0f 0b';

/** push imm32 of each word, in order: the first ends up highest. */
const push = (...words: readonly number[]): number[] =>
  words.flatMap((word) => [0x68, ...le(word, 4)]);

describe('segment loads', () => {
  const moveToDs = (selector: number): number[] => code('66 b8', le(selector, 2), '8e d8 f4');

  test('fill the hidden part from the descriptor and set its accessed bit', () => {
    const guest = new Guest('protected');
    guest.setDescriptor(FREE_SELECTOR, segment(0x123456, 0x12345, 0x92, 0x4));
    assert.equal(guest.run(moveToDs(FREE_SELECTOR)), L.EXIT_HALT);
    assert.equal(guest.get64(L.SEG_BASE + L.SEG_DS * 8), 0x123456n);
    assert.equal(guest.get32(L.SEG_LIMIT + L.SEG_DS * 4), 0x12345);
    assert.equal(guest.get32(L.SEG_ATTR + L.SEG_DS * 4), 0x4093);
    assert.equal(guest.peek(GDT + FREE_SELECTOR + 5, 1), 0x93n);
  });

  test('the granularity bit scales the limit', () => {
    const guest = new Guest('protected');
    guest.setDescriptor(FREE_SELECTOR, segment(0, 0x12345, 0x92, 0xc));
    guest.run(moveToDs(FREE_SELECTOR));
    assert.equal(guest.get32(L.SEG_LIMIT + L.SEG_DS * 4), 0x12345fff);
  });

  test('a null selector is accepted in DS and keeps its RPL, and refused in SS', () => {
    const guest = new Guest('protected');
    assert.equal(guest.run(moveToDs(3)), L.EXIT_HALT);
    assert.equal(guest.selector(L.SEG_DS), 3);
    assert.equal(guest.get32(L.SEG_ATTR + L.SEG_DS * 4) & 0x80, 0);
    assert.equal(new Guest('protected').vector(code('31 c0 8e d0')), 13);
  });

  test('a null SS is accepted in 64-bit code below privilege 3 when its RPL is CPL', () => {
    const guest = new Guest('long');
    assert.equal(guest.run(code('31 c0 8e d0 f4')), L.EXIT_HALT);
    assert.equal(guest.get32(L.CPL), 0);
    assert.equal(new Guest('long').vector(code('b8 03 00 00 00 8e d0')), 13);
  });

  const refused: ReadonlyArray<readonly [string, bigint, number, number]> = [
    ['execute-only code', segment(0, 0xfffff, 0x99, 0xc), 13, 0],
    ['a system segment', segment(0, 0xfffff, 0x89, 0), 13, 0],
    ['a segment that is not present', segment(0, 0xfffff, 0x13, 0xc), 11, 0],
    ['a more privileged segment', segment(0, 0xfffff, 0x93, 0xc), 13, 3],
  ];
  for (const [what, descriptor, vector, cpl] of refused) {
    test(`${what} in DS is refused with the selector as error code`, () => {
      const guest = new Guest('protected');
      guest.setDescriptor(FREE_SELECTOR, descriptor);
      if (cpl === 3) guest.user();
      assert.equal(guest.vector(moveToDs(FREE_SELECTOR)), vector);
      assert.equal(guest.stack(0, 4), BigInt(FREE_SELECTOR));
      assert.equal(guest.stack(1, 4), BigInt(CODE + 4));
    });
  }

  test('SS that is not present is #SS; a read-only one is #GP', () => {
    for (const [access, vector] of [
      [0x13, 12],
      [0x91, 13],
    ] as const) {
      const guest = new Guest('protected');
      guest.setDescriptor(FREE_SELECTOR, segment(0, 0xfffff, access, 0xc));
      assert.equal(guest.vector(code('66 b8', le(FREE_SELECTOR, 2), '8e d0 f4')), vector);
      assert.equal(guest.stack(0, 4), BigInt(FREE_SELECTOR));
    }
  });

  test('CS and numbers above GS are #UD', () => {
    assert.equal(new Guest('long').vector(code('8e c8')), 6);
    assert.equal(new Guest('long').vector(code('8e f0')), 6);
    assert.equal(new Guest('long').vector(code('8c f8')), 6);
  });

  test('the LDT is used when the selector says so', () => {
    const guest = new Guest('protected');
    guest.setDescriptor(FREE_SELECTOR, segment(DATA, 0xf, 0x82, 0));
    guest.put(DATA + 8, le(segment(0x5000, 0xfff, 0x93, 0x4), 8));
    const bytes = code('66 b8', le(FREE_SELECTOR, 2), '0f 00 d0 66 b8 0c 00 8e c0 f4');
    assert.equal(guest.run(bytes), L.EXIT_HALT);
    assert.equal(guest.get64(L.SEG_BASE + L.SEG_ES * 8), 0x5000n);
    assert.equal(guest.vector(code('66 b8 14 00 8e c0'), CODE + 0x1000), 13);
    assert.equal(guest.stack(0, 4), 0x14n);
  });

  test('LSS loads both halves, and nothing after a fault', () => {
    const guest = new Guest('protected');
    guest.put(DATA, code(le(0x9000, 4), le(KERNEL_DS, 2), le(0x1234, 4), le(0xf00, 2)));
    assert.equal(guest.run(code('0f b2 25', le(DATA, 4), 'f4')), L.EXIT_HALT);
    assert.equal(guest.get64(L.RSP), 0x9000n);
    assert.equal(guest.vector(code('0f b2 0d', le(DATA + 6, 4)), CODE + 0x1000), 13);
    assert.equal(guest.get64(L.RCX), 0n);
  });

  test('in real mode a selector is a base of sixteen times its value', () => {
    const guest = new Guest('real');
    guest.run(code('b8 34 12 8e d8 f4'), 0x8000);
    assert.equal(guest.get64(L.SEG_BASE + L.SEG_DS * 8), 0x12340n);
  });
});

describe('far jumps, calls and returns', () => {
  test('a far return from 64-bit code enters 32-bit code and a far jump comes back', () => {
    const guest = new Guest('long');
    guest.put(USER_CODE, code('40 48 ea', le(CODE + 0x100, 4), le(KERNEL_CS, 2)));
    guest.put(CODE + 0x100, code('48 ff c0 f4'));
    assert.equal(guest.run(code('31 c0', push(KERNEL_CS32, USER_CODE), '48 cb')), L.EXIT_HALT);
    assert.equal(guest.get64(L.RAX), 1n);
    assert.equal(guest.selector(L.SEG_CS), KERNEL_CS);
    assert.equal(guest.get32(L.MODE) & L.MODE_CODE_MASK, L.MODE_CODE64);
  });

  test('a far call within a privilege pushes CS and the return address', () => {
    const guest = new Guest('protected');
    guest.put(USER_CODE, code('cb'));
    const bytes = code('9a', le(USER_CODE, 4), le(KERNEL_CS, 2), 'f4');
    assert.equal(guest.run(bytes), L.EXIT_HALT);
    assert.equal(guest.get64(L.RIP), BigInt(CODE + 8));
    assert.equal(guest.peek(STACK - 4, 4), BigInt(KERNEL_CS));
    assert.equal(guest.peek(STACK - 8, 4), BigInt(CODE + 7));
    assert.equal(guest.get64(L.RSP), BigInt(STACK));
  });

  test('code of another privilege is refused; conforming code runs at the caller’s privilege', () => {
    const guest = new Guest('protected').user();
    assert.equal(guest.vector(code('ea', le(USER_CODE, 4), le(KERNEL_CS, 2))), 13);
    assert.equal(guest.stack(0, 4), BigInt(KERNEL_CS));
    const conforming = new Guest('protected').user();
    conforming.setDescriptor(FREE_SELECTOR, segment(0, 0xfffff, 0x9e, 0xc));
    conforming.put(USER_CODE, code(UD2));
    assert.equal(conforming.vector(code('ea', le(USER_CODE, 4), le(FREE_SELECTOR, 2))), 6);
    assert.equal(conforming.stack(1, 4), BigInt(FREE_SELECTOR | 3));
  });

  test('an offset beyond the limit of 32-bit code is #GP(0) at the jump', () => {
    const guest = new Guest('protected');
    guest.setDescriptor(FREE_SELECTOR, segment(0, 0xfff, 0x9b, 0x4));
    assert.equal(guest.vector(code('ea', le(0x1000, 4), le(FREE_SELECTOR, 2))), 13);
    assert.deepEqual([guest.stack(0, 4), guest.stack(1, 4)], [0n, BigInt(CODE)]);
  });

  test('a 32-bit call gate to privilege 0 switches the stack and copies the parameters', () => {
    const guest = new Guest('protected').user();
    guest.setDescriptor(FREE_SELECTOR, gate(KERNEL_CS, USER_CODE, 0xec, 2));
    guest.put(USER_CODE, code('f4'));
    const call = code(push(0x11, 0x22), '9a', le(0, 4), le(FREE_SELECTOR | 3, 2));
    assert.equal(guest.run(call), L.EXIT_HALT);
    assert.deepEqual(
      [0, 1, 2, 3, 4, 5].map((index) => guest.stack(index, 4)),
      [
        BigInt(CODE + 17),
        BigInt(USER_CS32 | 3),
        0x22n,
        0x11n,
        BigInt(USER_STACK - 8),
        BigInt(USER_DS | 3),
      ],
    );
    assert.equal(guest.get64(L.RSP), BigInt(RSP0 - 24));
    assert.equal(guest.get32(L.CPL), 0);
  });

  test('a return from a call gate releases the parameters on both stacks and drops kernel segments', () => {
    const guest = new Guest('protected').user();
    guest.setDescriptor(FREE_SELECTOR, gate(KERNEL_CS, USER_CODE, 0xec, 1));
    guest.put(USER_CODE, code('66 b8', le(KERNEL_DS, 2), '8e c0 ca 04 00'));
    const call = code(push(0x11), '9a', le(0, 4), le(FREE_SELECTOR | 3, 2), UD2);
    assert.equal(guest.vector(call), 6);
    assert.equal(guest.stack(3, 4), BigInt(USER_STACK));
    assert.equal(guest.selector(L.SEG_ES), 0);
    assert.equal(guest.selector(L.SEG_DS), USER_DS | 3);
  });

  test('a 64-bit call gate pushes SS, RSP, CS and RIP on RSP0', () => {
    const guest = new Guest('long').user();
    guest.setDescriptor(FREE_SELECTOR, gate(KERNEL_CS, USER_CODE, 0xec), 0n);
    guest.put(USER_CODE, code('f4'));
    guest.put(DATA, code(le(0, 4), le(FREE_SELECTOR | 3, 2)));
    assert.equal(guest.run(code('ff 1c 25', le(DATA, 4))), L.EXIT_HALT);
    assert.deepEqual(
      [0, 1, 2, 3].map((index) => guest.stack(index)),
      [BigInt(CODE + 7), BigInt(USER_CS64 | 3), BigInt(USER_STACK), BigInt(USER_DS | 3)],
    );
    assert.equal(guest.selector(L.SEG_SS), 0);
  });

  test('a TSS is no target in long mode', () => {
    const guest = new Guest('long');
    guest.put(DATA, code(le(0, 4), le(0x30, 2)));
    assert.equal(guest.vector(code('ff 2c 25', le(DATA, 4))), 13);
    assert.equal(guest.stack(0), 0x30n);
  });
});

describe('IRET', () => {
  const frameTo = (ip: number, cs: number, flags: number, sp: number, ss: number): number[] =>
    push(ss, sp, flags, cs, ip);

  test('from 64-bit code restores RSP and SS also without a change of privilege', () => {
    const guest = new Guest('long');
    guest.put(USER_CODE, code('f4'));
    const bytes = code(frameTo(USER_CODE, KERNEL_CS, 0x246, 0x9123, KERNEL_DS), '48 cf');
    assert.equal(guest.run(bytes), L.EXIT_HALT);
    assert.equal(guest.get64(L.RSP), 0x9123n);
    assert.equal(guest.flags(), 0x246);
  });

  test('enters user code and makes segments that are too privileged null', () => {
    const guest = new Guest('long');
    guest.put(USER_CODE, code(UD2));
    const bytes = code(frameTo(USER_CODE, USER_CS64 | 3, 0x202, 0x9000, USER_DS | 3), '48 cf');
    assert.equal(guest.vector(bytes), 6);
    assert.deepEqual([guest.stack(0), guest.stack(1)], [BigInt(USER_CODE), BigInt(USER_CS64 | 3)]);
    assert.equal(guest.selector(L.SEG_DS), 0);
  });

  test('makes FS and GS null when they are too privileged, and leaves their bases', () => {
    for (const bytes of [
      code(push(USER_DS | 3, USER_STACK, 2, USER_CS64 | 3, USER_CODE), '48 cf'),
      code(push(USER_DS | 3, USER_STACK, USER_CS64 | 3, USER_CODE), '48 cb'),
    ]) {
      const guest = new Guest('long');
      guest.put(USER_CODE, code(UD2));
      guest.set64(L.SEG_BASE + L.SEG_FS * 8, 0x7f00_8765_4321n);
      guest.set64(L.SEG_BASE + L.SEG_GS * 8, 0xffff_8000_1234_5678n);
      assert.equal(guest.vector(bytes), 6);
      assert.deepEqual([guest.selector(L.SEG_FS), guest.selector(L.SEG_GS)], [0, 0]);
      assert.equal(guest.get64(L.SEG_BASE + L.SEG_FS * 8), 0x7f00_8765_4321n);
      assert.equal(guest.get64(L.SEG_BASE + L.SEG_GS * 8), 0xffff_8000_1234_5678n);
    }
  });

  test('refuses NT in long mode, a target that is not canonical, and less privilege than CPL', () => {
    const nested = new Guest('long');
    nested.set32(L.FLAGS, 0x4000);
    assert.equal(nested.vector(code('48 cf')), 13);

    const far = new Guest('long');
    const bytes = code(
      push(KERNEL_DS, 0x9000, 2, KERNEL_CS),
      '48 b8',
      le(1n << 47n, 8),
      '50 48 cf',
    );
    assert.equal(far.vector(bytes), 13);
    assert.deepEqual([far.stack(0), far.stack(1)], [0n, BigInt(CODE + 31)]);

    const up = new Guest('long').user();
    assert.equal(up.vector(code(frameTo(CODE, KERNEL_CS, 2, 0x9000, KERNEL_DS), '48 cf')), 13);
    assert.equal(up.stack(0), BigInt(KERNEL_CS));
  });

  test('a null SS may be returned to in 64-bit code, but not at privilege 3', () => {
    const guest = new Guest('long');
    guest.put(USER_CODE, code('f4'));
    assert.equal(
      guest.run(code(frameTo(USER_CODE, KERNEL_CS, 2, 0x9000, 0), '48 cf')),
      L.EXIT_HALT,
    );
    assert.equal(
      new Guest('long').vector(code(frameTo(CODE, USER_CS64 | 3, 2, 0x9000, 3), '48 cf')),
      13,
    );
  });

  test('at privilege 3 IOPL and IF stay as they are', () => {
    const guest = new Guest('long').user();
    guest.put(USER_CODE, code(UD2));
    const bytes = code(frameTo(USER_CODE, USER_CS64 | 3, 0x3255, 0xc000, USER_DS | 3), '48 cf');
    assert.equal(guest.vector(bytes), 6);
    assert.equal(guest.stack(2), 0x10057n);
  });

  test('from privilege 0 enters and leaves virtual-8086 mode', () => {
    const guest = new Guest('protected');
    guest.put(0x8000, code('b8 34 12 8e c0', UD2));
    const frame = push(0, 0x44, 0x33, 0x22, 0x700, 0xfff0, 0x20002, 0x800, 0);
    assert.equal(guest.vector(code(frame, 'cf')), 6);
    assert.deepEqual(
      Array.from({ length: 9 }, (_, index) => guest.stack(index, 4)),
      [5n, 0x800n, 0x30002n, 0xfff0n, 0x700n, 0x1234n, 0x33n, 0x44n, 0n],
    );
    assert.equal(guest.get64(L.RAX), 0x1234n);
    assert.equal(guest.selector(L.SEG_DS), 0);
    assert.equal(guest.get32(L.CPL), 0);
  });
});

describe('fast system calls', () => {
  /** Like Linux's: kernel CS 8, user base 0x18. */
  function withSyscall(): Guest {
    const guest = new Guest('long');
    guest.set64(L.MSR_STAR, (BigInt(USER_CS32) << 48n) | (BigInt(KERNEL_CS) << 32n));
    guest.set64(L.MSR_LSTAR, BigInt(USER_CODE));
    guest.set64(L.MSR_SFMASK, 0x47700n);
    return guest;
  }

  test('SYSCALL saves RIP and RFLAGS, masks flags, and loads flat kernel segments', () => {
    const guest = withSyscall().user();
    guest.set32(L.FLAGS, 0x3a47);
    guest.put(USER_CODE, code('f4'));
    assert.equal(guest.run(code('0f 05')), L.EXIT_HALT);
    assert.equal(guest.get64(L.RCX), BigInt(CODE + 2));
    assert.equal(guest.get64(L.R11), 0x3a47n);
    assert.equal(guest.flags(), 0x3a47 & ~0x47700);
    assert.equal(guest.selector(L.SEG_CS), KERNEL_CS);
    assert.equal(guest.selector(L.SEG_SS), KERNEL_DS);
    assert.equal(guest.get32(L.CPL), 0);
    assert.equal(guest.get64(L.RSP), BigInt(USER_STACK));
  });

  test('SYSRET returns to 64-bit or 32-bit user code', () => {
    for (const [opcode, selector] of [
      ['48 0f 07', USER_CS64],
      ['0f 07', USER_CS32],
    ] as const) {
      const guest = withSyscall();
      guest.put(USER_CODE, code(UD2));
      guest.set64(L.GPR + L.RCX, BigInt(USER_CODE));
      guest.set64(L.R11, 0x30246n);
      assert.equal(guest.vector(code(opcode)), 6);
      assert.equal(guest.stack(1), BigInt(selector | 3));
      assert.equal(guest.stack(4), BigInt(USER_DS | 3));
      // RF and VM are not loaded; the fault itself sets RF in the frame.
      assert.equal(guest.stack(2), 0x10246n);
    }
  });

  test('SYSRET to an address that is not canonical is #GP in the kernel', () => {
    const guest = withSyscall();
    guest.set64(L.RCX, 1n << 47n);
    assert.equal(guest.vector(code('48 0f 07')), 13);
    assert.deepEqual(
      [guest.stack(0), guest.stack(1), guest.stack(2)],
      [0n, BigInt(CODE), BigInt(KERNEL_CS)],
    );
  });

  test('without EFER.SCE both are #UD; SYSRET from user code is #GP', () => {
    const guest = withSyscall().user();
    guest.set64(L.EFER, 0xd00n);
    assert.equal(guest.vector(code('0f 05')), 6);
    assert.equal(withSyscall().user().vector(code('48 0f 07')), 13);
  });

  test('SYSENTER and SYSEXIT go through the SYSENTER MSRs', () => {
    const guest = new Guest('protected').user();
    guest.set64(L.MSR_SYSENTER_CS, BigInt(KERNEL_CS));
    guest.set64(L.MSR_SYSENTER_ESP, 0x9800n);
    guest.set64(L.MSR_SYSENTER_EIP, BigInt(USER_CODE));
    guest.put(USER_CODE, code('ba', le(CODE + 0x100, 4), 'b9', le(0xc800, 4), '0f 35'));
    guest.put(CODE + 0x100, code(UD2));
    assert.equal(guest.vector(code('0f 34')), 6);
    assert.deepEqual(
      [0, 1, 3, 4].map((index) => guest.stack(index, 4)),
      [BigInt(CODE + 0x100), BigInt((KERNEL_CS + 16) | 3), 0xc800n, BigInt((KERNEL_CS + 24) | 3)],
    );
    const unset = new Guest('protected');
    assert.equal(unset.vector(code('0f 34')), 13);
  });

  test('SWAPGS exchanges the GS base with the MSR, and needs privilege 0', () => {
    const guest = new Guest('long');
    guest.set64(L.MSR_KERNEL_GS_BASE, 0xffff888000000000n);
    guest.set64(L.SEG_BASE + L.SEG_GS * 8, 0x7000n);
    guest.run(code('0f 01 f8 f4'));
    assert.equal(guest.get64(L.SEG_BASE + L.SEG_GS * 8), 0xffff888000000000n);
    assert.equal(guest.get64(L.MSR_KERNEL_GS_BASE), 0x7000n);
    assert.equal(new Guest('long').user().vector(code('0f 01 f8')), 13);
    assert.equal(new Guest('protected').vector(code('0f 01 f8')), 6);
    assert.equal(new Guest('long').vector(code('0f 01 fa')), 6);
  });
});

describe('flags on the stack', () => {
  test('POPF at privilege 3 changes neither IOPL nor IF', () => {
    const guest = new Guest('long').user();
    assert.equal(guest.vector(code(push(0x3ad5), '9d', UD2)), 6);
    assert.equal(guest.stack(2), 0x108d7n);
  });

  test('POPF at privilege 0 changes both, and PUSHF shows them without RF and VM', () => {
    const guest = new Guest('long');
    guest.set32(L.FLAGS, 0x10002);
    assert.equal(guest.run(code('9c', push(0x3202), '9d 9c f4')), L.EXIT_HALT);
    assert.equal(guest.stack(0), 0x3202n);
    assert.equal(guest.stack(1), 2n);
  });
});
