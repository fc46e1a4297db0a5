/** Runs the VMs of a schedule a slice at a time, on whichever thread has one of these. */
import { VM_CONTROL } from '../../accel/wasm/layout.js';
import type { Library } from '../../accel/wasm/translate/library.js';
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

export class Driver {
  /** This thread's translations, for machines that use them. */
  library: Library | undefined;
  readonly #schedule: Schedule;
  readonly #emit: (event: SlotEvent) => void;
  readonly #descriptions = new Map<number, MachineDescription>();
  readonly #machines = new Map<number, Machine>();

  /** @param emit told what the VM of a slot says, also in the middle of its slice */
  constructor(schedule: Schedule, emit: (event: SlotEvent) => void) {
    this.#schedule = schedule;
    this.#emit = emit;
  }

  attach(machine: MachineDescription): void {
    this.#descriptions.set(machine.slot, machine);
  }

  detach(slot: number): void {
    this.#descriptions.delete(slot);
    this.#machines.get(slot)?.close();
    this.#machines.delete(slot);
  }

  /** Lets go of what it has made for its VMs; they can still be run. */
  forget(): void {
    for (const machine of this.#machines.values()) machine.close();
    this.#machines.clear();
  }

  #machineOf(description: MachineDescription): Machine {
    const { slot, tenant } = description;
    const known = this.#machines.get(slot);
    if (known) return known;
    const library = description.translate ? this.library : undefined;
    const emit = (event: MachineEvent): void => this.#emit({ slot, tenant, event });
    const machine = new Machine(description, emit, library);
    this.#machines.set(slot, machine);
    return machine;
  }

  #slice(description: MachineDescription): SliceEnd {
    try {
      return this.#machineOf(description).slice();
    } catch (error) {
      return { state: SLOT_PARKED, deadline: 0, ending: failureEvent(error) };
    }
  }

  /** Runs the VM of a slot that this thread has claimed for a slice, and puts it back. */
  run(slot: number): void {
    const schedule = this.#schedule;
    const description = this.#descriptions.get(slot);
    if (!description) {
      // Its description is still on the way to this thread; another one may already have it.
      schedule.release(slot, SLOT_READY, 0);
      return;
    }
    const { state, deadline, ending } = this.#slice(description);
    if (schedule.release(slot, state, deadline) === SLOT_READY) schedule.announce(1);
    if (ending === undefined) return;
    // The owner starts the next run only once it has heard of this one's end.
    const epoch = controlOf(description).epoch();
    this.#emit({ slot, tenant: description.tenant, epoch, event: ending });
    schedule.told(slot);
  }
}

/** Requests and run of a VM. */
export function controlOf({ memory }: MachineDescription): VmControl {
  return new VmControl(memory.buffer as SharedArrayBuffer, VM_CONTROL);
}
