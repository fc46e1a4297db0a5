/**
 * A VM as the command line drives it, wherever it runs: in this process (LocalVm) or in a process
 * of its own (ForkedVm).
 */
import type {
  AcceleratorName,
  LoadMode,
  Stage,
  VcpuState,
  VmExit,
  VmMemory,
  VmOptions,
} from '../vm/types.js';
import type { Vm } from '../vm/vm.js';

/** What is seen of a VM at one moment. */
export interface Observation {
  /** Instructions retired; 0 where the accelerator does not count them. */
  readonly instructions: bigint;
  readonly vcpu: VcpuState;
  readonly memory: VmMemory;
}

/** One VM of a command. */
export interface FleetVm {
  /** Number of the VM within the command, from 0: the one that is printed. */
  readonly index: number;
  /** The process that holds the VM's memory and runs its vCPUs. */
  readonly pid: number;
  readonly accelerator: AcceleratorName;
  readonly load: LoadMode;
  /** Boot stages seen so far. */
  readonly stages: readonly Stage[];
  /** Settles when the VM has ended; never rejects. */
  readonly exited: Promise<VmExit>;
  start(): void;
  stop(): Promise<void>;
  writeConsole(bytes: Uint8Array): void;
  onConsole(listener: (bytes: Uint8Array) => void): () => void;
  onStage(listener: (stage: Stage) => void): () => void;
  /**
   * Works while the VM runs and after it has ended, until `close`.
   * @throws PandoError VM_PROCESS_DIED, VM_PROCESS_SILENT
   */
  observe(): Promise<Observation>;
  /** Frees everything, the process of its own included; never rejects. */
  close(): Promise<void>;
}

/** What the command line needs of a `Vm`. */
export type VmHandle = Pick<
  Vm,
  | 'accelerator'
  | 'load'
  | 'stages'
  | 'exited'
  | 'start'
  | 'stop'
  | 'writeConsole'
  | 'onConsole'
  | 'onStage'
  | 'instructions'
  | 'vcpuState'
  | 'memory'
  | 'close'
>;

/** `Vm.create`, or a substitute in tests. */
export type CreateVm = (options: VmOptions) => Promise<VmHandle>;

/** Reads everything that changes while a VM runs. */
export function observeVm(vm: VmHandle): Observation {
  return { instructions: vm.instructions(), vcpu: vm.vcpuState(), memory: vm.memory() };
}

/** A VM in this process. */
export class LocalVm implements FleetVm {
  readonly pid = process.pid;

  constructor(
    readonly index: number,
    private readonly vm: VmHandle,
  ) {}

  get accelerator(): AcceleratorName {
    return this.vm.accelerator;
  }

  get load(): LoadMode {
    return this.vm.load;
  }

  get stages(): readonly Stage[] {
    return this.vm.stages;
  }

  get exited(): Promise<VmExit> {
    return this.vm.exited;
  }

  start(): void {
    this.vm.start();
  }

  stop(): Promise<void> {
    return this.vm.stop();
  }

  writeConsole(bytes: Uint8Array): void {
    this.vm.writeConsole(bytes);
  }

  onConsole(listener: (bytes: Uint8Array) => void): () => void {
    return this.vm.onConsole(listener);
  }

  onStage(listener: (stage: Stage) => void): () => void {
    return this.vm.onStage(listener);
  }

  observe(): Promise<Observation> {
    return Promise.resolve().then(() => observeVm(this.vm));
  }

  close(): Promise<void> {
    return this.vm.close();
  }
}
