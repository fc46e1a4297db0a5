/**
 * A command in a sandbox: awaited, it gives what it printed and how it ended; iterated, it gives its output
 * as it comes. Both see the same streams, so one of the two.
 */
import type { Readable, Writable } from 'node:stream';
import { PandoError } from '../error.js';
import type { Agent } from './agent/agent.js';
import { roomIn } from './agent/channel.js';
import type { AgentCommand, CommandExit } from './agent/command.js';

export interface ExecOptions {
  /** Folder that the command runs in; the agent's when absent. */
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** `name`, `uid`, either with `:group`. */
  readonly user?: string;
  /** Bytes of standard input, or `pipe` for `stdin`; without it the command reads nothing. */
  readonly stdin?: string | Uint8Array | AsyncIterable<Uint8Array | string> | 'pipe';
  /** A terminal instead of pipes: output and errors are one, and programs behave as for a person. */
  readonly pty?: { readonly rows: number; readonly columns: number } | true;
  /** Ends the command's process group; `exec` then rejects with the signal's reason. */
  readonly signal?: AbortSignal;
  /** Milliseconds until the command's process group is ended; `exec` then rejects with EXEC_TIMEOUT. */
  readonly timeout?: number;
  /** Rejects with EXEC_FAILED when the command does not end with status 0. */
  readonly check?: boolean;
}

export interface ExecResult {
  /** 0–255; undefined when a signal ended the command. */
  readonly exitCode: number | undefined;
  readonly signal: NodeJS.Signals | undefined;
  /** UTF-8. */
  readonly stdout: string;
  readonly stderr: string;
}

/** A piece of output. */
export interface ExecOutput {
  readonly stream: 'stdout' | 'stderr';
  readonly data: Buffer;
}

const DEFAULT_SIZE = { rows: 24, columns: 80 };
/** How much of the errors a failed command's message has. */
const MESSAGE_BYTES = 1000;

async function textOf(stream: Readable): Promise<string> {
  const pieces: Buffer[] = [];
  for await (const piece of stream) pieces.push(piece as Buffer);
  return Buffer.concat(pieces).toString('utf8');
}

export class Exec implements PromiseLike<ExecResult>, AsyncIterable<ExecOutput> {
  readonly #started: Promise<AgentCommand>;
  readonly #options: ExecOptions;
  readonly #what: string;
  #result: Promise<ExecResult> | undefined;
  /** Why it was ended from here. */
  #ended: unknown;

  /** @param command argv, or a script for /bin/sh */
  constructor(agent: Agent, command: string | readonly string[], options: ExecOptions = {}) {
    const argv = typeof command === 'string' ? ['/bin/sh', '-c', command] : command;
    this.#options = options;
    this.#what = typeof command === 'string' ? command : command.join(' ');
    this.#started = this.#start(agent, argv);
    // Whoever awaits hears of it.
    this.#started.catch(() => undefined);
  }

  async #start(agent: Agent, argv: readonly string[]): Promise<AgentCommand> {
    const { cwd, env, user, stdin, pty, signal, timeout } = this.#options;
    signal?.throwIfAborted();
    const starting = agent.exec({
      argv,
      stdin: stdin !== undefined,
      ...(cwd !== undefined && { cwd }),
      ...(env !== undefined && { env }),
      ...(user !== undefined && { user }),
      ...(pty !== undefined && { pty: pty === true ? DEFAULT_SIZE : pty }),
    });
    let giveUp: (reason: unknown) => void = () => undefined;
    const given = new Promise<never>((_, reject) => {
      giveUp = reject;
    });
    const end = (reason: unknown): void => {
      this.#ended ??= reason;
      // A guest may answer late, or never.
      giveUp(reason);
      starting.then((command) => command.close()).catch(() => undefined);
    };
    const abort = (): void => end(signal?.reason);
    signal?.addEventListener('abort', abort, { once: true });
    const timer =
      timeout === undefined ? undefined : setTimeout(() => end(this.#timedOut(timeout)), timeout);
    const over = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', abort);
    };
    try {
      const command = await Promise.race([starting, given]);
      command.exited.then(over, over);
      if (stdin !== undefined && stdin !== 'pipe') {
        feed(command.stdin, stdin).catch((error: unknown) => end(error));
      }
      return command;
    } catch (error) {
      over();
      throw error;
    }
  }

