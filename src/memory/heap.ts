/**
 * malloc's heap of a process that translates (mallopt(3), malloc_trim(3)). V8's compilers allocate some MiB for each
 * function and free them at its end. glibc gives such memory back to the system at once, and the next function begins
 * with page faults. That all threads share one heap has to be set before they run (scripts/launcher.cjs,
 * src/fleet/process.ts).
 */
import { libc } from '../host/libc.js';

const M_TRIM_THRESHOLD = -1;
const M_MMAP_THRESHOLD = -3;

/** Above what the compilers hold at once. */
const KEPT = 64 * 2 ** 20;
/** The most that glibc takes. */
const LARGEST_MMAP_THRESHOLD = 32 * 2 ** 20;

/**
 * Freed memory stays in the heap, up to a limit or until `trimHeap`. For the whole process: glibc's own thresholds
 * would have grown with what is freed, and no longer do once they have been set.
 */
export function keepHeap(): void {
  const { mallopt } = libc();
  mallopt?.(M_TRIM_THRESHOLD, KEPT);
  mallopt?.(M_MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD);
}

/**
 * Gives back what malloc holds of memory that has been freed: compiling the core frees some 10 MiB.
 */
export function trimHeap(): void {
  libc().mallocTrim?.(0);
}
