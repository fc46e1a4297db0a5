/** A VM as the command line drives it, wherever it runs: in this process, or in one of its own. */
import type { ConsoleListener } from '../vm/console-output.js';
import type {
  AcceleratorName,
  LoadMode,
  RestoreOptions,
  Stage,
  VmExit,
  VmOptions,
} from '../vm/types.js';
import type { Vm } from '../vm/vm.js';
import { type Observation, observeVm } from './observation.js';
import type { VmProcess } from './process.js';
import type { RemoteVm } from './remote-vm.js';

/** What Vm and RemoteVm have in common, and a command needs. */
type VmFace = Pick<
  Vm & RemoteVm,
  | 'accelerator'
  | 'load'
  | 'stages'
  | 'exited'
  | 'start'
  | 'stop'
  | 'writeConsole'
  | 'onConsole'
  | 'consoleDrained'
  | 'onStage'
>;

/** One VM of a command. */
export interface FleetVm extends VmFace {
  /** Number of the VM within the command, from 0: the one that is printed. */
  readonly index: number;
  /** The process that holds the VM's memory and runs its vCPUs. */
  readonly pid: number;
  /**
   * Works while the VM runs and after it has ended, until `close`.
   * @throws PandoError VM_PROCESS_DIED, VM_PROCESS_SILENT
   */
  observe(): Promise<Observation>;
  /** Frees everything, the process of its own included; never rejects. */
  close(): Promise<void>;
}

/** What a command and a process of VMs need of a `Vm`. */
export type VmHandle = VmFace &
  Pick<
    Vm,
    | 'pause'
    | 'trim'
    | 'pressPowerButton'
    | 'injectNmi'
    | 'instructions'
    | 'vcpuState'
    | 'memory'
    | 'refreshStatistics'
    | 'close'
  >;

/** `Vm.create`, or a substitute in tests. */
export type CreateVm = (options: VmOptions | RestoreOptions) => Promise<VmHandle>;

/** A VM with its number. */
abstract class NumberedVm implements FleetVm {
  abstract readonly pid: number;

  constructor(
    readonly index: number,
    private readonly face: VmFace,
  ) {}

  get accelerator(): AcceleratorName {
    return this.face.accelerator;
  }

  get load(): LoadMode {
    return this.face.load;
  }

  get stages(): readonly Stage[] {
    return this.face.stages;
  }

  get exited(): Promise<VmExit> {
    return this.face.exited;
  }

  start(): void {
    this.face.start();
  }

  stop(): Promise<void> {
    return this.face.stop();
  }

  writeConsole(data: Uint8Array | string): Promise<boolean> {
    return this.face.writeConsole(data);
  }

  onConsole(listener: ConsoleListener): () => void {
    return this.face.onConsole(listener);
  }

  consoleDrained(): Promise<void> {
    return this.face.consoleDrained();
  }

  onStage(listener: (stage: Stage) => void): () => void {
    return this.face.onStage(listener);
  }

  abstract observe(): Promise<Observation>;
  abstract close(): Promise<void>;
}

/** A VM in this process. */
export class LocalVm extends NumberedVm {
  readonly pid = process.pid;

  constructor(
    index: number,
    private readonly vm: VmHandle,
  ) {
    super(index, vm);
  }

  async observe(): Promise<Observation> {
    return observeVm(this.vm);
  }

  close(): Promise<void> {
    return this.vm.close();
  }
}

/** A VM in a process of its own. */
export class IsolatedVm extends NumberedVm {
  readonly pid: number;

  constructor(
    index: number,
    private readonly vm: RemoteVm,
    private readonly process: VmProcess,
  ) {
    super(index, vm);
    this.pid = vm.pid;
  }

  observe(): Promise<Observation> {
    return this.vm.observe();
  }

  close(): Promise<void> {
    return this.process.close();
  }
}
