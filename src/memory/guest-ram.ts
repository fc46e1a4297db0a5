import { PandoError } from '../error.js';

/** Guest RAM whatever holds it: what placing images, boot data and accounting need of it. */
export interface GuestRam {
  /** Shared with the threads that run the VM: the accelerator's control area is at its start. */
  readonly buffer: SharedArrayBuffer;
  /** Bytes of guest RAM, one run of host memory. */
  readonly ramBytes: number;
  /** Host address of guest physical address 0. */
  readonly ramHostAddress: bigint;
  /**
   * A view over guest RAM.
   * @param gpa guest physical address of the first byte
   * @throws PandoError GUEST_ADDRESS_RANGE when any byte lies outside guest RAM, GUEST_RAM_RELEASED
   */
  bytes(gpa: number, length: number): Uint8Array;
  /** Host address of a range of guest RAM, checked as by `bytes`. */
  hostRange(gpa: number, length: number): bigint;
  /** Guest RAM as zeros: no file is mapped any more, all pages are back at the host. */
  clear(): void;
  /** Gives every page back; no vCPU runs any more, and nobody uses views that were taken before. */
  release(): void;
}

/** For whoever reaches for RAM that has been given back. */
export function ramReleased(): PandoError {
  return new PandoError('GUEST_RAM_RELEASED', 'the guest RAM of an ended VM has been given back');
}
