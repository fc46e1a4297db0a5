/**
 * What CPUID tells a guest on KVM: what the host supports, filtered by a CPU model.
 *
 * Source: Intel SDM vol. 2A, CPUID; the levels v1 to v3 are those of the System V AMD64 ABI, "x86-64
 * micro-architecture levels"; KVM_GET_SUPPORTED_CPUID, KVM API documentation 4.46.
 */
import type { CpuidFeatures } from '../../arch/cpuid.js';
import { PandoError } from '../../error.js';
import { ioctlBytes } from '../../host/ioctl.js';
import { KVM, STRUCT, VALUE } from './api.js';
import { kvmFailure } from './system.js';

/** One entry of KVM's table. */
export interface CpuidEntry {
  readonly leaf: number;
  readonly subleaf: number;
  /** KVM_CPUID_FLAG_*. */
  readonly flags: number;
  eax: number;
  ebx: number;
  ecx: number;
  edx: number;
}

type Register = 'eax' | 'ebx' | 'ecx' | 'edx';
/** Leaf, subleaf, register and bit of a feature. */
type Place = readonly [leaf: number, subleaf: number, register: Register, bit: number];

/** Features by the names of /proc/cpuinfo. */
export const FEATURES: Readonly<Record<string, Place>> = {
  sse3: [1, 0, 'ecx', 0],
  pclmulqdq: [1, 0, 'ecx', 1],
  monitor: [1, 0, 'ecx', 3],
  vmx: [1, 0, 'ecx', 5],
  ssse3: [1, 0, 'ecx', 9],
  fma: [1, 0, 'ecx', 12],
  cx16: [1, 0, 'ecx', 13],
  pcid: [1, 0, 'ecx', 17],
  sse4_1: [1, 0, 'ecx', 19],
  sse4_2: [1, 0, 'ecx', 20],
  x2apic: [1, 0, 'ecx', 21],
  movbe: [1, 0, 'ecx', 22],
  popcnt: [1, 0, 'ecx', 23],
  tsc_deadline_timer: [1, 0, 'ecx', 24],
  aes: [1, 0, 'ecx', 25],
  xsave: [1, 0, 'ecx', 26],
  avx: [1, 0, 'ecx', 28],
  f16c: [1, 0, 'ecx', 29],
  rdrand: [1, 0, 'ecx', 30],
  pge: [1, 0, 'edx', 13],
  fsgsbase: [7, 0, 'ebx', 0],
  bmi1: [7, 0, 'ebx', 3],
  avx2: [7, 0, 'ebx', 5],
  smep: [7, 0, 'ebx', 7],
  bmi2: [7, 0, 'ebx', 8],
  erms: [7, 0, 'ebx', 9],
  invpcid: [7, 0, 'ebx', 10],
  avx512f: [7, 0, 'ebx', 16],
  avx512dq: [7, 0, 'ebx', 17],
  rdseed: [7, 0, 'ebx', 18],
  adx: [7, 0, 'ebx', 19],
  smap: [7, 0, 'ebx', 20],
  avx512ifma: [7, 0, 'ebx', 21],
  clflushopt: [7, 0, 'ebx', 23],
  clwb: [7, 0, 'ebx', 24],
  avx512cd: [7, 0, 'ebx', 28],
  sha_ni: [7, 0, 'ebx', 29],
  avx512bw: [7, 0, 'ebx', 30],
  avx512vl: [7, 0, 'ebx', 31],
  umip: [7, 0, 'ecx', 2],
  pku: [7, 0, 'ecx', 3],
  gfni: [7, 0, 'ecx', 8],
  vaes: [7, 0, 'ecx', 9],
  vpclmulqdq: [7, 0, 'ecx', 10],
  la57: [7, 0, 'ecx', 16],
  rdpid: [7, 0, 'ecx', 22],
  fsrm: [7, 0, 'edx', 4],
  lahf_lm: [0x80000001, 0, 'ecx', 0],
  svm: [0x80000001, 0, 'ecx', 2],
  abm: [0x80000001, 0, 'ecx', 5],
  syscall: [0x80000001, 0, 'edx', 11],
  nx: [0x80000001, 0, 'edx', 20],
  pdpe1gb: [0x80000001, 0, 'edx', 26],
  rdtscp: [0x80000001, 0, 'edx', 27],
};

