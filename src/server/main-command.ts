/**
 * The main command of a sandbox that `pando run -d` has made: clients find its process by a tag, its output is
 * kept for those who ask later, and the sandbox ends with it.
 */
import { constants } from 'node:os';
import type { ProcessHappening, ProcessTable } from './envd/process-table.js';
import type { Subscription } from './envd/subscription.js';
import type { GuestUsers } from './envd/users.js';
import { type Body, flagField, wordsField } from './fields.js';
import { RequestError } from './http.js';
import { MAIN_TAG } from './options.js';
import { OutputLog } from './output-log.js';

/** What its creator decides. */
export interface MainOptions {
  /** The program and its arguments. */
  readonly command: readonly string[];
  /** Whether clients may give it input; without, it reads nothing. */
  readonly stdin: boolean;
  /** Whether it has a terminal. */
  readonly terminal: boolean;
  /** Whether nothing of the sandbox is kept once it has ended. */
  readonly remove: boolean;
}

/** What clients are told of it. */
export interface MainAnswer {
  readonly command: readonly string[];
  readonly stdin: boolean;
  readonly terminal: boolean;
  readonly startedAt: string;
  /** Both when it has ended; the status as a shell has it: 128 and the signal's number for one that a signal ended. */
  readonly endedAt?: string;
  readonly status?: number;
}

type Happenings = Subscription<ProcessHappening>;

/** The size until a client that attaches says its own. */
const SIZE = { rows: 24, columns: 80 };
const TERM = 'xterm';
/** Its subscription is read until the end, however long that takes. */
const NO_HURRY = 2 ** 31 - 1;

/** The field `main` of a request for a sandbox. @throws RequestError 400 */
export function mainField(body: Body): MainOptions | undefined {
  const main = body.main ?? undefined;
  if (main === undefined) return undefined;
  if (typeof main !== 'object' || Array.isArray(main)) {
    throw new RequestError(400, 'main is not an object');
  }
  const fields = main as Body;
  const command = wordsField(fields, 'command');
  if (!command[0]) throw new RequestError(400, 'main.command names no program');
  return {
    command,
    stdin: flagField(fields, 'stdin') ?? false,
    terminal: flagField(fields, 'terminal') ?? false,
    remove: flagField(fields, 'remove') ?? false,
  };
}

/** Where it is started, and as whom. */
export interface MainPlace {
  readonly processes: ProcessTable;
  readonly users: GuestUsers;
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string | undefined;
}

export class MainCommand {
  readonly log = new OutputLog();
  readonly #startedAt = new Date();
  #end: { readonly at: Date; readonly status: number } | undefined;

  /** When its status is known, or the sandbox has ended before it. */
  readonly ended: Promise<void>;

  private constructor(
    private readonly options: MainOptions,
    happenings: Happenings,
  ) {
    this.ended = this.#keep(happenings);
  }

  /**
   * Starts it.
   * @throws RequestError, PandoError GUEST_… when it cannot be started
   */
  static async start(
    options: MainOptions,
    { processes, users, env, cwd }: MainPlace,
  ): Promise<MainCommand> {
    const { command, stdin, terminal } = options;
    const [program = '', ...words] = command;
    const user = await users.find(undefined);
    const process = await processes.start({
      command: program,
      arguments: words,
      env: terminal ? { TERM: env.TERM ?? TERM } : {},
      cwd: cwd ?? user.home,
      user: user.name,
      tag: MAIN_TAG,
      stdin,
      terminal: terminal ? SIZE : undefined,
      timeout: undefined,
      endsWithClients: false,
    });
    return new MainCommand(options, process.first);
  }

  /** As a shell has it; undefined until it has ended. */
  get status(): number | undefined {
    return this.#end?.status;
  }

  get answer(): MainAnswer {
    const { command, stdin, terminal } = this.options;
    const startedAt = this.#startedAt.toISOString();
    const end = this.#end && { endedAt: this.#end.at.toISOString(), status: this.#end.status };
    return { command, stdin, terminal, startedAt, ...end };
  }

  async #keep(happenings: Happenings): Promise<void> {
    try {
      for (;;) {
        const happening = await happenings.next(NO_HURRY);
        if (happening === undefined) break;
        if (happening === 'idle') continue;
        if (happening.kind === 'end') {
          const { exitCode, signal } = happening;
          const number = constants.signals[(signal ?? '') as NodeJS.Signals] ?? 0;
          this.#end = { at: new Date(), status: exitCode ?? 128 + number };
        } else this.log.add(happening.kind === 'stderr' ? 'stderr' : 'stdout', happening.data);
      }
    } catch {
      // The sandbox has ended, and the command with it.
    }
    this.log.end();
  }
}
