/** Thread entry: drives VMs of the process's schedule until told to stop. */
import type { TranslatorLink } from '../../accel/wasm/translate/thread.js';
import {
  type MessagePort,
  parentPort,
  receiveMessageOnPort,
  startOf,
} from '../../platform/threads.js';
import { Driver, type SlotEvent } from './driver.js';
import type { MachineDescription } from './machine.js';
import { Schedule } from './schedule.js';

/** What a worker is started with. */
export interface WorkerStart {
  /** Its number in the schedule. */
  readonly thread: number;
  readonly schedule: SharedArrayBuffer;
  /** Commands come here, without an event loop on this side. */
  readonly commands: MessagePort;
  readonly events: MessagePort;
}

export type WorkerCommand =
  | { readonly kind: 'attach'; readonly machine: MachineDescription }
  | { readonly kind: 'detach'; readonly slot: number }
  /** The process's translator. */
  | { readonly kind: 'translator'; readonly link: TranslatorLink }
  /** Collect garbage. */
  | { readonly kind: 'trim-heap' }
  | { readonly kind: 'stop' };

const { thread, schedule: buffer, commands, events } = startOf<WorkerStart>();
const schedule = new Schedule(thread, buffer);
const driver = new Driver(schedule, (event: SlotEvent) => events.postMessage(event));

/** Takes all commands that have come; false when it was told to stop. */
function obey(): boolean {
  for (;;) {
    const received = receiveMessageOnPort(commands);
    if (!received) return true;
    const command = received.message as WorkerCommand;
    switch (command.kind) {
      case 'stop':
        return false;
      case 'translator':
        driver.use(command.link);
        break;
      case 'trim-heap':
        globalThis.gc?.();
        break;
      case 'attach':
        driver.attach(command.machine);
        break;
      case 'detach':
        driver.detach(command.slot);
        break;
    }
  }
}

schedule.workerStarted();
parentPort()?.postMessage('loaded');
driver.drive(obey);
commands.close();
events.close();
driver.use(undefined);
