/**
 * When MMX, SSE and SSE2 instructions may run, which encodings there are, and the FXSAVE image: what a
 * comparison with the host's processor in user mode cannot show (Intel SDM vol. 3, 2.5 and 6.15; vol. 1,
 * 10.5 and 11.5; vol. 2).
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as L from './layout.js';
import { CODE, code, DATA, Guest, PT } from './testing/guest.js';

const UD = 6;
const NM = 7;
const GP = 13;
const PF = 14;
const MF = 16;
const XM = 19;
const CR0_EM = 4n;
const CR0_TS = 8n;
const OSFXSR = 0x200n;
const OSXMMEXCPT = 0x400n;
const SW_ES = 0x80;
const HLT = 'f4';

const ADDPS = '0f 58 c1';
const PADDB_MMX = '0f fc c1';
const EMMS = '0f 77';
const FENCES = '0f ae e8 0f ae f0 0f ae f8';

/** A guest in 64-bit code with SSE switched on. */
function ready(mode: 'long' | 'protected' = 'long'): Guest {
  const guest = new Guest(mode);
  guest.set64(L.CR4, guest.get64(L.CR4) | OSFXSR | OSXMMEXCPT);
  return guest;
}

/** Where the last code was put: each run has a place of its own, for decoded code is kept. */
let place = CODE;

/** The vector that `text` ends with, -1 when it runs to its end. */
function outcome(guest: Guest, text: string): number {
  place = CODE + ((place + 64) & 0xfff);
  return guest.vector(code(text, HLT), place);
}

/** `op [disp32]` in 64-bit code: ModRM and SIB of an absolute address. */
function absolute(opcode: string, digit: number, address: number): string {
  const bytes = [0, 8, 16, 24].map((shift) => ((address >>> shift) & 255).toString(16));
  return `${opcode} ${((digit << 3) | 4).toString(16)} 25 ${bytes.join(' ')}`;
}

function setXmm(guest: Guest, number: number, low: bigint, high: bigint): void {
  guest.set64(L.XMM + number * 16, low);
  guest.set64(L.XMM + number * 16 + 8, high);
}

describe('availability', () => {
  test('CR0.EM makes SSE, MMX and FXSAVE undefined, CR0.TS makes them #NM; EM comes first', () => {
    const save = absolute('0f ae', 0, DATA);
    for (const text of [ADDPS, PADDB_MMX, EMMS, save, absolute('0f ae', 3, DATA), '0f 2a c1']) {
      for (const [bits, vector] of [
        [CR0_EM, UD],
        [CR0_TS, NM],
        [CR0_EM | CR0_TS, UD],
      ] as const) {
        const guest = ready();
        guest.set64(L.CR0, guest.get64(L.CR0) | bits);
        assert.equal(outcome(guest, text), vector, `${text} with ${bits}`);
      }
    }
  });

  test('without CR4.OSFXSR SSE is undefined and MMX is not', () => {
    for (const text of [ADDPS, '66 0f ef c0', '66 0f 2a c1', absolute('0f ae', 2, DATA)]) {
      assert.equal(outcome(new Guest('long'), text), UD, text);
    }
    for (const text of [PADDB_MMX, '0f 70 c1 1b', EMMS])
      assert.equal(outcome(new Guest('long'), text), -1, text);
  });

  test('fences, CLFLUSH and prefetches run whatever the control registers say', () => {
    const guest = new Guest('long');
    guest.set64(L.CR0, guest.get64(L.CR0) | CR0_EM | CR0_TS);
    assert.equal(outcome(guest, `${FENCES} ${absolute('0f ae', 7, DATA)} 0f 18 08`), -1);
  });

  test('CLFLUSH faults as a load does', () => {
    const guest = new Guest('long');
    guest.put(PT + (DATA >> 12) * 8, [0]);
    assert.equal(outcome(guest, absolute('0f ae', 7, DATA + 5)), PF);
    assert.equal(guest.get64(L.CR2), BigInt(DATA + 5));
    assert.equal(guest.stack(0), 0n);
  });

  test('a pending x87 exception is reported before an MMX instruction, not before an SSE one', () => {
    for (const [text, vector] of [
      [PADDB_MMX, MF],
      [EMMS, MF],
      ['0f 2c c1', MF],
      ['f2 0f d6 c1', MF],
      [ADDPS, -1],
      [absolute('66 0f 2a', 0, DATA), -1],
    ] as const) {
      const guest = ready();
      guest.set32(L.FPU_SW, SW_ES | 1);
      guest.set32(L.FPU_TOP, 3);
      guest.set64(L.CR0, guest.get64(L.CR0) | 0x20n);
      assert.equal(outcome(guest, text), vector, text);
      assert.equal(guest.get32(L.FPU_TOP), 3, text);
    }
  });
});

