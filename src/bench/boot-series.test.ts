import assert from 'node:assert/strict';
import { test } from 'node:test';
import { increments, summariseRuns } from './boot-series.js';

const RUNS = [
  { vmm_init_end: 10, linux_start_kernel: 30, linux_start_user: 100 },
  { vmm_init_end: 20, linux_start_kernel: 90, linux_start_user: 120 },
  { vmm_init_end: 12, linux_start_kernel: 40 },
];

test('stages are summed up over the runs that saw them', () => {
  const stages = summariseRuns(RUNS, { vmm_init_end: 'entry' });
  assert.deepEqual(
    stages.map(({ name, ms, source }) => [name, ms.median, ms.count, source]),
    [
      ['vmm_init_end', 12, 3, 'entry'],
      ['linux_start_kernel', 40, 3, ''],
      ['linux_start_user', 110, 2, ''],
    ],
  );
  assert.deepEqual(summariseRuns([{}], {}), []);
});

test('increments are taken within each run', () => {
  assert.deepEqual(
    increments({ runs: RUNS }).map(({ median }) => median),
    [12, 28, 50],
  );
});
