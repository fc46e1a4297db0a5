/** Limits and rights of segments outside 64-bit code (Intel SDM vol. 3, 5.3, 5.4.1, 5.5). */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as L from './layout.js';
import {
  CODE,
  code,
  DATA,
  FREE_SELECTOR,
  Guest,
  KERNEL_CS,
  KERNEL_DS,
  le,
  segment,
} from './testing/guest.js';

const SS = 12;
const GP = 13;
/** No exception: the instruction behind is HLT. */
const NONE = -1;

/* Access bytes: data read-only, read/write, expand-down; code execute-only, readable. */
const READ_ONLY = 0x91;
const WRITABLE = 0x93;
const EXPAND_DOWN = 0x97;
const EXECUTE_ONLY = 0x99;
const READABLE = 0x9b;
/** Flags: 32 bits, without and with granularity. */
const WIDE = 4;
const PAGES = 0xc;

/** mov eax, es:[offset] and the like. */
const LOAD = (at: number): number[] => code('26 a1', le(at, 4));
const LOAD_BYTE = (at: number): number[] => code('26 a0', le(at, 4));
const STORE = (at: number): number[] => code('26 a3', le(at, 4));
const STORE_BYTE = (at: number): number[] => code('26 a2', le(at, 4));
const ADD = (at: number): number[] => code('26 01 05', le(at, 4));

const NULL_DESCRIPTOR = undefined;

const CASES: ReadonlyArray<readonly [string, bigint | undefined, number[], number]> = [
  ['a read through a null segment', NULL_DESCRIPTOR, LOAD(DATA), GP],
  ['a write through a null segment', NULL_DESCRIPTOR, STORE(DATA), GP],
  ['a read of read-only data', segment(0, 0xfffff, READ_ONLY, PAGES), LOAD(DATA), NONE],
  ['a write of read-only data', segment(0, 0xfffff, READ_ONLY, PAGES), STORE(DATA), GP],
  ['a change of read-only data', segment(0, 0xfffff, READ_ONLY, PAGES), ADD(DATA), GP],
  ['a read of readable code', segment(0, 0xfffff, READABLE, PAGES), LOAD(DATA), NONE],
  ['a write of readable code', segment(0, 0xfffff, READABLE, PAGES), STORE(DATA), GP],
  ['the last dword', segment(DATA, 0x1fff, WRITABLE, WIDE), LOAD(0x1ffc), NONE],
  ['a dword that ends behind the limit', segment(DATA, 0x1fff, WRITABLE, WIDE), LOAD(0x1ffd), GP],
  ['a dword store that ends behind it', segment(DATA, 0x1fff, WRITABLE, WIDE), STORE(0x1ffd), GP],
  ['the last byte', segment(DATA, 0x1fff, WRITABLE, WIDE), STORE_BYTE(0x1fff), NONE],
  ['a byte behind the limit', segment(DATA, 0x1fff, WRITABLE, WIDE), STORE_BYTE(0x2000), GP],
  ['a limit in pages', segment(DATA, 1, WRITABLE, PAGES), LOAD_BYTE(0x1fff), NONE],
  ['a byte behind a limit in pages', segment(DATA, 1, WRITABLE, PAGES), LOAD_BYTE(0x2000), GP],
  ['a high offset', segment(DATA, 0x1fff, WRITABLE, WIDE), LOAD(0xffff_fffc), GP],
  ['expand-down data at the limit', segment(0, DATA, EXPAND_DOWN, WIDE), LOAD_BYTE(DATA), GP],
  ['expand-down data above the limit', segment(0, DATA, EXPAND_DOWN, WIDE), LOAD(DATA + 1), NONE],
  ['expand-down data across the limit', segment(0, DATA, EXPAND_DOWN, WIDE), STORE(DATA - 1), GP],
  ['expand-down data across 4 GiB', segment(0, DATA, EXPAND_DOWN, WIDE), LOAD(0xffff_fffe), GP],
  [
    '16-bit expand-down data below 64 KiB',
    segment(DATA, 0xfff, EXPAND_DOWN, 0),
    LOAD(0xfffc),
    NONE,
  ],
  ['16-bit expand-down data across it', segment(DATA, 0xfff, EXPAND_DOWN, 0), LOAD(0xfffd), GP],
  [
    '16-bit expand-down data above it',
    segment(DATA, 0xfff, EXPAND_DOWN, 0),
    LOAD_BYTE(0x10000),
    GP,
  ],
];

