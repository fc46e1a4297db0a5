/** Debug registers, breakpoints and single step (Intel SDM vol. 3, chapter 17). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as L from './layout.js';
import { CODE, code, DATA, Guest, HANDLERS, le, STACK } from './testing/guest.js';

const TF = 0x100;
const BS = 0x4000n;
const DR6_QUIET = 0xffff0ff0n;

/** mov eax, value; mov DRn, rax. */
const setDr = (number: number, value: number): number[] =>
  code('b8', le(value, 4), '0f 23', [0xc0 | (number << 3)]);

/** A handler of #DB that records each RIP at DATA, counts in RBX, and returns. */
function recording(guest: Guest): Guest {
  // mov rax,[rsp]; mov [rbx*8+DATA],rax; inc rbx; iretq
  guest.put(HANDLERS + 16, code('e9', le(0x5000 - 16 - 5, 4)));
  guest.put(HANDLERS + 0x5000, code('48 8b 04 24 48 89 04 dd', le(DATA, 4), '48 ff c3 48 cf'));
  return guest;
}

function recorded(guest: Guest): number[] {
  return Array.from(
    { length: Number(guest.get64(L.RBX)) },
    (_, index) => Number(guest.peek(DATA + index * 8)) - CODE,
  );
}

test('TF traps after each instruction that began with it set', () => {
  const guest = recording(new Guest('long'));
  // pushfq; or dword [rsp], TF; popfq; nop; inc ecx; add edx, 5; pushfq; and dword [rsp], ~TF; popfq; nop; hlt
  const bytes = code(
    '9c 81 0c 24 00 01 00 00 9d 90 ff c1 83 c2 05 9c 81 24 24 ff fe ff ff 9d 90 f4',
  );
  assert.equal(guest.run(bytes), L.EXIT_HALT);
  assert.deepEqual(recorded(guest), [10, 12, 15, 16, 23, 24]);
  assert.equal(guest.get64(L.RCX), 1n);
  assert.equal(guest.get64(L.RDX), 5n);
  assert.equal(guest.get64(L.DR6), DR6_QUIET | BS);
  assert.equal(guest.flags() & TF, 0);
});

test('the frame of a single step shows TF, and the handler runs without it', () => {
  const guest = new Guest('long');
  guest.set32(L.FLAGS, TF);
  guest.core.updateMode(guest.cpu);
  assert.equal(guest.vector(code('90 90')), 1);
  assert.deepEqual([guest.stack(0), guest.stack(2)], [BigInt(CODE + 1), BigInt(TF | 2)]);
  assert.equal(guest.flags() & TF, 0);
});

test('an exception of a stepped instruction goes first, and its frame keeps TF', () => {
  const guest = new Guest('long');
  guest.set32(L.FLAGS, TF);
  guest.core.updateMode(guest.cpu);
  assert.equal(guest.vector(code('0f 0b')), 6);
  assert.equal(guest.stack(2), BigInt(TF | 0x10002));
});

test('an instruction breakpoint is a fault before the instruction; RF in IRET lets it run', () => {
  const guest = new Guest('long');
  // The handler sets RF in the saved flags and returns.
  guest.put(HANDLERS + 16, code('ff c3 81 4c 24 10 00 00 01 00 48 cf'));
  const start = code(setDr(0, CODE + 18), setDr(7, 0x1), '90 90');
  assert.equal(start.length, 18);
  assert.equal(guest.run(code(start, 'ff c1 ff c1 f4')), L.EXIT_HALT);
  assert.equal(guest.get64(L.RBX), 1n);
  assert.equal(guest.get64(L.RCX), 2n);
  assert.equal(guest.get64(L.DR6), DR6_QUIET | 1n);
});