/** Features that a vector state in XSAVE's area stands behind: without xsave they are useless. */
const XSAVE_FEATURES = [
  ...['avx', 'f16c', 'fma', 'avx2', 'vaes', 'vpclmulqdq', 'pku'],
  ...['avx512f', 'avx512dq', 'avx512ifma', 'avx512cd', 'avx512bw', 'avx512vl'],
];
const AVX_FEATURES = XSAVE_FEATURES.filter((name) => name !== 'avx' && name !== 'pku');

/* The words that a level keeps; what they lack is taken away. Leaf 1 EDX, bit by bit: FPU VME DE PSE
   TSC MSR PAE MCE CX8 APIC SEP MTRR PGE MCA CMOV PAT PSE36 CLFSH MMX FXSR SSE SSE2 HTT. */
const V1_LEAF1_EDX = 0x178bfbff;
const X2APIC_DEADLINE_HYPERVISOR = (1 << 21) | (1 << 24) | (1 << 31);
/** cx16, sse3, ssse3, sse4.1, sse4.2, popcnt. */
const V2_LEAF1_ECX = (1 << 0) | (1 << 9) | (1 << 13) | (1 << 19) | (1 << 20) | (1 << 23);
/** fma, movbe, xsave, osxsave, avx, f16c. */
const V3_LEAF1_ECX = (1 << 12) | (1 << 22) | (1 << 26) | (1 << 27) | (1 << 28) | (1 << 29);
/** bmi1, avx2, bmi2. */
const V3_LEAF7_EBX = (1 << 3) | (1 << 5) | (1 << 8);
/** syscall, nx, 1 GiB pages, rdtscp, long mode; leaf 1 EDX's bits repeated by AMD processors. */
const V1_EXTENDED1_EDX = (1 << 11) | (1 << 20) | (1 << 26) | (1 << 27) | (1 << 29);
const EXTENDED1_ECX_LAHF = 1 << 0;
const EXTENDED1_ECX_ABM = 1 << 5;

type Level = Required<CpuidFeatures>;

const V1: Level = {
  leaf1Ecx: X2APIC_DEADLINE_HYPERVISOR,
  leaf1Edx: V1_LEAF1_EDX,
  leaf7Ebx: 0,
  leaf7Ecx: 0,
  leaf7Edx: 0,
  extended1Ecx: 0,
  extended1Edx: V1_EXTENDED1_EDX,
};
const V2: Level = {
  ...V1,
  leaf1Ecx: V1.leaf1Ecx | V2_LEAF1_ECX,
  extended1Ecx: EXTENDED1_ECX_LAHF,
};
const V3: Level = {
  ...V2,
  leaf1Ecx: V2.leaf1Ecx | V3_LEAF1_ECX,
  leaf7Ebx: V3_LEAF7_EBX,
  extended1Ecx: V2.extended1Ecx | EXTENDED1_ECX_ABM,
};
const LEVELS: Readonly<Record<string, Level | undefined>> = {
  host: undefined,
  max: undefined,
  v1: V1,
  v2: V2,
  v3: V3,
};

/** A CPU model: a level, and features to take away from it. */
export interface CpuModel {
  /** undefined: all that the host has. */
  readonly level: Level | undefined;
  readonly without: readonly string[];
}

/**
 * Understands `host` and `max`, which are one, `v1`, `v2` and `v3`, each with `,-feature` any number of times.
 * @throws PandoError CPU_MODEL_UNKNOWN, CPU_FEATURE_UNKNOWN
 */
