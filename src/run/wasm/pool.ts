/**
 * What runs the VMs of a process on the wasm accelerator: worker threads, as many as there are processors,
 * however many VMs there are, and a translator. They start behind the first VM, which the thread that made
 * it drives until then. After the last they wait for another one for a while, with what they have translated;
 * the process may end meanwhile. A process that has one VM does without workers.
 */
import type { TranslationCounters } from '../../accel/wasm/translate/service.js';
import { prepareToTranslate, TranslatorThread } from '../../accel/wasm/translate/thread.js';
import { PandoError } from '../../error.js';
import { processors } from '../../platform/threads.js';
import { boundProfiles } from '../boot-gains.js';
import type { MachineListener } from '../execution.js';
import { warn } from '../warning.js';
import { controlOf, type SlotEvent } from './driver.js';
import { attachBoard, type MachineDescription } from './machine.js';
import { OwnThread } from './own-thread.js';
import { Restarts } from './restarts.js';
import { SCHEDULE_SLOTS, Schedule } from './schedule.js';
import type { WorkerCommand } from './worker.js';
import { connect, Workers } from './workers.js';

/** How long threads without a VM wait for one, in milliseconds. */
const IDLE_TIME = 2000;

/** A VM that has a slot. */
interface Tenant {
  readonly number: number;
  readonly listener: MachineListener;
  /** File of its kernel's profile. */
  readonly profile: string | undefined;
  /** Missing until it is made known to the threads. */
  machine?: MachineDescription;
}

/** A slot, and which of the VMs that have it in turn. */
export interface Tenancy {
  readonly slot: number;
  readonly tenant: number;
}

export class WorkerPool {
  static #shared: WorkerPool | undefined;

  /** The pool of this process. */
  static shared(): WorkerPool {
    WorkerPool.#shared ??= new WorkerPool();
    return WorkerPool.#shared;
  }