describe('a data access in 32-bit code', () => {
  for (const [name, descriptor, access, vector] of CASES) {
    test(`${name} is ${vector === NONE ? 'admitted' : '#GP'}`, () => {
      const guest = new Guest('protected');
      if (descriptor !== undefined) guest.setDescriptor(FREE_SELECTOR, descriptor);
      const selector = descriptor === undefined ? 0 : FREE_SELECTOR;
      const load = code('66 b8', le(selector, 2), '8e c0');
      assert.equal(guest.vector(code(load, access, 'f4')), vector);
      if (vector === NONE) return;
      assert.deepEqual([guest.stack(0, 4), guest.stack(1, 4)], [0n, BigInt(CODE + load.length)]);
    });
  }

  /** Instructions with an operand at DS:EBX, of each kind of routine. */
  const OPERANDS = [
    '8b 03',
    '89 03',
    '88 03',
    '01 03',
    '03 03',
    '39 03',
    'ff 03',
    'f7 1b',
    'c1 23 02',
    '0f a3 0b',
    '0f ab 0b',
    '0f b6 03',
    '0f 94 03',
    '0f 44 03',
    '87 03',
    '0f c1 03',
    '0f b1 03',
    '0f c7 0b',
    'f7 23',
    'ff 33',
    '8f 03',
    'ff 23',
    'ff 13',
    'c5 03',
    '62 03',
    'd7',
    'ac',
    'a6',
    '6e',
    'd9 03',
    'd9 1b',
    'db 2b',
    'dd 33',
    'd9 23',
    'df 23',
    '0f 10 03',
    '0f 11 03',
    '66 0f ef 03',
    'f3 0f 58 03',
    '0f 6f 03',
    '0f ae 03',
    '0f ae 1b',
    '0f 01 03',
    '0f 01 13',
    '8e 03',
    '0f 00 03',
    '0f 02 03',
    '0f 00 13',
    'ff 2b',
  ];
  for (const bytes of OPERANDS) {
    test(`${bytes} through a null DS is #GP`, () => {
      const guest = new Guest('protected');
      guest.set64(L.CR4, 0x600n);
      guest.set32(L.MXCSR, 0x1f80);
      guest.set64(L.RBX, BigInt(DATA));
      guest.set64(L.RSI, BigInt(DATA));
      guest.set64(L.RDI, BigInt(DATA));
      const load = code('31 c0 8e d8');
      assert.equal(guest.vector(code(load, bytes)), GP);
      assert.equal(guest.stack(1, 4), BigInt(CODE + load.length));
    });
  }

  for (const [name, prefix] of [
    ['FS', '64'],
    ['GS', '65'],
  ] as const) {
    test(`${name} is looked at in flat code`, () => {
      const guest = new Guest('protected');
      guest.setDescriptor(FREE_SELECTOR, segment(DATA, 0x1fff, WRITABLE, WIDE));
      guest.setSegment(prefix === '64' ? L.SEG_FS : L.SEG_GS, 0, 0n, 0, 0);
      guest.core.updateMode(guest.cpu);
      assert.equal(guest.vector(code(prefix, 'a1', le(DATA, 4), 'f4')), GP);
      const load = prefix === '64' ? '8e e0' : '8e e8';
      const access = code('66 b8', le(FREE_SELECTOR, 2), load, prefix, 'a1', le(0x1ffd, 4), 'f4');
      assert.equal(new Guest('protected').vector(code(prefix, '8b 05', le(DATA, 4), 'f4')), NONE);
      guest.set64(L.RSP, 0xa000n);
      assert.equal(guest.vector(access, CODE + 0x100), GP);
    });
  }

  test('through CS reads readable code, and never writes', () => {
    assert.equal(new Guest('protected').vector(code('2e a1', le(DATA, 4), 'f4')), NONE);
    assert.equal(new Guest('protected').vector(code('2e a3', le(DATA, 4), 'f4')), GP);
    const guest = new Guest('protected');
    guest.setDescriptor(FREE_SELECTOR, segment(0, 0xfffff, EXECUTE_ONLY, PAGES));
    const jump = code('ea', le(CODE + 7, 4), le(FREE_SELECTOR, 2));
    assert.equal(guest.vector(code(jump, '2e a1', le(DATA, 4), 'f4')), GP);
  });

  test('beyond a stack segment is #SS', () => {
    for (const [bytes, vector] of [
      ['8b 45 00', SS],
      ['36 a1 00 00 00 00', NONE],
      ['50', SS],
      ['58', SS],
      ['60', SS],
      ['61', SS],
      ['c3', SS],
      ['e8 00 00 00 00', SS],
      ['c9', SS],
      ['c8 08 00 01', SS],
      ['9c', SS],
      ['3e 8b 45 00', NONE],
    ] as const) {
      // At privilege 3, so that the handler has a stack of its own.
      const guest = new Guest('protected').user();
      guest.setSegment(L.SEG_SS, 0x23, 0n, 0x7ffff, 0x40f3);
      guest.set64(L.RSP, 0x80002n);
      guest.set64(L.RBP, 0x7fffdn);
      guest.core.updateMode(guest.cpu);
      // UD2 says that the instruction went through.
      const found = guest.vector(code(bytes, '0f 0b'));
      assert.equal(found === 6 ? NONE : found, vector, bytes);
    }
  });

  test('a repeated string operation stops at the limit', () => {
    for (const [bytes, down] of [
      ['f3 a4', false],
      ['f3 aa', false],
      ['f3 ae', false],
      ['f3 a4', true],
    ] as const) {
      const guest = new Guest('protected');
      guest.setDescriptor(FREE_SELECTOR, segment(DATA, 0x2fff, WRITABLE, WIDE));
      guest.set64(L.RCX, 0x4000n);
      guest.set64(L.RSI, BigInt(DATA + 0x10000));
      guest.set64(L.RDI, down ? 0x100n : 0x2800n);
      guest.set32(L.FLAGS, down ? 0x402 : 2);
      const load = code('66 b8', le(FREE_SELECTOR, 2), '8e c0 31 c0');
      assert.equal(guest.vector(code(load, bytes, 'f4')), GP);
      const done = down ? 0x101n : 0x800n;
      assert.equal(guest.get64(L.RCX), 0x4000n - done);
    }
  });
});

