/**
 * A sandbox: a VM that has booted before it starts, and the means to run programs in it, move its files and
 * reach its ports.
 */
import { randomBytes, randomUUID } from 'node:crypto';
import type { Duplex } from 'node:stream';
import { PandoError } from '../error.js';
import type { ProgressSink } from '../image/progress.js';
import type { SnapshotManifest } from '../snapshot/manifest.js';
import { SnapshotStore } from '../snapshot/snapshot-store.js';
import { Vm } from '../vm/vm.js';
import type { Agent, SystemRequest } from './agent/agent.js';
import { ConsoleLog, type LogLine } from './console-log.js';
import { sandboxEnd } from './ended.js';
import { Exec, type ExecOptions } from './exec.js';
import { SandboxFiles } from './files.js';
import { PortListener } from './port-listener.js';
import { agentOf, agentReady, ENTROPY, restoreTemplate } from './template.js';

const DEFAULT_MEMORY = 512 * 2 ** 20;

export interface SandboxOptions {
  /**
   * Image of the store, or a registry's reference, which is pulled when it is missing; Debian's when absent. The
   * environment, user and folder of a container image are those of commands where the options name none.
   */
  readonly image?: string;
  /** Snapshot of a sandbox to go on from, instead of an image. */
  readonly snapshot?: string;
  /** Guest RAM in bytes; 512 MiB when absent; that of the snapshot. */
  readonly memory?: number;
  /** Environment of all commands. */
  readonly env?: Readonly<Record<string, string>>;
  /** User of all commands: `name`, `uid`, either with `:group`; root when absent. */
  readonly user?: string;
  /** Folder of all commands. */
  readonly cwd?: string;
  /** Milliseconds after which the sandbox is closed; never when absent. */
  readonly timeout?: number;
  /** What the program that makes it wants to know of it later. */
  readonly metadata?: Readonly<Record<string, string>>;
  /** Gives up making it. */
  readonly signal?: AbortSignal;
  /** Hears of a pull, and of a template that is made. */
  readonly progress?: ProgressSink;
}

/** How far a sandbox's clock may be behind, in milliseconds, and how often it is set for that. */
const CLOCK_TOLERANCE = 10;
const CLOCK_TRIES = 4;

/**
 * Makes a clone a machine of its own, and sets its clock. The agent takes the time that the request took to the guest
 * from the time-stamp counter. Where that is not known, the clock is behind by so much, and a request that took long is
 * followed by another: the guest has its code by then.
 */
async function setSystem(
  vm: Vm,
  agent: Agent,
  own: Omit<SystemRequest, 'clock' | 'timestamp'> = {},
): Promise<void> {
  let request = own;
  for (let tries = 0; tries < CLOCK_TRIES; tries += 1) {
    const began = performance.now();
    const timestamp = vm.timestamp();
    const clock = BigInt(Date.now()) * 1_000_000n;
    const late = await agent.system({
      ...request,
      clock,
      ...(timestamp !== undefined && { timestamp }),
    });
    if (late > 0n || performance.now() - began <= CLOCK_TOLERANCE) return;
    request = {};
  }
}

/** Sandboxes of this process, by id. */
const sandboxes = new Map<string, Sandbox>();

/** Once its guest has ended, by itself or by `close`, all but `logs` and `close` throws SANDBOX_ENDED. */
export class Sandbox implements AsyncDisposable {
  /** Unique. */
  readonly id: string;
  readonly metadata: Readonly<Record<string, string>>;
  readonly files: SandboxFiles;
  readonly #vm: Vm;
  readonly #agent: Agent;
  readonly #log: ConsoleLog;
  readonly #options: SandboxOptions;
  readonly #timer: NodeJS.Timeout | undefined;
  readonly #listeners = new Map<number, Promise<PortListener>>();
  #closed: Promise<void> | undefined;

  private constructor(id: string, vm: Vm, log: ConsoleLog, options: SandboxOptions) {
    this.id = id;
    this.#vm = vm;
    this.#log = log;
    const guest = {
      get error() {
        return sandboxEnd(vm, log);
      },
      ended: vm.exited,
    };
    this.#agent = agentOf(vm, guest);
    this.#options = options;
    this.metadata = options.metadata ?? {};
    this.files = new SandboxFiles(this.#agent);
    const { timeout } = options;
    if (timeout !== undefined) this.#timer = setTimeout(() => void this.close(), timeout).unref();
    sandboxes.set(id, this);
    void vm.exited.then(() => {
      sandboxes.delete(id);
      this.#closeListeners();
    });
  }

  /**
   * Makes a sandbox from the image's template, which is made first when there is none.
   * @throws PandoError SANDBOX_…, and what `Vm.create` and pulling an image throw; the signal's reason
   */
  static async create(options: SandboxOptions = {}): Promise<Sandbox> {
    const { image, memory = DEFAULT_MEMORY, signal, progress, snapshot } = options;
    signal?.throwIfAborted();
    const { vm, defaults } =
      snapshot === undefined
        ? await restoreTemplate({ image, memory, progress, signal })
        : { vm: await Vm.restore({ snapshot, reboot: false }), defaults: {} };
    const env = { ...defaults.env, ...options.env };
    return Sandbox.#begin(vm, { ...defaults, ...options, env });
  }

  /** Those of this process that are open, in the order of their making. */
  static list(): Sandbox[] {
    return [...sandboxes.values()];
  }

  /** @throws PandoError SANDBOX_NOT_FOUND */
  static get(id: string): Sandbox {
    const sandbox = sandboxes.get(id);
    if (sandbox !== undefined) return sandbox;
    throw new PandoError('SANDBOX_NOT_FOUND', `there is no sandbox ${id} in this process`);
  }

  /** Starts a VM that goes on from another's state, and makes it a machine of its own. */
  static async #begin(vm: Vm, options: SandboxOptions): Promise<Sandbox> {
    const log = new ConsoleLog();
    vm.onConsole((bytes) => log.add(bytes));
    try {
      vm.start();
      const id = randomUUID();
      const own = {
        entropy: randomBytes(ENTROPY),
        hostname: `sandbox-${id.slice(0, 8)}`,
        machineId: id.replaceAll('-', ''),
      };
      await agentReady(vm, (asked) => setSystem(vm, asked, own), options.signal);
      return new Sandbox(id, vm, log, options);
    } catch (error) {
      await vm.close();
      throw error;
    }
  }

