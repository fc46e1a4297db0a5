/**
 * The process's threads for vCPUs of KVM. A thread is taken when a VM is made and given back when it
 * ends; it then waits a while for the next VM, because starting one takes some 30 ms.
 */
import {
  MessageChannel,
  type MessagePort,
  startThread,
  type Thread,
} from '../../platform/threads.js';
import { warn } from '../warning.js';
import type { KvmDescription } from './board.js';
import type { VcpuEvent } from './vcpu-event.js';

/** What a thread is to run. */
export interface VcpuAssignment {
  readonly vm: KvmDescription;
  readonly vcpu: number;
}

/** What a thread is started with. */
export interface VcpuThreadStart {
  /** One word: how many commands have been sent. */
  readonly commandCount: SharedArrayBuffer;
  readonly commands: MessagePort;
  readonly events: MessagePort;
}

export type VcpuThreadCommand =
  | { readonly kind: 'run'; readonly assignment: VcpuAssignment }
  | { readonly kind: 'stop' };

export type VcpuThreadEvent =
  | { readonly kind: 'vcpu'; readonly event: VcpuEvent }
  | { readonly kind: 'detached' };

/** A thread at work for a VM. */
export interface VcpuThread {
  /** Resolves when the thread has left the VM for good (REQUEST_DETACH), or has died. */
  readonly detached: Promise<void>;
}

/** How long an idle thread waits for a VM, in milliseconds, and how many may. */
const IDLE_TIME = 2000;
const IDLE_LIMIT = 8;

interface Member {
  readonly worker: Thread;
  readonly commands: MessagePort;
  readonly events: MessagePort;
  readonly count: Int32Array;
  listener: ((event: VcpuEvent) => void) | undefined;
  leave: (() => void) | undefined;
  kick: (() => void) | undefined;
}

export class VcpuThreads {
  static #shared: VcpuThreads | undefined;

  /** The threads of this process. */
  static shared(): VcpuThreads {
    VcpuThreads.#shared ??= new VcpuThreads();
    return VcpuThreads.#shared;
  }

  readonly #busy = new Set<Member>();
  readonly #idle: Member[] = [];
  #cleanup: NodeJS.Timeout | undefined;
  /** A thread that is in the kernel would keep the process from ending. */
  readonly #kickAll = (): void => {
    for (const member of this.#busy) member.kick?.();
  };

  /** Starts threads ahead of the vCPUs that need them: images are opened and placed meanwhile. */
  prepare(count: number): void {
    while (this.#idle.length < count) this.#idle.push(this.#start());
    this.#dismissLater();
  }

  /**
   * Gives a vCPU a thread.
   * @param kick makes the VM's vCPUs leave the guest and stay out, when the process ends
   */
  take(
    assignment: VcpuAssignment,
    listener: (event: VcpuEvent) => void,
    kick: () => void,
  ): VcpuThread {
    const member = this.#idle.pop() ?? this.#start();
    if (this.#busy.size === 0) process.on('exit', this.#kickAll);
    this.#busy.add(member);
    member.listener = listener;
    member.kick = kick;
    member.events.ref();
    const detached = new Promise<void>((resolve) => {
      member.leave = resolve;
    });
    send(member, { kind: 'run', assignment });
    return { detached };
  }

  /** How many threads there are: at work, and waiting for work. */
  get size(): { readonly busy: number; readonly idle: number } {
    return { busy: this.#busy.size, idle: this.#idle.length };
  }

  #start(): Member {
    const commands = new MessageChannel();
    const events = new MessageChannel();
    const count = new SharedArrayBuffer(4);
    const start: VcpuThreadStart = {
      commandCount: count,
      commands: commands.port2,
      events: events.port2,
    };
    let worker: Thread;
    try {
      worker = startThread(new URL('./vcpu-thread.js', import.meta.url), {
        workerData: start,
        transferList: [commands.port2, events.port2],
      });
    } catch (error) {
      commands.port1.close();
      events.port1.close();
      throw error;
    }
    const member: Member = {
      worker,
      commands: commands.port1,
      events: events.port1,
      count: new Int32Array(count),
      listener: undefined,
      leave: undefined,
      kick: undefined,
    };
    // The VM at work keeps the process alive, through the port; the thread as such does not.
    worker.unref();
    events.port1.on('message', (event: VcpuThreadEvent) => {
      if (event.kind === 'vcpu') member.listener?.(event.event);
      else this.#release(member);
    });
    let failure: Error | undefined;
    worker.on('error', (error) => {
      failure = error;
    });
    worker.once('exit', (status) => {
      member.commands.close();
      member.events.close();
      this.#forget(member, failure?.message ?? `it ended with status ${status}`);
    });
    return member;
  }

  #release(member: Member): void {
    this.#busy.delete(member);
    if (this.#busy.size === 0) process.off('exit', this.#kickAll);
    member.listener = undefined;
    member.kick = undefined;
    member.events.unref();
    this.#idle.push(member);
    member.leave?.();
    member.leave = undefined;
    while (this.#idle.length > IDLE_LIMIT) this.#dismiss();
    this.#dismissLater();
  }

  #dismissLater(): void {
    clearTimeout(this.#cleanup);
    this.#cleanup = setTimeout(() => {
      while (this.#idle.length > 0) this.#dismiss();
    }, IDLE_TIME).unref();
  }

  #dismiss(): void {
    const member = this.#idle.shift();
    if (member) send(member, { kind: 'stop' });
  }

  /** Drops a thread that has ended, whoever ended it; one at work had not been told to. */
  #forget(member: Member, why: string): void {
    const index = this.#idle.indexOf(member);
    if (index >= 0) this.#idle.splice(index, 1);
    if (!this.#busy.delete(member)) return;
    if (this.#busy.size === 0) process.off('exit', this.#kickAll);
    const message = `the thread of a vCPU died: ${why}`;
    warn('WORKER_FAILED', message);
    member.listener?.({ kind: 'failed', event: { kind: 'error', code: 'WORKER_FAILED', message } });
    member.leave?.();
  }
}

function send(member: Member, command: VcpuThreadCommand): void {
  member.commands.postMessage(command);
  Atomics.add(member.count, 0, 1);
  Atomics.notify(member.count, 0);
}
