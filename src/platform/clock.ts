/**
 * The host's monotonic clock (clock_gettime(2), CLOCK_MONOTONIC) in nanoseconds, the same in every
 * thread. `performance.now()` is the cheap reading of it, but counts from each thread's own start.
 */

import { readFileSync } from 'node:fs';

// The first use in a thread loads its code, for milliseconds that must not come between the two readings.
performance.now();
const [seconds, nanoseconds] = process.hrtime();
const offset = seconds * 1e9 + nanoseconds - performance.now() * 1e6;

/** Nanoseconds since an arbitrary point, exact below 2^53. */
export function hostNanoseconds(): number {
  return performance.now() * 1e6 + offset;
}

/** Processor time of this thread in milliseconds (proc(5), schedstat); wall time where it is not told. */
export function threadMilliseconds(): number {
  try {
    return Number(readFileSync('/proc/thread-self/schedstat', 'latin1').split(' ')[0]) / 1e6;
  } catch {
    return performance.now();
  }
}
