/** `pando exec`: a command in a sandbox, with this terminal as its own. */
import { constants } from 'node:os';
import type { Readable } from 'node:stream';
import { PandoError } from '../../error.js';
import { END_WITH_CLIENT } from '../../server/options.js';
import { STANDARD_STREAMS, type Streams } from '../terminal/standard-streams.js';
import { Daemon } from './daemon.js';

export interface ExecFlags {
  readonly interactive?: boolean;
  readonly tty?: boolean;
  readonly env: readonly string[];
  readonly user?: string;
  readonly workdir?: string;
}

/** Statuses of commands that could not be started (POSIX, 2.8.2). */
const STATUS_NOT_STARTED = 127;
const FORWARDED = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const;

/** @throws PandoError USAGE */
function environmentOf(words: readonly string[]): Record<string, string> {
  const pairs = words.map((word): [string, string] => {
    const at = word.indexOf('=');
    if (at > 0) return [word.slice(0, at), word.slice(at + 1)];
    if (at < 0 && word !== '') return [word, process.env[word] ?? ''];
    throw new PandoError('USAGE', `--env ${word}: not NAME=VALUE`);
  });
  return Object.fromEntries(pairs);
}

/** What loads the client; the other verbs do without. */
async function processClient(socketPath: string, headers: Readonly<Record<string, string>>) {
  const { createClient } = await import('@connectrpc/connect');
  const { createConnectTransport } = await import('@connectrpc/connect-node');
  const { Process } = await import('../../server/protocol/process_pb.js');
  const transport = createConnectTransport({
    baseUrl: 'http://localhost',
    httpVersion: '1.1',
    nodeOptions: { socketPath },
    interceptors: [
      (next) => (call) => {
        for (const [name, value] of Object.entries(headers)) call.header.set(name, value);
        return next(call);
      },
    ],
  });
  return createClient(Process, transport);
}

type Client = Awaited<ReturnType<typeof processClient>>;

/** Standard input until its end, as requests. */
async function* inputOf(pid: number, input: AsyncIterable<Uint8Array>, terminal: boolean) {
  const process = { selector: { case: 'pid' as const, value: pid } };
  yield { event: { case: 'start' as const, value: { process } } };
  for await (const piece of input) {
    const name = terminal ? ('pty' as const) : ('stdin' as const);
    yield {
      event: { case: 'data' as const, value: { input: { input: { case: name, value: piece } } } },
    };
  }
}

/** Connects the terminal, signals and input to a command that has started; returns what disconnects them. */
function connect(client: Client, pid: number, flags: ExecFlags, streams: Streams): () => void {
  const { input, out } = streams;
  const process_ = { selector: { case: 'pid' as const, value: pid } };
  const raw = flags.tty === true && input?.isTTY === true;
  const ignore = (): void => undefined;
  const signalled = (signal: NodeJS.Signals): void => {
    client.sendSignal({ process: process_, signal: constants.signals[signal] }).catch(ignore);
  };
  const resized = (): void => {
    const size = { rows: out.rows || 24, cols: out.columns || 80 };
    client.update({ process: process_, pty: { size } }).catch(ignore);
  };
  const restore = (): void => {
    if (raw) input.setRawMode?.(false);
  };
  for (const signal of FORWARDED) process.on(signal, signalled);
  process.prependListener('exit', restore);
  if (flags.tty === true) process.on('SIGWINCH', resized);
  // Setting the mode of a terminal that has gone fails.
  input?.on('error', ignore);
  if (raw) input.setRawMode?.(true);
  if (flags.interactive === true && input !== undefined) {
    const bytes = inputOf(pid, input as unknown as Readable, flags.tty === true);
    client
      .streamInput(bytes)
      .then(() => (flags.tty === true ? undefined : client.closeStdin({ process: process_ })))
      // The command has ended before its input.
      .catch(ignore);
  }
  return () => {
    for (const signal of FORWARDED) process.off(signal, signalled);
    process.off('SIGWINCH', resized);
    process.off('exit', restore);
    restore();
    input?.pause();
  };
}

/** A shell's status of a command. */
function statusOf(exitCode: number, exited: boolean, status: string): number {
  if (exited) return exitCode;
  const name = status.replace('signal: ', '') as NodeJS.Signals;
  return 128 + (constants.signals[name] ?? 0);
}

/**
 * Runs a command and waits for its end.
 * @returns its status
 * @throws PandoError SANDBOX_NOT_FOUND and others of the server
 */
export async function execIn(
  word: string,
  command: readonly string[],
  flags: ExecFlags,
  streams: Streams = STANDARD_STREAMS,
): Promise<number> {
  const { out, err } = streams;
  const daemon = await Daemon.reach();
  const user =
    flags.user === undefined
      ? {}
      : {
          authorization: `Basic ${Buffer.from(`${flags.user}:`).toString('base64')}`,
        };
  const access = await daemon.access(await daemon.find(word));
  const client = await processClient(daemon.socket, { ...access, ...user });
  const { ConnectError } = await import('@connectrpc/connect');
  const [cmd = '', ...args] = command;
  const term = flags.tty === true ? { TERM: process.env.TERM ?? 'xterm' } : {};
  const size = { rows: out.rows || 24, cols: out.columns || 80 };
  const events = client.start({
    process: {
      cmd,
      args,
      // No verb comes back to a command whose terminal has gone.
      envs: { ...term, ...environmentOf(flags.env), [END_WITH_CLIENT]: '1' },
      ...(flags.workdir !== undefined && { cwd: flags.workdir }),
    },
    stdin: flags.interactive === true,
    ...(flags.tty === true && { pty: { size } }),
  });
  let disconnect: () => void = () => undefined;
  try {
    for await (const { event } of events) {
      const happening = event?.event;
      if (happening?.case === 'start') {
        disconnect = connect(client, happening.value.pid, flags, streams);
      } else if (happening?.case === 'data') {
        const { case: stream, value } = happening.value.output;
        const to = stream === 'stderr' ? err : out;
        if (value !== undefined) to.write(value);
        if (to.full) await to.drained();
      } else if (happening?.case === 'end') {
        const { exitCode, exited, status } = happening.value;
        return statusOf(exitCode, exited, status);
      }
    }
    throw new PandoError('SERVER_LOST', 'the command ended without a status');
  } catch (error) {
    if (!(error instanceof ConnectError)) throw error;
    err.write(`${error.rawMessage}\n`);
    return STATUS_NOT_STARTED;
  } finally {
    disconnect();
  }
}
