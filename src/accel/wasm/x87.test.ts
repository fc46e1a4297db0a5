/**
 * Every x87 encoding on the engine against the host's own processor: registers, memory, tags, TOP,
 * condition codes, exceptions, with all rounding modes, precision controls and masks.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ARENA, ARENA_SIZE, STATE_FX } from './testing/arena.js';
import type { Random, State } from './testing/states.js';
import { C1, type Operand, putExtended, X87Bench, type X87Options } from './testing/x87.js';

const STATES = Number(process.env.PANDO_ORACLE_STATES ?? 200);
const SEED = 0x5eed;
const EXCEPTIONS = 0x3f;
const ES_AND_B = 0x8080;
const INVALID_OR_DENORMAL = 3;

/** Escape opcodes and ModRM.reg of memory forms that are #UD. */
const UNDEFINED_MEMORY = ['d9/1', 'db/4', 'db/6', 'dd/5'];
const TRANSCENDENTAL = ['d9f0', 'd9f1', 'd9f2', 'd9f3', 'd9f9', 'd9fb', 'd9fe', 'd9ff'];
const COMPARES_MEMORY = /^d[8ace]\/[23]$/;
const COMPARES = /^(d8d.|dcd.|ded[0-79]|dae9|d9e4|dd[e].|dbe[89a-f]|dbf[0-7]|dfe[89a-f]|dff[0-7])$/;
/** FCOMI and its kin: the manual has C1 cleared, other processors leave it. */
const COMPARES_TO_FLAGS = /^d[bf](e[89a-f]|f[0-7])$/;

function operandOf(form: string): Operand {
  if (/^(d8|d9)\//.test(form)) return 'f32';
  if (/^dc\/|^dd\/0/.test(form)) return 'f64';
  if (form === 'db/5') return 'f80';
  if (form === 'df/4') return 'decimal';
  return /^(da|de)\/|^d[bf]\/[05]/.test(form) ? 'integer' : 'none';
}

/**
 * Masks the invalid-operation and denormal exceptions: the manual has comparisons leave the condition
 * codes alone when one is unmasked, which not all processors do.
 */
function maskInvalid(state: State): void {
  const control = state.words.getUint16(STATE_FX, true) | INVALID_OR_DENORMAL;
  const status = state.words.getUint16(STATE_FX + 2, true) & ~ES_AND_B;
  state.words.setUint16(STATE_FX, control, true);
  const pending = status & ~control & EXCEPTIONS;
  state.words.setUint16(STATE_FX + 2, pending ? status | ES_AND_B : status, true);
}

/** FYL2XP1 is undefined for ST(0) at or below -1. */
function aboveMinusOne(state: State): boolean {
  return state.words.getUint16(STATE_FX + 32 + 8, true) < 0xbfff;
}

const bench = new X87Bench(SEED);

/** No difference; how many states, and the largest distance in units in the last place. */
function check(bytes: readonly number[], options: X87Options): number {
  const result = bench.check(bytes, { states: STATES, ...options });
  assert.deepEqual(result.differences, []);
  assert.ok(result.states >= (options.states ?? STATES) / 3, `${result.states} states`);
  return result.ulps;
}

describe('x87 instructions as the host runs them', () => {
  for (let first = 0xd8; first <= 0xdf; first++) {
    const opcode = first.toString(16);
    it(`${opcode} with a memory operand`, () => {
      for (let reg = 0; reg < 8; reg++) {
        const form = `${opcode}/${reg}`;
        if (UNDEFINED_MEMORY.includes(form)) continue;
        check([first, reg << 3], {
          operand: operandOf(form),
          // The instruction and operand pointers of an environment are in x87-state.test.ts.
          ...(form === 'd9/6' || form === 'dd/6' ? { volatile: [12, 28] as const } : {}),
          ...(COMPARES_MEMORY.test(form) ? { prepare: maskInvalid } : {}),
        });
      }
    });

    it(`${opcode} with a register operand`, () => {
      for (let modrm = 0xc0; modrm < 0x100; modrm++) {
        const form = opcode + modrm.toString(16);
        if (TRANSCENDENTAL.includes(form)) continue;
        check([first, modrm], {
          ignore: COMPARES_TO_FLAGS.test(form) ? C1 : 0,
          ...(COMPARES.test(form) ? { prepare: maskInvalid } : {}),
        });
      }
    });
  }

  it('page faults change nothing', () => {
    const end = ARENA + ARENA_SIZE;
    for (let first = 0xd8; first <= 0xdf; first++)
      for (let reg = 0; reg < 8; reg++) {
        const form = `${first.toString(16)}/${reg}`;
        if (UNDEFINED_MEMORY.includes(form)) continue;
        check([first, reg << 3], { places: [end - 1, end + 64], states: 60 });
      }
  });

  it('FWAIT', () => {
    check([0x9b], {});
  });

  for (const form of TRANSCENDENTAL) {
    it(`${form}, within one unit in the last place`, () => {
      const ulps = check([0xd9, Number.parseInt(form.slice(2), 16)], {
        states: STATES * 5,
        ulps: 1,
        ignore: C1,
        ...(form === 'd9f9' ? { defined: aboveMinusOne } : {}),
      });
      assert.ok(ulps <= 1);
    });
  }

  it('trigonometric functions near multiples of π/2 and up to 2^63', () => {
    const prepare = (state: State, random: Random): void => {
      state.bytes[STATE_FX + 4] = 0x1f;
      state.words.setUint16(STATE_FX, 0x37f, true);
      state.words.setUint16(STATE_FX + 2, 0, true);
      const exponent = 0x3fff + random.below(64);
      // π/2 times a small number, a few units away from it.
      const multiple = 0xc90fdaa22168c235n * BigInt(1 + random.below(1000));
      const length = multiple.toString(2).length;
      const significand = (multiple >> BigInt(length - 64)) + BigInt(random.below(5) - 2);
      if (random.oneIn(2)) putExtended(state.st(0), exponent, (1n << 63n) | random.quad());
      else putExtended(state.st(0), 0x3fff + length - 64, BigInt.asUintN(64, significand));
    };
    for (const modrm of [0xf2, 0xfb, 0xfe, 0xff])
      check([0xd9, modrm], { states: STATES * 5, ulps: 1, ignore: C1, prepare });
  });
});
