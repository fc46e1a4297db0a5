/**
 * What the x87 unit does beside arithmetic: availability, pending exceptions, the images of FNSTENV and
 * FNSAVE in each mode, and the pointers in them (Intel SDM vol. 1, 8.1.8, 8.1.10, 8.7; vol. 2, FNSTENV).
 */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { coreModule, installDecodeTables, instantiateCore } from './core-module.js';
import * as L from './layout.js';
import { SILENT_HOST } from './testing/silent-host.js';
import { emptyTlbs } from './testing/tlb.js';

const CPU = L.VCPU_BLOCKS;
const RAM = 0x10_0000;
const CODE = 0x1000;
const DATA = 0x2000;
/** Interrupt handlers of real-address mode: `JMP $`, two bytes for each vector. */
const HANDLERS = 0x500;
const JMP_SELF = [0xeb, 0xfe];
const CR0_PE = 1;
const CR0_MP = 2;
const CR0_EM = 4;
const CR0_TS = 8;
const MF = 16;
const NM = 7;
const UD = 6;

/** A guest without paging; code at CODE, operands at DATA. */
class Guest {
  readonly #memory = new WebAssembly.Memory({
    initial: (L.GUEST_BASE + RAM) / 0x10000,
    maximum: 65536,
    shared: true,
  });
  readonly bytes = new Uint8Array(this.#memory.buffer);
  readonly view = new DataView(this.#memory.buffer);
  /** Each program has a place of its own, as the host side tells the engine of no change of code. */
  #place = CODE;

  constructor(mode: number, cr0 = 0) {
    installDecodeTables(this.#memory);
    this.view.setUint32(CPU + L.MODE, mode, true);
    this.view.setUint32(CPU + L.CR0, cr0 | (mode & L.MODE_REAL ? 0 : CR0_PE), true);
    this.view.setUint32(CPU + L.TLB_SET, L.TLB_SUPERVISOR, true);
    this.view.setUint32(CPU + L.RAM_PAGES, RAM / 0x1000, true);
    this.view.setUint32(CPU + L.ARENA_NEXT, L.BLOCK_ARENA, true);
    this.view.setBigUint64(CPU + L.SLOT_4G, 1n << 32n, true);
    this.view.setBigUint64(CPU + L.LARGE_LOW, 0xffff_ffff_ffff_ffffn, true);
    emptyTlbs(this.bytes, CPU);
    for (let segment = 0; segment < 9; segment++)
      this.view.setUint32(CPU + L.SEG_LIMIT + segment * 4, 0xffff_ffff, true);
    this.view.setUint32(CPU + L.FLAGS, 2, true);
    this.view.setUint32(CPU + L.FPU_CW, 0x37f, true);
    this.view.setUint32(CPU + L.FPU_TAG, 0xffff, true);
    this.view.setBigUint64(CPU + L.RSP, 0x8000n, true);
    this.view.setUint32(CPU + L.IDT_LIMIT, 0x3ff, true);
    for (let vector = 0; vector < 32; vector++) {
      this.view.setUint32(L.GUEST_BASE + vector * 4, HANDLERS + vector * 2, true);
      this.bytes.set(JMP_SELF, L.GUEST_BASE + HANDLERS + vector * 2);
    }
  }

  /** Selector and base of a segment. */
  segment(slot: number, selector: number, base: number): void {
    this.view.setUint32(CPU + L.SEG_SEL + slot * 4, selector, true);
    this.view.setBigUint64(CPU + L.SEG_BASE + slot * 8, BigInt(base), true);
  }

  /** Runs instructions up to a jump to itself; the exception vector, or -1. */
  run(...code: readonly (readonly number[])[]): number {
    const program = [...code.flat(), ...JMP_SELF];
    const codeBase = Number(this.view.getBigUint64(CPU + L.SEG_BASE + L.SEG_CS * 8, true));
    const start = this.#place;
    this.#place += 0x100;
    this.bytes.set(program, L.GUEST_BASE + codeBase + start);
    this.view.setBigUint64(CPU + L.RIP, BigInt(start), true);
    const core = instantiateCore(coreModule(), this.#memory, SILENT_HOST);
    assert.equal(core.run(CPU, 100), L.EXIT_BUDGET);
    const rip = Number(this.view.getBigUint64(CPU + L.RIP, true));
    if (rip === start + program.length - JMP_SELF.length) return -1;
    assert.ok(rip >= HANDLERS && rip < HANDLERS + 64, `RIP is 0x${rip.toString(16)}`);
    return (rip - HANDLERS) / 2;
  }

  word(offset: number): number {
    return this.view.getUint32(CPU + offset, true);
  }

  /** Guest memory from DATA on, as little-endian units of `size` bytes. */
  data(count: number, size: 2 | 4): number[] {
    const at = L.GUEST_BASE + DATA;
    return Array.from({ length: count }, (_, i) =>
      size === 2 ? this.view.getUint16(at + i * 2, true) : this.view.getUint32(at + i * 4, true),
    );
  }
}

const REAL = L.MODE_CODE16 | L.MODE_REAL;
const FLAT32 = L.MODE_CODE32 | L.MODE_STACK32;
const FLDZ = [0xd9, 0xee];
const FLD1 = [0xd9, 0xe8];
const FDIVP = [0xde, 0xf9];
const FWAIT = [0x9b];
const FNINIT = [0xdb, 0xe3];
const FNCLEX = [0xdb, 0xe2];
const FNSTSW_AX = [0xdf, 0xe0];
const FCOM = [0xd8, 0xd1];
const disp16 = (opcode: number, reg: number): number[] => [opcode, (reg << 3) | 6, 0x00, 0x20];
const disp32 = (opcode: number, reg: number): number[] => [
  opcode,
  (reg << 3) | 5,
  0x00,
  0x20,
  0,
  0,
];
const sib32 = (opcode: number, reg: number): number[] => [
  opcode,
  (reg << 3) | 4,
  0x25,
  0x00,
  0x20,
  0,
  0,
];

describe('x87 availability', () => {
  it('is #NM with EM or TS, also for instructions that do not wait', () => {
    for (const cr0 of [CR0_EM, CR0_TS])
      for (const code of [FLD1, FNINIT, FNSTSW_AX, disp16(0xd9, 6)])
        assert.equal(new Guest(REAL, cr0).run(code), NM);
    assert.equal(new Guest(REAL).run(FLD1), -1);
  });

  it('is #NM for FWAIT only with MP and TS', () => {
    assert.equal(new Guest(REAL, CR0_TS).run(FWAIT), -1);
    assert.equal(new Guest(REAL, CR0_MP).run(FWAIT), -1);
    assert.equal(new Guest(REAL, CR0_EM).run(FWAIT), -1);
    assert.equal(new Guest(REAL, CR0_MP | CR0_TS).run(FWAIT), NM);
  });

  it('is #UD for encodings without an instruction', () => {
    for (const code of [disp16(0xd9, 1), disp16(0xdb, 4), disp16(0xdb, 6), disp16(0xdd, 5)])
      assert.equal(new Guest(REAL).run(code), UD);
    for (const code of [
      [0xd9, 0xd1],
      [0xd9, 0xe2],
      [0xd9, 0xef],
      [0xda, 0xe0],
      [0xdb, 0xe5],
      [0xdd, 0xf0],
      [0xde, 0xd8],
      [0xdf, 0xe1],
    ])
      assert.equal(new Guest(REAL).run(code), UD);
  });
});

describe('x87 exceptions', () => {
  const divideByZero = (guest: Guest, ...then: readonly (readonly number[])[]): number => {
    guest.view.setUint32(CPU + L.FPU_CW, 0x37b, true);
    return guest.run(FLD1, FLDZ, FDIVP, ...then);
  };

  it('waits for the next waiting instruction', () => {
    assert.equal(divideByZero(new Guest(REAL)), -1);
    assert.equal(divideByZero(new Guest(REAL), FWAIT), MF);
    assert.equal(divideByZero(new Guest(REAL), FLD1), MF);
    assert.equal(divideByZero(new Guest(REAL), FNSTSW_AX, FNCLEX, FWAIT), -1);
  });

  it('leaves operands and stack alone when it is unmasked', () => {
    const guest = new Guest(REAL);
    divideByZero(guest, FNSTSW_AX);
    assert.equal(guest.word(L.GPR) & 0xffff, (6 << 11) | 0x8084);
    assert.equal(guest.word(L.FPU_TAG) & 0xf000, 0);
  });

  it('appears when FLDCW unmasks what was recorded', () => {
    const guest = new Guest(REAL);
    guest.view.setUint16(L.GUEST_BASE + DATA, 0x37b, true);
    assert.equal(guest.run(FLD1, FLDZ, FDIVP, disp16(0xd9, 5), FLD1), MF);
  });

  it('leaves the condition codes when a comparison is invalid and that is unmasked', () => {
    const guest = new Guest(REAL);
    guest.view.setUint32(CPU + L.FPU_CW, 0x37e, true);
    guest.view.setUint32(CPU + L.FPU_SW, 0x400, true);
    guest.run(FCOM, FNSTSW_AX);
    assert.equal(guest.word(L.GPR) & 0x45ff, 0x04c1);
  });
});

describe('x87 environment', () => {
  it('has 28 bytes with 32-bit operand size, and masks all exceptions', () => {
    const guest = new Guest(FLAT32);
    guest.segment(L.SEG_CS, 0x10, 0);
    guest.segment(L.SEG_DS, 0x18, 0);
    guest.view.setUint32(CPU + L.FPU_CW, 0x372, true);
    const fild = [...disp32(0xdb, 0)];
    fild[2] = 0x40;
    guest.view.setInt32(L.GUEST_BASE + DATA + 0x40, 0, true);
    guest.run([0xd9, 0xeb], fild, disp32(0xd9, 6));
    const image = guest.data(7, 4);
    const top6 = 6 << 11;
    assert.equal(image[0], 0xffff0372);
    assert.equal(image[1], (0xffff0000 | top6) >>> 0);
    // π is valid, 0 is zero, the others are empty.
    assert.equal(image[2], 0xffff1fff);
    assert.equal(image[3], CODE + 2);
    assert.equal((image[4] ?? 0) & 0xffff, 0x10);
    // Opcode DB without its upper five bits.
    assert.equal((image[4] ?? 0) >>> 24, 0x03);
    assert.equal(image[5], DATA + 0x40);
    assert.equal(image[6], 0xffff0018);
    assert.equal(guest.word(L.FPU_CW), 0x37f);
  });

  it('has 14 bytes with 16-bit operand size, and linear pointers in real-address mode', () => {
    const guest = new Guest(REAL);
    guest.segment(L.SEG_CS, 0x1000, 0x10000);
    guest.segment(L.SEG_DS, 0, 0);
    guest.run(FLD1, disp16(0xd9, 6));
    const image = guest.data(7, 2);
    assert.deepEqual(image.slice(0, 4), [0x37f, 7 << 11, 0x3fff, CODE]);
    // Bits 16–19 of the linear address 11000h, then the opcode D9 E8 without its upper five bits.
    assert.equal(image[4], 0x11e8);
  });

  it('keeps 64-bit pointers without selectors in 64-bit code', () => {
    const guest = new Guest(L.MODE_CODE64);
    guest.segment(L.SEG_CS, 0x10, 0);
    guest.run(sib32(0xd9, 0));
    assert.equal(guest.view.getBigUint64(CPU + L.FPU_FIP, true), BigInt(CODE));
    assert.equal(guest.view.getBigUint64(CPU + L.FPU_FDP, true), BigInt(DATA));
    assert.equal(guest.word(L.FPU_FCS), 0);
    assert.equal(guest.word(L.FPU_FDS), 0);
  });

  it('comes back from FNSAVE with FRSTOR, in both sizes', () => {
    for (const prefix of [[], [0x66]]) {
      const guest = new Guest(FLAT32);
      const save = [...prefix, ...disp32(0xdd, 6)];
      const restore = [...prefix, ...disp32(0xdd, 4)];
      guest.run(FLD1, FLDZ, [0xd9, 0xeb], [0xd9, 0xe4], save);
      assert.equal(guest.word(L.FPU_TAG), 0xffff);
      assert.equal(guest.word(L.FPU_TOP), 0);
      const size = prefix.length ? 14 : 28;
      const first = L.GUEST_BASE + DATA + size;
      assert.equal(guest.view.getBigUint64(first, true), 0xc90fdaa22168c235n);
      assert.equal(guest.view.getUint16(first + 8, true), 0x4000);
      assert.equal(guest.view.getBigUint64(first + 10, true), 0n);
      guest.run(restore, FNSTSW_AX);
      assert.equal(guest.word(L.FPU_TOP), 5);
      assert.equal(guest.word(L.FPU_TAG), 0x03ff);
      const st0 = CPU + L.FPR + 5 * 16;
      assert.equal(guest.view.getBigUint64(st0, true), 0xc90fdaa22168c235n);
    }
  });
});
