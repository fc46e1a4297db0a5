/** Runs the VMs of a schedule a slice at a time, on whichever thread has one of these. */
import { VM_CONTROL } from '../../accel/wasm/layout.js';
import { Library, TranslationsLost } from '../../accel/wasm/translate/library.js';
import { PortService, type TranslatorLink } from '../../accel/wasm/translate/thread.js';
import { VmControl } from '../control.js';
import type { MachineEvent } from '../execution.js';
import { failureEvent } from '../reporter.js';
import { Machine, type MachineDescription, type SliceEnd } from './machine.js';
import { type Schedule, SLOT_PARKED, SLOT_READY } from './schedule.js';

/** What the VM of a slot says. */
export interface SlotEvent {
  readonly slot: number;
  /** Which of the VMs that have had the slot. */
  readonly tenant: number;
  /** Of an Ending: the run that it ends. */
  readonly epoch?: number;
  readonly event: MachineEvent;
}

/** A VM that has been made known to this thread. */
interface Known {
  readonly description: MachineDescription;
  readonly control: VmControl;
}

export class Driver {
  /** This thread's translations, for machines that use them, and the translator that they are of. */
  #library: Library | undefined;
  #service: PortService | undefined;
  #generation = 0;
  readonly #schedule: Schedule;
  readonly #emit: (event: SlotEvent) => void;
  readonly #known = new Map<number, Known>();
  readonly #machines = new Map<number, Machine>();

  /** @param emit told what the VM of a slot says, also in the middle of its slice */
  constructor(schedule: Schedule, emit: (event: SlotEvent) => void) {
    this.#schedule = schedule;
    this.#emit = emit;
  }

  /** Uses this translator from now on, or none. */
  use(link: TranslatorLink | undefined): void {
    this.forget();
    this.#service?.close();
    this.#service = link && new PortService(link);
    this.#library = this.#service && new Library(this.#service);
    this.#generation = link?.generation ?? 0;
  }

  attach(machine: MachineDescription): void {
    this.#known.set(machine.slot, { description: machine, control: controlOf(machine) });
  }

  detach(slot: number): void {
    this.#known.delete(slot);
    this.#machines.get(slot)?.close();
    this.#machines.delete(slot);
  }

  /** Lets go of what it has made for its VMs; they can still be run. */
  forget(): void {
    for (const machine of this.#machines.values()) machine.close();
    this.#machines.clear();
  }

  /**
   * The VM for this thread; undefined while the translations that it uses are still on the way here. One that
   * uses those of an earlier translator gives them up.
   */
  #machineOf({ description, control }: Known): Machine | undefined {
    const used = control.translator;
    const own = description.translate ? this.#generation : 0;
    if (used > own && used % 2 !== 0) return undefined;
    const machine = this.#made(description, used > own ? undefined : this.#library);
    if (used < own) {
      if (used !== 0) machine.forgetTranslations();
      control.translator = own;
    }
    return machine;
  }

  #made(description: MachineDescription, translations: Library | undefined): Machine {
    const { slot, tenant } = description;
    const library = description.translate ? translations : undefined;
    const known = this.#machines.get(slot);
    if (known?.library === library && known !== undefined) return known;
    known?.close();
    const emit = (event: MachineEvent): void => this.#emit({ slot, tenant, event });
    const machine = new Machine(description, emit, library);
    this.#machines.set(slot, machine);
    return machine;
  }

  #slice(known: Known): SliceEnd {
    const ready = { state: SLOT_READY, deadline: 0 };
    let machine: Machine | undefined;
    try {
      machine = this.#machineOf(known);
      return machine?.slice() ?? ready;
    } catch (error) {
      if (error instanceof TranslationsLost && machine !== undefined) {
        machine.forgetTranslations();
        known.control.translator = this.#generation + 1;
        return ready;
      }
      return { state: SLOT_PARKED, deadline: 0, ending: failureEvent(error) };
    }
  }

  /**
   * Runs VMs until this thread is told to stop.
   * @param obey takes all commands that have come; false when one of them is to stop
   */
  drive(obey: () => boolean): void {
    const schedule = this.#schedule;
    for (;;) {
      // Before the commands: one that comes behind that look is announced behind it, too.
      const sequence = schedule.sequence();
      if (!obey()) return;
      const slot = schedule.claim();
      // Also a thread without a VM: what it does not take in keeps modules alive that others gave up.
      this.#library?.update();
      if (slot < 0) {
        schedule.wait(sequence);
        continue;
      }
      if (!obey()) {
        schedule.release(slot, SLOT_READY, 0);
        return;
      }
      this.run(slot);
    }
  }

  /** Runs the VM of a slot that this thread has claimed for a slice, and puts it back. */
  run(slot: number): void {
    const schedule = this.#schedule;
    const known = this.#known.get(slot);
    if (!known) {
      // Its description is still on the way to this thread; another one may already have it.
      schedule.release(slot, SLOT_READY, 0);
      return;
    }
    const { state, deadline, ending } = this.#slice(known);
    if (schedule.release(slot, state, deadline) === SLOT_READY) schedule.announce(1);
    if (ending === undefined) return;
    // The owner starts the next run only once it has heard of this one's end.
    const { tenant } = known.description;
    this.#emit({ slot, tenant, epoch: known.control.epoch(), event: ending });
    schedule.told(slot);
  }
}

/** Requests and run of a VM. */
export function controlOf({ memory }: MachineDescription): VmControl {
  return new VmControl(memory.buffer as SharedArrayBuffer, VM_CONTROL);
}
