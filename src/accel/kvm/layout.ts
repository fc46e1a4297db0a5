/**
 * The control area of a VM on KVM: what its threads share beside guest RAM. The vCPUs' state is the
 * kernel's, so there is little.
 *
 *   0x00000  the board: device state and console rings (devices/board-state.ts)
 *   0x30000  what the threads that drive the VM share (run/control.ts)
 *   0x31000  vCPU words: two of 4 bytes each
 */
export const BOARD_STATE_AREA = 0;
export const VM_CONTROL = 0x30000;
export const VCPU_WORDS = 0x31000;
export const CONTROL_BYTES = 0x40000;

/** Words of a vCPU: the thread that runs it, 0 for none, and whether it stands still. */
export const WORD_THREAD = 0;
export const WORD_STILL = 1;
const WORDS = 2;

/** The words of one vCPU. */
export function vcpuWords(buffer: SharedArrayBuffer, vcpu: number): Int32Array {
  return new Int32Array(buffer, VCPU_WORDS + vcpu * WORDS * 4, WORDS);
}
