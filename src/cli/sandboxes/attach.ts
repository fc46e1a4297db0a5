/** `pando attach`: this terminal for the main command of a sandbox, which goes on when it leaves. */
import { PandoError } from '../../error.js';
import { MAIN_TAG } from '../../server/options.js';
import { STANDARD_STREAMS, type Streams } from '../terminal/standard-streams.js';
import { Daemon, type ListedSandbox } from './daemon.js';
import { parseDetachKeys, untilDetached } from './detach-keys.js';
import { followProcess, type ProcessClient, processClient } from './process-client.js';
import { connectTerminal, inputOf, sizeOf } from './process-terminal.js';

export interface AttachFlags {
  /** Whether it gets this terminal's input. */
  readonly stdin: boolean;
  /** Whether it gets the signals of this process, unless it has a terminal. */
  readonly sigProxy: boolean;
  readonly detachKeys: string;
}

/** @throws PandoError MAIN_COMMAND_NONE */
function mainOf({ main }: ListedSandbox, word: string): NonNullable<ListedSandbox['main']> {
  if (main !== undefined) return main;
  throw new PandoError('MAIN_COMMAND_NONE', `sandbox ${word} has no main command`, {
    remedy: `run a program in it: pando exec -it ${word} sh`,
  });
}

/** A program that draws its screen draws it for whoever comes: for a change, even where the size is the same. */
async function redraw(client: ProcessClient, pid: number, streams: Streams): Promise<void> {
  const process = { selector: { case: 'pid' as const, value: pid } };
  const { rows, cols } = sizeOf(streams);
  await client.update({ process, pty: { size: { rows: rows + 1, cols } } });
  await client.update({ process, pty: { size: { rows, cols } } });
}

/** What a command ended with that could not be heard to its end. @throws PandoError SANDBOX_ENDED, SERVER_LOST */
async function statusOfEnded(
  daemon: Daemon,
  { sandboxID }: ListedSandbox,
  word: string,
): Promise<number> {
  const now = (await daemon.list()).find((each) => each.sandboxID === sandboxID);
  if (now?.main?.status !== undefined) return now.main.status;
  if (now !== undefined) throw new PandoError('SERVER_LOST', 'the command ended without a status');
  throw new PandoError('SANDBOX_ENDED', `sandbox ${word} has ended before its main command`, {
    remedy: 'make another',
  });
}

/**
 * Connects this terminal to the main command until it ends or the detach keys are typed.
 * @returns the command's status, 0 when detached
 * @throws PandoError MAIN_COMMAND_NONE, SANDBOX_EXITED, SANDBOX_NOT_FOUND, USAGE
 */
export async function attachTo(
  word: string,
  { stdin, sigProxy, detachKeys }: AttachFlags,
  streams: Streams = STANDARD_STREAMS,
): Promise<number> {
  const keys = parseDetachKeys(detachKeys);
  const daemon = await Daemon.reach();
  const sandbox = await daemon.find(word);
  const main = mainOf(sandbox, word);
  const client = await processClient(daemon.socket, await daemon.access(sandbox));
  const { ConnectError } = await import('@connectrpc/connect');
  const { terminal } = main;
  const leaving = new AbortController();
  const process = { selector: { case: 'tag' as const, value: MAIN_TAG } };
  const events = client.connect({ process }, { signal: leaving.signal });
  const typed = stdin && main.stdin ? inputOf(streams) : undefined;
  const detach = (): void => leaving.abort();
  let disconnect: () => void = () => undefined;
  try {
    const started = (pid: number): void => {
      const input = terminal && typed !== undefined ? untilDetached(typed, keys, detach) : typed;
      const forwards = (signal: NodeJS.Signals): boolean =>
        sigProxy && !terminal && signal !== 'SIGHUP';
      // Its input is there for others, and for later, too.
      const own = { terminal, input, endsInput: false, forwards };
      disconnect = connectTerminal(client, pid, own, streams);
      if (terminal) redraw(client, pid, streams).catch(() => undefined);
    };
    return await followProcess(events, streams, started, leaving);
  } catch (error) {
    if (leaving.signal.aborted) {
      if (streams.err.isTTY) streams.err.write(`\r\n${word} goes on: pando attach ${word}\r\n`);
      return 0;
    }
    if (!(error instanceof ConnectError)) throw error;
    return await statusOfEnded(daemon, sandbox, word);
  } finally {
    disconnect();
  }
}
