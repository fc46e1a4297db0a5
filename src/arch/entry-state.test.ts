import assert from 'node:assert/strict';
import { test } from 'node:test';
import { buildCpuid, findCpuid } from './cpuid.js';
import { entryGdt, pvhEntryState } from './entry-state.js';

test('the entry state is the PVH document’s', () => {
  const state = pvhEntryState(0x1000000, 0x6000);
  assert.equal(state.eip, 0x1000000);
  assert.equal(state.ebx, 0x6000);
  assert.equal(state.cr0, 0x11);
  assert.equal(state.cr4, 0);
  assert.equal(state.eflags, 2);
  assert.equal(state.cs.limit, 0xffffffff);
  assert.deepEqual([state.cs.db, state.cs.l, state.cs.type], [1, 0, 0xb]);
  for (const segment of [state.ds, state.es, state.ss]) {
    assert.deepEqual([segment.base, segment.limit, segment.type], [0, 0xffffffff, 3]);
  }
  assert.deepEqual([state.tr.base, state.tr.limit, state.tr.type], [0, 0x67, 0xb]);
});

test('the GDT says the same as the descriptor caches', () => {
  const view = new DataView(entryGdt().buffer);
  const state = pvhEntryState(0);
  assert.equal(view.getBigUint64(0, true), 0n);
  assert.equal(view.getBigUint64(state.cs.selector, true), 0x00cf9b000000ffffn);
  assert.equal(view.getBigUint64(state.ds.selector, true), 0x00cf93000000ffffn);
  assert.equal(view.getBigUint64(state.tr.selector, true), 0x00008b0000000067n);
  assert.equal(state.gdtr.limit, view.byteLength - 1);
});

const text = (...registers: number[]): string =>
  Buffer.from(Uint32Array.from(registers).buffer).toString('latin1').replace(/\0+$/, '');

test('CPUID gives vendor, brand and the hypervisor’s signature', () => {
  const rows = buildCpuid({ vcpus: 1, apicId: 0, tscFrequency: 1e9 });
  const leaf = (number: number, sub = 0) => findCpuid(rows, number, sub)!;
  assert.equal(text(leaf(0).ebx, leaf(0).edx, leaf(0).ecx), 'GenuineIntel');
  const kvm = leaf(0x40000000);
  assert.equal(text(kvm.ebx, kvm.ecx, kvm.edx), 'KVMKVMKVM');
  assert.equal(leaf(0x40000001).eax, (1 << 24) | (1 << 3) | (1 << 1));
  const brand = [2, 3, 4].map((n) => leaf(0x80000000 + n));
  assert.match(text(...brand.flatMap((row) => [row.eax, row.ebx, row.ecx, row.edx])), /^Pando/);
});

test('CPUID offers x86-64-v1 and what spares calibration, and nothing that is not executed', () => {
  const rows = buildCpuid({ vcpus: 1, apicId: 0, tscFrequency: 1e9 });
  const leaf = (number: number, sub = 0) => findCpuid(rows, number, sub)!;
  const one = leaf(1);
  for (const bit of [13, 21, 23, 24, 31]) assert.equal((one.ecx >>> bit) & 1, 1, `ecx ${bit}`);
  for (const bit of [0, 9, 12, 17, 19, 20, 26, 28, 30]) assert.equal((one.ecx >>> bit) & 1, 0);
  for (const bit of [0, 3, 4, 5, 6, 8, 9, 11, 13, 15, 23, 24, 25, 26]) {
    assert.equal((one.edx >>> bit) & 1, 1, `edx ${bit}`);
  }
  assert.equal(leaf(0x80000001).edx, (1 << 29) | (1 << 20) | (1 << 11));
  assert.equal(leaf(6).eax, 0, 'with ARAT Linux has no timer where nolapic_timer is given');
  assert.equal(leaf(7).ebx, 1 << 9);
  assert.equal(leaf(7).edx, 1 << 4);
  assert.deepEqual([leaf(0x15).eax, leaf(0x15).ebx, leaf(0x15).ecx], [1, 1, 1e9]);
  assert.equal(leaf(0x16).eax, 1000);
  assert.equal(leaf(0x80000007).edx, 0x100);
  assert.equal(findCpuid(rows, 7, 1), undefined);
  assert.equal(findCpuid(rows, 0x40000002, 0), undefined);
  assert.equal(findCpuid(rows, 0x99, 0), leaf(0x16), 'beyond the last leaf: the last leaf');
});

test('CPUID numbers the processors, and takes the features an accelerator adds', () => {
  const rows = buildCpuid({
    vcpus: 3,
    apicId: 2,
    tscFrequency: 2.4e9,
    features: { leaf1Ecx: 1, leaf7Ebx: 1 << 5 },
  });
  const leaf = (number: number, sub = 0) => findCpuid(rows, number, sub)!;
  assert.equal(leaf(1).ebx >>> 24, 2);
  assert.equal((leaf(1).ebx >>> 16) & 0xff, 4);
  assert.equal((leaf(1).edx >>> 28) & 1, 1);
  assert.equal(leaf(1).ecx & 1, 1);
  assert.equal(leaf(7).ebx, (1 << 9) | (1 << 5));
  assert.deepEqual([leaf(0xb, 1).eax, leaf(0xb, 1).ebx, leaf(0xb, 1).edx], [2, 3, 2]);
  assert.equal(leaf(4).eax >>> 26, 3);
  assert.equal(leaf(0x15).ecx, 2.4e9);
});
