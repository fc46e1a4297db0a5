/** A VM in another process (process.ts), as the program that made it sees it. */
import type { Duplex } from 'node:stream';
import { type ConsoleListener, ConsoleOutput, type ConsoleSource } from '../vm/console-output.js';
import { consoleStream } from '../vm/console-stream.js';
import { call } from '../vm/listeners.js';
import type { AcceleratorName, LoadMode, Stage, VmExit } from '../vm/types.js';
import type { VmDescription, VmNotice, VmRequest } from './messages.js';
import type { Observation } from './observation.js';

/** How a VM's process is reached. */
export interface VmConnection {
  readonly pid: number;
  /** @throws PandoError VM_PROCESS_DIED, VM_PROCESS_SILENT, and what the VM throws */
  ask(what: VmRequest): Promise<unknown>;
  tell(what: VmNotice): void;
  /** As Vm.writeConsole. */
  input(bytes: Uint8Array): Promise<boolean>;
  /** The readers are done with the last output. */
  outputTaken(): void;
}

/** What a VM's process says about it. */
export interface RemoteEvents {
  stage(stage: Stage): void;
  output(bytes: Uint8Array): void;
  /** There will be no more output. */
  outputEnd(): void;
  exited(exit: VmExit): void;
}

/** Output as it comes from the VM's process, a message at a time. */
class RemoteSource implements ConsoleSource {
  readonly #taken: () => void;
  #bytes: Uint8Array | undefined;
  #owed = false;
  #over = false;

  constructor(taken: () => void) {
    this.#taken = taken;
  }

  put(bytes: Uint8Array): void {
    this.#bytes = bytes;
  }

  end(): void {
    this.#over = true;
  }

  next(): Uint8Array | undefined {
    const bytes = this.#bytes;
    this.#bytes = undefined;
    if (bytes === undefined && this.#owed) this.#taken();
    this.#owed = bytes !== undefined;
    return bytes;
  }

  /** Looked at once more when the readers are done, to tell so. */
  readonly more = true;

  get ended(): boolean {
    return this.#over && this.#bytes === undefined;
  }
}

/**
 * A VM in a process of VMs. It has Vm's methods; what a Vm tells at once, as `vcpuState`, is asked for
 * here: `observe`. When its process dies the VM has ended with VM_PROCESS_DIED.
 */
export class RemoteVm implements AsyncDisposable {
  readonly accelerator: AcceleratorName;
  readonly load: LoadMode;
  /** Settles when the VM has ended; never rejects. */
  readonly exited: Promise<VmExit>;
  /** When its process began to make it, in milliseconds since 1970. */
  readonly begun: number;
  /** When its process started, in milliseconds since 1970: its stages count from there. */
  readonly timeOrigin: number;
  readonly #connection: VmConnection;
  readonly #stages: Stage[] = [];
  readonly #output: ConsoleOutput;
  readonly #stageListeners = new Set<(stage: Stage) => void>();
  #closed: Promise<void> | undefined;

  /** @param listen is told what takes the VM's events from now on */
  constructor(
    { accelerator, load, begun, timeOrigin }: VmDescription,
    connection: VmConnection,
    listen: (events: RemoteEvents) => void,
  ) {
    this.accelerator = accelerator;
    this.load = load;
    this.begun = begun;
    this.timeOrigin = timeOrigin;
    this.#connection = connection;
    const source = new RemoteSource(() => connection.outputTaken());
    this.#output = new ConsoleOutput(source);
    this.exited = new Promise((resolve) => {
      listen({
        exited: resolve,
        output: (bytes) => {
          source.put(bytes);
          this.#output.drain();
        },
        outputEnd: () => {
          source.end();
          this.#output.drain();
        },
        stage: (stage) => {
          this.#stages.push(stage);
          for (const listener of this.#stageListeners) call(listener, stage);
        },
      });
    });
  }

  /** The process that holds the VM's memory and runs its vCPUs. */
  get pid(): number {
    return this.#connection.pid;
  }

  /** Boot stages seen so far; milliseconds since the start of the VM's process. */
  get stages(): readonly Stage[] {
    return this.#stages;
  }

  /** Lets the guest run (also after pause). */
  start(): void {
    this.#connection.tell('start');
  }

  /**
   * Stops the guest and its time until `start`.
   * @throws PandoError VM_PROCESS_DIED
   */
  async pause(): Promise<void> {
    await this.#connection.ask('pause');
  }

  /** Ends the VM; `exited` gives `stopped`, unless its process has died. */
  async stop(): Promise<void> {
    await this.#connection.ask('stop').catch(() => undefined);
    await this.exited;
  }

  /**
   * As Vm.trim.
   * @throws PandoError VM_PROCESS_DIED
   */
  async trim(): Promise<number> {
    return (await this.#connection.ask('trim')) as number;
  }

  /**
   * As Vm.writeConsole; false also when its process has died.
   * @throws PandoError CONSOLE_INPUT_FULL, as a rejection
   */
  writeConsole(data: Uint8Array | string): Promise<boolean> {
    return this.#connection.input(typeof data === 'string' ? new TextEncoder().encode(data) : data);
  }

  /** As Vm.onConsole: a promise that the listener returns holds the guest back. */
  onConsole(listener: ConsoleListener): () => void {
    return this.#output.add(listener);
  }

  /** As Vm.consoleStream. */
  consoleStream(): Duplex {
    return consoleStream(this.#output, { write: (bytes) => this.writeConsole(bytes) });
  }

  /** As Vm.consoleDrained. */
  consoleDrained(): Promise<void> {
    return new Promise((resolve) => this.#output.onEnd(resolve));
  }

  /** Calls `listener` at each boot stage; returns what unsubscribes. */
  onStage(listener: (stage: Stage) => void): () => void {
    this.#stageListeners.add(listener);
    return () => void this.#stageListeners.delete(listener);
  }

  /** Presses the power button: asks the guest to shut down, which may ignore it. */
  pressPowerButton(): void {
    this.#connection.tell('pressPowerButton');
  }

  /** Raises a non-maskable interrupt: a guest that hangs may say where it is. */
  injectNmi(): void {
    this.#connection.tell('injectNmi');
  }

  /**
   * Works while the VM runs and after it has ended, until `close`.
   * @throws PandoError VM_PROCESS_DIED, VM_PROCESS_SILENT
   */
  async observe(): Promise<Observation> {
    return (await this.#connection.ask('observe')) as Observation;
  }

  /** Frees everything that its process has for it; stops it first if need be. */
  close(): Promise<void> {
    this.#closed ??= this.#connection.ask('close').then(
      () => undefined,
      () => undefined,
    );
    return this.#closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
