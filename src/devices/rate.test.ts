import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PIT_RATE, PM_TIMER_RATE, Rate } from './rate.js';

test('one second holds the oscillators’ published frequencies', () => {
  assert.equal(PIT_RATE.ticksAt(1e9), 1193181);
  assert.equal(PM_TIMER_RATE.ticksAt(1e9), 3579545);
  assert.equal(new Rate(1e9).ticksAt(123456789), 123456789);
});

test('the time of a tick is the first nanosecond that shows it', () => {
  for (const rate of [PIT_RATE, PM_TIMER_RATE, new Rate(2_893_202_000), new Rate(1e9)]) {
    for (const tick of [0, 1, 2, 7, 65536, 1193182, 123_456_789, 4_000_000_001]) {
      const ns = rate.timeOf(tick);
      assert.ok(rate.ticksAt(ns) >= tick, `tick ${tick}`);
      if (ns > 0) assert.ok(rate.ticksAt(ns - 1) < tick, `before tick ${tick}`);
    }
  }
});
