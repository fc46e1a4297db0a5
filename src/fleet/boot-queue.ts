/**
 * Boots many VMs a few at a time, the oldest first: a boot keeps a processor busy and takes its most
 * memory before user space begins, so that boots side by side only delay one another. The next VM is made
 * and started when one has reached user space, has ended, waits for something, or takes too long.
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
   */
  constructor(
    machines: readonly PlannedVm[],
    width: number,
    private readonly fail: (cause: Error) => void,
  ) {
    this.first = machines.slice(0, width);
    this.waiting = machines.slice(width);
  }

  /**
   * Makes the first VMs.
   * @throws PandoError what making one throws; the caller closes all
   */
  async prepare(): Promise<void> {
    const results = await Promise.allSettled(this.first.map((machine) => machine.create()));
    const failure = results.find((result) => result.status === 'rejected');
    if (failure !== undefined) throw failure.reason;
  }

  /** Starts the first VMs, and the others as their turn comes. */
  start(): void {
    if (this.waiting.length > 0) this.timer = setInterval(() => this.look(), LOOK_MS);
    for (const machine of this.first) this.begin(machine);
  }

  /** Starts no more VMs. */
  stop(): void {
    this.stopped = true;
    clearInterval(this.timer);
    for (const { unsubscribe } of this.booting.values()) unsubscribe();
    this.booting.clear();
  }

  private begin(machine: PlannedVm): void {
    const offs = [
      machine.onStage(({ name }) => {
        if (name === 'linux_start_user') this.done(machine);
      }),
      machine.onConsole(() => {
        state.halted = false;
      }),
    ];
    const unsubscribe = (): void => {
      for (const off of offs) off();
    };
    const state: Booting = { began: performance.now(), halted: false, unsubscribe };
    this.booting.set(machine, state);
    void machine.exited.then(() => this.done(machine));
    machine.start();
  }

  /** A VM makes room for the next one. */
  private done(machine: PlannedVm): void {
    const state = this.booting.get(machine);
    if (state === undefined) return;
    state.unsubscribe();
    this.booting.delete(machine);
    void this.next();
  }

  private async next(): Promise<void> {
    const machine = this.waiting.shift();
    // Nobody waits for the others any more.
    if (this.waiting.length === 0) clearInterval(this.timer);
    if (machine === undefined) return;
    try {
      await machine.create();
    } catch (cause) {
      this.stop();
      this.fail(cause as Error);
      return;
    }
    if (!this.stopped) this.begin(machine);
  }

  private look(): void {
    for (const [machine, state] of this.booting) {
      if (performance.now() - state.began > LIMIT_MS) this.done(machine);
      else void this.lookAt(machine, state);
    }
  }

  private async lookAt(machine: PlannedVm, state: Booting): Promise<void> {
    try {
      const { halted } = (await machine.observe()).vcpu;
      if (halted && state.halted) this.done(machine);
      state.halted = halted;
    } catch (cause) {
      // A VM that has died has ended, too, and makes room by that.
      if (!(cause instanceof PandoError)) throw cause;
    }
  }
}
