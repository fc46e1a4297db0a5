/** Guest RAM as typed arrays, which hold less than a large guest has. */
import { viewOf } from '../../host/libc.js';
import type { MemorySlot } from './kvm-vm.js';

/** Node.js 20 gives typed arrays up to 2^32 - 1 bytes. */
const LONGEST = 2 ** 32 - 2 ** 16;
/** Views begin this far from each other: what is no longer than the overlap lies in one of them whole. */
const STRIDE = 2 ** 31;

/** Views of all slots; a range of up to 2 GiB within a slot lies in at least one of them. */
export function ramRuns(slots: readonly MemorySlot[]): { address: number; bytes: Uint8Array }[] {
  const runs: { address: number; bytes: Uint8Array }[] = [];
  for (const { guestAddress, hostAddress, length } of slots) {
    for (let at = 0; at === 0 || at + LONGEST - STRIDE < length; at += STRIDE) {
      const bytes = viewOf(hostAddress + BigInt(at), Math.min(LONGEST, length - at));
      runs.push({ address: guestAddress + at, bytes });
    }
  }
  return runs;
}
