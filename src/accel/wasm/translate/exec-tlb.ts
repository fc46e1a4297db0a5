/** The exec TLB of a vCPU, as core/mmu.ts `execPage` looks it up, read by the host side. */
import * as L from '../layout.js';

/** Guest physical address of the code page at linear address `page`, by the TLB set at `set`; -1 when it has no entry. */
export function knownPage(view: DataView, set: number, page: bigint): number {
  const number = Number((page >> 12n) & 0xffff_ffffn);
  const slot = set + (((number ^ (number >>> 8)) & (L.TLB_ENTRIES - 1)) << 4);
  for (const way of [L.TLB_EXEC, L.TLB_EXEC_SECOND]) {
    if (view.getBigUint64(slot + way, true) === page) return view.getUint32(slot + way + 8, true);
  }
  return -1;
}
