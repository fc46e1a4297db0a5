/**
 * The CPU models of a processor that Pando itself executes: feature words beyond the basic set (cpuid.ts).
 *
 * Source: Intel SDM vol. 2A, CPUID; System V AMD64 ABI, "x86-64 micro-architecture levels".
 */
import type { CpuidFeatures } from './cpuid.js';

// Leaf 1 ECX
const SSE3 = 1 << 0;
const PCLMULQDQ = 1 << 1;
const SSSE3 = 1 << 9;
const SSE4_1 = 1 << 19;
const SSE4_2 = 1 << 20;
const MOVBE = 1 << 22;
const AES = 1 << 25;
// Leaf 7 EBX
const ADX = 1 << 19;
// Leaf 80000001h ECX
const LAHF = 1 << 0;

const V2 = { leaf1Ecx: SSE3 | SSSE3 | SSE4_1 | SSE4_2, extended1Ecx: LAHF };
const MAX = { ...V2, leaf1Ecx: V2.leaf1Ecx | PCLMULQDQ | MOVBE | AES, leaf7Ebx: ADX };

/** By name. `v1` has CMPXCHG16B and POPCNT of v2, which kernels are faster with; `max` all that is executed. */
const MODELS: Readonly<Record<string, CpuidFeatures>> = { v1: {}, v2: V2, max: MAX };

/** What a VM has when nothing is said. */
export const DEFAULT_CPU_MODEL = 'max';

export const CPU_MODELS: readonly string[] = Object.keys(MODELS);

/** The features of a model; of one that there is not, `v1`'s: snapshots from before there were models have it. */
export function cpuModelFeatures(model: string): CpuidFeatures {
  return MODELS[model] ?? {};
}