describe('SIMD floating-point exceptions', () => {
  /** DIVPS of (1, 1, 1, 1) by (0, 3, 3, 3) with ZE unmasked. */
  function divide(guest: Guest): number {
    setXmm(guest, 0, 0x3f800000_3f800000n, 0x3f800000_3f800000n);
    setXmm(guest, 1, 0x40400000_00000000n, 0x40400000_40400000n);
    guest.set32(L.MXCSR, 0x1d80);
    return outcome(guest, '0f 5e c1');
  }

  test('an unmasked one is #XM; later kinds are not looked for and nothing is stored', () => {
    const guest = ready();
    assert.equal(divide(guest), XM);
    assert.equal(guest.stack(0), BigInt(place));
    assert.equal(guest.get32(L.MXCSR), 0x1d84);
    assert.equal(guest.get64(L.XMM), 0x3f800000_3f800000n);
  });

  test('without CR4.OSXMMEXCPT it is #UD', () => {
    const guest = ready();
    guest.set64(L.CR4, guest.get64(L.CR4) & ~OSXMMEXCPT);
    assert.equal(divide(guest), UD);
    assert.equal(guest.get32(L.MXCSR), 0x1d84);
  });

  test('UCOMISD leaves the flags when it faults', () => {
    const guest = ready();
    setXmm(guest, 1, 0x7ff0_0000_0000_0001n, 0n);
    guest.set32(L.MXCSR, 0x1f00);
    guest.set32(L.FLAGS, 0x846);
    assert.equal(outcome(guest, '66 0f 2e c1'), XM);
    assert.equal(guest.stack(2) & 0x8d5n, 0x844n);
  });
});

describe('encodings', () => {
  test('VEX and forms that do not exist are undefined', () => {
    const undefinedEncodings = [
      '0f d0 c1',
      'f3 0f 7c c1',
      'f2 0f f0 c1',
      'f2 0f 16 c1',
      'f3 0f 38 00 c1',
      '0f 38 10 c1',
      '66 0f 38 2a c1',
      '66 0f 3a 00 c1 01',
      '0f 3a 08 c1 01',
      'c5 f8 58 c1',
      'c4 e1 78 58 c1',
      '0f 2b c1',
      '66 0f e7 c1',
      '0f e7 c1',
      '0f 50 00',
      '66 0f d7 00',
      '66 0f 12 c1',
      '66 0f 16 c1',
      '0f 13 c1',
      '0f 17 c1',
      '0f 71 10 01',
      '66 0f 71 e8 01',
      '0f 73 d8 01',
      '0f 6c c1',
      'f3 0f ae c0',
      '0f ae c0',
      '0f ae 28',
      'f3 0f 51 c1 f3 0f 54 c1',
      'f0 0f 58 00',
    ];
    for (const text of undefinedEncodings) {
      const guest = ready();
      guest.set64(L.RAX, BigInt(DATA));
      assert.equal(outcome(guest, text), UD, text);
    }
  });
});

