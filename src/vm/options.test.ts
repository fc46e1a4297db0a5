import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PandoError } from '../error.js';
import type { VmOptions } from './types.js';
import { Vm } from './vm.js';

function refusal(options: object, code: string, says: RegExp): Promise<void> {
  return assert.rejects(Vm.create(options as VmOptions), (error: PandoError) => {
    assert.equal(error.code, code);
    assert.match(error.toLine(), says);
    return true;
  });
}

test('options that mean nothing are refused, each with its name and what it may be', async () => {
  const kernel = '/nowhere';
  const invalid = (options: object, says: RegExp) => refusal(options, 'VM_OPTION_INVALID', says);
  await invalid({}, /option kernel is undefined .*path of a file/);
  await invalid({ kernel: undefined }, /kernel is undefined/);
  await invalid({ kernel: '' }, /kernel is ''/);
  await invalid({ kernel: 'a\0b' }, /kernel/);
  await invalid({ kernel, initrd: 5 }, /initrd is 5/);
  await invalid({ kernel, load: 'foo' }, /load is 'foo' .*one of 'map', 'read'/);
  await invalid({ kernel, tier: 5 }, /tier is 5 .*'0', '1', 'auto'/);
  await invalid({ kernel, accelerator: 'tcg' }, /accelerator is 'tcg'/);
  await invalid({ kernel, memory: '1G' }, /memory is '1G' .*a number/);
  await invalid({ kernel, cpus: null }, /cpus is null/);
  await invalid({ kernel, cpu: 3 }, /cpu is 3/);
  await invalid({ kernel, commandLine: ['quiet'] }, /commandLine is quiet/);
  await invalid({ kernel, immutableImages: 'yes' }, /immutableImages is 'yes' .*true or false/);
  await invalid({ kernel, deduplicate: 1 }, /deduplicate is 1/);
  await invalid({ kernel, signal: {} as AbortSignal & Vm }, /signal/);
  await refusal({ kernel, mem: 5 }, 'VM_OPTION_UNKNOWN', /no option mem .*memory, cpus/);
  await refusal({ kernel, memory: Number.NaN }, 'VM_MEMORY_INVALID', /NaN/);
  await refusal({ kernel, cpus: 0.5 }, 'VM_CPUS_INVALID', /0\.5/);
});

test('options that are undefined are absent', async () => {
  const absent = { initrd: undefined, memory: undefined, tier: undefined, load: undefined };
  await assert.rejects(Vm.create({ kernel: '/nowhere', accelerator: 'wasm', ...absent }), {
    message: /nowhere/,
  });
});
