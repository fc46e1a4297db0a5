/**
 * What CPUID says on a processor that Pando itself executes.
 *
 * Source: Intel SDM vol. 2A, CPUID; the 40000000h leaves: Linux Documentation/virt/kvm/x86/cpuid.rst.
 * The basic features are x86-64-v1 with NX, SYSCALL, CMPXCHG16B, POPCNT, fast string moves, x2APIC and the
 * TSC-deadline timer. Leaves 15h and 16h and the invariant TSC spare a guest its calibrations. Leaf 6
 * does not say that the APIC's timer never stops (ARAT): then Linux leaves the 8254 alone, and has no
 * timer at all with `nolapic_timer`.
 */

/** One row: the answer to a leaf, or to one of its subleaves. */
export interface CpuidRow {
  readonly leaf: number;
  /** ECX of the question; `any` when the leaf has no subleaves. */
  readonly subleaf: number | 'any';
  readonly eax: number;
  readonly ebx: number;
  readonly ecx: number;
  readonly edx: number;
}

/** Feature words that an accelerator adds to the basic set, by leaf and register. */
export interface CpuidFeatures {
  /** Leaf 1. */
  readonly leaf1Ecx?: number;
  readonly leaf1Edx?: number;
  /** Leaf 7, subleaf 0. */
  readonly leaf7Ebx?: number;
  readonly leaf7Ecx?: number;
  readonly leaf7Edx?: number;
  /** Leaf 80000001h. */
  readonly extended1Ecx?: number;
  readonly extended1Edx?: number;
}

export interface CpuidOptions {
  readonly vcpus: number;
  /** APIC id of the processor that asks. */
  readonly apicId: number;
  /** Hertz; below 2^32. */
  readonly tscFrequency: number;
  /** Beyond the basic set. */
  readonly features?: CpuidFeatures;
}

/** Width of guest physical and linear addresses, leaf 80000008h. */
export const PHYSICAL_ADDRESS_BITS = 40;
const LINEAR_ADDRESS_BITS = 48;

const MAX_BASIC_LEAF = 0x16;
const MAX_EXTENDED_LEAF = 0x80000008;
const HYPERVISOR_LEAF = 0x40000000;
const HYPERVISOR_FEATURES = 0x40000001;

/**
 * Family 6, model 1Ch, stepping 10: an in-order core. Linux knows that it does not speculate and so
 * leaves out mitigations that would cost an interpreter much and protect nothing in it.
 */
const SIGNATURE = (0x1 << 16) | (0x6 << 8) | (0xc << 4) | 0xa;

// Leaf 1 ECX
const CX16 = 1 << 13;
const X2APIC = 1 << 21;
const POPCNT = 1 << 23;
const TSC_DEADLINE = 1 << 24;
const HYPERVISOR = 1 << 31;
// Leaf 1 EDX
const FPU = 1 << 0;
const DE = 1 << 2;
const PSE = 1 << 3;
const TSC = 1 << 4;
const MSR = 1 << 5;
const PAE = 1 << 6;
const CX8 = 1 << 8;
const APIC = 1 << 9;
const SEP = 1 << 11;
const PGE = 1 << 13;
const CMOV = 1 << 15;
const PAT = 1 << 16;
const PSE36 = 1 << 17;
const CLFSH = 1 << 19;
const MMX = 1 << 23;
const FXSR = 1 << 24;
const SSE = 1 << 25;
const SSE2 = 1 << 26;
const HTT = 1 << 28;
// Leaf 7
const ERMS = 1 << 9;
const FSRM = 1 << 4;
// Leaf 80000001h EDX
const SYSCALL = 1 << 11;
const NX = 1 << 20;
const LM = 1 << 29;
// Leaf 80000007h EDX
const INVARIANT_TSC = 1 << 8;
// Leaf 40000001h EAX
const KVM_NOP_IO_DELAY = 1 << 1;
const KVM_CLOCKSOURCE2 = 1 << 3;
const KVM_CLOCKSOURCE_STABLE = 1 << 24;

const CACHE_LINE = 64;
const BRAND = 'Pando virtual x86-64 processor';

/** Four characters of an ASCII text, as a register holds them. */
function ascii(text: string, offset: number): number {
  let value = 0;
  for (let i = 3; i >= 0; i -= 1) value = value * 256 + (text.charCodeAt(offset + i) || 0);
  return value;
}

/** Bits of an APIC id that number the processors of a package. */
function coreBits(vcpus: number): number {
  return Math.ceil(Math.log2(vcpus));
}

/** Leaf 4: type 1 data, 2 instruction, 3 unified; `shared` processors have the cache in common. */
function cache(
  subleaf: number,
  type: number,
  level: number,
  kibibytes: number,
  ways: number,
  shared: number,
  cores: number,
): CpuidRow {
  const sets = (kibibytes * 1024) / (ways * CACHE_LINE);
  return {
    leaf: 4,
    subleaf,
    eax: type | (level << 5) | (1 << 8) | ((shared - 1) << 14) | ((cores - 1) << 26),
    ebx: (CACHE_LINE - 1) | ((ways - 1) << 22),
    ecx: sets - 1,
    edx: 0,
  };
}

