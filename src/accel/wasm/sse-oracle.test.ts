/**
 * Every MMX, SSE and SSE2 encoding of the table against the host's own processor: registers, memory,
 * flags, MXCSR, the x87 tags and TOP, and the exceptions, with operands of all floating-point classes,
 * all rounding modes, DAZ, FTZ and masks.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Row } from './isa/row.js';
import { SSE_ROWS } from './isa/sse.js';
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
import { Oracle } from './testing/oracle.js';
import { Subject } from './testing/subject.js';

/** States for each row and form; the environment may ask for more. */
const STATES = Number(process.env.PANDO_ORACLE_STATES ?? 200);
const ARITHMETIC_FLAGS = 0x8d5n;
const RDI = 7;
const RSP = 4;

/** xorshift32: the cases are the same in every run. */
class Random {
  #state: number;
  constructor(seed: number) {
    this.#state = seed >>> 0 || 1;
  }
  word(): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x >>> 0;
    return this.#state;
  }
  below(limit: number): number {
    return this.word() % limit;
  }
  chance(percent: number): boolean {
    return this.below(100) < percent;
  }
  wide(): bigint {
    return (BigInt(this.word()) << 32n) | BigInt(this.word());
  }
}

/** A bit pattern of the format with `exponentBits` and `fractionBits`, of any class. */
function floatBits(random: Random, exponentBits: number, fractionBits: number): bigint {
  const most = (1 << exponentBits) - 1;
  const bias = most >> 1;
  const fractionMask = (1n << BigInt(fractionBits)) - 1n;
  let fraction = random.wide() & fractionMask;
  let exponent: number;
  // Fractions of few bits make exact results, ties and equal operands.
  if (random.chance(40)) fraction &= fractionMask << BigInt(fractionBits - 1 - random.below(4));
  else if (random.chance(10)) fraction = random.chance(50) ? fractionMask : 1n;
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
      if (random.chance(40)) fraction = 0n;
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
    value |= BigInt(random.chance(40) ? edge : random.below(256)) << (byte * 8n);
  }
  // Small numbers for shift counts.
  return random.chance(20) ? value & 0x7fn : value;
}

function flavourOf(row: Row, random: Random): string {
  if (random.chance(10)) return random.chance(50) ? 's' : 'd';
  if (/pd|sd$|sd2/.test(row.mnemonic)) return row.mnemonic.startsWith('p') ? 'i' : 'd';
  if (/^(p|movd|movq|mask)/.test(row.mnemonic)) return 'i';
  return /dq2|pi2|si2/.test(row.mnemonic) ? 'i' : 's';
}

interface Case {
  readonly bytes: readonly number[];
  readonly before: Uint8Array;
  readonly window: Uint8Array;
}

function makeCase(row: Row, memory: boolean, random: Random): Case {
  const encoding = parseEncoding(row.encoding);
  const before = new Uint8Array(STATE_SIZE);
  const view = new DataView(before.buffer);
  const flavour = flavourOf(row, random);
  for (let register = 0; register < 16; register++)
    view.setBigUint64(register * 8, integer(random), true);
  view.setBigUint64(STATE_FLAGS, 0x202n | (random.wide() & ARITHMETIC_FLAGS), true);
  view.setUint16(STATE_FX, 0x37f, true);
  view.setUint16(STATE_FX + 2, random.word() & 0x7f00, true);
  before[STATE_FX + 4] = random.below(256);
  view.setUint32(STATE_FX + FX_MXCSR, mxcsr(random), true);
  for (let register = 0; register < 8; register++) {
    view.setBigUint64(STATE_FX + FX_ST + register * 16, lane(random, flavour), true);
    const exponent = random.chance(50) ? 0xffff : random.below(0x10000);
    view.setUint16(STATE_FX + FX_ST + register * 16 + 8, exponent, true);
  }
  const alike = random.chance(15) ? lane(random, flavour) : undefined;
  const fill = (target: DataView, at: number, length: number): void => {
    for (let offset = 0; offset < length; offset += 8) {
      const value =
        alike !== undefined && random.chance(80)
          ? alike ^ BigInt(random.below(3))
          : lane(random, flavour);
      target.setBigUint64(at + offset, BigInt.asUintN(64, value), true);
    }
  };
  fill(view, STATE_FX + FX_XMM, 256);
  const window = new Uint8Array(WINDOW_SIZE);
  fill(new DataView(window.buffer), 0, WINDOW_SIZE);

  const state = /^fx/.test(row.mnemonic);
  let address = WINDOW_CENTER + (random.below(17) - 8) * 16;
  if (state) address = WINDOW_CENTER - 512 + random.below(33) * 16;
  if (random.chance(state ? 5 : 25)) address += random.below(16);
  if (row.mnemonic === 'fxrstor') fxImage(window, address - WINDOW, random);
  if (row.mnemonic === 'ldmxcsr' && address + 4 < WINDOW + WINDOW_SIZE)
    new DataView(window.buffer).setUint32(
      address - WINDOW,
      mxcsr(random) | (random.chance(10) ? 1 << (16 + random.below(16)) : 0),
      true,
    );
  if (row.mnemonic.startsWith('maskmov')) view.setBigUint64(RDI * 8, BigInt(address), true);

  const bytes: number[] = [];
  if (encoding.prefix !== undefined && encoding.prefix > 0)
    bytes.push([0, 0x66, 0xf3, 0xf2][encoding.prefix] ?? 0);
  const rex = random.chance(70) ? 0x40 | random.below(16) : 0;
  if (rex) bytes.push(rex);
  bytes.push(0x0f, encoding.opcode);
  if (encoding.modrm) {
    const reg = encoding.digit ?? random.below(8);
    if (!memory) bytes.push(0xc0 | (reg << 3) | random.below(8));
    else if (random.chance(20)) {
      bytes.push((reg << 3) | 4, 0x25);
      // No base, no index (REX.X would name R12).
      if (rex & 2) bytes[bytes.length - 5] = rex & ~2;
      bytes.push(...little(address, 4));
    } else {
      let base = random.below(8);
      if (base === RSP) base = 3;
      const displacement = random.below(0x1000) - 0x800;
      bytes.push(0x80 | (reg << 3) | base, ...little(displacement, 4));
      const register = base | (rex & 1 ? 8 : 0);
      view.setBigUint64(register * 8, BigInt(address - displacement), true);
    }
  }
  if (/Ib$/.test(row.operands))
    bytes.push(random.chance(50) ? random.below(256) : random.below(20));
  return { bytes, before, window };
}

