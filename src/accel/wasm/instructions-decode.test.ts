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
  CpuidFeature.ADX,
  CpuidFeature.AES,
  CpuidFeature.CLFSH,
  CpuidFeature.CMOV,
  CpuidFeature.CPUID,
  CpuidFeature.CX8,
  CpuidFeature.CMPXCHG16B,
  CpuidFeature.FPU,
  CpuidFeature.FPU287,
  CpuidFeature.FPU387,
  CpuidFeature.FXSR,
  CpuidFeature.MMX,
  CpuidFeature.MOVBE,
  CpuidFeature.MSR,
  CpuidFeature.MULTIBYTENOP,
  CpuidFeature.PAUSE,
  CpuidFeature.PCLMULQDQ,
  CpuidFeature.POPCNT,
  CpuidFeature.RDPMC,
  CpuidFeature.RDTSCP,
  CpuidFeature.SEP,
  CpuidFeature.SSE,
  CpuidFeature.SSE2,
  CpuidFeature.SSE3,
  CpuidFeature.SSE4_1,
  CpuidFeature.SSE4_2,
  CpuidFeature.SSSE3,
  CpuidFeature.SYSCALL,
  CpuidFeature.TSC,
]);

/** Defined to raise #UD, of system-management mode. */
const LEFT_OUT = new Set<Mnemonic>([Mnemonic.Ud0, Mnemonic.Ud1, Mnemonic.Ud2, Mnemonic.Rsm]);
/** Valid outside 64-bit code on one vendor's processors only (SDM vol. 2, "SYSCALL", "SYSRET"). */
const ONLY_64 = new Set<Mnemonic>([Mnemonic.Syscall, Mnemonic.Sysret, Mnemonic.Sysretq]);

/** Of later processors: to this one they are other instructions, or have a prefix too many. */
const EARLIER = new Set<Mnemonic>([
  Mnemonic.Lzcnt,
  Mnemonic.Tzcnt,
  Mnemonic.Vmcall,
  Mnemonic.Vmgexit,
  Mnemonic.Vmmcall,
  Mnemonic.Wbnoinvd,
]);

const PREFIXES = [[], [0x66], [0xf3], [0xf2], [0xf0], [0x48], [0x41], [0x66, 0x48]];
/** What comes before the opcode in each map. */
const ESCAPES = [[], [0x0f], [0x0f, 0x38], [0x0f, 0x3a]];
/** Prefixes that each pair of opcode and ModRM is tried with, besides none. */
const OTHER_PREFIXES = 1;

/** The length that iced-x86 gives for bytes, 0 for #UD; undefined when the two need not agree. */
function lengthOf(bytes: Uint8Array, bits: number): number | undefined {
  const decoder = new Decoder(bits, bytes, DecoderOptions.ForceReservedNop);
  const instruction = decoder.decode();
  const { mnemonic, code, length } = instruction;
  const exists =
    EARLIER.has(mnemonic) || instruction.cpuidFeatures().every((feature) => SUPPORTED.has(feature));
  instruction.free();
  decoder.free();
  if (LEFT_OUT.has(mnemonic) || (bits !== 64 && ONLY_64.has(mnemonic))) return undefined;
  // INT 6 ends where #UD does.
  if (mnemonic === Mnemonic.Int) return undefined;
  return code !== Code.INVALID && exists ? length : 0;
}

/** Random bytes in which prefixes and two-byte opcodes are as frequent as in code. */
function randomBytes(random: Random, bytes: Uint8Array): void {
  for (let i = 0; i < bytes.length; i++) bytes[i] = random.word();
  let at = 0;
  while (random.oneIn(3) && at < 4)
    bytes[at++] = random.pick([0x66, 0x67, 0xf2, 0xf3, 0xf0, 0x2e, 0x64, 0x48, 0x41]);
  if (!random.oneIn(3)) return;
  bytes[at++] = 0x0f;
  if (random.oneIn(3)) bytes[at] = random.pick([0x38, 0x3a]);
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
      const differences: string[] = [];
      let valid = 0;
      for (let trial = 0; trial < TRIALS; trial++) {
        randomBytes(random, bytes.subarray(0, LONGEST));
        const expected = lengthOf(bytes, bits);
        if (expected === undefined) continue;
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
        differences.push(`${text}: length ${actual}, not ${expected}`);
      }
      assert.deepEqual(differences.slice(0, 40), []);
      assert.ok(valid > TRIALS / 4, `${valid} valid instructions`);
    });

  // Decoding is the same for the translator.
  for (const [bits, mode] of [
    [64, MODE_CODE64],
    [32, MODE_CODE32],
    [16, MODE_CODE16],
  ] as const)
    it(`the opcode maps in ${bits}-bit code, with what is illegal in them`, {
      skip: process.env.PANDO_TEST_TIER === '1',
    }, () => {
      const bytes = new Uint8Array(SLOT_SIZE);
      const differences: string[] = [];
      const all = PREFIXES.filter((prefix) => bits === 64 || !prefix.some((byte) => byte < 0x60));
      for (let pair = 0; pair < ESCAPES.length * 0x10000; pair++) {
        const [map, opcode, modrm] = [pair >> 16, (pair >> 8) & 0xff, pair & 0xff];
        // Of memory operands: a base, a SIB byte, a displacement.
        if (modrm < 0xc0 && ![0, 4, 5].includes(modrm & 7)) continue;
        for (let count = 0; count <= OTHER_PREFIXES; count++) {
          const prefix = count === 0 ? [] : random.pick(all);
          const start = [...prefix, ...(ESCAPES[map] ?? []), opcode, modrm];
          bytes.fill(0x90).fill(0, 0, LONGEST).set(start);
          const expected = lengthOf(bytes, bits);
          if (expected === undefined) continue;
          if (slot === SLOT_COUNT) {
            slot = 0;
            subject.forget();
          }
          const at = slot++ * SLOT_SIZE;
          subject.code.set(bytes, at);
          const actual = subject.lengthAt(CODE + at, mode);
          if (actual === expected) continue;
          differences.push(
            `${Buffer.from(start).toString('hex')}: length ${actual}, not ${expected}`,
          );
        }
      }
      assert.deepEqual(differences.slice(0, 40), []);
    });
});
