/**
 * The worker threads of a process. One that ends without having been told to is counted out: its owner
 * hears which VMs it held, and another takes its place, the later the more have ended so.
 */
import type { TranslatorThread } from '../../accel/wasm/translate/thread.js';
import {
  MessageChannel,
  type MessagePort,
  startThread,
  type Thread,
} from '../../platform/threads.js';
import type { SlotEvent } from './driver.js';
import type { Restarts } from './restarts.js';
import type { Schedule } from './schedule.js';
import type { WorkerCommand, WorkerStart } from './worker.js';

interface Member {
  readonly worker: Thread;
  readonly thread: number;
  readonly commands: MessagePort;
  readonly events: MessagePort;
  readonly ended: Promise<void>;
  /** It has loaded its program. */
  loaded: boolean;
  leaving: boolean;
}

/** Lets a worker reach the translator. */
export function connect(commands: MessagePort, translator: TranslatorThread): void {
  const link = translator.connect();
  commands.postMessage({ kind: 'translator', link } satisfies WorkerCommand, [link.port]);
}

export interface WorkersOptions {
  readonly schedule: Schedule;
  readonly restarts: Restarts;
  /** What VMs say on a worker. */
  readonly tell: (event: SlotEvent) => void;
  /** A worker is there: gives it what it has to know. */
  readonly greet: (commands: MessagePort) => void;
  /** A worker has ended without having been told to. `slots` are those it held. */
  readonly died: (error: Error, slots: readonly number[]) => void;
  /** There is a place free again after such an end. */
  readonly vacant: () => void;
  /** A worker has loaded its program. */
  readonly loaded: () => void;
}

export class Workers {
  readonly #options: WorkersOptions;
  readonly #members = new Set<Member>();
  readonly #ending = new Set<Member>();

  constructor(options: WorkersOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#members.size;
  }

  /** Starts workers until there are so many, or as many as may be started now. */
  raise(wanted: number): void {
    while (this.#members.size < wanted && this.#options.restarts.allowed && this.#start());
  }

  send(command: WorkerCommand): void {
    for (const { commands } of this.#members) commands.postMessage(command);
  }

  /** Whether the process stays for its workers. */
  keepProcess(stays: boolean): void {
    for (const { worker, events } of this.#members) {
      for (const handle of [worker, events]) {
        if (stays) handle.ref();
        else handle.unref();
      }
    }
  }

  /** Gives each a translator, by a link of its own. */
  connect(translator: TranslatorThread): void {
    for (const { commands } of this.#members) connect(commands, translator);
  }

  /**
   * Ends those that have loaded; resolves when the last of them has gone. One that has not, loads to its
   * end: Node.js leaves the files open that a thread reads when it is terminated. Nobody waits for it, and
   * it is there for the next VM.
   */
  async dismiss(): Promise<void> {
    const { schedule } = this.#options;
    for (const member of this.#members) {
      if (!member.loaded) continue;
      member.leaving = true;
      schedule.workerLeaves(member.thread);
      this.#ending.add(member);
      this.#members.delete(member);
      member.commands.postMessage({ kind: 'stop' } satisfies WorkerCommand);
    }
    schedule.announce();
    await Promise.all([...this.#ending].map(({ ended }) => ended));
  }

  #start(): boolean {
    const { schedule } = this.#options;
    const thread = schedule.allocateThread();
    if (thread < 0) return false;
    const commands = new MessageChannel();
    const events = new MessageChannel();
    const start: WorkerStart = {
      thread,
      schedule: schedule.buffer,
      commands: commands.port2,
      events: events.port2,
    };
    let worker: Thread;
    try {
      worker = startThread(new URL('./worker.js', import.meta.url), {
        workerData: start,
        transferList: [commands.port2, events.port2],
      });
    } catch (error) {
      schedule.freeThread(thread);
      commands.port1.close();
      events.port1.close();
      this.#options.died(error as Error, []);
      return false;
    }
    events.port1.on('message', (event: SlotEvent) => this.#options.tell(event));
    worker.once('message', () => {
      member.loaded = true;
      this.#options.loaded();
    });
    let failure: Error | undefined;
    worker.on('error', (error) => {
      failure = error;
    });
    const member: Member = {
      worker,
      thread,
      commands: commands.port1,
      events: events.port1,
      ended: new Promise((resolve) => {
        worker.once('exit', (status) => {
          commands.port1.close();
          events.port1.close();
          this.#gone(member, failure ?? new Error(`it ended with status ${status}`));
          resolve();
        });
      }),
      loaded: false,
      leaving: false,
    };
    this.#members.add(member);
    this.#options.greet(commands.port1);
    return true;
  }

  #gone(member: Member, error: Error): void {
    const { schedule, died, restarts, vacant } = this.#options;
    const slots = schedule.heldBy(member.thread);
    this.#members.delete(member);
    this.#ending.delete(member);
    schedule.freeThread(member.thread);
    if (!member.leaving || slots.length > 0) died(error, slots);
    if (!member.leaving) restarts.after(vacant);
    // Whoever relied on it looks for work: the thread that makes VMs, when this was the last.
    schedule.announce();
  }
}
