/**
 * The protocol between a program and a process that holds VMs for it, over the channel that Node opens for
 * a forked child (node:child_process, "Advanced serialization": bytes and bigints pass as they are). It is
 * the only one: of `pando run --isolate process`, of `pando bench`, and of programs that use VmProcess.
 *
 * The program numbers its VMs and its requests. Each request gets one `answer` or one `refusal`; messages of
 * a VM come in the order of its events. Console output has credit: one `output` at a time, the next once the
 * program has said `output-taken`. So `exited` may come before the last output, `output-end` comes behind it.
 */
import type {
  AcceleratorName,
  LoadMode,
  RestoreOptions,
  Stage,
  VmExit,
  VmOptions,
} from '../vm/types.js';

/** The argument that has the process's own thread drive its VMs. */
export const WITHOUT_WORKERS = '--without-workers';

/** A PandoError on its way to another process. */
export interface ErrorMessage {
  readonly code: string;
  readonly message: string;
  readonly remedy: string | undefined;
}

/** What is asked of a VM and answered when it is done. */
export type VmRequest = 'pause' | 'stop' | 'trim' | 'observe' | 'close';
/** What a VM is told, without an answer. */
export type VmNotice = 'start' | 'pressPowerButton' | 'injectNmi';

/** To the process of VMs. */
export type ToVmProcess =
  /** The answer is a VmDescription. */
  | {
      readonly type: 'create';
      readonly request: number;
      readonly vm: number;
      readonly options: Omit<VmOptions, 'signal'> | Omit<RestoreOptions, 'signal'>;
    }
  /** The answer is what the method of Vm returns; of `observe` an Observation. */
  | {
      readonly type: 'ask';
      readonly request: number;
      readonly vm: number;
      readonly what: VmRequest;
    }
  | { readonly type: 'tell'; readonly vm: number; readonly what: VmNotice }
  /** Console input; the answer is what Vm.writeConsole gives. */
  | {
      readonly type: 'input';
      readonly request: number;
      readonly vm: number;
      readonly bytes: Uint8Array;
    }
  /** The readers are done with the VM's last `output`. */
  | { readonly type: 'output-taken'; readonly vm: number }
  /** Close all VMs and leave. */
  | { readonly type: 'end' };

/** A VM that has been made. */
export interface VmDescription {
  readonly accelerator: AcceleratorName;
  readonly load: LoadMode;
  /** When making it began, and what its stages count from: milliseconds since 1970. */
  readonly begun: number;
  readonly timeOrigin: number;
}

/** From the process of VMs. */
export type FromVmProcess =
  /** It has started, and hears what it is told. */
  | { readonly type: 'ready' }
  | { readonly type: 'answer'; readonly request: number; readonly value: unknown }
  | { readonly type: 'refusal'; readonly request: number; readonly error: ErrorMessage }
  | { readonly type: 'stage'; readonly vm: number; readonly stage: Stage }
  | { readonly type: 'output'; readonly vm: number; readonly bytes: Uint8Array }
  | { readonly type: 'output-end'; readonly vm: number }
  | { readonly type: 'exited'; readonly vm: number; readonly exit: VmExit };
