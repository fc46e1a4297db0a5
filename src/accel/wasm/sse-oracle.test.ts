/**
 * Every MMX and SSE encoding of the table against the host's own processor: registers, memory,
 * flags, MXCSR, the x87 tags and TOP, and the exceptions, with operands of all floating-point classes,
 * all rounding modes, DAZ, FTZ and masks.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Row } from './isa/row.js';
import { SSE_ROWS } from './isa/sse.js';
import { SSE4_ROWS } from './isa/sse4.js';
import { parseEncoding } from './isa/table.js';
import {
  CODE,
  FX_MXCSR,
  FX_ST,
  FX_XMM,
  SLOT_SIZE,
  STATE_FLAGS,
  STATE_FX,
  STATE_RIP,
  STATE_SIZE,
  WINDOW,
  WINDOW_CENTER,
  WINDOW_SIZE,
} from './testing/arena.js';
import { escapeBytes } from './testing/encodings.js';
import { absentHere } from './testing/host-features.js';
import { Oracle } from './testing/oracle.js';
import { Random } from './testing/states.js';
import { Subject } from './testing/subject.js';

/** States for each row and form; the environment may ask for more. */
const STATES = Number(process.env.PANDO_ORACLE_STATES ?? 200);
/** Different encodings of each row and form: the code's slots are used once. */
const ENCODINGS = 20;
const ARITHMETIC_FLAGS = 0x8d5n;
const RAX = 0;
const RDX = 2;
const RDI = 7;
const FX_MASK = 28;

const chance = (random: Random, percent: number): boolean => random.below(100) < percent;

/** A bit pattern of the format with `exponentBits` and `fractionBits`, of any class. */
function floatBits(random: Random, exponentBits: number, fractionBits: number): bigint {
  const most = (1 << exponentBits) - 1;
  const bias = most >> 1;
  const fractionMask = (1n << BigInt(fractionBits)) - 1n;
  let fraction = random.quad() & fractionMask;
  let exponent: number;
  // Fractions of few bits make exact results, ties and equal operands.
  if (chance(random, 40)) fraction &= fractionMask << BigInt(fractionBits - 1 - random.below(4));
  else if (chance(random, 10)) fraction = chance(random, 50) ? fractionMask : 1n;
  fraction &= fractionMask;
  switch (random.below(12)) {
    case 0:
      exponent = 0;
      fraction = 0n;
      break;
    case 1:
      exponent = 0;
      break;
    case 2:
      exponent = most;
      if (chance(random, 40)) fraction = 0n;
      break;
    case 3:
      exponent = 1 + random.below(3);
      break;
    case 4:
      exponent = most - 1 - random.below(3);
      break;
    case 5:
      exponent = bias + 28 + random.below(6);
      break;
    case 6:
      exponent = bias + Math.min(60 + random.below(6), bias);
      break;
    case 7:
      exponent = random.below(most);
      break;
    default:
      exponent = bias - 3 + random.below(8);
  }
  const sign = BigInt(random.below(2));
  return (((sign << BigInt(exponentBits)) | BigInt(exponent)) << BigInt(fractionBits)) | fraction;
}

function lane(random: Random, flavour: string): bigint {
  if (flavour === 's') return floatBits(random, 8, 23) | (floatBits(random, 8, 23) << 32n);
  if (flavour === 'd') return floatBits(random, 11, 52);
  let value = 0n;
  for (let byte = 0n; byte < 8n; byte++) {
    const edges = [0, 1, 0x7f, 0x80, 0xff];
    const edge = edges[random.below(5)] ?? 0;
    value |= BigInt(chance(random, 40) ? edge : random.below(256)) << (byte * 8n);
  }
  // Small numbers for shift counts.
  return chance(random, 20) ? value & 0x7fn : value;
}

function flavourOf(row: Row, random: Random): string {
  if (chance(random, 10)) return chance(random, 50) ? 's' : 'd';
  if (/pd|sd$|sd2/.test(row.mnemonic)) return row.mnemonic.startsWith('p') ? 'i' : 'd';
  if (/^(p|movd|movq|mask)/.test(row.mnemonic)) return 'i';
  return /dq2|pi2|si2|^(aes|mps)/.test(row.mnemonic) ? 'i' : 's';
}

