/**
 * What the command and a VM's own process say to each other over the channel that Node opens for a
 * forked child (node:child_process, "Advanced serialization": bytes and bigints pass as they are).
 */
import type { AcceleratorName, LoadMode, Stage, VmExit, VmOptions } from '../vm/types.js';
import type { Observation } from './fleet-vm.js';

/** A PandoError on its way to another process. */
export interface ErrorMessage {
  readonly code: string;
  readonly message: string;
  readonly remedy: string | undefined;
}

/** From the command to the VM's process. */
export type ToVmProcess =
  | { readonly type: 'create'; readonly options: VmOptions }
  | { readonly type: 'start' }
  | { readonly type: 'stop' }
  | { readonly type: 'input'; readonly bytes: Uint8Array }
  | { readonly type: 'observe'; readonly request: number }
  | { readonly type: 'close' };

/** From the VM's process to the command. */
export type FromVmProcess =
  | { readonly type: 'created'; readonly accelerator: AcceleratorName; readonly load: LoadMode }
  | { readonly type: 'failed'; readonly error: ErrorMessage }
  | { readonly type: 'stage'; readonly stage: Stage }
  | { readonly type: 'output'; readonly bytes: Uint8Array }
  | { readonly type: 'exited'; readonly exit: VmExit }
  | { readonly type: 'observed'; readonly request: number; readonly observation: Observation }
  | { readonly type: 'unobserved'; readonly request: number; readonly error: ErrorMessage };
