/** A process that holds VMs, forked from this one (node:child_process). */
import { type ChildProcess, fork } from 'node:child_process';
import { PandoError } from '../error.js';
import { remedyFor } from '../system-error.js';
import type { RestoreOptions, VmExit, VmOptions } from '../vm/types.js';
import {
  type ErrorMessage,
  type FromVmProcess,
  type ToVmProcess,
  type VmDescription,
  type VmRequest,
  WITHOUT_WORKERS,
} from './messages.js';
import { type RemoteEvents, RemoteVm, type VmConnection } from './remote-vm.js';
import { watchStart } from './start-watch.js';

/** A process that answers nothing for this long is given up. */
const ANSWER_LIMIT_MS = 10_000;
/** What is kept of a process's own error output, to tell why it died. */
const STDERR_LIMIT = 4096;

/** The program of a process of VMs. */
export const VM_PROCESS_ENTRY = new URL('./vm-process.js', import.meta.url);

/**
 * What a process of VMs does with little of (docs/sharing.md): its heap is small and its loops are in
 * WebAssembly, so the young generation and the compiler of JavaScript get along with less. Once its guests
 * have booted it collects its garbage.
 */
const LEAN_NODE = ['--max-semi-space-size=1', '--optimize-for-size', '--expose-gc'];
/** A process that makes no connection does not read, at its start, certificates beside Node's own. */
export const NO_CERTIFICATES = { NODE_EXTRA_CA_CERTS: undefined };
/** One heap of malloc for all threads: what compiling the core leaves behind is used again. */
const LEAN_MALLOC = { MALLOC_ARENA_MAX: '1' };

const TOO_MANY = remedyFor('EAGAIN') ?? '';
const KILLED = 'other processes are not affected; see the system log for the out-of-memory killer';

/** How a process of VMs is started. */
export interface VmProcessOptions {
  /**
   * How many VMs it is for. `one`: its own thread drives the VM, which saves the memory of a worker thread.
   * `many`: worker threads drive them, as many as there are processors. `many` when absent.
   */
  readonly vms?: 'one' | 'many';
  /** Its program; tests put a substitute here. */
  readonly entry?: URL;
}

interface Waiting {
  resolve(value: unknown): void;
  reject(error: PandoError): void;
}

function pandoError({ code, message, remedy }: ErrorMessage): PandoError {
  return new PandoError(code, message, remedy === undefined ? {} : { remedy });
}

/**
 * A process that holds VMs: what isolates them from this process, and from the VMs of other such processes.
 * One that dies takes its own VMs with it and no other. It ends when this process does, however this one
 * ends, and when the thread that started it ends.
 */
export class VmProcess implements AsyncDisposable {
  /** When it was started, in milliseconds since 1970. */
  readonly started = performance.timeOrigin + performance.now();
  /** Settles when the process has ended; never rejects. */
  readonly ended: Promise<void>;
  readonly #child: ChildProcess;
  readonly #events = new Map<number, RemoteEvents>();
  readonly #waiting = new Map<number, Waiting>();
  /** Ends the watch over its start. */
  readonly #started: () => void;
  #nextVm = 0;
  #nextRequest = 0;
  #death: PandoError | undefined;
  #stderr = '';