describe('memory', () => {
  test('a 16-byte store over two pages, the second not present, writes nothing', () => {
    const guest = ready();
    setXmm(guest, 0, ~0n, ~0n);
    guest.put(PT + ((DATA >> 12) + 1) * 8, [0]);
    assert.equal(outcome(guest, absolute('0f 11', 0, DATA + 0xff8)), PF);
    assert.equal(guest.get64(L.CR2), BigInt(DATA + 0x1000));
    assert.equal(guest.peek(DATA + 0xff8), 0n);
  });

  test('MASKMOVDQU touches only the selected bytes, in the segment of DS:RDI or its override', () => {
    const guest = ready();
    setXmm(guest, 0, 0x0807060504030201n, 0x100f0e0d0c0b0a09n);
    setXmm(guest, 1, 0x8000000000000080n, 0n);
    guest.put(PT + ((DATA >> 12) + 1) * 8, [0]);
    guest.set64(L.SEG_BASE + L.SEG_FS * 8, 0x100n);
    guest.set64(L.GPR + L.RDI, BigInt(DATA + 0xff8 - 0x100));
    guest.put(DATA + 0xff8, [0xaa, 0xaa]);
    assert.equal(outcome(guest, '64 66 0f f7 c1'), -1);
    assert.equal(guest.peek(DATA + 0xff8), 0x080000000000aa01n);
    setXmm(guest, 1, 0x80n, 0x80n);
    guest.put(DATA + 0xff8, [0xaa]);
    assert.equal(outcome(guest, '64 66 0f f7 c1'), PF);
    assert.equal(guest.peek(DATA + 0xff8, 1), 0xaan);
  });

  test('aligned operands are checked by their linear address', () => {
    const guest = ready();
    guest.set64(L.SEG_BASE + L.SEG_FS * 8, 8n);
    assert.equal(outcome(guest, `64 ${absolute('0f 28', 0, DATA)}`), GP);
    assert.equal(outcome(guest, `64 ${absolute('0f 28', 0, DATA + 8)}`), -1);
    assert.equal(outcome(guest, absolute('0f 10', 0, DATA + 3)), -1);
  });
});

