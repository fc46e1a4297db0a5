/** The user's terminal, signals and input for a process of a sandbox. */
import { constants } from 'node:os';
import type { Readable } from 'node:stream';
import { takeSignals } from '../interruption.js';
import type { Streams } from '../terminal/standard-streams.js';
import type { ProcessClient } from './process-client.js';

const STATUS_SIGQUIT = 131;

export interface ProcessTerminal {
  /** Whether the process has a terminal: this one then is raw, and its size is the other's. */
  readonly terminal: boolean;
  /** What it reads; nothing when absent. */
  readonly input: AsyncIterable<Uint8Array> | undefined;
  /** Whether the end of the input is its own. */
  readonly endsInput: boolean;
  /** Whether it gets a signal that this process got; at one that it does not get this process leaves. */
  readonly forwards: (signal: NodeJS.Signals) => boolean;
}

/** Input until its end, as requests. */
async function* requestsOf(pid: number, input: AsyncIterable<Uint8Array>, terminal: boolean) {
  const process = { selector: { case: 'pid' as const, value: pid } };
  yield { event: { case: 'start' as const, value: { process } } };
  for await (const piece of input) {
    const name = terminal ? ('pty' as const) : ('stdin' as const);
    yield {
      event: { case: 'data' as const, value: { input: { input: { case: name, value: piece } } } },
    };
  }
}

/** Connects them to a process that runs; returns what disconnects them. */
export function connectTerminal(
  client: ProcessClient,
  pid: number,
  { terminal, input, endsInput, forwards }: ProcessTerminal,
  streams: Streams,
): () => void {
  const { input: keyboard } = streams;
  const process_ = { selector: { case: 'pid' as const, value: pid } };
  const raw = terminal && keyboard?.isTTY === true;
  const ignore = (): void => undefined;
  const signalled = (signal: NodeJS.Signals): boolean => {
    if (!forwards(signal)) return false;
    client.sendSignal({ process: process_, signal: constants.signals[signal] }).catch(ignore);
    return true;
  };
  const release = takeSignals((signal) => signalled(signal as NodeJS.Signals));
  const quit = (): void => {
    if (!signalled('SIGQUIT')) process.exit(STATUS_SIGQUIT);
  };
  const resized = (): void => {
    client.update({ process: process_, pty: { size: sizeOf(streams) } }).catch(ignore);
  };
  const restore = (): void => {
    if (raw) keyboard.setRawMode?.(false);
  };
  // The first question has Node listen to changes of the size, and it has to hear of them first.
  if (terminal) sizeOf(streams);
  process.on('SIGQUIT', quit);
  process.prependListener('exit', restore);
  if (terminal) process.on('SIGWINCH', resized);
  // Setting the mode of a terminal that has gone fails.
  keyboard?.on('error', ignore);
  if (raw) keyboard.setRawMode?.(true);
  if (input !== undefined) {
    client
      .streamInput(requestsOf(pid, input, terminal))
      .then(() => (endsInput ? client.closeStdin({ process: process_ }) : undefined))
      // The command has ended before its input.
      .catch(ignore);
  }
  return () => {
    release();
    process.off('SIGQUIT', quit);
    process.off('SIGWINCH', resized);
    process.off('exit', restore);
    restore();
    keyboard?.pause();
  };
}

/** The size of the user's terminal; a usual one where there is none. */
export function sizeOf({ out }: Streams): { readonly rows: number; readonly cols: number } {
  return { rows: out.rows || 24, cols: out.columns || 80 };
}

/** What the user types, or gives instead; absent when it cannot be read. */
export function inputOf({ input }: Streams): AsyncIterable<Uint8Array> | undefined {
  return input as unknown as Readable | undefined;
}
