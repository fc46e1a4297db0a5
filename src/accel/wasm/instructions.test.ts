/**
 * Integer and string instructions on the engine against the host's processor: all rows of
 * isa/integer.ts that run in user mode and 64-bit code.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { INTEGER_ROWS } from './isa/integer.js';
import type { Row } from './isa/row.js';
import { SLOT_TARGET, WINDOW, WINDOW_CENTER } from './testing/arena.js';
import { Bench, type CheckOptions, type Trial } from './testing/check.js';
import { absentHere } from './testing/host-features.js';

const RAX = 0;
const RCX = 1;
const RDX = 2;
const RBX = 3;
const RSP = 4;
const RBP = 5;
const RSI = 6;
const RDI = 7;

const SEED = 0x1f2e3d4c;

/** Writes a little-endian value into the window. */
function poke(trial: Trial, address: number, value: bigint, bytes: number): void {
  for (let i = 0; i < bytes; i++)
    trial.window[address - WINDOW + i] = Number((value >> BigInt(i * 8)) & 255n);
}

function target(trial: Trial): bigint {
  return BigInt(trial.variant.address + SLOT_TARGET);
}

/** A value whose low `bytes` bytes are `low`, the rest random. */
function withLow(trial: Trial, low: bigint, bytes: number): bigint {
  const bits = bytes * 8;
  const high = (trial.random.quad() >> BigInt(bits)) << BigInt(bits);
  return high | BigInt.asUintN(bits, low);
}

function nearCenter(trial: Trial): bigint {
  return BigInt(WINDOW_CENTER + trial.random.below(129) - 64);
}

/** A dividend that mostly fits: its high half is small, or the low half's sign. */
function dividend(trial: Trial): void {
  const { state, random, variant } = trial;
  if (random.oneIn(4)) return;
  if (variant.size === 1) {
    state.setRegister(RAX, withLow(trial, BigInt(random.below(0x400)), 2));
    return;
  }
  const high = random.oneIn(2) ? BigInt(random.below(16)) : -1n - BigInt(random.below(4));
  state.setRegister(RDX, withLow(trial, high, variant.size));
}

function bitOffset(trial: Trial): void {
  const { state, random, variant } = trial;
  state.setRegister(variant.reg, withLow(trial, BigInt(random.below(4096) - 2048), variant.size));
}

function equalOperand(trial: Trial): void {
  const { state, random, variant } = trial;
  if (random.oneIn(2) || variant.rm === undefined) return;
  if (variant.size > 1)
    state.setRegister(variant.rm, withLow(trial, state.register(RAX), variant.size));
}

function equalMemory(trial: Trial): void {
  const { state, random, variant, address } = trial;
  if (random.oneIn(2)) return;
  poke(trial, address, state.register(RAX), variant.size);
}

function equalPair(trial: Trial): void {
  const { state, random, variant, address } = trial;
  if (random.oneIn(2)) return;
  poke(trial, address, state.register(RAX), variant.size);
  poke(trial, address + variant.size, state.register(RDX), variant.size);
}

/** Bounds around most values. */
function wideBounds(trial: Trial): void {
  const { variant, random, address } = trial;
  if (random.oneIn(3)) return;
  const half = 1n << BigInt(variant.size * 8 - 1);
  poke(trial, address, -half + BigInt(random.below(256)), variant.size);
  poke(trial, address + variant.size, half - 1n - BigInt(random.below(256)), variant.size);
}

function stringOperands(trial: Trial): void {
  const { state, random, variant, window } = trial;
  const count = BigInt(random.pick([0, 1, 2, 3, 5, 8, 17, 40]));
  const place = (value: bigint): bigint => (variant.narrow ? withLow(trial, value, 4) : value);
  state.setRegister(RSI, place(nearCenter(trial)));
  state.setRegister(RDI, place(nearCenter(trial)));
  state.setRegister(RCX, place(count));
  // Runs of equal elements, so that comparisons go on for a while.
  if (random.oneIn(4)) return;
  window.fill(random.word() & 255);
  for (let i = random.below(4); i > 0; i--) window[random.below(window.length)] = random.word();
  if (random.oneIn(2)) {
    const byte = BigInt(window[0] ?? 0);
    state.setRegister(RAX, byte * 0x0101_0101_0101_0101n);
  }
}

