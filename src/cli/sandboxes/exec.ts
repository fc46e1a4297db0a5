/** `pando exec`: a command in a sandbox, with this terminal as its own. */
import { PandoError } from '../../error.js';
import { END_WITH_CLIENT } from '../../server/options.js';
import { STANDARD_STREAMS, type Streams } from '../terminal/standard-streams.js';
import { Daemon } from './daemon.js';
import { followProcess, processClient } from './process-client.js';
import { connectTerminal, inputOf, sizeOf } from './process-terminal.js';

export interface ExecFlags {
  readonly interactive?: boolean;
  readonly tty?: boolean;
  readonly env: readonly string[];
  readonly user?: string;
  readonly workdir?: string;
}

/** Statuses of commands that could not be started (POSIX, 2.8.2). */
const STATUS_NOT_STARTED = 127;

/** @throws PandoError USAGE */
export function environmentOf(words: readonly string[]): Record<string, string> {
  const pairs = words.map((word): [string, string] => {
    const at = word.indexOf('=');
    if (at > 0) return [word.slice(0, at), word.slice(at + 1)];
    if (at < 0 && word !== '') return [word, process.env[word] ?? ''];
    throw new PandoError('USAGE', `--env ${word}: not NAME=VALUE`);
  });
  return Object.fromEntries(pairs);
}

/** The first signal is the command's, the second ends this process; so does a terminal that has gone. */
function firstOf(): (signal: NodeJS.Signals) => boolean {
  let count = 0;
  return (signal) => {
    count += 1;
    return count === 1 && signal !== 'SIGHUP';
  };
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
  const leaving = new AbortController();
  const start = {
    process: {
      cmd,
      args,
      // No verb comes back to a command whose terminal has gone.
      envs: { ...term, ...environmentOf(flags.env), [END_WITH_CLIENT]: '1' },
      ...(flags.workdir !== undefined && { cwd: flags.workdir }),
    },
    stdin: flags.interactive === true,
    ...(flags.tty === true && { pty: { size: sizeOf(streams) } }),
  };
  const events = client.start(start, { signal: leaving.signal });
  let disconnect: () => void = () => undefined;
  try {
    const started = (pid: number): void => {
      const terminal = {
        terminal: flags.tty === true,
        input: flags.interactive === true ? inputOf(streams) : undefined,
        endsInput: flags.tty !== true,
        forwards: firstOf(),
      };
      disconnect = connectTerminal(client, pid, terminal, streams);
    };
    return await followProcess(events, streams, started, leaving);
  } catch (error) {
    // An output that has failed says by itself what the status is.
    if (leaving.signal.aborted) return 0;
    if (!(error instanceof ConnectError)) throw error;
    streams.err.write(`${error.rawMessage}\n`);
    return STATUS_NOT_STARTED;
  } finally {
    disconnect();
  }
}
