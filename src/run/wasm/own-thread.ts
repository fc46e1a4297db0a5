/**
 * Drives VMs on the thread that made them, between the turns of its event loop: until the first worker
 * has started, so that a guest does not wait for it, and for good in a process that has no workers.
 */
import type { TranslatorLink } from '../../accel/wasm/translate/thread.js';
import { Driver, type SlotEvent } from './driver.js';
import type { MachineDescription } from './machine.js';
import type { Schedule } from './schedule.js';

/** A timer of Node.js is late by up to a millisecond: so much of a wait is spent in the thread. */
const TIMER_GRAIN = 1;

export class OwnThread {
  readonly #schedule: Schedule;
  readonly #driver: Driver;
  readonly #wanted: () => boolean;
  readonly #driven: () => void;
  /** What VMs said within a slice; told when it is over, for the answer may be to change the VM. */
  #said: SlotEvent[] = [];
  readonly #tell: (event: SlotEvent) => void;
  #due: NodeJS.Immediate | undefined;
  #timer: NodeJS.Timeout | undefined;

  /**
   * @param tell told what VMs say, never within a slice
   * @param wanted whether this thread is to drive VMs now
   * @param driven called after each slice
   */
  constructor(
    schedule: Schedule,
    tell: (event: SlotEvent) => void,
    wanted: () => boolean,
    driven: () => void,
  ) {
    this.#schedule = schedule;
    this.#driver = new Driver(schedule, (event) => this.#said.push(event));
    this.#tell = tell;
    this.#wanted = wanted;
    this.#driven = driven;
  }

  /** Uses this translator until it rests. */
  use(link: TranslatorLink): void {
    this.#driver.use(link);
  }

  attach(machine: MachineDescription): void {
    this.#driver.attach(machine);
  }

  detach(slot: number): void {
    this.#driver.detach(slot);
  }

  /** There may be work. */
  readonly wake = (): void => {
    if (this.#due !== undefined || !this.#wanted()) return;
    clearTimeout(this.#timer);
    this.#due = setImmediate(this.#turn);
  };

  /** Leaves the VMs to others. */
  rest(): void {
    clearTimeout(this.#timer);
    clearImmediate(this.#due);
    this.#due = undefined;
    this.#driver.use(undefined);
  }

  readonly #turn = (): void => {
    this.#due = undefined;
    const sequence = this.#schedule.sequence();
    const slot = this.#wanted() ? this.#schedule.claim() : -1;
    if (slot >= 0) {
      this.#driver.run(slot);
      const said = this.#said;
      this.#said = [];
      for (const event of said) this.#tell(event);
      this.#driven();
    }
    if (!this.#wanted()) {
      this.rest();
      // A worker that looked while this thread had a VM does not know its deadline.
      this.#schedule.announce();
    } else if (slot >= 0) this.wake();
    else this.#sleep(sequence);
  };

  /** Until the earliest deadline. */
  #sleep(sequence: number): void {
    const milliseconds = this.#schedule.untilDeadline();
    if (milliseconds === Number.POSITIVE_INFINITY) return;
    if (milliseconds > TIMER_GRAIN) {
      this.#timer = setTimeout(this.wake, Math.min(Math.floor(milliseconds), 2 ** 31 - 1));
      return;
    }
    this.#schedule.wait(sequence);
    this.wake();
  }
}
