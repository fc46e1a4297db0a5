/**
 * Writes to guest RAM by devices and host threads, which go past the vCPU's stores (../foreign-writes.ts is their
 * side). The writer stores its bytes, counts, then looks whether code lies there; the decoder notes the
 * count, reads the bytes, marks the page, then looks at the count again. So either the writer sees the
 * mark, or the decoder sees the count and what it has read may be old.
 */
import { FOREIGN_WRITES, PAGE_CODE, PAGE_CODE_ENTRY, RAM_PAGES, VCPU_BLOCKS, WRITTEN_PAGES, WRITTEN_PENDING } from "../layout";
import { codeWritten } from "./blocks";

/** The count, before code is read. */
// @ts-ignore: decorator
@inline
export function foreignWrites(): u32 {
  return atomic.load<u32>(VCPU_BLOCKS + FOREIGN_WRITES);
}

/** Whether nobody has written since the count was `before`; the code that was read is marked by now. */
// @ts-ignore: decorator
@inline
export function unchangedSince(before: u32): bool {
  // Read and written: no store of the mark is behind it.
  return atomic.add<u32>(VCPU_BLOCKS + FOREIGN_WRITES, 0) == before;
}

/** Drops all code of the pages that others have written; the vCPU's thread, outside the run loop. */
export function dropForeignWrites(cpu: usize): void {
  if (atomic.xchg<u32>(VCPU_BLOCKS + WRITTEN_PENDING, 0) == 0) return;
  const pages = load<u32>(VCPU_BLOCKS, RAM_PAGES);
  for (let first: u32 = 0; first < pages; first += 32) {
    const at: usize = WRITTEN_PAGES + (first >> 3);
    if (load<u32>(at) == 0) continue;
    let bits = atomic.xchg<u32>(at, 0);
    while (bits != 0) {
      const page = first + ctz<u32>(bits);
      bits &= bits - 1;
      if (load<u32>(PAGE_CODE + (page as usize) * PAGE_CODE_ENTRY)) codeWritten(cpu, page << 12, 0x1000);
    }
  }
}