/** The whole table for one processor; leaves that are missing answer zeros. */
export function buildCpuid(options: CpuidOptions): CpuidRow[] {
  const { vcpus, apicId, tscFrequency, features = {} } = options;
  const megahertz = Math.round(tscFrequency / 1e6);
  const bits = coreBits(vcpus);
  // Leaf 4 has 6 bits for the cores of a package, and leaf 1 has 8 for its APIC ids.
  const cores = Math.min(64, 2 ** bits);
  const all = (
    leaf: number,
    eax: number,
    ebx: number,
    ecx: number,
    edx: number,
    subleaf: number | 'any' = 'any',
  ): CpuidRow => ({ leaf, subleaf, eax, ebx, ecx, edx });
  const rows: CpuidRow[] = [
    all(0, MAX_BASIC_LEAF, ascii('Genu', 0), ascii('ntel', 0), ascii('ineI', 0)),
    all(
      1,
      SIGNATURE,
      ((CACHE_LINE / 8) << 8) | (Math.min(255, 2 ** bits) << 16) | ((apicId & 0xff) << 24),
      CX16 | X2APIC | POPCNT | TSC_DEADLINE | HYPERVISOR | (features.leaf1Ecx ?? 0),
      FPU |
        DE |
        PSE |
        TSC |
        MSR |
        PAE |
        CX8 |
        APIC |
        SEP |
        PGE |
        CMOV |
        PAT |
        PSE36 |
        CLFSH |
        MMX |
        FXSR |
        SSE |
        SSE2 |
        (vcpus > 1 ? HTT : 0) |
        (features.leaf1Edx ?? 0),
    ),
    // Descriptor FFh: the caches are in leaf 4.
    all(2, 0x0000ff01, 0, 0, 0),
    cache(0, 1, 1, 32, 8, 1, cores),
    cache(1, 2, 1, 32, 8, 1, cores),
    cache(2, 3, 2, 512, 8, 1, cores),
    all(6, 0, 0, 0, 0),
    all(
      7,
      0,
      ERMS | (features.leaf7Ebx ?? 0),
      features.leaf7Ecx ?? 0,
      FSRM | (features.leaf7Edx ?? 0),
      0,
    ),
    // One thread a core, all cores in one package.
    all(0xb, 0, 1, 0x100, apicId, 0),
    all(0xb, bits, vcpus, 0x201, apicId, 1),
    all(0xb, 0, 0, 2, apicId, 2),
    // The crystal is as fast as the counter: a ratio of 1.
    all(0x15, 1, 1, tscFrequency, 0),
    all(0x16, megahertz, megahertz, 100, 0),
    all(HYPERVISOR_LEAF, HYPERVISOR_FEATURES, ascii('KVMK', 0), ascii('VMKV', 0), ascii('M', 0)),
    all(HYPERVISOR_FEATURES, KVM_NOP_IO_DELAY | KVM_CLOCKSOURCE2 | KVM_CLOCKSOURCE_STABLE, 0, 0, 0),
    all(0x80000000, MAX_EXTENDED_LEAF, 0, 0, 0),
    all(
      0x80000001,
      0,
      0,
      features.extended1Ecx ?? 0,
      SYSCALL | NX | LM | (features.extended1Edx ?? 0),
    ),
    ...[0, 1, 2].map((part) =>
      all(
        0x80000002 + part,
        ascii(BRAND, part * 16),
        ascii(BRAND, part * 16 + 4),
        ascii(BRAND, part * 16 + 8),
        ascii(BRAND, part * 16 + 12),
      ),
    ),
    // L2: 512 KiB, 8-way, 64-byte lines.
    all(0x80000006, 0, 0, (512 << 16) | (6 << 12) | CACHE_LINE, 0),
    all(0x80000007, 0, 0, 0, INVARIANT_TSC),
    all(0x80000008, PHYSICAL_ADDRESS_BITS | (LINEAR_ADDRESS_BITS << 8), 0, 0, 0),
  ];
  return rows.map((row) => ({
    ...row,
    eax: row.eax >>> 0,
    ebx: row.ebx >>> 0,
    ecx: row.ecx >>> 0,
    edx: row.edx >>> 0,
  }));
}

/**
 * The row that answers a question; undefined means zeros. A leaf above the highest of its range gets
 * the highest basic leaf's answer.
 */
export function findCpuid(
  rows: readonly CpuidRow[],
  leaf: number,
  subleaf: number,
): CpuidRow | undefined {
  const hypervisor = leaf >= HYPERVISOR_LEAF && leaf < 0x50000000;
  const limit = leaf >= 0x80000000 ? MAX_EXTENDED_LEAF : MAX_BASIC_LEAF;
  const effective = !hypervisor && leaf > limit ? MAX_BASIC_LEAF : leaf;
  return rows.find(
    (row) => row.leaf === effective && (row.subleaf === 'any' || row.subleaf === subleaf),
  );
}
