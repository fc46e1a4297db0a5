/**
 * The order of a vCPU's accesses for those who look from another thread (Intel SDM vol. 3, 9.2 "Memory Ordering").
 * Plain loads and stores of WebAssembly become the host's own, which is an x86-64 as well: only what orders a store
 * before a later load has to be made.
 */
import { LEN_LOCK, REC_LEN, SIMD_SCRATCH } from "../layout";

/**
 * Nothing is reordered over it. A sequentially consistent read-modify-write does that for a quarter of the price of
 * V8's `atomic.fence`.
 */
export function barrier(cpu: usize): void {
  atomic.add<u32>(cpu + SIMD_SCRATCH, 0);
}

/**
 * Follows the store of a read-modify-write operation, which orders when it is locked (9.2.3.9). It need not be atomic:
 * a VM has one vCPU, and devices modify no guest memory, they read and write.
 */
// @ts-ignore: decorator
@inline
export function ordered(cpu: usize, rec: usize): void {
  if (load<u8>(rec, REC_LEN) & LEN_LOCK) barrier(cpu);
}
