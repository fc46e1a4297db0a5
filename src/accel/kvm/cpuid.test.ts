import assert from 'node:assert/strict';
import { test } from 'node:test';
import { buildKvmCpuid, type CpuidEntry, FEATURES, parseCpuModel } from './cpuid.js';

const ALL = 0xffffffff;
/** A processor that has everything. */
const HOST: CpuidEntry[] = [
  ...[0, 1, 6, 0x80000001, 0x80000008].map((leaf) => [leaf, 0] as const),
  ...[7, 0xd].map((leaf) => [leaf, 0] as const),
].map(([leaf, subleaf]) => ({
  ...{ leaf, subleaf, flags: leaf === 7 || leaf === 0xd ? 1 : 0 },
  ...(leaf === 0
    ? { eax: 0x1f, ebx: 0, ecx: 0, edx: 0 }
    : { eax: ALL, ebx: ALL, ecx: ALL, edx: ALL }),
}));

/** The features that a model shows on that processor. */
function features(model: string): Set<string> {
  const entries = buildKvmCpuid(HOST, parseCpuModel(model), { vcpus: 1, apicId: 0 });
  const names = Object.entries(FEATURES).filter(([, [leaf, subleaf, register, bit]]) => {
    const entry = entries.find((row) => row.leaf === leaf && row.subleaf === subleaf);
    return ((entry?.[register] ?? 0) & (1 << bit)) !== 0;
  });
  return new Set(names.map(([name]) => name));
}

const V2 = ['cx16', 'lahf_lm', 'popcnt', 'sse3', 'sse4_1', 'sse4_2', 'ssse3'];
const V3 = ['avx', 'avx2', 'bmi1', 'bmi2', 'f16c', 'fma', 'abm', 'movbe', 'xsave'];

test('levels show the features of the ABI, and no others that programs look for', () => {
  const [v1, v2, v3, host] = ['v1', 'v2', 'v3', 'host'].map(features) as [
    Set<string>,
    Set<string>,
    Set<string>,
    Set<string>,
  ];
  for (const name of ['syscall', 'nx', 'pge']) assert.ok(v1.has(name), name);
  for (const name of V2) assert.deepEqual([v1.has(name), v2.has(name)], [false, true], name);
  for (const name of V3) assert.deepEqual([v2.has(name), v3.has(name)], [false, true], name);
  for (const name of ['avx512f', 'rdrand', 'aes']) {
    assert.deepEqual([v3.has(name), host.has(name)], [false, true], name);
  }
  assert.ok(!host.has('vmx') && !host.has('svm'), 'guests do not nest');
  const table = buildKvmCpuid(HOST, parseCpuModel('host'), { vcpus: 1, apicId: 0 });
  assert.equal(table.find((row) => row.leaf === 6)?.eax, (ALL & ~4) >>> 0, 'ARAT, as on wasm');
});

test('a feature that is taken away takes those with it that need it', () => {
  const all = features('host');
  const gone = (model: string): string[] => [...all].filter((name) => !features(model).has(name));
  assert.deepEqual(gone('host,-cx16'), ['cx16']);
  assert.ok(gone('host,-avx').includes('avx512f') && !gone('host,-avx').includes('xsave'));
  for (const name of ['avx', 'fma', 'pku', 'avx512bw']) {
    assert.ok(gone('host,-xsave').includes(name), name);
  }
  const area = buildKvmCpuid(HOST, parseCpuModel('host,-xsave'), { vcpus: 1, apicId: 0 });
  assert.equal(area.find(({ leaf }) => leaf === 0xd)?.eax, 0);
});

test('each vCPU is a core of its own, with its APIC id', () => {
  const entries = buildKvmCpuid(HOST, parseCpuModel('host'), { vcpus: 3, apicId: 2 });
  const leaf = (number: number, subleaf = 0): CpuidEntry =>
    entries.find((entry) => entry.leaf === number && entry.subleaf === subleaf)!;
  assert.equal(leaf(1).ebx >>> 24, 2);
  assert.equal((leaf(1).ebx >>> 16) & 0xff, 4);
  assert.deepEqual([leaf(0xb, 0).ebx, leaf(0xb, 1).ebx, leaf(0xb, 1).eax], [1, 3, 2]);
  assert.equal(leaf(0xb, 1).edx, 2);
  assert.equal(leaf(0x80000008).ecx & 0xff, 2);
});
