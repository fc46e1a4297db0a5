/** What the thread of a vCPU of KVM says. */
import type { Ending, Failure, Notice } from '../execution.js';

/** What a vCPU's thread says: to the owner of the VM, or to its execution alone. */
export type VcpuEvent =
  | Notice
  /** A device's deadline has come nearer. */
  | { readonly kind: 'timer' }
  /** The vCPU stands still, and why. */
  | { readonly kind: 'stopped'; readonly epoch: number; readonly event: Ending }
  /** The thread itself cannot go on, in a run or between two. */
  | { readonly kind: 'failed'; readonly event: Failure };
