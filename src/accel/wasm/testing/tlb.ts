/** The state of a vCPU's TLBs that core/mmu.ts `flushTlb` leaves, for tests that lay out a vCPU block themselves. */
import * as L from '../layout.js';

export function emptyTlbs(memory: Uint8Array, cpu: number): void {
  const empty = (at: number, bytes: number): void => {
    memory.fill(0xff, cpu + at, cpu + at + bytes);
  };
  empty(L.TLB_SUPERVISOR, 6 * L.TLB_BYTES);
  empty(L.TLB_SUPERVISOR + L.TLB_EXEC_SECOND, L.TLB_BYTES);
  empty(L.TLB_USER + L.TLB_EXEC_SECOND, L.TLB_BYTES);
  empty(L.VICTIMS, L.VICTIMS_BYTES);
}
