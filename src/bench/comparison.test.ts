import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type BootReport, summariseRuns } from './boot-series.js';
import { compareBoots, compareFootprints, largestShare } from './comparison.js';
import type { FootprintReport } from './footprint-report.js';

const series = { key: 'pando-shared-map', title: 'Pando' };
const footprint = (...uss: (readonly [instances: number, uss: number])[]): FootprintReport =>
  ({
    kind: 'footprint',
    series: [{ ...series, cells: uss.map(([instances, bytes]) => ({ instances, uss: bytes })) }],
  }) as unknown as FootprintReport;

test('footprints are compared per instance, at the counts that both have', () => {
  const found = compareFootprints(footprint([1, 100], [4, 400]), footprint([4, 388], [8, 1]));
  assert.deepEqual(
    found.map(({ title, what, first, second }) => [title, what, first, second]),
    [['Pando', '4', 100, 97]],
  );
  assert.equal(largestShare(found).toFixed(6), '0.030000');
  assert.equal(largestShare([]), 0);
});

test('boots are compared by the medians of their stages', () => {
  const boot = (kernel: readonly number[]): BootReport => {
    const runs = kernel.map((ms) => ({ linux_start_kernel: ms }));
    return {
      kind: 'boot',
      series: [{ ...series, stages: summariseRuns(runs, {}) }],
    } as unknown as BootReport;
  };
  const found = compareBoots(boot([40, 50, 90]), boot([60]));
  assert.deepEqual(
    found.map(({ what, first, second, share }) => [what, first, second, share.toFixed(2)]),
    [['linux_start_kernel', 50, 60, '0.20']],
  );
});