/** The count of a double shift: beyond the operand's size the result is undefined. */
function doubleShiftDefined({ variant, state }: Trial): boolean {
  const count = variant.immediate[0] ?? Number(state.register(RCX) & 0xffn);
  return variant.size !== 2 || (count & 31) <= 16;
}

function optionsFor(row: Row): CheckOptions {
  if (row.unit === 'string')
    return { prepare: stringOperands, repeats: [0, 0xf3, 0xf2], implicitAddress: true };
  const operation = row.register || row.memory;
  switch (operation) {
    case 'NOP':
      // The register form of PREFETCH is #UD on one vendor's processors, a NOP on the other's.
      return { skip: ({ rm }) => row.encoding === '0F 0D /r' && rm !== undefined };
    case 'BOUND':
      return { place: wideBounds };
    case 'DIV':
    case 'IDIV':
      return { prepare: dividend };
    case 'BT_R':
    case 'BTS_R':
    case 'BTR_R':
    case 'BTC_R':
      return {
        prepare: (trial) => trial.variant.memory && bitOffset(trial),
        skip: ({ memory, reg }) => memory !== undefined && (memory.base ?? memory.index) === reg,
      };
    case 'SHLD_IMM':
    case 'SHLD_CL':
    case 'SHRD_IMM':
    case 'SHRD_CL':
      return { defined: doubleShiftDefined };
    case 'CMPXCHG':
      return { prepare: equalOperand, place: equalMemory };
    case 'CMPXCHG8B':
      return { place: equalPair, alignment: 16 };
    case 'CALL_R':
    case 'JMP_R':
      return {
        skip: ({ rm }) => rm === RSP,
        prepare: (trial) => trial.state.setRegister(trial.variant.rm ?? RBX, target(trial)),
        place: (trial) => poke(trial, trial.address, target(trial), trial.variant.size),
      };
    case 'RET':
    case 'RET_I':
      return {
        prepare: (trial) =>
          poke(trial, Number(trial.state.register(RSP)), target(trial), trial.variant.size),
      };
    case 'ENTER':
      return {
        variants: 20,
        prepare: (trial) => trial.state.setRegister(RBP, nearCenter(trial)),
        immediate: (random) => [random.below(256), 0, random.pick([0, 1, 2, 3, 7, 31, 32, 34])],
      };
    case 'LEAVE':
      return { prepare: (trial) => trial.state.setRegister(RBP, nearCenter(trial)) };
    case 'XLAT':
      return {
        implicitAddress: true,
        prepare: (trial) => {
          const base = BigInt(WINDOW_CENTER - trial.random.below(256));
          trial.state.setRegister(RBX, trial.variant.narrow ? withLow(trial, base, 4) : base);
        },
      };
    case 'LOOP':
    case 'LOOPE':
    case 'LOOPNE':
    case 'JRCXZ':
      return {
        implicitAddress: true,
        variants: 12,
        prepare: ({ state, random }) =>
          state.setRegister(RCX, random.pick([0n, 1n, 2n, 0x1_0000_0000n, 0x1_0000_0001n])),
      };
    default:
      return {};
  }
}

const bench = new Bench(SEED);

for (const bits of [64, 32] as const) {
  const skip = bench.refusal(bits);
  describe(`integer instructions against the host's processor, ${bits}-bit code`, { skip }, () => {
    for (const row of INTEGER_ROWS) {
      if (row.traits.privileged || (bits === 64 ? row.traits.not64 : row.traits.only64)) continue;
      const absent = absentHere(row.mnemonic);
      it(`${row.encoding} ${row.mnemonic} ${row.operands}`, { skip: absent }, () => {
        const result = bench.checkRow(row, { ...optionsFor(row), bits });
        assert.deepEqual(result.differences, []);
        assert.ok(result.states > 0);
      });
    }
  });
}
