/**
 * The CPU models of a processor that Pando itself executes: feature words beyond the basic set (cpuid.ts).
 *
 * Source: Intel SDM vol. 2A, CPUID; System V AMD64 ABI, "x86-64 micro-architecture levels".
 */
import type { CpuidFeatures } from './cpuid.js';

// Leaf 1 ECX
const SSE3 = 1 << 0;
const SSSE3 = 1 << 9;
const SSE4_1 = 1 << 19;
const SSE4_2 = 1 << 20;
// Leaf 80000001h ECX
const LAHF = 1 << 0;

const V2: CpuidFeatures = { leaf1Ecx: SSE3 | SSSE3 | SSE4_1 | SSE4_2, extended1Ecx: LAHF };

/** By name. `v1` has CMPXCHG16B and POPCNT of v2, which kernels are faster with. */
const MODELS: Readonly<Record<string, CpuidFeatures>> = { v1: {}, v2: V2, max: V2 };

/** What a VM has when nothing is said. */
export const DEFAULT_CPU_MODEL = 'max';

export const CPU_MODELS: readonly string[] = Object.keys(MODELS);

/** The features of a model; of one that there is not, `v1`'s: snapshots from before there were models have it. */
export function cpuModelFeatures(model: string): CpuidFeatures {
  return MODELS[model] ?? {};
}
