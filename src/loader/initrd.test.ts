import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PandoError } from '../error.js';
import { checkKernelFits, initrdPlacement, placeInitrd } from './initrd.js';
import type { KernelPlan } from './plan.js';

const MIB = 1 << 20;
const coded = (code: string) => (error: PandoError) => error.code === code;

test('the initrd ends with RAM, on pages of its own', () => {
  const place = (initrdSize: number) =>
    placeInitrd({ ramBytes: 64 * MIB, kernelHighest: 16 * MIB, initrdSize });
  assert.equal(place(4096), 64 * MIB - 4096);
  assert.equal(place(4097), 64 * MIB - 8192);
  assert.equal(place(1), 64 * MIB - 4096);
});

test('neither a ragged end of RAM nor RAM above the limit is used', () => {
  const size = { kernelHighest: 16 * MIB, initrdSize: 4096 };
  assert.equal(placeInitrd({ ...size, ramBytes: 64 * MIB + 100 }), 64 * MIB - 4096);
  assert.equal(placeInitrd({ ...size, ramBytes: 8192 * MIB }), 4096 * MIB - 4096);
  assert.equal(
    placeInitrd({ ...size, ramBytes: 8192 * MIB, limit: 3072 * MIB }),
    3072 * MIB - 4096,
  );
});

test('an initrd that touches the kernel does not fit', () => {
  const place = (kernelHighest: number, initrdSize: number) =>
    placeInitrd({ ramBytes: 64 * MIB, kernelHighest, initrdSize });
  assert.equal(place(60 * MIB, 4 * MIB), 60 * MIB);
  assert.throws(() => place(60 * MIB + 1, 4 * MIB), coded('INITRD_DOES_NOT_FIT'));
  assert.throws(() => place(60 * MIB, 4 * MIB + 1), coded('INITRD_DOES_NOT_FIT'));
  assert.throws(() => place(0, 128 * MIB), coded('INITRD_DOES_NOT_FIT'));
  assert.throws(() => place(0, 0), coded('INITRD_EMPTY'));
});

test('the placement fills its last page with zeros', () => {
  assert.deepEqual(initrdPlacement(0x3000000, 4097), {
    source: 'initrd',
    part: 'initrd',
    fileOffset: 0,
    fileLength: 4097,
    guestAddress: 0x3000000,
    zeroLength: 4095,
  });
  assert.equal(initrdPlacement(0x3000000, 8192).zeroLength, 0);
});

test('a kernel above RAM does not fit', () => {
  const plan: KernelPlan = {
    entry: MIB,
    elfClass: 64,
    placements: [],
    parts: [],
    lowest: MIB,
    highest: 64 * MIB,
  };
  checkKernelFits(plan, 64 * MIB);
  assert.throws(() => checkKernelFits(plan, 64 * MIB - 1), coded('KERNEL_DOES_NOT_FIT'));
});
