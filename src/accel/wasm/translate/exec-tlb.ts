/** The exec TLB of a vCPU, as core/mmu.ts `execPage` looks it up, read by the host side. */
import * as L from '../layout.js';

/** Linear address of the page so many pages from that of `rip`; in 32-bit code addresses wrap. */
export function pageFrom(rip: bigint, distance: number, mode: number): bigint {
  const page = (rip & ~0xfffn) + BigInt(distance) * 0x1000n;
  return (mode & L.MODE_CODE_MASK) === L.MODE_CODE32 ? page & 0xffff_ffffn : page;
}

/** Offset of a page's entry in either way of the exec TLB. */
export function execSlot(page: bigint): number {
  const number = Number((page >> 12n) & 0xffff_ffffn);
  return ((number ^ (number >>> 8)) & (L.TLB_ENTRIES - 1)) << 4;
}

/** Guest physical address of the code page at linear address `page`, by the TLB set at `set`; -1 when it has no entry. */
export function knownPage(view: DataView, set: number, page: bigint): number {
  const slot = set + execSlot(page);
  for (const way of [L.TLB_EXEC, L.TLB_EXEC_SECOND]) {
    if (view.getBigUint64(slot + way, true) === page) return view.getUint32(slot + way + 8, true);
  }
  return -1;
}
