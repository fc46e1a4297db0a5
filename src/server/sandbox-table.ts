/** All sandboxes of a server: making and ending them, and the limits that hold for them together. */
import { PandoError } from '../error.js';
import { Sandbox, type SandboxOptions } from '../sandbox/sandbox.js';
import { EndedSandboxes } from './ended-sandboxes.js';
import {
  type HostedOptions,
  HostedSandbox,
  randomId,
  type SandboxRecord,
} from './hosted-sandbox.js';
import { RequestError } from './http.js';
import type { MainOptions } from './main-command.js';
import type { LogEvent, ServerLimits } from './options.js';

/** Counts since the server's start. */
export interface TableCounts {
  created: number;
  failed: number;
  /** Ended by a request, by their time, by themselves. */
  killed: number;
  expired: number;
  crashed: number;
}

export class SandboxTable {
  readonly counts: TableCounts = { created: 0, failed: 0, killed: 0, expired: 0, crashed: 0 };
  readonly #sandboxes = new Map<string, HostedSandbox>();
  readonly #ended = new EndedSandboxes();
  /** Those that are being made. */
  #pending = 0;
  #pendingMemory = 0;
  /** The first sandbox of an image makes its template; the others wait for it. */
  readonly #first = new Map<string, Promise<unknown>>();
  #closed = false;

  /** @param make how sandboxes are made */
  constructor(
    private readonly limits: ServerLimits,
    private readonly log: (event: LogEvent) => void,
    private readonly make: (options: SandboxOptions) => Promise<Sandbox> = Sandbox.create,
  ) {}

  get size(): number {
    return this.#sandboxes.size;
  }

  /** Neither sandboxes, nor what is left of those that ended with their main command. */
  get isEmpty(): boolean {
    return this.size === 0 && this.#ended.size === 0;
  }

  /** Bytes of guest RAM of all. */
  get memory(): number {
    return this.list().reduce((sum, { options }) => sum + options.memory, 0);
  }

