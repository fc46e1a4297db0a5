/** Some VMs that boot one after the other in a process that is there for nothing else. */
import { PandoError } from '../error.js';
import type { VmProcess } from '../fleet/process.js';
import type { RemoteVm } from '../fleet/remote-vm.js';
import type { StageName, VmOptions } from '../vm/types.js';

/** A stage of one VM, in milliseconds since 1970. */
export interface BenchStage {
  readonly vm: number;
  readonly name: StageName;
  readonly at: number;
  readonly source: string;
}

export class BootGroup {
  readonly stages: BenchStage[] = [];
  /** When the process began to make the first VM, in milliseconds since 1970. */
  begun = Number.NaN;
  /** Settles when every VM has reached the wanted stage; rejects when one cannot any more. */
  readonly reached: Promise<void>;
  readonly #vms: RemoteVm[] = [];
  readonly #count: number;
  readonly #until: StageName;
  readonly #onReached: (count: number) => void;
  #settle: { resolve(): void; reject(error: unknown): void } = { resolve() {}, reject() {} };

  /**
   * Makes and starts VMs.
   * @param until the stage that `reached` waits for
   * @param onReached hears how many VMs have reached it
   */
  constructor(
    process: VmProcess,
    count: number,
    options: VmOptions,
    until: StageName,
    onReached: (count: number) => void = () => {},
  ) {
    this.#count = count;
    this.#until = until;
    this.#onReached = onReached;
    this.reached = new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
    });
    this.reached.catch(() => undefined);
    this.#boot(process, options).catch((cause) => this.#settle.reject(cause));
  }

  async #boot(process: VmProcess, options: VmOptions): Promise<void> {
    for (let index = 0; index < this.#count; index++) {
      const vm = await process.createVm(options);
      if (index === 0) this.begun = vm.begun;
      this.#vms.push(vm);
      vm.onStage(({ name, ms, source }) =>
        this.#see({ vm: index, name, at: vm.timeOrigin + ms, source }),
      );
      void vm.exited.then((exit) => {
        const why = exit.kind === 'error' ? `: ${exit.message}` : '';
        const message = `VM ${index} ended, ${exit.kind}${why}`;
        this.#settle.reject(new PandoError('BENCH_GUEST_ENDED', message));
      });
      vm.start();
    }
  }

  #see(stage: BenchStage): void {
    this.stages.push(stage);
    if (stage.name !== this.#until) return;
    const arrived = this.stages.filter(({ name }) => name === this.#until).length;
    this.#onReached(arrived);
    if (arrived === this.#count) this.#settle.resolve();
  }

  /** Stops the guests and their time; their workers stay. */
  async pause(): Promise<void> {
    await Promise.all(this.#vms.map((vm) => vm.pause()));
  }

  /** Ends the VMs; the process stays. */
  async close(): Promise<void> {
    await Promise.all(this.#vms.map((vm) => vm.close()));
  }
}
