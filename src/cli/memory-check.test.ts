import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkMemory } from './memory-check.js';

const available = { bytes: 2 ** 30, source: 'MemAvailable' };
const vms = (count: number, isolate: 'shared' | 'process', memory = 2 ** 30) => ({
  count,
  isolate,
  memory,
});

test('VMs that fit are let through; too many are refused with the number that fits', () => {
  checkMemory(vms(51, 'shared'), available);
  checkMemory(vms(19, 'process'), available);
  assert.throws(() => checkMemory(vms(200, 'process'), available), {
    code: 'MEMORY_INSUFFICIENT',
    message: '200 VMs take some 10.2 GiB (52 MiB each), 1.0 GiB is available (MemAvailable)',
    remedy: 'use --count 19 or fewer, or --force to boot them all the same',
  });
});

test('small guests, one VM, and systems that do not tell are no reason to refuse', () => {
  checkMemory(vms(340, 'shared', 2 ** 20), available);
  checkMemory(vms(1, 'process'), { bytes: 1, source: 'MemAvailable' });
  checkMemory(vms(4096, 'process'), undefined);
});
