/**
 * Runs the distribution's own tools without a shell, in the C locale, and collects what they say.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import type { Readable } from 'node:stream';
import { PandoError, reasonOf } from '../error.js';

/** What a program left when it ended. */
export interface Finished {
  /** Exit status; null when a signal ended it. */
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** How to run a program. */
export interface RunOptions {
  readonly directory?: string;
  /** Gets each line that the program writes to file descriptor 3. */
  readonly onStatusLine?: (line: string) => void;
}

/** Programs that run; none outlives this process. */
const running = new Set<ChildProcess>();

function endAll(): void {
  for (const child of running) child.kill();
}

/** Starts a program; file descriptor 3 is a pipe that this process reads. */
export function start(command: string, args: readonly string[], directory?: string): ChildProcess {
  const child = spawn(command, args, {
    stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
    env: { ...process.env, LC_ALL: 'C', DEBIAN_FRONTEND: 'noninteractive' },
    ...(directory === undefined ? {} : { cwd: directory }),
  });
  if (running.size === 0) process.on('exit', endAll);
  running.add(child);
  const forget = (): void => {
    running.delete(child);
    if (running.size === 0) process.off('exit', endAll);
  };
  child.once('exit', forget);
  child.once('error', forget);
  return child;
}

/** The error for a program that could not be started. */
export function notStarted(command: string, cause: unknown): PandoError {
  return new PandoError('TOOL_MISSING', `${command} cannot be run: ${reasonOf(cause)}`, {
    remedy:
      'pulling needs the tools of Debian or a derivative (apt, dpkg); elsewhere use `pando image import`',
    cause,
  });
}

function collect(stream: Readable | null): { text: string } {
  const collected = { text: '' };
  stream?.setEncoding('utf8').on('data', (piece: string) => {
    collected.text += piece;
  });
  return collected;
}

/**
 * Runs a program to its end.
 * @throws PandoError TOOL_MISSING when it cannot be started; a failing program is no error here
 */
export async function run(
  command: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<Finished> {
  const child = start(command, args, options.directory);
  const stdout = collect(child.stdout);
  const stderr = collect(child.stderr);
  let rest = '';
  (child.stdio[3] as Readable | null)?.setEncoding('utf8').on('data', (piece: string) => {
    const lines = (rest + piece).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) options.onStatusLine?.(line);
  });
  const status = await new Promise<number | null>((resolve, reject) => {
    child.on('error', (cause) => reject(notStarted(command, cause)));
    child.on('close', resolve);
  });
  return { status, stdout: stdout.text, stderr: stderr.text };
}

/** The last lines of a program's messages, on one line, for an error's message. */
export function tail(stderr: string, lines = 3): string {
  return stderr.trim().split('\n').slice(-lines).join('; ');
}
