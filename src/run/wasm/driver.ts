/** Runs the VMs of a schedule a slice at a time, on whichever thread has one of these. */
import type { Library } from '../../accel/wasm/translate/library.js';
import type { MachineEvent } from '../execution.js';
import { Machine, type MachineDescription } from './machine.js';
import { type Schedule, SLOT_ASLEEP, SLOT_PARKED, SLOT_READY } from './schedule.js';

export class Driver {
  /** This thread's translations, for machines that use them. */
  library: Library | undefined;
  readonly #schedule: Schedule;
  readonly #emit: (slot: number, event: MachineEvent) => void;
  readonly #descriptions = new Map<number, MachineDescription>();
  readonly #machines = new Map<number, Machine>();

  /** @param emit told what the VM of a slot says, also in the middle of its slice */
  constructor(schedule: Schedule, emit: (slot: number, event: MachineEvent) => void) {
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

  #machineOf(slot: number): Machine | undefined {
    const known = this.#machines.get(slot);
    if (known) return known;
    const description = this.#descriptions.get(slot);
    if (!description) return undefined;
    const library = description.translate ? this.library : undefined;
    const machine = new Machine(description, (event) => this.#emit(slot, event), library);
    this.#machines.set(slot, machine);
    return machine;
  }

  /** Runs the VM of a slot that this thread has claimed for a slice, and puts it back. */
  run(slot: number): void {
    const schedule = this.#schedule;
    const machine = this.#machineOf(slot);
    if (!machine) {
      // Its description is still on the way to this thread; another one may already have it.
      schedule.release(slot, SLOT_READY, 0);
      return;
    }
    let next: { state: number; deadline: number };
    try {
      next = machine.slice();
    } catch (error) {
      next = machine.fail(error);
    }
    schedule.release(slot, next.state, next.deadline);
    if (next.state === SLOT_PARKED) machine.announceParked();
    else if (next.state === SLOT_ASLEEP && machine.hasInput()) schedule.wake(slot);
    else if (next.state === SLOT_READY) schedule.announce(1);
  }
}