describe('code in a segment with a limit', () => {
  const entered = (limit: number, bytes: number[]): Guest => {
    const guest = new Guest('protected');
    guest.setDescriptor(FREE_SELECTOR, segment(CODE, limit, READABLE, WIDE));
    guest.put(CODE, bytes);
    guest.run(code('ea', le(0, 4), le(FREE_SELECTOR, 2)), CODE + 0x1000);
    return guest;
  };

  test('is #GP where an instruction ends behind it', () => {
    const guest = entered(3, code('90 90 b8 01 00 00 00 f4'));
    assert.equal(guest.handler(), GP);
    assert.deepEqual([guest.stack(0, 4), guest.stack(1, 4)], [0n, 2n]);
  });

  test('is #GP where one begins behind it', () => {
    const guest = entered(3, code('90 90 90 90 f4'));
    assert.equal(guest.handler(), GP);
    assert.equal(guest.stack(1, 4), 4n);
  });

  test('runs up to it', () => {
    const guest = entered(3, code('90 90 90 f4'));
    assert.equal(guest.get64(L.RIP), 4n);
    assert.equal(guest.selector(L.SEG_CS), FREE_SELECTOR);
    assert.notEqual(guest.selector(L.SEG_CS), KERNEL_CS);
  });
});

describe('a data access in real mode', () => {
  test('ends at 64 KiB', () => {
    // mov ax,[0xffff]; mov ax,[0xfffe]; mov eax,[dword 0x10000]
    assert.equal(new Guest('real').vector(code('a1 ff ff'), 0x2000), GP);
    assert.equal(new Guest('real').vector(code('a1 fe ff f4'), 0x2000), NONE);
    assert.equal(new Guest('real').vector(code('67 66 a1 00 00 01 00'), 0x2000), GP);
  });

  test('through a segment that was null in protected mode has 64 KiB', () => {
    const guest = new Guest('real');
    guest.setSegment(L.SEG_DS, 0, 0n, 0, 0);
    guest.core.updateMode(guest.cpu);
    // mov ds,ax; mov ax,[0xfffe]
    assert.equal(guest.vector(code('8e d8 a1 fe ff f4'), 0x2000), NONE);
    assert.equal(guest.get32(L.SEG_LIMIT + L.SEG_DS * 4), 0xffff);
    assert.equal(guest.vector(code('a1 ff ff'), 0x2100), GP);
  });

  test('may go through a larger limit of protected mode, and write code', () => {
    const guest = new Guest('real');
    guest.setSegment(L.SEG_DS, KERNEL_DS, 0n, 0xffffffff, 0xc093);
    guest.core.updateMode(guest.cpu);
    assert.equal(guest.vector(code('67 66 a3 00 00 04 00 2e a2 00 30 f4'), 0x2000), NONE);
  });
});
