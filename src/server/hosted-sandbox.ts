/** A sandbox as the server keeps it: whose it is, how long it lives, what clients have started in it. */
import { randomBytes } from 'node:crypto';
import type { LogLine } from '../sandbox/console-log.js';
import type { Sandbox } from '../sandbox/sandbox.js';
import { ProcessTable } from './envd/process-table.js';
import { GuestUsers } from './envd/users.js';
import { Watchers } from './envd/watchers.js';
import { RequestError } from './http.js';
import { MainCommand, type MainOptions } from './main-command.js';

/** What its creator decides. */
export interface HostedOptions {
  readonly owner: string;
  readonly template: string;
  /** Bytes of guest RAM. */
  readonly memory: number;
  readonly metadata: ReadonlyMap<string, string>;
  readonly env: Readonly<Record<string, string>>;
  /** Whose its commands and files are when a request does not say; root when absent. */
  readonly user?: string;
  /** Where its commands run when a request does not say; the user's home when absent. */
  readonly cwd?: string;
  /** What happens when its time is over. */
  readonly onTimeout: 'kill' | 'pause';
  /** A request to it resumes it. */
  readonly autoResume: boolean;
}

/** `exited`: its main command has ended, and the sandbox with it. */
export type SandboxState = 'running' | 'paused' | 'exited';

/** What clients are told of a sandbox, also when it has ended. */
export interface SandboxRecord {
  readonly id: string;
  readonly options: HostedOptions;
  /** What requests to the sandbox itself must have. */
  readonly accessToken: string;
  readonly startedAt: Date;
  readonly endAt: Date;
  readonly state: SandboxState;
  readonly main: MainCommand | undefined;
  /** Lines of its console. @param after only those behind the line of this number */
  logs(after?: number): readonly LogLine[];
}

const ID_LENGTH = 20;
const DEFAULT_USER = 'root';

/** 20 characters of 36: as hard to guess as a key of 100 bits. */
export function randomId(): string {
  return BigInt(`0x${randomBytes(16).toString('hex')}`)
    .toString(36)
    .padStart(ID_LENGTH, '0')
    .slice(-ID_LENGTH);
}

export class HostedSandbox implements SandboxRecord {
  readonly accessToken = randomBytes(24).toString('base64url');
  readonly startedAt = new Date();
  readonly processes: ProcessTable;
  readonly users: GuestUsers;
  readonly watchers = new Watchers();
  #endAt = new Date();
  #state: SandboxState = 'running';
  #main: MainCommand | undefined;
  #timer: NodeJS.Timeout | undefined;
  /** Pausing and resuming, one after the other. */
  #change: Promise<void> = Promise.resolve();

  /** @param expired what happens when its time is over */
  constructor(
    readonly id: string,
    readonly sandbox: Sandbox,
    readonly options: HostedOptions,
    processLimit: number,
    private readonly expired: (hosted: HostedSandbox) => void,
  ) {
    const own = { E2B_SANDBOX: 'true', E2B_SANDBOX_ID: id };
    this.processes = new ProcessTable(sandbox, processLimit, own);
    this.users = new GuestUsers(sandbox, options.user ?? DEFAULT_USER);
  }

  get state(): SandboxState {
    return this.#state;
  }

  get endAt(): Date {
    return this.#endAt;
  }

  get main(): MainCommand | undefined {
    return this.#main;
  }

  /** Starts its main command. @throws RequestError, PandoError GUEST_… */
  async run(main: MainOptions): Promise<MainCommand> {
    const { env, cwd } = this.options;
    const place = { processes: this.processes, users: this.users, env, cwd };
    this.#main = await MainCommand.start(main, place);
    return this.#main;
  }

  logs(after = 0): readonly LogLine[] {
    return this.sandbox.logs(after);
  }

  /** Lives for so many seconds from now. */
  setTimeout(seconds: number): void {
    clearTimeout(this.#timer);
    this.#endAt = new Date(Date.now() + seconds * 1000);
    if (this.#state === 'paused') return;
    this.#timer = setTimeout(() => this.expired(this), seconds * 1000);
  }

  /** Lives at least so many seconds from now. */
  extend(seconds: number): void {
    if (Date.now() + seconds * 1000 > this.#endAt.getTime()) this.setTimeout(seconds);
  }

  /** @throws RequestError 409 when it is paused */
  async pause(): Promise<void> {
    if (this.#state === 'paused') throw new RequestError(409, `sandbox ${this.id} is paused`);
    this.#state = 'paused';
    clearTimeout(this.#timer);
    await this.#next(() => this.sandbox.pause());
  }

  /** Goes on for so many seconds; without effect on one that runs, but for its time. */
  async resume(seconds: number): Promise<void> {
    if (this.#state === 'running') {
      await this.#change;
      this.extend(seconds);
      return;
    }
    this.#state = 'running';
    this.setTimeout(seconds);
    await this.#next(() => this.sandbox.resume());
  }

  async #next(change: () => Promise<void>): Promise<void> {
    const done = this.#change.then(change);
    this.#change = done.catch(() => undefined);
    await done;
  }

  async close(): Promise<void> {
    clearTimeout(this.#timer);
    await this.sandbox.close();
  }
}
