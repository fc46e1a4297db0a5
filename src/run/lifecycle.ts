/**
 * The life of a VM: its states, what moves it from one to the next, and what each cause may do in each
 * state. This table is the specification; both accelerators report causes to it, and `Vm` acts through it.
 *
 *   standing  no vCPU runs and the owner has heard why: memory, devices and vCPUs are the owner's
 *   running   the vCPUs run: what they work on is the accelerator's
 *   parking   still the accelerator's: it was asked to stop the vCPUs and has not said yet why they stopped
 *   ended     as standing, for good
 *   closed    everything has been given back
 *
 * A run is the time from `start` to the one cause that the machine reports at its end (`Ending`). Each
 * run has a number, its epoch, and a cause counts in the run that it was reported for alone.
 *
 * The owner does not start and park: it says what it wants (`run`, `stand`, `end`) and whether it holds
 * the VM for a moment. The VM is moved to where it should be whenever either changes or a cause is heard.
 */
import type { Ending } from './execution.js';
import { failureEvent } from './reporter.js';

export type LifeState = 'standing' | 'running' | 'parking' | 'ended' | 'closed';

/**
 * What moves a VM: its owner (start, park, stop, close) or what the machine reports. A reset is `reboot` in the
 * life of a VM that does not boot again.
 */
type Cause = 'start' | 'park' | 'stop' | 'close' | 'reboot' | Ending['kind'];

/** The next state by state and cause. A cause that a state does not name changes nothing. */
const TRANSITIONS: Readonly<Record<LifeState, Readonly<Partial<Record<Cause, LifeState>>>>> = {
  standing: { start: 'running', stop: 'ended', error: 'ended' },
  running: {
    park: 'parking',
    parked: 'standing',
    reset: 'standing',
    reboot: 'ended',
    poweroff: 'ended',
    shutdown: 'ended',
    error: 'ended',
  },
  parking: {
    parked: 'standing',
    reset: 'standing',
    reboot: 'ended',
    poweroff: 'ended',
    shutdown: 'ended',
    error: 'ended',
  },
  ended: { close: 'closed' },
  closed: {},
};

/** Why a VM has ended: its owner stopped it, or what the machine reported. */
export type FinalCause =
  | { readonly kind: 'stopped' }
  | { readonly kind: 'reboot' }
  | Exclude<Ending, Standing>;
type Standing = { readonly kind: 'parked' } | { readonly kind: 'reset' };

/** What a life moves. All but `park` are called while no vCPU runs. */
export interface LifeActions {
  /** Begins a run and returns its epoch. */
  start(): number;
  /** Asks the vCPUs to stop; what was first to stop them is reported. */
  park(): void;
  /** The owner wants it to stand: guest time stops. */
  rest(): void;
  /** Memory, devices and vCPUs as at power-on. */
  restart(): void;
  /** Called once. */
  ended(cause: FinalCause): void;
}

export class Lifecycle {
  readonly #actions: LifeActions;
  readonly #reboots: boolean;
  #state: LifeState = 'standing';
  #wanted: 'run' | 'stand' | FinalCause = 'stand';
  #holds = 0;
  #epoch = -1;
  #waiting: (() => void)[] = [];

  /** @param reboots whether a reset boots again; it ends the VM otherwise */
  constructor(actions: LifeActions, reboots = true) {
    this.#actions = actions;
    this.#reboots = reboots;
  }

  get state(): LifeState {
    return this.#state;
  }

  /** Whether it runs, or will once nobody holds it. */
  get wantsToRun(): boolean {
    return this.#wanted === 'run' && this.#state !== 'ended' && this.#state !== 'closed';
  }

  /** An end that is wanted stays wanted. */
  want(wanted: 'run' | 'stand'): void {
    if (typeof this.#wanted !== 'string') return;
    this.#wanted = wanted;
    this.#settle();
  }

  /** Ends it, once no vCPU runs; the first cause counts. */
  end(cause: FinalCause): void {
    if (typeof this.#wanted !== 'string') return;
    this.#wanted = cause;
    this.#settle();
  }

  /** Resolves when the vCPUs stand still next: at once unless they run. */
  stood(): Promise<void> {
    if (this.#state !== 'running' && this.#state !== 'parking') return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /**
   * Keeps the VM standing, or ended, until the function that it resolves to is called, which may be
   * called more than once. Several may hold it.
   */
  async hold(): Promise<() => void> {
    let held = true;
    this.#holds += 1;
    this.#settle();
    await this.stood();
    return () => {
      if (!held) return;
      held = false;
      this.#holds -= 1;
      this.#settle();
    };
  }

  /**
   * What the machine reports.
   * @param epoch the run that it ends; without one it is a failure between runs
   */
  hear(ending: Ending, epoch?: number): void {
    const runs = this.#state === 'running' || this.#state === 'parking';
    if (runs ? epoch !== undefined && epoch !== this.#epoch : epoch !== undefined) return;
    const cause =
      ending.kind === 'reset' && !this.#reboots ? ({ kind: 'reboot' } as const) : ending;
    if (!this.#move(cause.kind)) return;
    if (cause.kind !== 'parked' && cause.kind !== 'reset') this.#ended(cause);
    else if (cause.kind === 'reset' && typeof this.#wanted === 'string') this.#restart();
    this.#settle();
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }

  /** Everything has been given back. */
  closed(): void {
    this.#move('close');
  }

  #move(cause: Cause): boolean {
    const next = TRANSITIONS[this.#state][cause];
    if (next === undefined) return false;
    this.#state = next;
    return true;
  }

  #settle(): void {
    const wanted = this.#wanted;
    const runs = wanted === 'run' && this.#holds === 0;
    if (this.#state === 'running') {
      if (!runs && this.#move('park')) this.#actions.park();
    } else if (this.#state === 'standing') {
      if (typeof wanted !== 'string') this.#finish(wanted);
      else if (runs) this.#start();
      else if (wanted === 'stand') this.#actions.rest();
    }
  }

  #start(): void {
    try {
      this.#epoch = this.#actions.start();
      this.#move('start');
    } catch (error) {
      this.#finish(failureEvent(error));
    }
  }

  #restart(): void {
    try {
      this.#actions.restart();
    } catch (error) {
      this.#finish(failureEvent(error));
    }
  }

  #finish(cause: FinalCause): void {
    if (this.#move(cause.kind === 'stopped' ? 'stop' : 'error')) this.#ended(cause);
  }

  #ended(cause: FinalCause): void {
    this.#wanted = cause;
    this.#actions.ended(cause);
  }
}
