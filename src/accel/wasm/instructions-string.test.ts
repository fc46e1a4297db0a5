/**
 * What the host's processor cannot be asked about string and stack operations: slices of repeated
 * operations, faults in their middle, 16-bit stacks (Intel SDM vol. 2, "REP"; vol. 1, 6.2).
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ARENA, ARENA_SIZE, CODE, STATE_FLAGS, STATE_RIP } from './testing/arena.js';
import { State } from './testing/states.js';
import { Subject } from './testing/subject.js';

const RAX = 0;
const RCX = 1;
const RDX = 2;
const RSP = 4;
const RBP = 5;
const RSI = 6;
const RDI = 7;
const PAGE_FAULT = 14;
const FLAGS = 0x246;
const END = ARENA + ARENA_SIZE;
const BUFFER = CODE + 0x2_0000;

describe('string and stack operations of the engine', () => {
  const ports: Array<readonly [port: number, size: number, value: number]> = [];
  let input = 0;
  const subject = new Subject({
    portIn: (port, size) => {
      input = (input + 1) & 0xff;
      ports.push([port, size, input]);
      return input;
    },
    portOut: (port, size, value) => void ports.push([port, size, value]),
  });
  let next = CODE;

  /** Places an instruction and gives the state that runs it. */
  function prepare(bytes: readonly number[], registers: Readonly<Record<number, number>>): State {
    const state = new State(false);
    subject.code.set(bytes, next - CODE);
    subject.land(next + bytes.length);
    state.words.setUint32(STATE_RIP, next, true);
    state.words.setUint32(STATE_FLAGS, FLAGS, true);
    for (const [register, value] of Object.entries(registers))
      state.setRegister(Number(register), BigInt(value));
    next += 64;
    return state;
  }

  it('a repeated copy gives control back after 64 KiB', () => {
    const length = 0x1_8000;
    const from = subject.memory(BUFFER, length);
    for (let i = 0; i < length; i++) from[i] = i * 7 + (i >> 8);
    const to = BUFFER + 0x4_0000;
    const state = prepare([0xf3, 0xa4], { [RSI]: BUFFER, [RDI]: to, [RCX]: length });
    const half = new State(false);
    assert.equal(subject.execute(state.bytes, half.bytes, 1), -1);
    assert.equal(half.register(RCX), BigInt(length - 0x1_0000));
    assert.equal(half.register(RSI), BigInt(BUFFER + 0x1_0000));
    assert.equal(half.register(RDI), BigInt(to + 0x1_0000));
    assert.equal(half.words.getUint32(STATE_RIP, true), state.words.getUint32(STATE_RIP, true));
    const end = new State(false);
    assert.equal(subject.execute(half.bytes, end.bytes), -1);
    assert.equal(end.register(RCX), 0n);
    assert.ok(Buffer.from(from).equals(Buffer.from(subject.memory(to, length))));
  });

  it('a copy onto what it has yet to read repeats its beginning', () => {
    const bytes = subject.memory(BUFFER, 0x3000);
    bytes.fill(0);
    bytes.set([1, 2, 3]);
    const state = prepare([0xf3, 0xa4], { [RSI]: BUFFER, [RDI]: BUFFER + 3, [RCX]: 0x2800 });
    const after = new State(false);
    assert.equal(subject.execute(state.bytes, after.bytes), -1);
    for (let i = 0; i < 0x2803; i++) assert.equal(bytes[i], (i % 3) + 1, `byte ${i}`);
    assert.equal(bytes[0x2803], 0);
  });

  it('a fault leaves the registers at the element that met it', () => {
    const state = prepare([0xf3, 0x48, 0xab], { [RDI]: END - 0x1804, [RCX]: 0x400, [RAX]: 0x1122 });
    const after = new State(false);
    assert.equal(subject.execute(state.bytes, after.bytes), PAGE_FAULT);
    assert.equal(after.register(RDI), BigInt(END - 4));
    assert.equal(after.register(RCX), BigInt(0x400 - 0x300));
    assert.equal(after.words.getUint32(STATE_RIP, true), state.words.getUint32(STATE_RIP, true));
    const written = subject.memory(END - 0x1804, 0x1804);
    assert.deepEqual(
      [...written.subarray(0x17f8, 0x1804)],
      [0x22, 0x11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    );
  });

  it('a fault in a repeated comparison keeps the flags', () => {
    subject.memory(END - 0x100, 0x100).fill(5);
    const state = prepare([0xf3, 0xae], { [RDI]: END - 0x80, [RCX]: 0x100, [RAX]: 5 });
    state.words.setUint32(STATE_FLAGS, 0x893, true);
    const after = new State(false);
    assert.equal(subject.execute(state.bytes, after.bytes), PAGE_FAULT);
    assert.equal(after.register(RDI), BigInt(END));
    assert.equal(after.register(RCX), 0x80n);
    assert.equal(after.words.getUint32(STATE_FLAGS, true) & 0x8d5, 0x891);
  });

  it('a fault of PUSH, POP r/m, ENTER and LEAVE changes nothing', () => {
    const beyond = { [RSP]: END + 0x100, [RBP]: END + 0x200, [RAX]: BUFFER };
    for (const bytes of [[0x50], [0x8f, 0x00], [0xc8, 0x10, 0, 2], [0xc9], [0xc3]]) {
      const state = prepare(bytes, beyond);
      const after = new State(false);
      assert.equal(subject.execute(state.bytes, after.bytes), PAGE_FAULT);
      for (const register of [RSP, RBP, RAX])
        assert.equal(after.register(register), state.register(register));
    }
  });

  it('POP r/m that cannot write its operand leaves the stack pointer', () => {
    const state = prepare([0x8f, 0x00], { [RSP]: BUFFER, [RAX]: END });
    const after = new State(false);
    assert.equal(subject.execute(state.bytes, after.bytes), PAGE_FAULT);
    assert.equal(after.register(RSP), BigInt(BUFFER));
  });

  it('repeated INS and OUTS pass each element through the port', () => {
    ports.length = 0;
    subject.memory(BUFFER, 6).set([1, 2, 3, 4, 5, 6]);
    const out = prepare([0xf3, 0x66, 0x6f], { [RSI]: BUFFER, [RCX]: 3, [RDX]: 0x5_03f8 });
    const after = new State(false);
    assert.equal(subject.execute(out.bytes, after.bytes), -1);
    assert.deepEqual(ports, [
      [0x3f8, 2, 0x0201],
      [0x3f8, 2, 0x0403],
      [0x3f8, 2, 0x0605],
    ]);
    assert.equal(after.register(RSI), BigInt(BUFFER + 6));
    assert.equal(after.register(RCX), 0n);
    input = 0x40;
    const into = prepare([0xf3, 0x6c], { [RDI]: BUFFER, [RCX]: 4, [RDX]: 0x60 });
    assert.equal(subject.execute(into.bytes, after.bytes), -1);
    assert.deepEqual([...subject.memory(BUFFER, 6)], [0x41, 0x42, 0x43, 0x44, 5, 6]);
    assert.equal(after.register(RDI), BigInt(BUFFER + 4));
  });

  it('INS reads the port only when its destination can be written', () => {
    ports.length = 0;
    const state = prepare([0xf3, 0x6d], { [RDI]: END - 8, [RCX]: 4, [RDX]: 0x60 });
    const after = new State(false);
    assert.equal(subject.execute(state.bytes, after.bytes), PAGE_FAULT);
    assert.equal(ports.length, 2);
    assert.equal(after.register(RDI), BigInt(END));
    assert.equal(after.register(RCX), 2n);
  });

  it('a 16-bit stack pointer wraps and leaves the upper half', () => {
    subject.bits = 32;
    subject.stackBase = BUFFER;
    const push = prepare([0x50], { [RSP]: 0x7123_0002, [RAX]: 0x1122_3344 });
    const after = new State(false);
    assert.equal(subject.execute(push.bytes, after.bytes), -1);
    assert.equal(after.register(RSP), 0x7123_fffen);
    assert.deepEqual([...subject.memory(BUFFER + 0xfffe, 4)], [0x44, 0x33, 0x22, 0x11]);
    const pop = prepare([0x59], { [RSP]: 0x7123_fffe });
    assert.equal(subject.execute(pop.bytes, after.bytes), -1);
    assert.equal(after.register(RSP), 0x7123_0002n);
    assert.equal(after.register(RCX), 0x1122_3344n);
    subject.bits = 64;
    subject.stackBase = undefined;
  });
});