  /**
   * Runs a command: a script for /bin/sh, or a program with its arguments.
   *
   * ```ts
   * const { stdout } = await sandbox.exec('uname -a');
   * for await (const { stream, data } of sandbox.exec(['make', '-j2'])) …
   * ```
   */
  exec(command: string | readonly string[], options: ExecOptions = {}): Exec {
    const { env, user, cwd } = this.#options;
    return new Exec(this.#agent, command, {
      ...(user !== undefined && { user }),
      ...(cwd !== undefined && { cwd }),
      ...options,
      env: { ...env, ...options.env },
    });
  }

  /**
   * A TCP connection to a port of the sandbox's loopback.
   * @throws PandoError GUEST_ECONNREFUSED
   */
  connect(port: number): Promise<Duplex> {
    return this.#agent.forward(port);
  }

  /**
   * Where a port of the sandbox's loopback is reached from this host, until the sandbox ends. Connections are
   * refused while nobody listens there.
   */
  url(port: number): Promise<string> {
    return this.#living(async () => {
      let listener = this.#listeners.get(port);
      if (listener === undefined) {
        listener = PortListener.open(() => this.connect(port));
        this.#listeners.set(port, listener);
      }
      return (await listener).url;
    });
  }

  #closeListeners(): void {
    for (const listener of this.#listeners.values()) {
      listener.then((open) => open.close()).catch(() => undefined);
    }
    this.#listeners.clear();
  }

  /** @throws PandoError SANDBOX_ENDED before the work, or in place of what it throws when the guest has ended under it */
  async #living<T>(work: () => Promise<T>): Promise<T> {
    const { end } = this;
    if (end !== undefined) throw end;
    try {
      return await work();
    } catch (error) {
      throw this.end ?? error;
    }
  }

  /**
   * The last lines of its console: the kernel's messages, and what programs write to /dev/console. A copy's begin
   * when it does.
   * @param after only those behind the line of this number
   */
  logs(after = 0): readonly LogLine[] {
    return this.#log.lines(after);
  }

  /** Stops the sandbox and its time until `resume`. */
  pause(): Promise<void> {
    return this.#living(() => this.#vm.pause());
  }

  /** Goes on, with the clock set right. */
  resume(): Promise<void> {
    return this.#living(async () => {
      this.#vm.start();
      await setSystem(this.#vm, this.#agent);
    });
  }

  /**
   * Copies of the sandbox as it stands, which go on beside it, each with entropy, names and time of its own.
   * Commands that `exec` runs end in a copy; what they left in the background goes on.
   * @returns a result for each
   */
  async fork(count = 1): Promise<PromiseSettledResult<Sandbox>[]> {
    const clones = await this.#living(() => this.#vm.clone(count));
    return Promise.allSettled(
      clones.map(async (clone) => {
        if (clone.status === 'rejected') throw clone.reason;
        return Sandbox.#begin(clone.value, this.#options);
      }),
    );
  }

  /** Writes the sandbox as it stands to the store: see `Vm.snapshot`. */
  snapshot(name: string): Promise<SnapshotManifest> {
    return this.#living(() => this.#vm.snapshot({ name }));
  }

  /** Removes a snapshot of the store; sandboxes that go on from it stay. @throws PandoError SNAPSHOT_NOT_FOUND */
  static async removeSnapshot(name: string): Promise<void> {
    await new SnapshotStore().remove(name);
  }

  /** SANDBOX_ENDED once it has ended, with how: a power-off, a reset, the kernel's panic, `close`; undefined before. */
  get end(): PandoError | undefined {
    return sandboxEnd(this.#vm, this.#log);
  }

  /** Environment of all commands. */
  get env(): Readonly<Record<string, string>> {
    return this.#options.env ?? {};
  }

  /** Folder of all commands; the agent's when undefined. */
  get cwd(): string | undefined {
    return this.#options.cwd;
  }

  /** The machine. */
  get vm(): Vm {
    return this.#vm;
  }

  /** Ends it, and all that runs in it. */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    clearTimeout(this.#timer);
    sandboxes.delete(this.id);
    this.#closeListeners();
    await this.#vm.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
