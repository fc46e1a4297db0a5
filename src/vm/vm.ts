/**
 * A virtual machine, as the program that runs it sees it. The guest runs on the process's worker
 * threads (pool.ts); this object lives on the thread that created it.
 */
import type { AcceleratorName, LoadMode, Stage, VcpuState, VmExit, VmMemory, VmOptions } from './types.js';

export declare class Vm {
  /** Places the images and builds the machine; the guest does not run yet. */
  static create(options: VmOptions): Promise<Vm>;
  /** Unique in the process, from 0. */
  readonly id: number;
  readonly accelerator: AcceleratorName;
  readonly load: LoadMode;
  /** Boot stages seen so far. */
  readonly stages: readonly Stage[];
  /** Settles when the VM has ended; never rejects. */
  readonly exited: Promise<VmExit>;
  /** Lets the guest run (also after pause). */
  start(): void;
  pause(): Promise<void>;
  /** Ends the VM; `exited` gives `stopped`. */
  stop(): Promise<void>;
  /** Bytes for the guest's serial console. */
  writeConsole(bytes: Uint8Array): void;
  /** Calls `listener` with the serial console's bytes as they come; returns what unsubscribes. */
  onConsole(listener: (bytes: Uint8Array) => void): () => void;
  onStage(listener: (stage: Stage) => void): () => void;
  /** Instructions retired so far; 0 where the accelerator does not count them. */
  instructions(): bigint;
  /** What the vCPU is doing now (the VM keeps running). */
  vcpuState(): VcpuState;
  memory(): VmMemory;
  /** Frees everything; stops the VM first if need be. */
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}
