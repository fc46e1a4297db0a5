/**
 * The process's worker threads: as many as there are processors, however many VMs there are. They
 * start behind the first VM, which the thread that made it drives until then, and end with the last. A
 * process that has one VM does without them.
 */
import { availableParallelism } from 'node:os';
import { MessageChannel, type MessagePort, Worker } from 'node:worker_threads';
import { Library } from '../../accel/wasm/translate/library.js';
import type { TranslationCounters } from '../../accel/wasm/translate/service.js';
import { PortService, TranslatorThread } from '../../accel/wasm/translate/thread.js';
import { PandoError } from '../../error.js';
import type { MachineEvent } from '../execution.js';
import type { MachineDescription } from './machine.js';
import { OwnThread } from './own-thread.js';
import { SCHEDULE_SLOTS, Schedule } from './schedule.js';
import type { WorkerCommand, WorkerEvent, WorkerStart } from './worker.js';

interface PoolWorker {
  readonly worker: Worker;
  readonly commands: MessagePort;
  readonly ended: Promise<void>;
}

export class WorkerPool {
  static #shared: WorkerPool | undefined;

  /** The pool of this process. */
  static shared(): WorkerPool {
    WorkerPool.#shared ??= new WorkerPool();
    return WorkerPool.#shared;
  }

  readonly schedule = new Schedule();
  readonly #listeners = new Map<number, (event: MachineEvent) => void>();
  readonly #known = new Map<number, MachineDescription>();
  #workers: PoolWorker[] = [];
  #translator: TranslatorThread | undefined;
  #ownPort: MessagePort | undefined;
  #hasWorkers = true;
  readonly #own = new OwnThread(
    this.schedule,
    (slot, event) => this.#listeners.get(slot)?.(event),
    () => !this.#hasWorkers || this.schedule.workers() === 0,
    () => this.#startWorkers(),
  );

  private constructor() {
    this.schedule.announced = this.#own.wake;
  }

  /**
   * Before the first VM: this thread drives all of them, for good. A worker costs megabytes, and what
   * else the thread has to do waits for the end of a slice.
   */
  doWithoutWorkers(): void {
    this.#hasWorkers = false;
  }

  /** A slot for a new VM; `listener` hears what its machine says. */
  allocate(listener: (event: MachineEvent) => void): number {
    const slot = this.schedule.allocate();
    if (slot < 0) {
      throw new PandoError('VM_LIMIT', `this process already holds ${SCHEDULE_SLOTS} VMs`, {
        remedy: 'end some, or use --isolate process',
      });
    }
    this.#listeners.set(slot, listener);
    return slot;
  }

  #fail(error: Error): void {
    for (const listener of this.#listeners.values()) {
      listener({ kind: 'error', code: 'WORKER_FAILED', message: error.message });
    }
  }

  /** Lets a worker reach the translator. */
  #connect({ commands }: PoolWorker, translator: TranslatorThread): void {
    const port = translator.connect();
    commands.postMessage({ kind: 'translator', port } satisfies WorkerCommand, [port]);
  }

  /**
   * Before VMs that translate: starts the translator, which needs as long to start as a VM to be made.
   * @param profile file of a kernel's profile (accel/wasm/translate/profile.ts)
   */
  prepare(profile?: string): void {
    if (this.#translator === undefined) this.#startTranslator();
    if (profile !== undefined) this.#translator?.useProfile(profile);
  }

  #startTranslator(): void {
    const translator = new TranslatorThread((error) => this.#fail(error));
    this.#translator = translator;
    for (const worker of this.#workers) this.#connect(worker, translator);
    if (this.#hasWorkers) return;
    this.#ownPort = translator.connect();
    this.#own.library = new Library(new PortService(this.#ownPort));
  }

  /** Makes a VM known to all threads that drive. It runs once its slot is made ready. */
  attach(machine: MachineDescription): void {
    this.#known.set(machine.slot, machine);
    this.#own.attach(machine);
    for (const { commands } of this.#workers) {
      commands.postMessage({ kind: 'attach', machine } satisfies WorkerCommand);
    }
    // The first one starts when this thread has begun to drive: the guest's entry does not wait for it.
    if (this.#workers.length > 0) this.#startWorkers();
    this.schedule.announce();
  }

  #startWorkers(): void {
    if (!this.#hasWorkers) return;
    const wanted = Math.min(availableParallelism(), this.#listeners.size);
    while (this.#workers.length < wanted) this.#startWorker();
  }

  /** What has been translated for the VMs; undefined while none translates. */
  async translations(): Promise<TranslationCounters | undefined> {
    return this.#translator?.counters();
  }

  /** Lets the other threads collect garbage, see `tidyProcess` of vm.ts. */
  tidy(): void {
    for (const { commands } of this.#workers) {
      commands.postMessage({ kind: 'tidy' } satisfies WorkerCommand);
    }
    this.#translator?.tidy();
    this.schedule.announce();
  }

  /** Forgets a parked VM; the last one ends the workers. */
  async release(slot: number): Promise<void> {
    this.#listeners.delete(slot);
    this.#known.delete(slot);
    this.#own.detach(slot);
    for (const { commands } of this.#workers) {
      commands.postMessage({ kind: 'detach', slot } satisfies WorkerCommand);
    }
    this.schedule.free(slot);
    this.schedule.announce();
    await this.dismiss();
  }

  /** Ends the workers when there is no VM. */
  async dismiss(): Promise<void> {
    if (this.#listeners.size > 0) return;
    const workers = this.#workers;
    this.#workers = [];
    this.#own.rest();
    this.#own.library = undefined;
    this.#ownPort?.close();
    this.#ownPort = undefined;
    for (const { commands } of workers) {
      commands.postMessage({ kind: 'stop' } satisfies WorkerCommand);
    }
    this.schedule.announce();
    const translator = this.#translator;
    this.#translator = undefined;
    await Promise.all(workers.map(({ ended }) => ended));
    await translator?.close();
  }

  #startWorker(): void {
    const commands = new MessageChannel();
    const events = new MessageChannel();
    const start: WorkerStart = {
      schedule: this.schedule.buffer,
      commands: commands.port2,
      events: events.port2,
    };
    const worker = new Worker(new URL('./worker.js', import.meta.url), {
      workerData: start,
      transferList: [commands.port2, events.port2],
    });
    events.port1.on('message', ({ slot, event }: WorkerEvent) =>
      this.#listeners.get(slot)?.(event),
    );
    worker.on('error', (error) => this.#fail(error));
    const ended = new Promise<void>((resolve) => worker.once('exit', () => resolve()));
    void ended.then(() => {
      commands.port1.close();
      events.port1.close();
    });
    const started = { worker, commands: commands.port1, ended };
    this.#workers.push(started);
    if (this.#translator !== undefined) this.#connect(started, this.#translator);
    for (const machine of this.#known.values()) {
      commands.port1.postMessage({ kind: 'attach', machine } satisfies WorkerCommand);
    }
  }
}