  readonly schedule = new Schedule();
  /** By slot. */
  readonly #tenants = new Map<number, Tenant>();
  #allocated = 0;
  /** VMs that are being made and have no slot yet. */
  #expected = 0;
  #translator: TranslatorThread | undefined;
  #translators = 0;
  /** It is to start when there is a thread that drives VMs. */
  #translatorDue = false;
  readonly #translatorRestarts = new Restarts();
  /** Files of the profiles that the VMs use, with how many use each. */
  readonly #profiles = new Map<string, number>();
  #hasWorkers = true;
  /** The end of threads that wait for a VM. */
  #cleanup: NodeJS.Timeout | undefined;
  readonly #workers = new Workers({
    schedule: this.schedule,
    restarts: new Restarts(),
    tell: (event) => this.#tell(event),
    greet: (commands) => {
      if (this.#translator !== undefined) connect(commands, this.#translator);
      for (const { machine } of this.#tenants.values()) {
        if (machine === undefined) continue;
        commands.postMessage({ kind: 'attach', machine } satisfies WorkerCommand);
      }
    },
    died: (error, slots) => this.#workerDied(error, slots),
    vacant: () => this.#startWorkers(),
    loaded: () => {
      this.#startDueTranslator();
      void this.#rest();
    },
  });
  readonly #own = new OwnThread(
    this.schedule,
    (event) => this.#tell(event),
    () => !this.#hasWorkers || this.schedule.workers() === 0,
    () => {
      this.#startWorkers();
      if (!this.#hasWorkers) this.#startDueTranslator();
    },
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

  /** What VMs say; one that has left its slot is not heard any more. */
  #tell({ slot, tenant, epoch, event }: SlotEvent): void {
    const current = this.#tenants.get(slot);
    if (current?.number === tenant) current.listener(event, epoch);
  }

  /**
   * A slot for a new VM.
   * @param listener hears what its machine says
   * @param profile that the pool has been prepared for, if any
   */
  allocate(listener: MachineListener, profile?: string): Tenancy {
    const slot = this.schedule.allocate();
    if (slot < 0) {
      throw new PandoError('VM_LIMIT', `this process already holds ${SCHEDULE_SLOTS} VMs`, {
        remedy: 'end some, or use --isolate process',
      });
    }
    const number = this.#allocated++;
    this.#tenants.set(slot, { number, listener, profile });
    this.#countProfile(profile, 1);
    return { slot, tenant: number };
  }

  /** The VMs that it held cannot go on: it may have left their state half-changed. */
  #workerDied(error: Error, slots: readonly number[]): void {
    warn('WORKER_FAILED', `a thread that runs VMs died; it held ${slots.length} of them`, error);
    for (const slot of slots) {
      const tenant = this.#tenants.get(slot);
      this.schedule.seize(slot);
      if (tenant?.machine === undefined) continue;
      const { memory, vcpus, devices } = tenant.machine;
      const control = controlOf(tenant.machine);
      attachBoard(memory, vcpus, control, devices, {}).abandonLock();
      const message = `the thread that ran the VM died: ${error.message}`;
      tenant.listener({ kind: 'error', code: 'WORKER_FAILED', message }, control.epoch());
    }
    this.#startDueTranslator();
    // Until another worker is there, this thread drives VMs that run translated.
    if (this.#translator !== undefined) this.#own.use(this.#translator.connect());
  }

  /** VMs go on with the translations that they have, and take those of the next one once it is there. */
  #translatorDied(error: Error): void {
    warn('TRANSLATOR_FAILED', 'the thread that translates guest code died', error);
    this.#translator = undefined;
    this.#translatorRestarts.after(() => {
      const translate = [...this.#tenants.values()].some(({ machine }) => machine?.translate);
      if (translate) this.#startTranslator();
    });
  }

  /**
   * A VM is to be made: threads that are there stay, until the function that this returns is called, once
   * the VM has been made or has failed.
   */
  expect(): () => Promise<void> {
    this.#expected += 1;
    this.#keepThreads();
    return () => {
      this.#expected -= 1;
      this.#leaveProfiles();
      return this.#rest();
    };
  }

  #countProfile(profile: string | undefined, change: number): void {
    if (profile === undefined) return;
    this.#profiles.set(profile, (this.#profiles.get(profile) ?? 0) + change);
  }

  /** Profiles that no VM uses are brought up to date and forgotten; without any VM the next one may be of them. */
  #leaveProfiles(): void {
    if (this.#expected > 0 || this.#tenants.size === 0) return;
    for (const [profile, users] of this.#profiles) {
      if (users > 0) continue;
      this.#profiles.delete(profile);
      this.#translator?.leaveProfile(profile);
    }
  }

  /**
   * Before VMs that translate: starts the translator, which needs as long to start as a VM to be made.
   * @param profile file of a kernel's profile (accel/wasm/translate/profile.ts)
   */
  prepare(profile?: string): void {
    this.#keepThreads();
    this.#countProfile(profile, 0);
    if (this.#translatorRestarts.allowed) this.#startTranslator();
    if (profile !== undefined) this.#translator?.useProfile(profile);
  }

  /**
   * The same for VMs that go on from where one stood. Unless threads are there, the translator starts behind the first
   * that drives VMs: what such a guest does first takes less time than it, and there may be two processors.
   */
  prepareBehind(profile?: string): void {
    const driven = this.#hasWorkers && this.schedule.workers() > 0;
    if (driven || this.#translator !== undefined) {
      this.prepare(profile);
      return;
    }
    this.#keepThreads();
    this.#countProfile(profile, 0);
    prepareToTranslate();
    this.#translatorDue = true;
  }

  #startDueTranslator(): void {
    if (this.#translatorDue && this.#translatorRestarts.allowed) this.#startTranslator();
  }

  #startTranslator(): void {
    this.#translatorDue = false;
    if (this.#translator !== undefined) return;
    // Odd, see VmControl.translator.
    const generation = 2 * this.#translators++ + 1;
    const translator = new TranslatorThread(generation, {
      died: (error) => this.#translatorDied(error),
      loaded: () => void this.#rest(),
      kept: boundProfiles,
    });
    this.#translator = translator;
    for (const profile of this.#profiles.keys()) translator.useProfile(profile);
    this.#workers.connect(translator);
    if (!this.#hasWorkers) this.#own.use(translator.connect());
  }

  /** Makes a VM known to all threads that drive. It runs once its slot is started. */
  attach(machine: MachineDescription): void {
    const tenant = this.#tenants.get(machine.slot);
    if (tenant !== undefined) tenant.machine = machine;
    this.#own.attach(machine);
    this.#workers.send({ kind: 'attach', machine });
    // The first one starts when this thread has begun to drive: the guest's entry does not wait for it.
    if (this.#workers.size > 0) this.#startWorkers();
  }

  #startWorkers(): void {
    if (!this.#hasWorkers) return;
    this.#workers.raise(Math.min(processors(), this.#tenants.size));
  }

  /** What has been translated for the VMs; undefined while none translates. */
  async translations(): Promise<TranslationCounters | undefined> {
    return this.#translator?.counters();
  }

  /** Lets the other threads collect garbage, see `trimHeaps` of vm.ts. */
  trimHeap(): void {
    this.#workers.send({ kind: 'trim-heap' });
    this.#translator?.trimHeap();
    this.schedule.announce();
  }

  /** Forgets a VM that no thread runs. */
  async release(slot: number): Promise<void> {
    const tenant = this.#tenants.get(slot);
    this.#tenants.delete(slot);
    this.#countProfile(tenant?.profile, -1);
    this.#leaveProfiles();
    this.#own.detach(slot);
    this.#workers.send({ kind: 'detach', slot });
    this.schedule.free(slot);
    this.schedule.announce();
    await this.#rest();
  }

  get #idle(): boolean {
    return this.#tenants.size === 0 && this.#expected === 0;
  }

  /** Without a VM: profiles are brought up to date, and threads wait for the next VM. */
  async #rest(): Promise<void> {
    if (!this.#idle) return;
    const translator = this.#translator;
    if (translator?.loaded) await translator.saveProfiles();
    if (!this.#idle) return;
    this.#workers.keepProcess(false);
    translator?.keepProcess(false);
    clearTimeout(this.#cleanup);
    this.#cleanup = setTimeout(() => void this.#dismiss(), IDLE_TIME).unref();
  }

  /** Ends threads that wait for a VM now, so that the next one finds what the first one found. */
  async endIdle(): Promise<void> {
    if (!this.#idle) return;
    this.#keepThreads();
    await this.#dismiss();
  }

  /** There is a VM, or one to come. */
  #keepThreads(): void {
    clearTimeout(this.#cleanup);
    this.#workers.keepProcess(true);
    this.#translator?.keepProcess(true);
  }

  /** Ends the threads; those that still load, once they have loaded. */
  async #dismiss(): Promise<void> {
    if (!this.#idle) return;
    this.#own.rest();
    this.#translatorDue = false;
    this.#profiles.clear();
    const translator = this.#translator?.loaded ? this.#translator : undefined;
    if (translator !== undefined) this.#translator = undefined;
    await this.#workers.dismiss();
    await translator?.close();
  }
}
