/** Hardware task switches (Intel SDM vol. 3, chapter 7). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as L from './layout.js';
import {
  CODE,
  code,
  DATA,
  FREE_SELECTOR,
  GDT,
  Guest,
  IDT,
  KERNEL_CS,
  KERNEL_DS,
  le,
  segment,
  TSS,
  TSS_SELECTOR,
} from './testing/guest.js';

const TASK = DATA;
const TASK_CODE = 0x30000;
const TASK_STACK = 0xc000;
const NT = 0x4000;

/** A guest with a second task, whose code is `bytes`. */
function withTask(...bytes: readonly string[]): Guest {
  const guest = new Guest('protected');
  guest.setDescriptor(FREE_SELECTOR, segment(TASK, 0x67, 0x89, 0));
  guest.put(TASK + 0x20, code(le(TASK_CODE, 4), le(2, 4)));
  guest.put(TASK + 0x28, code(le(0x1111, 4), le(0x2222, 4)));
  guest.put(TASK + 0x38, le(TASK_STACK, 4));
  for (const [offset, selector] of [
    [0x48, KERNEL_DS],
    [0x4c, KERNEL_CS],
    [0x50, KERNEL_DS],
    [0x54, KERNEL_DS],
  ] as const) {
    guest.put(TASK + offset, le(selector, 4));
  }
  guest.put(TASK_CODE, code(...bytes));
  return guest;
}

const typeOf = (guest: Guest, selector: number): number =>
  Number(guest.peek(GDT + selector + 5, 1));

test('JMP to a TSS saves one task and loads the other', () => {
  const guest = withTask('f4');
  guest.set64(L.RBX, 0x5678n);
  assert.equal(guest.run(code('ea', le(0, 4), le(FREE_SELECTOR, 2))), L.EXIT_HALT);
  assert.equal(guest.get64(L.RIP), BigInt(TASK_CODE + 1));
  assert.deepEqual([guest.get64(L.RAX), guest.get64(L.RCX)], [0x1111n, 0x2222n]);
  assert.equal(guest.get64(L.RSP), BigInt(TASK_STACK));
  assert.equal(guest.selector(L.SEG_TR), FREE_SELECTOR);
  assert.equal(guest.selector(L.SEG_FS), 0);
  assert.equal(guest.peek(TSS + 0x20, 4), BigInt(CODE + 7));
  assert.equal(guest.peek(TSS + 0x34, 4), 0x5678n);
  assert.equal(guest.peek(TSS + 0x4c, 2), BigInt(KERNEL_CS));
  assert.deepEqual([typeOf(guest, TSS_SELECTOR), typeOf(guest, FREE_SELECTOR)], [0x89, 0x8b]);
  assert.equal(guest.get64(L.CR0) & 8n, 8n);
  assert.equal(guest.flags() & NT, 0);
});

test('CALL nests the task and IRET comes back', () => {
  const guest = withTask('9c cf');
  assert.equal(guest.run(code('9a', le(0, 4), le(FREE_SELECTOR, 2), 'f4')), L.EXIT_HALT);
  assert.equal(guest.get64(L.RIP), BigInt(CODE + 8));
  assert.equal(guest.peek(TASK, 2), BigInt(TSS_SELECTOR));
  assert.equal(guest.peek(TASK_STACK - 4, 4), BigInt(NT | 2));
  assert.deepEqual([typeOf(guest, TSS_SELECTOR), typeOf(guest, FREE_SELECTOR)], [0x8b, 0x89]);
  assert.equal(guest.flags() & NT, 0);
  // The next call goes on behind the IRET.
  assert.equal(guest.peek(TASK + 0x20, 4), BigInt(TASK_CODE + 2));
});

test('a task gate delivers an exception with its error code on the stack of the task', () => {
  const guest = withTask('f4');
  guest.put(IDT + 13 * 8, code('00 00', le(FREE_SELECTOR, 2), '00 85 00 00'));
  assert.equal(guest.run(code('66 b8 f8 0f 8e d8')), L.EXIT_HALT);
  assert.equal(guest.get64(L.RIP), BigInt(TASK_CODE + 1));
  assert.equal(guest.get64(L.RSP), BigInt(TASK_STACK - 4));
  assert.equal(guest.stack(0, 4), 0xff8n);
  assert.equal(guest.peek(TSS + 0x20, 4), BigInt(CODE + 4));
});

test('a busy TSS is #GP, a short one #TS, both with its selector', () => {
  for (const [descriptor, vector] of [
    [segment(TASK, 0x67, 0x8b, 0), 13],
    [segment(TASK, 0x66, 0x89, 0), 10],
  ] as const) {
    const guest = withTask('f4');
    guest.setDescriptor(FREE_SELECTOR, descriptor);
    assert.equal(guest.vector(code('ea', le(0, 4), le(FREE_SELECTOR, 2))), vector);
    assert.equal(guest.stack(0, 4), BigInt(FREE_SELECTOR));
    assert.equal(guest.stack(1, 4), BigInt(CODE));
  }
});

test('a bad segment of the new task is #TS in that task', () => {
  const guest = withTask('f4');
  guest.put(TASK + 0x54, le(0xf8 + 0x700, 4));
  assert.equal(guest.vector(code('ea', le(0, 4), le(FREE_SELECTOR, 2))), 10);
  assert.deepEqual([guest.stack(0, 4), guest.stack(1, 4)], [0x7f8n, BigInt(TASK_CODE)]);
  assert.equal(guest.selector(L.SEG_TR), FREE_SELECTOR);
});
