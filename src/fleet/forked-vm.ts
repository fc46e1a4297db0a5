/** A VM in a process of its own, forked from this one (node:child_process). */
import { type ChildProcess, fork } from 'node:child_process';
import { PandoError } from '../error.js';
import type { AcceleratorName, LoadMode, Stage, VmExit, VmOptions } from '../vm/types.js';
import type { FleetVm, Observation } from './fleet-vm.js';
import type { ErrorMessage, FromVmProcess, ToVmProcess } from './messages.js';

/** A process that answers nothing for this long is given up. */
const ANSWER_LIMIT_MS = 10_000;
/** What is kept of a process's own error output, to tell why it died. */
const STDERR_LIMIT = 4096;

/** The entry that `fork` starts; a file of dist/cli. */
export const VM_PROCESS_ENTRY = new URL('./vm-process.js', import.meta.url);

/**
 * What a VM's process does with little of (docs/sharing.md): its heap is small and its loops are in
 * WebAssembly, so the young generation and the compiler of JavaScript get along with less. Once its guest
 * has booted it collects its garbage.
 */
export const LEAN_NODE = ['--max-semi-space-size=1', '--optimize-for-size', '--expose-gc'];
/** A process that makes no connection does not read, at its start, certificates beside Node's own. */
export const NO_CERTIFICATES = { NODE_EXTRA_CA_CERTS: undefined };
/** One heap of malloc for all threads: what compiling the core leaves behind is used again. */
export const LEAN_MALLOC = { MALLOC_ARENA_MAX: '1' };

interface Waiting {
  resolve(observation: Observation): void;
  reject(error: PandoError): void;
}

function pandoError({ code, message, remedy }: ErrorMessage): PandoError {
  return new PandoError(code, message, remedy === undefined ? {} : { remedy });
}

/** A VM in a child process. The child ends when this process does, however it ends. */
export class ForkedVm implements FleetVm {
  accelerator: AcceleratorName = 'wasm';
  load: LoadMode = 'map';
  readonly stages: Stage[] = [];
  readonly exited: Promise<VmExit>;
  private readonly consoleListeners = new Set<(bytes: Uint8Array) => void>();
  private readonly stageListeners = new Set<(stage: Stage) => void>();
  private readonly waiting = new Map<number, Waiting>();
  private readonly gone: Promise<void>;
  private settleExit!: (exit: VmExit) => void;
  private settleCreation!: { resolve(): void; reject(error: PandoError): void };
  private readonly created: Promise<void>;
  private death: PandoError | undefined;
  private stderr = '';
  private nextRequest = 0;

  private constructor(
    readonly index: number,
    private readonly child: ChildProcess,
  ) {
    this.exited = new Promise((resolve) => {
      this.settleExit = resolve;
    });
    this.created = new Promise((resolve, reject) => {
      this.settleCreation = { resolve, reject };
    });
    this.gone = new Promise((resolve) => {
      child.once('error', (cause) => {
        this.die(`process of VM ${index} did not start: ${cause.message}`);
        resolve();
      });
      child.once('close', (status, signal) => {
        const how = signal === null ? `with status ${status}` : `by ${signal}`;
        const last = this.stderr.trim().split('\n').at(-1) ?? '';
        this.die(`process ${this.pid} of VM ${index} ended ${how}${last && `: ${last}`}`);
        resolve();
      });
    });
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.stderr = (this.stderr + text).slice(-STDERR_LIMIT);
    });
    child.on('message', (message) => this.receive(message as FromVmProcess));
  }

  /**
   * Starts a process and creates the VM in it.
   * @throws PandoError what `Vm.create` throws, VM_PROCESS_DIED
   */
  static async create(
    index: number,
    options: VmOptions,
    entry: URL = VM_PROCESS_ENTRY,
  ): Promise<ForkedVm> {
    const child = fork(entry, [], {
      serialization: 'advanced',
      execArgv: [...process.execArgv, ...LEAN_NODE],
      env: { ...process.env, ...LEAN_MALLOC, ...NO_CERTIFICATES },
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    });
    const machine = new ForkedVm(index, child);
    try {
      machine.send({ type: 'create', options });
      await machine.created;
      return machine;
    } catch (cause) {
      await machine.close();
      throw cause;
    }
  }

  get pid(): number {
    return this.child.pid ?? 0;
  }

  /** The process is gone: whoever waits for it is told why. */
  private die(message: string): void {
    const error = new PandoError('VM_PROCESS_DIED', message, {
      remedy: 'the other VMs are not affected; see the system log for the out-of-memory killer',
    });
    this.death = error;
    this.settleCreation.reject(error);
    this.settleExit({ kind: 'error', code: error.code, message: error.message });
    for (const { reject } of this.waiting.values()) reject(error);
    this.waiting.clear();
  }

  private receive(message: FromVmProcess): void {
    switch (message.type) {
      case 'created':
        this.accelerator = message.accelerator;
        this.load = message.load;
        this.settleCreation.resolve();
        break;
      case 'failed':
        this.settleCreation.reject(pandoError(message.error));
        break;
      case 'stage':
        this.stages.push(message.stage);
        for (const listener of this.stageListeners) listener(message.stage);
        break;
      case 'output':
        for (const listener of this.consoleListeners) listener(message.bytes);
        break;
      case 'exited':
        this.settleExit(message.exit);
        break;
      case 'observed':
        this.waiting.get(message.request)?.resolve(message.observation);
        break;
      case 'unobserved':
        this.waiting.get(message.request)?.reject(pandoError(message.error));
        break;
    }
  }

  private send(message: ToVmProcess): void {
    // A process that dies under the message is reported by its 'close' event, not by the channel.
    if (this.child.connected) this.child.send(message, () => undefined);
  }

  start(): void {
    this.send({ type: 'start' });
  }

  async stop(): Promise<void> {
    this.send({ type: 'stop' });
    await this.exited;
  }

  writeConsole(bytes: Uint8Array): void {
    this.send({ type: 'input', bytes });
  }

  onConsole(listener: (bytes: Uint8Array) => void): () => void {
    this.consoleListeners.add(listener);
    return () => void this.consoleListeners.delete(listener);
  }

  onStage(listener: (stage: Stage) => void): () => void {
    this.stageListeners.add(listener);
    return () => void this.stageListeners.delete(listener);
  }

  async observe(): Promise<Observation> {
    if (this.death !== undefined) throw this.death;
    const request = this.nextRequest++;
    let timer: NodeJS.Timeout | undefined;
    try {
      return await new Promise<Observation>((resolve, reject) => {
        this.waiting.set(request, { resolve, reject });
        timer = setTimeout(() => {
          const message = `process ${this.pid} of VM ${this.index} gave no answer in ${ANSWER_LIMIT_MS} ms`;
          reject(new PandoError('VM_PROCESS_SILENT', message));
        }, ANSWER_LIMIT_MS);
        this.send({ type: 'observe', request });
      });
    } finally {
      clearTimeout(timer);
      this.waiting.delete(request);
    }
  }

  async close(): Promise<void> {
    this.send({ type: 'close' });
    const timer = setTimeout(() => this.child.kill('SIGKILL'), ANSWER_LIMIT_MS);
    await this.gone;
    clearTimeout(timer);
  }
}
