import assert from 'node:assert/strict';
import { test } from 'node:test';
import { slope, summarise } from './statistics.js';

test('median and quartiles lie between neighbours', () => {
  assert.deepEqual(summarise([4, 1, 3, 2]), {
    count: 4,
    median: 2.5,
    lowest: 1,
    highest: 4,
    spread: 0.75,
  });
  assert.deepEqual(summarise([7]), { count: 1, median: 7, lowest: 7, highest: 7, spread: 0 });
  assert.ok(Number.isNaN(summarise([]).median));
});

test('the slope is that of the line the points lie on', () => {
  const line = slope([
    [1, 12],
    [3, 32],
    [8, 82],
  ]);
  assert.equal(line.toFixed(9), '10.000000000');
  assert.ok(Number.isNaN(slope([[1, 5]])));
});
