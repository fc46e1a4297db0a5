/**
 * The processes that clients have started in a sandbox. A process outlives the connection that started it,
 * unless its client wants otherwise; its output goes to the clients that listen, and to nobody when none does.
 */
import { constants } from 'node:os';
import type { Readable, Writable } from 'node:stream';
import { PandoError } from '../../error.js';
import type { Exec } from '../../sandbox/exec.js';
import type { Sandbox } from '../../sandbox/sandbox.js';
import { RequestError } from '../http.js';
import { Subscription } from './subscription.js';

/** What a process is started with. */
export interface ProcessStart {
  readonly command: string;
  readonly arguments: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string | undefined;
  readonly user: string;
  readonly tag: string | undefined;
  readonly stdin: boolean;
  readonly terminal: TerminalSize | undefined;
  /** Milliseconds until it is killed. */
  readonly timeout: number | undefined;
  /** Whether it is killed when no client listens any more. */
  readonly endsWithClients: boolean;
}

export interface TerminalSize {
  readonly rows: number;
  readonly columns: number;
}

/** What happens to a process. */
export type ProcessHappening =
  | { readonly kind: 'stdout' | 'stderr' | 'pty'; readonly data: Buffer }
  | {
      readonly kind: 'end';
      readonly exitCode: number | undefined;
      readonly signal: string | undefined;
    };

/** Pieces of output that wait for a client before the process waits. */
const QUEUE = 16;
const { SIGKILL } = constants.signals;

/** A process of a client. */
export class HostedProcess {
  readonly #listeners = new Set<Subscription<ProcessHappening>>();
  readonly ended: Promise<void>;
  readonly #timer: NodeJS.Timeout | undefined;
  /** The client that starts it hears all from the beginning. */
  readonly first = this.listen();

  private constructor(
    readonly pid: number,
    readonly start: ProcessStart,
    private readonly exec: Exec,
    private readonly input: Writable,
    outputs: readonly [stdout: Readable, stderr: Readable],
  ) {
    input.on('error', () => undefined);
    this.ended = this.#run(outputs);
    if (start.timeout !== undefined) {
      this.#timer = setTimeout(() => void this.signal(SIGKILL), start.timeout);
    }
  }

  /** @throws PandoError GUEST_… when it cannot be started */
  static async start(
    sandbox: Sandbox,
    start: ProcessStart,
    environment: Readonly<Record<string, string>>,
  ): Promise<HostedProcess> {
    const { command, terminal, cwd, env, user, stdin } = start;
    const exec = sandbox.exec([command, ...start.arguments], {
      env: { ...environment, ...env },
      user,
      ...(cwd !== undefined && { cwd }),
      ...((stdin || terminal !== undefined) && { stdin: 'pipe' as const }),
      ...(terminal !== undefined && { pty: terminal }),
    });
    const pid = await exec.pid;
    const outputs = [await exec.stdout, await exec.stderr] as const;
    return new HostedProcess(pid, start, exec, await exec.stdin, outputs);
  }

  /** A client that listens from now on; it ends the subscription with `leave`. */
  listen(): Subscription<ProcessHappening> {
    const listener = new Subscription<ProcessHappening>(QUEUE);
    this.#listeners.add(listener);
    return listener;
  }

  leave(listener: Subscription<ProcessHappening>): void {
    const listened = this.#listeners.delete(listener);
    listener.end();
    const unheard = listened && this.#listeners.size === 0;
    if (unheard && this.start.endsWithClients) void this.signal(SIGKILL);
  }

  async #run([stdout, stderr]: readonly [Readable, Readable]): Promise<void> {
    const name = this.start.terminal === undefined ? 'stdout' : 'pty';
    let failure: Error | undefined;
    try {
      // Settled, not awaited as such: when the sandbox ends, the streams fail with it.
      const pumped = Promise.allSettled([this.#pump(stdout, name), this.#pump(stderr, 'stderr')]);
      const { exitCode, signal } = await this.exec.exited;
      await pumped;
      await this.#tell({ kind: 'end', exitCode, signal });
    } catch (error) {
      failure = error as Error;
    }
    clearTimeout(this.#timer);
    for (const listener of this.#listeners) listener.end(failure);
    this.#listeners.clear();
  }

  async #pump(stream: Readable, kind: 'stdout' | 'stderr' | 'pty'): Promise<void> {
    for await (const data of stream) await this.#tell({ kind, data: data as Buffer });
  }

  async #tell(happening: ProcessHappening): Promise<void> {
    await Promise.all([...this.#listeners].map((listener) => listener.put(happening)));
  }

  /** Resolves when there is room for more input. */
  async write(bytes: Uint8Array): Promise<void> {
    if (!this.start.stdin && this.start.terminal === undefined) {
      throw new RequestError(400, `process ${this.pid} was started without standard input`);
    }
    await new Promise<void>((resolve) => this.input.write(bytes, () => resolve()));
  }

  closeInput(): void {
    this.input.end();
  }

  async signal(number: number): Promise<void> {
    await this.exec.kill(number);
  }

  async resize({ rows, columns }: TerminalSize): Promise<void> {
    await this.exec.resize(rows, columns);
  }
}

/**
 * The shell that E2B's templates have and its clients name, and the one of every Linux. That one is not made
 * a login shell: the profile of a small image may go to another folder than the client's.
 */
const CLIENT_SHELL = '/bin/bash';
const SHELL = '/bin/sh';

export class ProcessTable {
  readonly #processes = new Map<number, HostedProcess>();
  #starting = 0;
  #hasClientShell = true;

  /** @param environment of all processes, but for what their start says */
  constructor(
    private readonly sandbox: Sandbox,
    private readonly limit: number,
    private readonly environment: Readonly<Record<string, string>>,
  ) {}

  /** @throws RequestError 429, PandoError GUEST_… */
  async start(start: ProcessStart): Promise<HostedProcess> {
    if (this.#processes.size + this.#starting >= this.limit) {
      throw new RequestError(429, `the sandbox runs ${this.limit} processes: that is the limit`);
    }
    this.#starting += 1;
    let process: HostedProcess;
    try {
      process = await this.#start(start);
    } finally {
      this.#starting -= 1;
    }
    this.#processes.set(process.pid, process);
    void process.ended.then(() => {
      if (this.#processes.get(process.pid) === process) this.#processes.delete(process.pid);
    });
    return process;
  }

  async #start(start: ProcessStart): Promise<HostedProcess> {
    if (start.command !== CLIENT_SHELL)
      return HostedProcess.start(this.sandbox, start, this.environment);
    try {
      if (this.#hasClientShell)
        return await HostedProcess.start(this.sandbox, start, this.environment);
    } catch (error) {
      const missing = error instanceof PandoError && error.code === 'GUEST_ENOENT';
      if (!missing || (await this.sandbox.files.exists(CLIENT_SHELL))) throw error;
      this.#hasClientShell = false;
    }
    const words = start.arguments.filter((word, at) => word !== '-l' || at > 1);
    const shell = { ...start, command: SHELL, arguments: words };
    return HostedProcess.start(this.sandbox, shell, this.environment);
  }

  list(): HostedProcess[] {
    return [...this.#processes.values()];
  }

  /** @throws RequestError 404 */
  get(selector: number | string): HostedProcess {
    const found =
      typeof selector === 'number'
        ? this.#processes.get(selector)
        : this.list().find(({ start }) => start.tag === selector);
    if (found !== undefined) return found;
    throw new RequestError(404, `there is no process ${selector} that a client has started`);
  }
}
