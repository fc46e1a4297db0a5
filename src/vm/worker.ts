/** Thread entry: drives VMs of the process's schedule until told to stop. */
import { type MessagePort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { Library } from '../accel/wasm/translate/library.js';
import { PortService } from '../accel/wasm/translate/thread.js';
import type { MachineEvent } from './execution.js';
import { Machine, type MachineDescription } from './machine.js';
import { Schedule, SLOT_ASLEEP, SLOT_PARKED, SLOT_READY } from './schedule.js';

/** What a worker is started with. */
export interface WorkerStart {
  readonly schedule: SharedArrayBuffer;
  /** Commands come here, without an event loop on this side. */
  readonly commands: MessagePort;
  readonly events: MessagePort;
}

export type WorkerCommand =
  | { readonly kind: 'attach'; readonly machine: MachineDescription }
  | { readonly kind: 'detach'; readonly slot: number }
  /** A port to the process's translator. */
  | { readonly kind: 'translator'; readonly port: MessagePort }
  | { readonly kind: 'stop' };

export interface WorkerEvent {
  readonly slot: number;
  readonly event: MachineEvent;
}

const { schedule: buffer, commands, events } = workerData as WorkerStart;
const schedule = new Schedule(buffer);
const machines = new Map<number, Machine>();
/** This thread's translations. */
let library: Library | undefined;
let translator: MessagePort | undefined;
const descriptions = new Map<number, MachineDescription>();

function machineOf(slot: number): Machine | undefined {
  const known = machines.get(slot);
  if (known) return known;
  const description = descriptions.get(slot);
  if (!description) return undefined;
  const machine = new Machine(
    description,
    (event) => events.postMessage({ slot, event } satisfies WorkerEvent),
    description.translate ? library : undefined,
  );
  machines.set(slot, machine);
  return machine;
}

/** Takes all commands that have come; false when it was told to stop. */
function obey(): boolean {
  for (;;) {
    const received = receiveMessageOnPort(commands);
    if (!received) return true;
    const command = received.message as WorkerCommand;
    if (command.kind === 'stop') return false;
    if (command.kind === 'translator') {
      translator = command.port;
      library = new Library(new PortService(translator));
    } else if (command.kind === 'attach') descriptions.set(command.machine.slot, command.machine);
    else {
      descriptions.delete(command.slot);
      machines.get(command.slot)?.close();
      machines.delete(command.slot);
    }
  }
}

while (obey()) {
  const sequence = schedule.sequence();
  const slot = schedule.claim();
  // Also a worker without a VM: what it does not take in keeps modules alive that others gave up.
  library?.update();
  if (slot < 0) {
    schedule.wait(sequence);
    continue;
  }
  if (!obey()) {
    schedule.release(slot, SLOT_READY, 0);
    break;
  }
  const machine = machineOf(slot);
  if (!machine) {
    // Its description is still on the way to this worker; another one may already have it.
    schedule.release(slot, SLOT_READY, 0);
    continue;
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
commands.close();
events.close();
translator?.close();