/** One encoding of a row, in a slot of its own. */
interface Coded {
  readonly row: Row;
  readonly memory: boolean;
  readonly bytes: readonly number[];
  /** Linear address of the instruction. */
  readonly at: number;
  /** Base register and displacement of a memory operand, or its absolute address. */
  readonly base?: number;
  readonly displacement?: number;
  readonly absolute?: number;
}

interface Case {
  readonly coded: Coded;
  readonly before: Uint8Array;
  readonly window: Uint8Array;
  /** Where the memory operand begins in the window. */
  readonly operand: number;
}

/** An address in the window: aligned mostly, around the page boundary in its middle. */
function operandAddress(row: Row, random: Random): number {
  const state = row.mnemonic.startsWith('fx');
  const address = state
    ? WINDOW_CENTER - 512 + random.below(33) * 16
    : WINDOW_CENTER + (random.below(17) - 8) * 16;
  return chance(random, state ? 5 : 25) ? address + random.below(16) : address;
}

function encode(row: Row, memory: boolean, random: Random, at: number): Coded {
  const encoding = parseEncoding(row.encoding);
  const bytes: number[] = [];
  if (encoding.prefix !== undefined && encoding.prefix > 0)
    bytes.push([0, 0x66, 0xf3, 0xf2][encoding.prefix] ?? 0);
  const absolute = memory && chance(random, 20) ? operandAddress(row, random) : undefined;
  let rex = chance(random, 70) ? 0x40 | random.below(16) : 0;
  // With REX.X the absolute form's "no index" would be R12.
  if (absolute !== undefined) rex &= ~2;
  if (rex) bytes.push(rex);
  bytes.push(...escapeBytes(encoding), encoding.opcode);
  const reg = encoding.digit ?? random.below(8);
  let base: number | undefined;
  let displacement: number | undefined;
  if (encoding.modrm && !memory) bytes.push(0xc0 | (reg << 3) | random.below(8));
  else if (absolute !== undefined) bytes.push((reg << 3) | 4, 0x25, ...little(absolute, 4));
  else if (memory) {
    const low = random.pick([0, 1, 2, 3, 5, 6, 7]);
    base = low | (rex & 1 ? 8 : 0);
    displacement = random.below(0x1000) - 0x800;
    bytes.push(0x80 | (reg << 3) | low, ...little(displacement, 4));
  }
  if (row.operands.endsWith('Ib'))
    bytes.push(chance(random, 50) ? random.below(256) : random.below(20));
  return {
    row,
    memory,
    bytes,
    at,
    ...(base === undefined || displacement === undefined ? {} : { base, displacement }),
    ...(absolute === undefined ? {} : { absolute }),
  };
}

/** What the window holds around the operand. */
const background = Uint8Array.from({ length: WINDOW_SIZE }, (_, index) => (index * 37) & 255);

function makeCase(coded: Coded, random: Random): Case {
  const { row, base, displacement, absolute, at } = coded;
  const before = new Uint8Array(STATE_SIZE);
  const view = new DataView(before.buffer);
  const flavour = flavourOf(row, random);
  for (let register = 0; register < 16; register++)
    view.setBigUint64(register * 8, integer(random), true);
  view.setBigUint64(STATE_RIP, BigInt(at), true);
  view.setBigUint64(STATE_FLAGS, 0x202n | (random.quad() & ARITHMETIC_FLAGS), true);
  view.setUint16(STATE_FX, 0x37f, true);
  view.setUint16(STATE_FX + 2, random.word() & 0x7f00, true);
  before[STATE_FX + 4] = random.below(256);
  view.setUint32(STATE_FX + FX_MXCSR, mxcsr(random), true);
  for (let register = 0; register < 8; register++) {
    view.setBigUint64(STATE_FX + FX_ST + register * 16, lane(random, flavour), true);
    const exponent = chance(random, 50) ? 0xffff : random.below(0x10000);
    view.setUint16(STATE_FX + FX_ST + register * 16 + 8, exponent, true);
  }
  const alike = chance(random, 15) ? lane(random, flavour) : undefined;
  const fill = (target: DataView, from: number, length: number): void => {
    for (let offset = 0; offset < length; offset += 8) {
      const value =
        alike !== undefined && chance(random, 80)
          ? alike ^ BigInt(random.below(3))
          : lane(random, flavour);
      target.setBigUint64(from + offset, value, true);
    }
  };
  fill(view, STATE_FX + FX_XMM, 256);
  const address = absolute ?? operandAddress(row, random);
  const window = background.slice();
  fill(new DataView(window.buffer), Math.min(address - WINDOW, WINDOW_SIZE - 32) & ~7, 32);
  if (row.mnemonic.startsWith('pcmpestr') && chance(random, 80)) {
    for (const register of [RAX, RDX])
      view.setBigInt64(register * 8, BigInt(random.below(40) - 20), true);
  }
  if (base !== undefined && displacement !== undefined)
    view.setBigUint64(base * 8, BigInt(address - displacement), true);
  if (row.mnemonic === 'fxrstor') fxImage(window, address - WINDOW, random);
  if (row.mnemonic === 'ldmxcsr')
    new DataView(window.buffer).setUint32(address - WINDOW, loadedMxcsr(random), true);
  if (row.mnemonic.startsWith('maskmov')) view.setBigUint64(RDI * 8, BigInt(address), true);
  return { coded, before, window, operand: address - WINDOW };
}