test('data breakpoints trap after writes, or reads and writes, that touch their bytes', () => {
  // DR7: R/W 01 (write) or 11 (both), LEN 11 (four bytes), L1.
  for (const [control, hits] of [
    [0xd << 20, [22 + 7]],
    [0xf << 20, [22 + 7, 22 + 14]],
  ] as const) {
    const guest = recording(new Guest('long'));
    const start = code(setDr(1, 0x50000), setDr(7, control | 4), '31 c0 90 90 90 90');
    assert.equal(start.length, 22);
    // mov [0x50003], al; mov al, [0x50000]; mov [0x50004], al; hlt
    const accesses = code('88 04 25 03 00 05 00 8a 04 25 00 00 05 00 88 04 25 04 00 05 00 f4');
    assert.equal(guest.run(code(start, accesses)), L.EXIT_HALT);
    assert.deepEqual(recorded(guest), hits);
    assert.equal(guest.get64(L.DR6), DR6_QUIET | 2n);
  }
});

test('CR4.DE makes port breakpoints', () => {
  const guest = recording(new Guest('long'));
  guest.set64(L.CR4, 0x28n);
  const start = code(setDr(0, 0x80), setDr(7, (2 << 16) | 1));
  assert.equal(guest.run(code(start, 'e6 80 e6 81 f4')), L.EXIT_HALT);
  assert.deepEqual(recorded(guest), [18]);
});

test('DR4 and DR5 are DR6 and DR7, or #UD with CR4.DE', () => {
  const guest = new Guest('long');
  assert.equal(guest.run(code('0f 21 e0 0f 21 e9 f4')), L.EXIT_HALT);
  assert.deepEqual([guest.get64(L.RAX), guest.get64(L.RCX)], [DR6_QUIET, 0x400n]);
  const extended = new Guest('long');
  extended.set64(L.CR4, 0x28n);
  assert.equal(extended.vector(code('0f 21 e0')), 6);
});

test('debug registers need privilege 0, and their upper halves are reserved in DR6 and DR7', () => {
  assert.equal(new Guest('long').user().vector(code('0f 21 c0')), 13);
  const high = code('48 b8', le(1n << 32n, 8));
  assert.equal(new Guest('long').vector(code(high, '0f 23 f8')), 13);
  assert.equal(new Guest('long').vector(code(high, '0f 23 f0')), 13);
  const guest = new Guest('long');
  assert.equal(guest.run(code(high, '0f 23 d0 0f 21 d1 f4')), L.EXIT_HALT);
  assert.equal(guest.get64(L.RCX), 1n << 32n);
});

test('DR7.GD makes an access to a debug register a #DB with BD, and is cleared for the handler', () => {
  const guest = new Guest('long');
  assert.equal(guest.vector(code(setDr(7, 0x2000), '90 0f 21 c0')), 1);
  assert.equal(guest.stack(0), BigInt(CODE + 9));
  assert.equal(guest.get64(L.DR6), DR6_QUIET | 0x2000n);
  assert.equal(guest.get64(L.DR7), 0x400n);
});

test('MOV SS holds a single-step trap until after the next instruction', () => {
  const guest = recording(new Guest('long'));
  guest.set32(L.FLAGS, TF);
  guest.core.updateMode(guest.cpu);
  // mov ss, edx; nop; nop; ud2
  guest.set64(L.RDX, 0x10n);
  assert.equal(guest.vector(code('8e d2 90 90 0f 0b')), 6);
  assert.deepEqual(recorded(guest), [3, 4]);
  assert.equal(guest.get64(L.RSP), BigInt(STACK - 40));
});

test('MOV SS without stepping holds back no later trap', () => {
  const guest = recording(new Guest('long'));
  guest.set64(L.RDX, 0x10n);
  // mov ss, edx; nop; pushfq; or dword [rsp], TF; popfq; nop; nop; ud2
  assert.equal(guest.vector(code('8e d2 90 9c 81 0c 24 00 01 00 00 9d 90 90 0f 0b')), 6);
  assert.deepEqual(recorded(guest), [13, 14]);
});