const little = (value: number, length: number): number[] =>
  Array.from({ length }, (_, index) => (value >> (index * 8)) & 255);

function integer(random: Random): bigint {
  const shift = BigInt(random.below(64));
  const value = random.chance(50) ? random.wide() >> shift : BigInt.asUintN(64, -1n << shift);
  return BigInt.asUintN(64, random.chance(50) ? value : -value);
}

function mxcsr(random: Random): number {
  if (random.chance(25)) return 0x1fa0;
  const masks = random.chance(75) ? 0x3f : random.below(64);
  const modes = (random.chance(25) ? 0x8000 : 0) | (random.chance(25) ? 0x40 : 0);
  return modes | (random.below(4) << 13) | (masks << 7) | random.below(64);
}

/** A plausible FXSAVE image: no x87 exception pending, reserved fields zero. */
function fxImage(window: Uint8Array, at: number, random: Random): void {
  const view = new DataView(window.buffer);
  if (at + 512 > WINDOW_SIZE) return;
  window.fill(0, at, at + 32);
  view.setUint16(at, 0x37f, true);
  view.setUint16(at + 2, random.word() & 0x7f00, true);
  window[at + 4] = random.below(256);
  view.setUint32(
    at + FX_MXCSR,
    mxcsr(random) | (random.chance(10) ? 1 << (16 + random.below(16)) : 0),
    true,
  );
}

const shown = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

/** RCPPS and its kin approximate: relative error at most 1.5 × 2^-12 on either side (SDM vol. 2). */
function approximatelyEqual(left: DataView, right: DataView): boolean {
  for (let at = STATE_FX + FX_XMM; at < STATE_FX + FX_XMM + 256; at += 4) {
    if (left.getUint32(at, true) === right.getUint32(at, true)) continue;
    const a = left.getFloat32(at, true);
    const b = right.getFloat32(at, true);
    if (!(Math.abs(a - b) <= Math.abs(b) * 3 * 2 ** -12)) return false;
  }
  return true;
}

/** What differs between two states, as text; empty when nothing does. */
function differences(row: Row, host: Uint8Array, engine: Uint8Array): string[] {
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
  field('fcw, fsw, tags', STATE_FX, 5);
  field('mxcsr', STATE_FX + FX_MXCSR, 4);
  for (let register = 0; register < 8; register++)
    field(`st${register}`, STATE_FX + FX_ST + register * 16, 10);
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

/** Runs a case on both; what differs. */
function compare(row: Row, { bytes, before, window }: Case): string[] {
  const at = CODE + slot * SLOT_SIZE;
  slot++;
  new DataView(before.buffer).setBigUint64(STATE_RIP, BigInt(at), true);
  for (const processor of [oracle, subject]) {
    processor.code.set(bytes, at - CODE);
    processor.land(at + bytes.length);
    processor.writeWindow(window);
  }
  const vector = oracle.during(() => oracle.execute(before, hostAfter));
  const engineVector = subject.execute(before, engineAfter);
  oracle.readWindow(hostWindow);
  subject.readWindow(engineWindow);
  const found = differences(row, hostAfter, engineAfter);
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
    `${shown(Uint8Array.from(item.bytes))}, mxcsr 0x${view.getUint32(STATE_FX + FX_MXCSR, true).toString(16)}, ` +
    `xmm ${shown(item.before.subarray(STATE_FX + FX_XMM, STATE_FX + FX_XMM + 256))}`
  );
}

for (const [index, row] of SSE_ROWS.entries()) {
  for (const memory of [false, true]) {
    if ((memory ? row.memory : row.register) === '') continue;
    if (memory && row.memory === row.register && !parseEncoding(row.encoding).modrm) continue;
    const form = memory ? 'memory' : 'register';
    test(`${row.encoding} ${row.mnemonic} ${row.operands}, ${form} form`, () => {
      const random = new Random(0x9e3779b9 ^ (index * 2 + (memory ? 1 : 0)));
      for (let state = 0; state < STATES; state++) {
        const item = makeCase(row, memory, random);
        const found = compare(row, item);
        assert.deepEqual(found, [], `state ${state}: ${describe(item)}`);
      }
    });
  }
}
