/**
 * Boots many VMs a few at a time, the oldest first: a boot keeps a processor busy and takes its most
 * memory before user space begins, so that boots side by side only delay one another. The next VM is made
 * and started when one has reached user space, has ended, waits for something, has done what its user waits
 * for, or takes too long.
 */
import { PandoError } from '../error.js';
import type { PlannedVm } from './planned-vm.js';

/** How often VMs that boot are looked at, in milliseconds. */
const LOOK_MS = 500;
/** A VM that boots for so long does not hold up the others any more. */
const LIMIT_MS = 60_000;

/** A VM that boots. */
interface Booting {
  readonly began: number;
  /** It was halted when it was last looked at, and has printed nothing since. */
  halted: boolean;
  readonly unsubscribe: () => void;
}

export class BootQueue {
  private readonly waiting: PlannedVm[];
  private readonly booting = new Map<PlannedVm, Booting>();
  private readonly first: readonly PlannedVm[];
  private timer: NodeJS.Timeout | undefined;
  private stopped = false;

  /**
   * @param width how many boot at once
   * @param fail told what a VM could not be made for
   * @param done whether a VM has done what its user waits for
   */
  constructor(
    vms: readonly PlannedVm[],
    width: number,
    private readonly fail: (cause: Error) => void,
    private readonly done: (vm: PlannedVm) => boolean = () => false,
  ) {
    this.first = vms.slice(0, width);
    this.waiting = vms.slice(width);
  }

  /**
   * Makes the first VMs.
   * @throws PandoError what making one throws; the caller closes all
   */
  async prepare(): Promise<void> {
    const results = await Promise.allSettled(this.first.map((vm) => vm.create()));
    const failure = results.find((result) => result.status === 'rejected');
    if (failure !== undefined) throw failure.reason;
  }

  /** Starts the first VMs, and the others as their turn comes. */
  start(): void {
    if (this.waiting.length > 0) this.timer = setInterval(() => this.look(), LOOK_MS);
    for (const vm of this.first) this.begin(vm);
  }

  /** Starts no more VMs. */
  stop(): void {
    this.stopped = true;
    clearInterval(this.timer);
    for (const { unsubscribe } of this.booting.values()) unsubscribe();
    this.booting.clear();
  }

  private begin(vm: PlannedVm): void {
    const offs = [
      vm.onStage(({ name }) => {
        if (name === 'linux_start_user') this.leave(vm);
      }),
      vm.onConsole(() => {
        state.halted = false;
      }),
    ];
    const unsubscribe = (): void => {
      for (const off of offs) off();
    };
    const state: Booting = { began: performance.now(), halted: false, unsubscribe };
    this.booting.set(vm, state);
    void vm.exited.then(() => this.leave(vm));
    vm.start();
  }

  /** A VM makes room for the next one. */
  private leave(vm: PlannedVm): void {
    const state = this.booting.get(vm);
    if (state === undefined) return;
    state.unsubscribe();
    this.booting.delete(vm);
    void this.next();
  }

  private async next(): Promise<void> {
    const vm = this.waiting.shift();
    // Nobody waits for the others any more.
    if (this.waiting.length === 0) clearInterval(this.timer);
    if (vm === undefined) return;
    try {
      await vm.create();
    } catch (cause) {
      this.stop();
      this.fail(cause as Error);
      return;
    }
    if (!this.stopped) this.begin(vm);
  }

  private look(): void {
    for (const [vm, state] of this.booting) {
      const late = performance.now() - state.began > LIMIT_MS;
      if (late || this.done(vm)) this.leave(vm);
      else void this.lookAt(vm, state);
    }
  }

  private async lookAt(vm: PlannedVm, state: Booting): Promise<void> {
    try {
      const { halted } = (await vm.observe()).vcpu;
      if (halted && state.halted) this.leave(vm);
      state.halted = halted;
    } catch (cause) {
      // A VM that has died has ended, too, and makes room by that.
      if (!(cause instanceof PandoError)) throw cause;
    }
  }
}
