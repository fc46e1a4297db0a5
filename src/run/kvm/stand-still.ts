/** Looks at a vCPU that runs: its thread leaves the guest for a moment, and goes on. */
import { WORD_STILL } from '../../accel/kvm/layout.js';
import { PandoError } from '../../error.js';
import { REQUEST_HOLD, type VmControl } from '../control.js';

/** How long a vCPU may take to leave the guest, in milliseconds. */
const STILL_TIMEOUT = 2000;

/** A vCPU that has a thread. */
export interface RunningVcpu {
  readonly id: number;
  /** Its words in the control area. */
  readonly words: Int32Array;
  kick(): void;
}

/**
 * What `look` returns, called while the vCPU stands still.
 * @param timeout in milliseconds
 * @throws PandoError VCPU_SILENT
 */
export function whileStill<T>(
  control: VmControl,
  { id, words, kick }: RunningVcpu,
  look: () => T,
  timeout = STILL_TIMEOUT,
): T {
  control.request(REQUEST_HOLD);
  try {
    kick();
    if (Atomics.wait(words, WORD_STILL, 0, timeout) === 'timed-out') {
      throw new PandoError(
        'VCPU_SILENT',
        `vCPU ${id} did not leave the guest within ${timeout} ms`,
        {
          remedy: 'the host may be overloaded: try again',
        },
      );
    }
    return look();
  } finally {
    control.withdraw(REQUEST_HOLD);
  }
}
