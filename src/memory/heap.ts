/**
 * malloc's heap while guests boot (mallopt(3), malloc_trim(3)). V8's compilers allocate some MiB for each function and
 * free them at its end. glibc gives such memory back to the system at once, and the next function begins with page
 * faults. That all threads share one heap has to be set before they run (scripts/launcher.cjs, src/fleet/process.ts).
 */
import { libc } from '../host/libc.js';

const M_TRIM_THRESHOLD = -1;
const M_MMAP_THRESHOLD = -3;

/** glibc's own, of both thresholds. */
const DEFAULT_THRESHOLD = 128 * 1024;
/** Above what the compilers hold at once. */
const KEPT = 64 * 2 ** 20;
/** The most that glibc takes. */
const LARGEST_MMAP_THRESHOLD = 32 * 2 ** 20;

let kept = false;

function setThresholds(trim: number, mmap: number): void {
  const { mallopt } = libc();
  mallopt?.(M_TRIM_THRESHOLD, trim);
  mallopt?.(M_MMAP_THRESHOLD, mmap);
}

/**
 * Freed memory stays in the heap until `trimHeap`. For the whole process, and once in its life: later VMs have little
 * compiled.
 */
export function keepHeap(): void {
  if (kept) return;
  kept = true;
  setThresholds(KEPT, LARGEST_MMAP_THRESHOLD);
}

/**
 * Gives back what malloc holds of memory that has been freed: compiling the core frees some 10 MiB.
 */
export function trimHeap(): void {
  const { mallocTrim } = libc();
  if (kept) setThresholds(DEFAULT_THRESHOLD, DEFAULT_THRESHOLD);
  mallocTrim?.(0);
}