  #timedOut(timeout: number): PandoError {
    return new PandoError('EXEC_TIMEOUT', `${this.#what}: not over after ${timeout} ms`, {
      remedy: 'give a longer timeout',
    });
  }

  /** Resolves once the command runs. */
  async #running(): Promise<AgentCommand> {
    return this.#started;
  }

  /** The command's process in the guest. */
  get pid(): Promise<number> {
    return this.#running().then(({ pid }) => pid);
  }

  /** Standard input, until the command ends; with `stdin: 'pipe'`. */
  get stdin(): Promise<Writable> {
    return this.#running().then(({ stdin }) => stdin);
  }

  get stdout(): Promise<Readable> {
    return this.#running().then(({ stdout }) => stdout);
  }

  get stderr(): Promise<Readable> {
    return this.#running().then(({ stderr }) => stderr);
  }

  /** How it ended, for whoever reads the streams himself. */
  get exited(): Promise<CommandExit> {
    return this.#running()
      .then(({ exited }) => exited)
      .catch((error: unknown) => {
        throw this.#ended ?? error;
      });
  }

  /** Sends a signal to the command's process group. */
  async kill(signal: NodeJS.Signals | number = 'SIGTERM'): Promise<void> {
    (await this.#running()).kill(signal);
  }

  /** The size of its terminal, in characters. */
  async resize(rows: number, columns: number): Promise<void> {
    (await this.#running()).resize(rows, columns);
  }

  // biome-ignore lint/suspicious/noThenProperty: to be awaited is what it is for
  then<A = ExecResult, B = never>(
    fulfilled?: ((result: ExecResult) => A | PromiseLike<A>) | null,
    rejected?: ((error: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    this.#result ??= this.#collect();
    return this.#result.then(fulfilled, rejected);
  }

  async #collect(): Promise<ExecResult> {
    const { stdout, stderr, exited } = await this.#running();
    try {
      const [out, err, exit] = await Promise.all([textOf(stdout), textOf(stderr), exited]);
      const result = { ...exit, stdout: out, stderr: err };
      if (this.#options.check === true && exit.exitCode !== 0) throw this.#failed(result);
      return result;
    } catch (error) {
      throw this.#ended ?? error;
    }
  }

  #failed({ exitCode, signal, stderr }: ExecResult): PandoError {
    const how = signal === undefined ? `status ${exitCode}` : `signal ${signal}`;
    const why = stderr.slice(-MESSAGE_BYTES).trim();
    return new PandoError('EXEC_FAILED', `${this.#what}: ${how}${why && `: ${why}`}`);
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<ExecOutput, void, void> {
    const command = await this.#running();
    const queue: ExecOutput[] = [];
    let open = 2;
    let wake: () => void = () => undefined;
    const listen = (stream: Readable, name: ExecOutput['stream']): void => {
      stream.on('data', (data: Buffer) => {
        queue.push({ stream: name, data });
        stream.pause();
        wake();
      });
      stream.once('close', () => {
        open -= 1;
        wake();
      });
    };
    listen(command.stdout, 'stdout');
    listen(command.stderr, 'stderr');
    try {
      for (;;) {
        const next = queue.shift();
        if (next !== undefined) {
          yield next;
          command[next.stream].resume();
        } else if (open > 0) {
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
        } else break;
      }
      await command.exited.catch((error: unknown) => {
        throw this.#ended ?? error;
      });
    } finally {
      // Whoever leaves the loop early has no use for the command.
      command.close();
    }
  }
}

async function feed(
  input: Writable,
  source: string | Uint8Array | AsyncIterable<Uint8Array | string>,
): Promise<void> {
  const whole = typeof source === 'string' || source instanceof Uint8Array;
  for await (const piece of whole ? [source] : source) {
    if (input.destroyed) return;
    if (!input.write(piece)) await roomIn(input);
  }
  input.end();
}
