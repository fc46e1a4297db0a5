/**
 * Binary32 and binary64 arithmetic against ECMAScript's own: once with the precision exception already
 * recorded, when the engine takes WebAssembly's instructions, and once without, when it does not.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  CODE,
  FX_MXCSR,
  FX_XMM,
  initialFx,
  SLOT_SIZE,
  STATE_FX,
  STATE_RIP,
  STATE_SIZE,
} from './testing/arena.js';
import { Random } from './testing/states.js';
import { Subject } from './testing/subject.js';

const MASKED = 0x1f80;
const PRECISION = 0x20;
const STATES = 2000;

const OPERATIONS: readonly [name: string, opcode: number, of: (a: number, b: number) => number][] =
  [
    ['ADD', 0x58, (a, b) => a + b],
    ['MUL', 0x59, (a, b) => a * b],
    ['SUB', 0x5c, (a, b) => a - b],
    ['DIV', 0x5e, (a, b) => a / b],
    ['SQRT', 0x51, (_, b) => Math.sqrt(b)],
  ];

const subject = new Subject();
let slot = 0;

/** Code of `opcode` XMM0, XMM1 with a prefix; returns its address. */
function place(prefix: number, opcode: number): number {
  const address = CODE + slot++ * SLOT_SIZE;
  subject.code.set([prefix, 0x0f, opcode, 0xc1], address - CODE);
  subject.land(address + 4);
  return address;
}

function run(address: number, mxcsr: number, a: Uint8Array, b: Uint8Array): DataView {
  const before = new Uint8Array(STATE_SIZE);
  const after = new Uint8Array(STATE_SIZE);
  const view = new DataView(before.buffer);
  before.set(initialFx(), STATE_FX);
  view.setBigUint64(STATE_RIP, BigInt(address), true);
  view.setUint32(STATE_FX + FX_MXCSR, mxcsr, true);
  before.set(a, STATE_FX + FX_XMM);
  before.set(b, STATE_FX + FX_XMM + 16);
  assert.equal(subject.execute(before, after), -1);
  return new DataView(after.buffer, STATE_FX);
}

/** Numbers that meet: near each other, with short and long fractions, some of them special. */
function randomDouble(random: Random, exponents: number): number {
  if (random.oneIn(12))
    return random.pick([0, -0, 1, -1, Infinity, -Infinity, Number.MIN_VALUE, Number.MAX_VALUE]);
  const fraction = 1 + (random.word() + (random.oneIn(2) ? random.word() / 2 ** 32 : 0)) / 2 ** 32;
  const sign = random.oneIn(2) ? 1 : -1;
  return sign * fraction * 2 ** (random.below(exponents) - exponents / 2);
}

describe('arithmetic of the engine', () => {
  for (const [name, opcode, of] of OPERATIONS) {
    for (const recorded of [0, PRECISION]) {
      const path = recorded ? 'after' : 'before';
      it(`${name}SD ${path} the precision exception`, () => {
        const random = new Random(opcode);
        const address = place(0xf2, opcode);
        for (let i = 0; i < STATES; i++) {
          const exponents = random.pick([8, 120, 2000]);
          const a = randomDouble(random, exponents);
          const b = randomDouble(random, exponents);
          const bytes = (value: number): Uint8Array =>
            new Uint8Array(Float64Array.of(value).buffer);
          const fx = run(address, MASKED | recorded, bytes(a), bytes(b));
          const wanted = of(a, b);
          const got = fx.getFloat64(FX_XMM, true);
          assert.ok(Object.is(got, wanted), `${a} ${b}: ${got}, expected ${wanted}`);
        }
      });

      it(`${name}SS ${path} the precision exception`, () => {
        const random = new Random(opcode);
        const address = place(0xf3, opcode);
        for (let i = 0; i < STATES; i++) {
          const exponents = random.pick([8, 60, 270]);
          const a = Math.fround(randomDouble(random, exponents));
          const b = Math.fround(randomDouble(random, exponents));
          const bytes = (value: number): Uint8Array =>
            new Uint8Array(Float32Array.of(value).buffer);
          const fx = run(address, MASKED | recorded, bytes(a), bytes(b));
          // One rounding of a 53-bit result to 24 bits is the same as rounding the exact one.
          const wanted = Math.fround(of(a, b));
          const got = fx.getFloat32(FX_XMM, true);
          assert.ok(Object.is(got, wanted), `${a} ${b}: ${got}, expected ${wanted}`);
        }
      });
    }
  }

  it('records precision, overflow and underflow', () => {
    const multiply = place(0xf2, 0x59);
    const flags = (a: number, b: number): number => {
      const bytes = (value: number): Uint8Array => new Uint8Array(Float64Array.of(value).buffer);
      return run(multiply, MASKED, bytes(a), bytes(b)).getUint32(FX_MXCSR, true) & 0x3f;
    };
    assert.equal(flags(3, 5), 0);
    assert.equal(flags(0.1, 0.1), 0x20);
    assert.equal(flags(1e300, 1e300), 0x28);
    assert.equal(flags(1e-200, 1e-200), 0x30);
    assert.equal(flags(Infinity, 0), 0x01);
    assert.equal(flags(Number.MIN_VALUE, 1), 0x02);
    // Tininess is found after rounding: this product rounds up to the smallest normal number.
    assert.equal(flags(2 ** -1022, 1 - 2 ** -53), 0x20 | 0x10);
    assert.equal(flags(2 ** -511 * (1 + 2 ** -52), 2 ** -511 * (1 - 2 ** -52)), 0x20);
  });
});