const little = (value: number, length: number): number[] =>
  Array.from({ length }, (_, index) => (value >> (index * 8)) & 255);

function integer(random: Random): bigint {
  const shift = BigInt(random.below(64));
  const value = chance(random, 50) ? random.quad() >> shift : BigInt.asUintN(64, -1n << shift);
  return BigInt.asUintN(64, chance(random, 50) ? value : -value);
}

function mxcsr(random: Random): number {
  if (chance(random, 25)) return 0x1fa0;
  const masks = chance(random, 75) ? 0x3f : random.below(64);
  const modes = (chance(random, 25) ? 0x8000 : 0) | (chance(random, 25) ? 0x40 : 0);
  return modes | (random.below(4) << 13) | (masks << 7) | random.below(64);
}

/** An MXCSR in memory: one in ten has a reserved bit set (not bit 17, which AMD's processors have). */
function loadedMxcsr(random: Random): number {
  const reserved = chance(random, 10) ? 1 << random.pick([16, 18, 19, 24, 30, 31]) : 0;
  return (mxcsr(random) | reserved) >>> 0;
}

/** A plausible FXSAVE image: no x87 exception pending, reserved fields zero. */
function fxImage(window: Uint8Array, at: number, random: Random): void {
  const view = new DataView(window.buffer);
  if (at + 512 > WINDOW_SIZE) return;
  window.fill(0, at, at + 32);
  view.setUint16(at, 0x37f, true);
  view.setUint16(at + 2, random.word() & 0x7f00, true);
  window[at + 4] = random.below(256);
  view.setUint32(at + FX_MXCSR, loadedMxcsr(random), true);
}

const shown = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

/**
 * RCPPS and its kin approximate: relative error at most 1.5 × 2^-12 on either side, and operands near
 * 2^126 give a zero or the smallest normal number (SDM vol. 2, RCPPS).
 */
function approximatelyEqual(left: DataView, right: DataView): boolean {
  const tiny = 2 ** -126 * (1 + 3 * 2 ** -12);
  for (let at = STATE_FX + FX_XMM; at < STATE_FX + FX_XMM + 256; at += 4) {
    if (left.getUint32(at, true) === right.getUint32(at, true)) continue;
    const a = left.getFloat32(at, true);
    const b = right.getFloat32(at, true);
    const flushed = a * b === 0 && Math.abs(a + b) <= tiny;
    if (!flushed && !(Math.abs(a - b) <= Math.abs(b) * 3 * 2 ** -12)) return false;
  }
  return true;
}

/** What differs between two states, as text; empty when nothing does. */
function differences(memory: boolean, row: Row, host: Uint8Array, engine: Uint8Array): string[] {
  // Intel's manual has CVTPI2PS go over to MMX with a memory operand too; other makers' processors stay.
  const x87 = row.mnemonic !== 'cvtpi2ps' || !memory;
  const found: string[] = [];
  const field = (name: string, at: number, length: number): void => {
    const left = shown(host.subarray(at, at + length));
    const right = shown(engine.subarray(at, at + length));
    if (left !== right) found.push(`${name}: host ${left}, engine ${right}`);
  };
  for (let register = 0; register < 16; register++) field(`gpr${register}`, register * 8, 8);
  field('rip', STATE_RIP, 8);
  const flags = (state: Uint8Array): bigint =>
    new DataView(state.buffer).getBigUint64(STATE_FLAGS, true) & ARITHMETIC_FLAGS;
  if (flags(host) !== flags(engine))
    found.push(`flags: host ${flags(host)}, engine ${flags(engine)}`);
  field('mxcsr', STATE_FX + FX_MXCSR, 4);
  if (x87) {
    field('fcw, fsw, tags', STATE_FX, 5);
    for (let register = 0; register < 8; register++)
      field(`st${register}`, STATE_FX + FX_ST + register * 16, 10);
  }
  if (/^(rcp|rsqrt)/.test(row.mnemonic)) {
    if (!approximatelyEqual(new DataView(host.buffer), new DataView(engine.buffer)))
      found.push('xmm: beyond the precision of the approximation');
  } else {
    for (let register = 0; register < 16; register++)
      field(`xmm${register}`, STATE_FX + FX_XMM + register * 16, 16);
  }
  return found;
}

