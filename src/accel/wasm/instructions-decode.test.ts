/**
 * The decoder against iced-x86: which bytes are an instruction, and how long it is, in 16-, 32- and
 * 64-bit code, for the instruction sets that the engine has.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Code, CpuidFeature, Decoder, DecoderOptions, Mnemonic } from 'iced-x86';
import { MODE_CODE16, MODE_CODE32, MODE_CODE64 } from './layout.js';
import { CODE, SLOT_COUNT, SLOT_SIZE } from './testing/arena.js';
import { Random } from './testing/states.js';
import { Subject } from './testing/subject.js';

const TRIALS = 60_000;
const LONGEST = 15;

const SUPPORTED = new Set<CpuidFeature>([
  CpuidFeature.INTEL8086,
  CpuidFeature.INTEL186,
  CpuidFeature.INTEL286,
  CpuidFeature.INTEL386,
  CpuidFeature.INTEL486,
  CpuidFeature.X64,
  CpuidFeature.CMOV,
  CpuidFeature.CPUID,
  CpuidFeature.CX8,
  CpuidFeature.CMPXCHG16B,
  CpuidFeature.FPU,
  CpuidFeature.FPU287,
  CpuidFeature.FPU387,
  CpuidFeature.FXSR,
  CpuidFeature.MMX,
  CpuidFeature.MSR,
  CpuidFeature.MULTIBYTENOP,
  CpuidFeature.PAUSE,
  CpuidFeature.POPCNT,
  CpuidFeature.SEP,
  CpuidFeature.SSE,
  CpuidFeature.SSE2,
  CpuidFeature.SYSCALL,
  CpuidFeature.TSC,
]);

/** Defined to raise #UD, of system-management mode, in no manual (SALC). */
const LEFT_OUT = new Set<Mnemonic>([
  Mnemonic.Ud0,
  Mnemonic.Ud1,
  Mnemonic.Ud2,
  Mnemonic.Rsm,
  Mnemonic.Salc,
]);
/** Valid outside 64-bit code on one vendor's processors only (SDM vol. 2, "SYSCALL", "SYSRET"). */
const ONLY_64 = new Set<Mnemonic>([Mnemonic.Syscall, Mnemonic.Sysret, Mnemonic.Sysretq]);

/** Random bytes in which prefixes and two-byte opcodes are as frequent as in code. */
function randomBytes(random: Random, bytes: Uint8Array): void {
  for (let i = 0; i < bytes.length; i++) bytes[i] = random.word();
  let at = 0;
  while (random.oneIn(3) && at < 4)
    bytes[at++] = random.pick([0x66, 0x67, 0xf2, 0xf3, 0xf0, 0x2e, 0x64, 0x48, 0x41]);
  if (random.oneIn(3)) bytes[at] = 0x0f;
}

describe('the decoder against iced-x86', () => {
  const subject = new Subject();
  const random = new Random(0x5eed);
  let slot = 0;
  for (const [bits, mode] of [
    [64, MODE_CODE64],
    [32, MODE_CODE32],
    [16, MODE_CODE16],
  ] as const)
    it(`${bits}-bit code`, () => {
      const bytes = new Uint8Array(SLOT_SIZE).fill(0x90);
      const differences = new Map<string, string>();
      let valid = 0;
      for (let trial = 0; trial < TRIALS; trial++) {
        randomBytes(random, bytes.subarray(0, LONGEST));
        const decoder = new Decoder(bits, bytes, DecoderOptions.ForceReservedNop);
        const instruction = decoder.decode();
        const invalid = instruction.code === Code.INVALID;
        const known =
          instruction.cpuidFeatures().every((feature) => SUPPORTED.has(feature)) &&
          !LEFT_OUT.has(instruction.mnemonic) &&
          !(bits !== 64 && ONLY_64.has(instruction.mnemonic)) &&
          // INT 6 ends where #UD does.
          !(instruction.code === Code.Int_imm8 && instruction.immediate8 === 6);
        const expected = invalid ? 0 : instruction.length;
        const name = Code[instruction.code] ?? '';
        instruction.free();
        decoder.free();
        if (!known && !invalid) continue;
        if (slot === SLOT_COUNT) {
          slot = 0;
          subject.forget();
        }
        const at = slot++ * SLOT_SIZE;
        subject.code.set(bytes, at);
        const actual = subject.lengthAt(CODE + at, mode);
        if (actual > 0 && actual === expected) valid++;
        if (actual === expected) continue;
        const text = Buffer.from(bytes.subarray(0, LONGEST)).toString('hex');
        const key = invalid ? `invalid ${text.slice(0, 6)}` : name;
        differences.set(key, `${text}: length ${actual}, expected ${expected} (${name})`);
      }
      assert.deepEqual([...differences.values()].slice(0, 40), []);
      assert.ok(valid > TRIALS / 4, `${valid} valid instructions`);
    });
});
