/**
 * What drives the vCPUs of one VM: the part of a VM that differs between accelerators. It lives on the
 * thread that owns the VM; its vCPUs run on others.
 */
import type { EntryState } from '../arch/entry-state.js';
import type { VcpuState } from '../arch/vcpu-state.js';
import type { Board } from '../devices/board.js';
import type { SharedFile } from '../memory/memory-layout.js';
import type { MachineState } from './machine-state.js';
import type { StageName } from './types.js';

/** What a running VM lets its owner know. */
export type Notice =
  | {
      readonly kind: 'stage';
      readonly name: StageName;
      /** Host nanoseconds. */
      readonly at: number;
      readonly source: string;
    }
  /** There is console output. */
  | { readonly kind: 'console' }
  /** The guest has taken console input (VmControl.wantRoom). */
  | { readonly kind: 'room' }
  /** The host end of a device is called; Guest keeps this from the VM's owner. */
  | { readonly kind: 'doorbell'; readonly device: number };

/** The monitor could not go on; `code` is that of a PandoError. */
export interface Failure {
  readonly kind: 'error';
  readonly code: string;
  readonly message: string;
  readonly remedy?: string;
}

/** Why no vCPU runs any more. */
export type Ending =
  | { readonly kind: 'parked' }
  | { readonly kind: 'reset' }
  | { readonly kind: 'poweroff' }
  | { readonly kind: 'shutdown'; readonly vcpu: number }
  | Failure;

/** What an execution tells the owner of the VM. */
export type MachineEvent = Notice | Ending;

/**
 * Hears what an execution tells. An Ending comes once a run, with the run's epoch; a Failure without one
 * came between two runs.
 */
export type MachineListener = (event: MachineEvent, epoch?: number) => void;

export interface Execution {
  readonly board: Board;
  /** Devices as after a reset, the first vCPU at its entry, the others waiting. None runs. */
  reset(entry: EntryState): void;
  /** Lets the vCPUs, which stand still, run, and returns the run's epoch. Its Ending follows. */
  start(): number;
  /** Asks the vCPUs to stop: the run ends with `parked`, or with what came first. */
  park(): void;
  /** The host put console input in, or took output out. */
  consoleMoved(): void;
  /** The NMI button; from the owner's thread, at any time. */
  injectNmi(): void;
  /** Everything but RAM, as plain data; all are parked and guest time stands. */
  save(): MachineState;
  /**
   * Goes on from a saved state, in a machine of the same options whose RAM is as it was then. As `save`.
   * @throws PandoError MACHINE_STATE_*, STATE_PART_*
   */
  /**
   * @param code what has been decoded of the code in RAM, which is as it was when that was captured
   */
  restore(state: MachineState, code?: SharedFile): void;
  /** What has been decoded of the code in RAM; all are parked. Undefined when there is nothing. */
  captureCode(): SharedFile | undefined;
  /** Registers, while the VM runs too. */
  vcpuState(vcpu: number): VcpuState;
  /** Instructions retired by all vCPUs; 0 where they are not counted. */
  instructions(): bigint;
  /** The first vCPU's time-stamp counter, where it counts nanoseconds of guest time. */
  timestamp(): bigint | undefined;
  /** Gives back memory that can be made again when it is needed; all are parked. */
  trim(): void;
  /** Lets go of threads and of what the accelerator holds; all are parked. */
  close(): Promise<void>;
}