  list(): HostedSandbox[] {
    return [...this.#sandboxes.values()];
  }

  /** The same, and those that ended with their main command. */
  records(): SandboxRecord[] {
    return [...this.list(), ...this.#ended.list()];
  }

  find(id: string): HostedSandbox | undefined {
    return this.#sandboxes.get(id);
  }

  /**
   * One that an owner has; that of another is as none.
   * @throws RequestError 404
   */
  get(id: string, owner: string): HostedSandbox {
    this.record(id, owner);
    const found = this.#sandboxes.get(id);
    if (found !== undefined) return found;
    throw new RequestError(409, `sandbox ${id} has ended with its main command`);
  }

  /** The same, also when it ended with its main command. @throws RequestError 404 */
  record(id: string, owner: string): SandboxRecord {
    const found = this.#sandboxes.get(id) ?? this.#ended.find(id);
    if (found !== undefined && found.options.owner === owner) return found;
    throw new RequestError(404, `sandbox ${id} does not exist`);
  }

  /**
   * Starts a sandbox's main command, with which the sandbox ends; also when the command cannot be started.
   * @throws RequestError, PandoError GUEST_…
   */
  async run(hosted: HostedSandbox, main: MainOptions): Promise<void> {
    try {
      const { ended } = await hosted.run(main);
      void ended.then(() => this.#finish(hosted, main));
    } catch (error) {
      await this.kill(hosted);
      throw error;
    }
  }

  #finish(hosted: HostedSandbox, { remove }: MainOptions): void {
    // Without a status the sandbox has ended first, and whoever ended it has closed it.
    if (hosted.main?.status === undefined || !this.#sandboxes.delete(hosted.id)) return;
    this.log({ event: 'sandbox-finished', sandbox: hosted.id, status: hosted.main.status });
    if (!remove) this.#ended.add(hosted);
    hosted.close().catch((error: unknown) => {
      this.log({ event: 'sandbox-not-closed', sandbox: hosted.id, error: String(error) });
    });
  }

  /** Room for so many more; what it returns gives the room back. @throws RequestError 429, 503 */
  #reserve(count: number, memory: number): () => void {
    if (this.#closed) throw new RequestError(503, 'the server is stopping');
    const { sandboxes, memory: most } = this.limits;
    if (this.size + this.#pending + count > sandboxes) {
      throw new RequestError(429, `the server holds ${sandboxes} sandboxes: that is the limit`);
    }
    if (this.memory + this.#pendingMemory + count * memory > most) {
      const megabytes = Math.floor(most / 2 ** 20);
      throw new RequestError(429, `guest memory of all sandboxes is limited to ${megabytes} MiB`);
    }
    this.#pending += count;
    this.#pendingMemory += count * memory;
    return () => {
      this.#pending -= count;
      this.#pendingMemory -= count * memory;
    };
  }

  /**
   * Makes a sandbox.
   * @throws RequestError 429, and what `Sandbox.create` throws
   */
  async create(
    source: Pick<SandboxOptions, 'image' | 'snapshot'>,
    options: HostedOptions,
    timeout: number,
  ): Promise<HostedSandbox> {
    const release = this.#reserve(1, options.memory);
    try {
      const id = randomId();
      const { memory, env } = options;
      const make = (): Promise<Sandbox> => this.make({ ...source, memory, env, user: 'root' });
      const sandbox = await this.#afterFirst(source.snapshot ?? source.image ?? '', make);
      return await this.#add(id, sandbox, options, timeout);
    } catch (error) {
      this.counts.failed += 1;
      throw error;
    } finally {
      release();
    }
  }

  async #afterFirst(key: string, make: () => Promise<Sandbox>): Promise<Sandbox> {
    const first = this.#first.get(key);
    if (first === undefined) {
      const made = make();
      this.#first.set(
        key,
        made.catch(() => this.#first.delete(key)),
      );
      return made;
    }
    await first;
    return make();
  }

  async #add(
    id: string,
    sandbox: Sandbox,
    options: HostedOptions,
    timeout: number,
  ): Promise<HostedSandbox> {
    if (this.#closed) {
      await sandbox.close();
      throw new RequestError(503, 'the server is stopping');
    }
    const hosted = new HostedSandbox(id, sandbox, options, this.limits.processes, (expired) =>
      this.#expire(expired),
    );
    this.#sandboxes.set(id, hosted);
    hosted.setTimeout(timeout);
    this.counts.created += 1;
    this.log({ event: 'sandbox-created', sandbox: id, template: options.template, timeout });
    void sandbox.vm.exited.then((exit) => {
      if (!this.#sandboxes.delete(id)) return;
      this.counts.crashed += 1;
      const { message } = sandbox.end ?? {};
      this.log({ event: 'sandbox-ended', sandbox: id, exit: exit.kind, message });
      void hosted.close();
    });
    return hosted;
  }

  /**
   * Copies of a sandbox, each with a result of its own.
   * @param metadata of the copies; the sandbox's when absent
   * @throws RequestError 429
   */
  async fork(
    origin: HostedSandbox,
    count: number,
    timeout: number,
    metadata = origin.options.metadata,
  ): Promise<PromiseSettledResult<HostedSandbox>[]> {
    const release = this.#reserve(count, origin.options.memory);
    try {
      const results = await origin.sandbox.fork(count);
      return await Promise.allSettled(
        results.map(async (result) => {
          if (result.status === 'rejected') throw result.reason;
          return this.#add(randomId(), result.value, { ...origin.options, metadata }, timeout);
        }),
      );
    } finally {
      release();
    }
  }

  #expire(hosted: HostedSandbox): void {
    if (!this.#sandboxes.has(hosted.id)) return;
    this.counts.expired += 1;
    this.log({ event: 'sandbox-expired', sandbox: hosted.id, action: hosted.options.onTimeout });
    const end = hosted.options.onTimeout === 'pause' ? hosted.pause() : this.#remove(hosted);
    end.catch((error: unknown) => {
      const code = error instanceof PandoError ? error.code : String(error);
      this.log({ event: 'sandbox-expiry-failed', sandbox: hosted.id, error: code });
    });
  }

  /** Ends a sandbox, or forgets one that has ended. */
  async kill({ id }: Pick<SandboxRecord, 'id'>): Promise<void> {
    const hosted = this.#sandboxes.get(id);
    this.#ended.remove(id);
    if (hosted === undefined) return;
    this.counts.killed += 1;
    this.log({ event: 'sandbox-killed', sandbox: hosted.id });
    await this.#remove(hosted);
  }

  async #remove(hosted: HostedSandbox): Promise<void> {
    this.#sandboxes.delete(hosted.id);
    await hosted.close();
  }

  /** Ends all, and makes no more. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.allSettled(this.list().map((hosted) => this.#remove(hosted)));
  }
}
