/**
 * The contract between the machine and what executes its vCPUs. Both accelerators run the same
 * devices: an access that leaves the guest goes to `MachineBus` on the thread that runs the vCPU.
 */
import type { EntryState } from '../arch/entry-state.js';
import type { VcpuState } from '../arch/vcpu-state.js';

/** The machine as a vCPU sees it. Sizes are 1, 2 or 4 bytes; values unsigned. */
export interface MachineBus {
  portIn(port: number, size: number): number;
  portOut(port: number, size: number, value: number): void;
  mmioRead(vcpu: number, address: number, size: number): number;
  mmioWrite(vcpu: number, address: number, size: number, value: number): void;
  /** undefined: no such MSR, the guest gets #GP. */
  readMsr(vcpu: number, index: number): bigint | undefined;
  /** false: refused, the guest gets #GP. */
  writeMsr(vcpu: number, index: number, value: bigint): boolean;
  readCr8(vcpu: number): number;
  writeCr8(vcpu: number, value: number): void;
  /** The vector that waits for a vCPU, or -1. */
  pendingVector(vcpu: number): number;
  acknowledge(vcpu: number): number;
  pendingNmi(vcpu: number): boolean;
  takeNmi(vcpu: number): boolean;
}

/**
 * Why a vCPU came back: `budget` it may go on at once; `halt` it sleeps until an interrupt; `kick`
 * somebody asked for it; `shutdown` a triple fault.
 */
export type VcpuStop = 'budget' | 'halt' | 'kick' | 'shutdown';

/** One virtual processor, driven by one thread at a time. All its state is outside this object. */
export interface Vcpu {
  readonly id: number;
  /** Puts the vCPU into the given state, all else as after a reset. */
  reset(entry: EntryState): void;
  /** Runs for about `budget` instructions, taking interrupts as they come. */
  run(budget: number): VcpuStop;
  /** Whether it is in HLT and nothing would wake it. */
  asleep(): boolean;
  /** Makes `run` return soon; callable from any thread that holds the VM's memory. */
  kick(): void;
  instructions(): bigint;
  state(): VcpuState;
}
