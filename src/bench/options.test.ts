import assert from 'node:assert/strict';
import { test } from 'node:test';
import { commandText } from '../cli/terminal/command-text.js';
import { parseBootOptions, parseChoices, parseFootprintOptions } from './options.js';
import { seriesOf } from './subject.js';

const BENCH = { memory: '1G', load: 'map,read', accel: 'auto', tier: 'auto', timeout: '600' };
const FOOTPRINT = { ...BENCH, instances: '16,1,4,1', isolate: 'shared,process', settle: '2.5' };

test('the defaults of both benches', () => {
  assert.deepEqual(parseFootprintOptions({ ...FOOTPRINT, against: 'qemu' }), {
    memory: 2 ** 30,
    load: ['map', 'read'],
    accelerator: 'auto',
    tier: 'auto',
    against: true,
    timeoutMs: 600_000,
    instances: [1, 4, 16],
    isolate: ['shared', 'process'],
    settleMs: 2500,
  });
  const boot = parseBootOptions({ ...BENCH, runs: '10', until: 'vmm_init_end' });
  assert.deepEqual([boot.runs, boot.until], [10, 'vmm_init_end']);
  assert.deepEqual(parseChoices('--load', 'read,map,read', ['map', 'read']), ['read', 'map']);
});

test('what is not known is refused by name', () => {
  const cases = [
    [{ ...FOOTPRINT, load: 'map,copy' }, 'CHOICE_INVALID'],
    [{ ...FOOTPRINT, against: 'xen' }, 'CHOICE_INVALID'],
    [{ ...FOOTPRINT, isolate: '' }, 'CHOICE_INVALID'],
    [{ ...FOOTPRINT, accel: 'tcg' }, 'CHOICE_INVALID'],
    [{ ...FOOTPRINT, tier: '2' }, 'CHOICE_INVALID'],
    [{ ...FOOTPRINT, instances: '1,,2' }, 'NUMBER_INVALID'],
    [{ ...FOOTPRINT, instances: '0' }, 'NUMBER_INVALID'],
    [{ ...FOOTPRINT, settle: 'soon' }, 'NUMBER_INVALID'],
    [{ ...FOOTPRINT, memory: 'much' }, 'SIZE_INVALID'],
  ] as const;
  assert.throws(() => parseBootOptions({ ...BENCH, runs: '1', until: 'login' }), {
    code: 'CHOICE_INVALID',
  });
  for (const [flags, code] of cases) assert.throws(() => parseFootprintOptions(flags), { code });
});

test('series are every place with every load, and QEMU last', () => {
  const keys = (against: boolean, accelerator: 'wasm' | 'kvm' = 'wasm'): string[] =>
    seriesOf(['shared', 'process'], ['map', 'read'], against, accelerator).map(({ key }) => key);
  assert.deepEqual(keys(true), [
    'pando-shared-map',
    'pando-shared-read',
    'pando-process-map',
    'pando-process-read',
    'qemu-tcg',
  ]);
  assert.equal(keys(true, 'kvm').at(-1), 'qemu-kvm', 'accelerator for accelerator');
  assert.equal(keys(false).includes('qemu-tcg'), false);
});

test('the command can be typed again', () => {
  assert.equal(
    commandText(['bench', 'boot', '--append', "a='b' c", '--runs=3']),
    "pando bench boot --append 'a='\\''b'\\'' c' --runs=3",
  );
});