export function parseCpuModel(text: string): CpuModel {
  const [name = '', ...features] = text.split(',');
  if (!Object.hasOwn(LEVELS, name)) {
    throw new PandoError('CPU_MODEL_UNKNOWN', `"${name}" is no CPU model`, {
      remedy: `choose one of ${Object.keys(LEVELS).join(', ')}`,
    });
  }
  const without = features.map((feature) => {
    const known = feature.slice(1);
    if (!feature.startsWith('-') || !Object.hasOwn(FEATURES, known)) {
      throw new PandoError('CPU_FEATURE_UNKNOWN', `"${feature}" takes no feature away`, {
        remedy: `use -NAME with a name of ${Object.keys(FEATURES).join(', ')}`,
      });
    }
    return known;
  });
  return { level: LEVELS[name], without };
}

let supported: readonly CpuidEntry[] | undefined;

/**
 * What the host's KVM can give a guest. Asked once in a process: the kernel executes CPUID some 75
 * times, which traps where the host is a VM itself.
 */
export function supportedCpuid(systemFd: number): readonly CpuidEntry[] {
  supported ??= askSupportedCpuid(systemFd);
  return supported;
}

function askSupportedCpuid(systemFd: number): CpuidEntry[] {
  const { kvm_cpuid2: head, kvm_cpuid_entry2: entry } = STRUCT;
  for (let room = 128; ; room *= 2) {
    const bytes = new Uint8Array(head.size + room * entry.size);
    const view = new DataView(bytes.buffer);
    view.setUint32(head.nent, room, true);
    const result = ioctlBytes(systemFd, KVM.KVM_GET_SUPPORTED_CPUID, bytes);
    if (result === -7 && room < 4096) continue;
    if (result < 0) throw kvmFailure('KVM_GET_SUPPORTED_CPUID', result);
    return Array.from({ length: view.getUint32(head.nent, true) }, (_, index) => {
      const at = head.entries + index * entry.size;
      const word = (offset: number): number => view.getUint32(at + offset, true);
      return {
        leaf: word(entry.function),
        subleaf: word(entry.index),
        flags: word(entry.flags),
        eax: word(entry.eax),
        ebx: word(entry.ebx),
        ecx: word(entry.ecx),
        edx: word(entry.edx),
      };
    });
  }
}

/** As the request KVM_SET_CPUID2 takes it. */
export function encodeCpuid(entries: readonly CpuidEntry[]): Uint8Array {
  const { kvm_cpuid2: head, kvm_cpuid_entry2: place } = STRUCT;
  const bytes = new Uint8Array(head.size + entries.length * place.size);
  const view = new DataView(bytes.buffer);
  view.setUint32(head.nent, entries.length, true);
  entries.forEach((entry, index) => {
    const at = head.entries + index * place.size;
    view.setUint32(at + place.function, entry.leaf, true);
    view.setUint32(at + place.index, entry.subleaf, true);
    view.setUint32(at + place.flags, entry.flags, true);
    for (const register of ['eax', 'ebx', 'ecx', 'edx'] as const) {
      view.setUint32(at + place[register], entry[register], true);
    }
  });
  return bytes;
}

/** The processor that a table is for. */
export interface CpuidProcessor {
  readonly vcpus: number;
  readonly apicId: number;
}

const TOPOLOGY_LEAVES = new Set([0xb, 0x1f]);
const HYPERVISOR = 1 << 31;
const HTT = 1 << 28;
/** Leaf 6 EAX: the local APIC's timer never stops. */
const ARAT = 1 << 2;

/** The table of one vCPU: the host's, the model's features only, this machine's topology. */
export function buildKvmCpuid(
  supported: readonly CpuidEntry[],
  model: CpuModel,
  processor: CpuidProcessor,
): CpuidEntry[] {
  const entries = supported
    .filter(({ leaf }) => !TOPOLOGY_LEAVES.has(leaf))
    .map((entry) => ({ ...entry }));
  filterFeatures(entries, model);
  setTopology(entries, processor);
  return entries;
}