const oracle = new Oracle();
const subject = new Subject();
const hostAfter = new Uint8Array(STATE_SIZE);
const engineAfter = new Uint8Array(STATE_SIZE);
const hostWindow = new Uint8Array(WINDOW_SIZE);
const engineWindow = new Uint8Array(WINDOW_SIZE);
let slot = 0;

/** Puts a row's encoding where both processors execute it. */
function place(row: Row, memory: boolean, random: Random): Coded {
  const coded = encode(row, memory, random, CODE + slot++ * SLOT_SIZE);
  for (const processor of [oracle, subject]) {
    processor.code.set(coded.bytes, coded.at - CODE);
    processor.land(coded.at + coded.bytes.length);
  }
  return coded;
}

/** Gives the host's FXSAVE image the engine's MXCSR_MASK: AMD's processors have bit 17 in addition. */
function maskless(window: Uint8Array, image: number): void {
  const view = new DataView(window.buffer);
  view.setUint32(image + FX_MASK, view.getUint32(image + FX_MASK, true) & 0xffff, true);
}

/** Runs a case on both; what differs. */
function compare({ coded, before, window, operand }: Case): string[] {
  oracle.writeWindow(window);
  subject.writeWindow(window);
  const vector = oracle.during(() => oracle.execute(before, hostAfter));
  const engineVector = subject.execute(before, engineAfter);
  oracle.readWindow(hostWindow);
  subject.readWindow(engineWindow);
  if (coded.row.mnemonic === 'fxsave' && vector < 0) maskless(hostWindow, operand);
  const found = differences(coded.memory, coded.row, hostAfter, engineAfter);
  if (vector !== engineVector) found.unshift(`vector: host ${vector}, engine ${engineVector}`);
  for (let offset = 0; offset < WINDOW_SIZE; offset++) {
    if (hostWindow[offset] === engineWindow[offset]) continue;
    const end = Math.min(offset + 32, WINDOW_SIZE);
    found.push(
      `memory at ${offset - WINDOW_SIZE / 2}: host ${shown(hostWindow.subarray(offset, end))}, ` +
        `engine ${shown(engineWindow.subarray(offset, end))}`,
    );
    break;
  }
  return found;
}

function describe(item: Case): string {
  const view = new DataView(item.before.buffer);
  return (
    `${shown(Uint8Array.from(item.coded.bytes))}, mxcsr 0x${view.getUint32(STATE_FX + FX_MXCSR, true).toString(16)}, ` +
    `xmm ${shown(item.before.subarray(STATE_FX + FX_XMM, STATE_FX + FX_XMM + 256))}`
  );
}

for (const [index, row] of [...SSE_ROWS, ...SSE4_ROWS].entries()) {
  for (const memory of [false, true]) {
    if ((memory ? row.memory : row.register) === '') continue;
    if (memory && row.memory === row.register && !parseEncoding(row.encoding).modrm) continue;
    const form = memory ? 'memory' : 'register';
    const skip = absentHere(row.mnemonic);
    test(`${row.encoding} ${row.mnemonic} ${row.operands}, ${form} form`, { skip }, () => {
      const random = new Random(0x9e3779b9 ^ (index * 2 + (memory ? 1 : 0)));
      const forms = Array.from({ length: ENCODINGS }, () => place(row, memory, random));
      subject.translate(forms.map(({ at }) => at));
      for (let state = 0; state < STATES; state++) {
        const item = makeCase(forms[state % ENCODINGS] as Coded, random);
        assert.deepEqual(compare(item), [], `state ${state}: ${describe(item)}`);
      }
    });
  }
}