describe('FXSAVE and FXRSTOR', () => {
  /** x87 registers R0–R7 hold 0x1000 + number, TOP is 6, R6 and R7 are in use. */
  function fill(guest: Guest): void {
    guest.set32(L.FPU_CW, 0x27f);
    guest.set32(L.FPU_SW, 0x4100);
    guest.set32(L.FPU_TOP, 6);
    guest.set32(L.FPU_TAG, 0x0fff);
    guest.set32(L.FPU_FOP, 0x5d9);
    guest.set64(L.FPU_FIP, 0x1122334455667788n);
    guest.set64(L.FPU_FDP, 0x99aabbccddeeff00n);
    guest.set32(L.FPU_FCS, 0x33);
    guest.set32(L.FPU_FDS, 0x2b);
    guest.set32(L.MXCSR, 0xffbf);
    for (let number = 0; number < 8; number++) {
      guest.set64(L.FPR + number * 16, BigInt(0x1000 + number));
      guest.set32(L.FPR + number * 16 + 8, 0x4000 + number);
    }
    for (let number = 0; number < 16; number++)
      setXmm(guest, number, BigInt(0xa000 + number), BigInt(0xb000 + number));
    for (let at = 0; at < 512; at++) guest.put(DATA + at, [0xcc]);
  }

  test('REX.W holds 64-bit pointers, without it they are 32 bits and a selector', () => {
    const guest = ready();
    fill(guest);
    assert.equal(outcome(guest, absolute('48 0f ae', 0, DATA)), -1);
    assert.equal(guest.peek(DATA), 0x05d9_00c0_7100_027fn);
    assert.equal(guest.peek(DATA + 8), 0x1122334455667788n);
    assert.equal(guest.peek(DATA + 16), 0x99aabbccddeeff00n);
    assert.equal(guest.peek(DATA + 24), 0x0000ffff_0000ffbfn);
    assert.equal(guest.peek(DATA + 32), 0x1006n, 'ST(0) is R6');
    assert.equal(guest.peek(DATA + 40), 0x4006n);
    assert.equal(guest.peek(DATA + 64), 0x1000n, 'ST(2) is R0');
    assert.equal(guest.peek(DATA + 160), 0xa000n);
    assert.equal(guest.peek(DATA + 160 + 15 * 16 + 8), 0xb00fn);
    assert.equal(guest.peek(DATA + 416), 0xccccccccccccccccn);
    assert.equal(outcome(guest, absolute('0f ae', 0, DATA)), -1);
    assert.equal(guest.peek(DATA + 8), 0x0000_0033_5566_7788n);
    assert.equal(guest.peek(DATA + 16), 0x0000_002b_ddee_ff00n);
  });

  test('outside 64-bit code the image holds eight XMM registers', () => {
    const guest = ready('protected');
    fill(guest);
    // fxsave [eax]
    guest.set64(L.RAX, BigInt(DATA));
    assert.equal(outcome(guest, '0f ae 00'), -1);
    assert.equal(guest.peek(DATA + 160 + 7 * 16), 0xa007n);
    assert.equal(guest.peek(DATA + 160 + 8 * 16), 0xccccccccccccccccn);
    setXmm(guest, 7, 0n, 0n);
    setXmm(guest, 8, 0n, 0n);
    assert.equal(outcome(guest, '0f ae 08'), -1);
    assert.equal(guest.get64(L.XMM + 7 * 16), 0xa007n);
    assert.equal(guest.get64(L.XMM + 8 * 16), 0n);
  });

  test('FXRSTOR gives back what FXSAVE took', () => {
    const guest = ready();
    fill(guest);
    assert.equal(outcome(guest, absolute('48 0f ae', 0, DATA)), -1);
    const fields = [
      ...Array.from({ length: 32 }, (_, index) => L.XMM + index * 8),
      ...Array.from({ length: 8 }, (_, index) => L.FPR + index * 16),
      L.FPU_FIP,
      L.FPU_FDP,
    ];
    const words = [L.FPU_CW, L.FPU_SW, L.FPU_TOP, L.FPU_TAG, L.FPU_FOP, L.MXCSR];
    const before = [fields.map((at) => guest.get64(at)), words.map((at) => guest.get32(at))];
    for (const at of fields) guest.set64(at, 0n);
    for (const at of words) guest.set32(at, 0);
    assert.equal(outcome(guest, absolute('48 0f ae', 1, DATA)), -1);
    const after = [fields.map((at) => guest.get64(at)), words.map((at) => guest.get32(at))];
    assert.deepEqual(after, before);
  });

  test('without CR4.OSFXSR neither XMM registers nor MXCSR are loaded', () => {
    const guest = ready();
    fill(guest);
    assert.equal(outcome(guest, absolute('0f ae', 0, DATA)), -1);
    guest.set64(L.CR4, guest.get64(L.CR4) & ~OSFXSR);
    guest.set32(L.MXCSR, 0x1f80);
    setXmm(guest, 0, 1n, 2n);
    guest.set32(L.FPU_CW, 0);
    assert.equal(outcome(guest, absolute('0f ae', 1, DATA)), -1);
    assert.equal(guest.get32(L.MXCSR), 0x1f80);
    assert.equal(guest.get64(L.XMM), 1n);
    assert.equal(guest.get32(L.FPU_CW), 0x27f);
  });

  test('an image that is not aligned, not mapped, or has reserved MXCSR bits changes nothing', () => {
    for (const [address, mxcsr, vector] of [
      [DATA + 8, 0x1f80, GP],
      [DATA + 0xf00, 0x1f80, PF],
      [DATA, 0x11f80, GP],
    ] as const) {
      const guest = ready();
      fill(guest);
      for (let at = 0; at < 512; at++) guest.put(address + at, [0]);
      guest.put(address + 24, [mxcsr & 255, (mxcsr >> 8) & 255, mxcsr >> 16]);
      guest.put(PT + ((DATA >> 12) + 1) * 8, [0]);
      assert.equal(outcome(guest, absolute('0f ae', 1, address)), vector);
      assert.equal(guest.get32(L.FPU_CW), 0x27f);
      assert.equal(guest.get32(L.MXCSR), 0xffbf);
      assert.equal(guest.get64(L.XMM), 0xa000n);
      if (vector === GP && mxcsr > 0xffff) continue;
      assert.equal(outcome(guest, absolute('0f ae', 0, address)), vector);
      assert.equal(guest.peek(address), 0n);
    }
  });
});