function filterFeatures(entries: CpuidEntry[], { level, without }: CpuModel): void {
  const find = (leaf: number, subleaf: number): CpuidEntry | undefined =>
    entries.find((entry) => entry.leaf === leaf && entry.subleaf === subleaf);
  const keep = (leaf: number, subleaf: number, register: Register, mask: number): void => {
    const entry = find(leaf, subleaf);
    if (entry) entry[register] = (entry[register] & mask) >>> 0;
  };
  const leaf1 = find(1, 0);
  // The guest is told that it is one; and Pando does not nest.
  if (leaf1) leaf1.ecx = (leaf1.ecx | HYPERVISOR) >>> 0;
  // As on the wasm accelerator, see arch/cpuid.ts.
  keep(6, 0, 'eax', ~ARAT);
  if (level) {
    keep(1, 0, 'ecx', level.leaf1Ecx);
    keep(1, 0, 'edx', level.leaf1Edx);
    keep(7, 0, 'ebx', level.leaf7Ebx);
    keep(7, 0, 'ecx', level.leaf7Ecx);
    keep(7, 0, 'edx', level.leaf7Edx);
    keep(0x80000001, 0, 'ecx', level.extended1Ecx);
    keep(0x80000001, 0, 'edx', level.extended1Edx | level.leaf1Edx);
    if (find(7, 1))
      for (const register of ['eax', 'ebx', 'ecx', 'edx'] as const) keep(7, 1, register, 0);
  }
  const removed = new Set([...without, 'vmx', 'svm']);
  const lacks = (name: string): boolean => {
    const [leaf, subleaf, register, bit] = FEATURES[name]!;
    return ((find(leaf, subleaf)?.[register] ?? 0) & (1 << bit)) === 0;
  };
  if (removed.has('xsave') || lacks('xsave')) {
    for (const name of XSAVE_FEATURES) removed.add(name);
    // Leaf 0Dh describes XSAVE's area.
    for (const entry of entries) {
      if (entry.leaf === 0xd) entry.eax = entry.ebx = entry.ecx = entry.edx = 0;
    }
  } else if (removed.has('avx') || lacks('avx')) {
    for (const name of AVX_FEATURES) removed.add(name);
  }
  for (const name of removed) {
    const [leaf, subleaf, register, bit] = FEATURES[name]!;
    keep(leaf, subleaf, register, ~(1 << bit));
  }
}

/** Every vCPU is a core of its own in one package, as the wasm accelerator has it. */
function setTopology(entries: CpuidEntry[], { vcpus, apicId }: CpuidProcessor): void {
  const bits = Math.ceil(Math.log2(vcpus));
  for (const entry of entries) {
    if (entry.leaf === 1) {
      const low = entry.ebx & 0xffff;
      entry.ebx = (low | (Math.min(255, 2 ** bits) << 16) | ((apicId & 0xff) << 24)) >>> 0;
      entry.edx = (vcpus > 1 ? entry.edx | HTT : entry.edx & ~HTT) >>> 0;
    } else if (entry.leaf === 4 && (entry.eax & 0x1f) !== 0) {
      const cores = Math.min(64, 2 ** bits);
      const sharedAbove = ((entry.eax >>> 5) & 7) >= 3 ? cores : 1;
      entry.eax = ((entry.eax & 0x3fff) | ((sharedAbove - 1) << 14) | ((cores - 1) << 26)) >>> 0;
    } else if (entry.leaf === 0x80000008) {
      entry.ecx = (bits << 12) | (vcpus - 1);
    } else if (entry.leaf === 0x8000001e) {
      entry.eax = apicId;
      entry.ebx = apicId & 0xff;
      entry.ecx = 0;
    }
  }
  const flags = VALUE.KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
  const level = (subleaf: number, eax: number, ebx: number, type: number): CpuidEntry => ({
    ...{ leaf: 0xb, subleaf, flags, eax, ebx },
    ...{ ecx: subleaf | (type << 8), edx: apicId },
  });
  if ((entries.find(({ leaf }) => leaf === 0)?.eax ?? 0) >= 0xb) {
    entries.push(level(0, 0, 1, 1), level(1, bits, vcpus, 2), level(2, 0, 0, 0));
  }
}