  /** Starts the process; what comes of that is heard from the first `createVm`. */
  constructor({ vms = 'many', entry = VM_PROCESS_ENTRY }: VmProcessOptions = {}) {
    const child = fork(entry, [String(process.pid), ...(vms === 'one' ? [WITHOUT_WORKERS] : [])], {
      serialization: 'advanced',
      // Not those of this process: they may be a debugger's port or a script.
      execArgv: LEAN_NODE,
      env: { ...process.env, ...LEAN_MALLOC, ...NO_CERTIFICATES },
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    });
    this.#child = child;
    this.ended = new Promise((resolve) => {
      child.once('error', (cause) => {
        this.#die(`a VM process did not start: ${cause.message}`, TOO_MANY);
        resolve();
      });
      child.once('close', (status, signal) => {
        const how = signal === null ? `with status ${status}` : `by ${signal}`;
        const last = this.#stderr.trim().split('\n').at(-1) ?? '';
        // Node.js aborts when the system refuses it a thread of its own.
        const remedy = signal === 'SIGABRT' ? TOO_MANY : KILLED;
        this.#die(`VM process ${this.pid} ended ${how}${last && `: ${last}`}`, remedy);
        resolve();
      });
    });
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr = (this.#stderr + text).slice(-STDERR_LIMIT);
    });
    child.on('message', (message) => this.#receive(message as FromVmProcess));
    this.#started = watchStart(this.pid, () => {
      this.#die(`VM process ${this.pid} does not start: all its threads wait`, TOO_MANY);
      this.kill();
    });
    void this.ended.then(this.#started);
  }

  /** 0 for one that did not start. */
  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /**
   * Makes a VM there; the guest does not run yet.
   * @throws PandoError what `Vm.create` throws, VM_PROCESS_DIED
   */
  async createVm({ signal, ...options }: VmOptions | RestoreOptions): Promise<RemoteVm> {
    signal?.throwIfAborted();
    const vm = this.#nextVm++;
    const request = this.#nextRequest++;
    const connection: VmConnection = {
      pid: this.pid,
      ask: (what) => this.#ask(vm, what),
      tell: (what) => this.#send({ type: 'tell', vm, what }),
      input: (bytes) => this.#input(vm, bytes),
      outputTaken: () => this.#send({ type: 'output-taken', vm }),
    };
    // At once, for what the VM says comes right behind.
    const made = (value: unknown): RemoteVm =>
      new RemoteVm(value as VmDescription, connection, (events) => this.#events.set(vm, events));
    const remote = await this.#request({ type: 'create', request, vm, options }, made);
    stopAt(signal, remote);
    return remote;
  }

  /** Closes its VMs and ends it; one that does not end by itself is killed. Never rejects. */
  async close(): Promise<void> {
    this.#send({ type: 'end' });
    const timer = setTimeout(() => this.kill(), ANSWER_LIMIT_MS);
    await this.ended;
    clearTimeout(timer);
  }

  /** Ends it at once; what its VMs have learned is not kept. */
  kill(): void {
    this.#child.kill('SIGKILL');
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** The process is gone: whoever waits for it is told why. */
  #die(message: string, remedy: string): void {
    if (this.#death !== undefined) return;
    const error = new PandoError('VM_PROCESS_DIED', message, { remedy });
    this.#death = error;
    for (const { exited, outputEnd } of this.#events.values()) {
      exited(exitOf(error));
      outputEnd();
    }
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
  }

  #receive(message: FromVmProcess): void {
    switch (message.type) {
      case 'ready':
        this.#started();
        break;
      case 'answer':
        this.#take(message.request)?.resolve(message.value);
        break;
      case 'refusal':
        this.#take(message.request)?.reject(pandoError(message.error));
        break;
      case 'stage':
        this.#events.get(message.vm)?.stage(message.stage);
        break;
      case 'output':
        this.#events.get(message.vm)?.output(message.bytes);
        break;
      case 'output-end':
        this.#events.get(message.vm)?.outputEnd();
        break;
      case 'exited':
        this.#events.get(message.vm)?.exited(message.exit);
        break;
    }
  }

  #take(request: number): Waiting | undefined {
    const waiting = this.#waiting.get(request);
    this.#waiting.delete(request);
    return waiting;
  }

  #send(message: ToVmProcess): void {
    // A process that dies under the message is reported by its 'close' event, not by the channel.
    if (this.#child.connected) this.#child.send(message, () => undefined);
  }

  async #ask(vm: number, what: VmRequest): Promise<unknown> {
    const request = this.#nextRequest++;
    const answer = this.#request({ type: 'ask', request, vm, what }, (value) => value);
    if (what !== 'observe') return answer;
    let timer: NodeJS.Timeout | undefined;
    const silence = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        const message = `VM process ${this.pid} gave no answer in ${ANSWER_LIMIT_MS} ms`;
        reject(new PandoError('VM_PROCESS_SILENT', message));
      }, ANSWER_LIMIT_MS);
    });
    try {
      return await Promise.race([answer, silence]);
    } finally {
      clearTimeout(timer);
      this.#waiting.delete(request);
    }
  }

  async #input(vm: number, bytes: Uint8Array): Promise<boolean> {
    const request = this.#nextRequest++;
    try {
      const message = { type: 'input', request, vm, bytes } as const;
      return await this.#request(message, (whole) => whole === true);
    } catch (error) {
      if (error === this.#death) return false;
      throw error;
    }
  }

  /** @param take makes a result of the answer, in the turn in which it comes */
  #request<T>(
    message: ToVmProcess & { readonly request: number },
    take: (value: unknown) => T,
  ): Promise<T> {
    if (this.#death !== undefined) return Promise.reject(this.#death);
    return new Promise((resolve, reject) => {
      const answered = (value: unknown): void => resolve(take(value));
      this.#waiting.set(message.request, { resolve: answered, reject });
      this.#send(message);
    });
  }
}

/** A signal does not go to another process: it is heard here. */
function stopAt(signal: AbortSignal | undefined, vm: RemoteVm): void {
  if (signal === undefined) return;
  const abort = (): void => void vm.stop();
  if (signal.aborted) abort();
  else signal.addEventListener('abort', abort, { once: true });
  void vm.exited.then(() => signal.removeEventListener('abort', abort));
}

function exitOf({ code, message }: PandoError): VmExit {
  return { kind: 'error', code, message };
}
