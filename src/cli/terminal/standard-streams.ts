/**
 * The owner of the process's standard streams. Every verb reads and writes through it, so that one place
 * decides about an output that fails: a reader that has gone, a terminal that has gone, a full disk.
 */
import { closeSync, openSync } from 'node:fs';
import { isatty } from 'node:tty';
import { PandoError, reasonOf } from '../../error.js';
import { replaceDescriptor } from '../../host/dup.js';
import { remedyFor } from '../../system-error.js';
import type { InputStream } from './console-input.js';
import type { Output } from './output.js';
import { openStandardOutput } from './output-ports.js';

/** Standard streams, or what takes their place in a test. */
export interface Streams {
  /** undefined when standard input cannot be opened: a command then runs without input. */
  readonly input: InputStream | undefined;
  readonly out: Output;
  readonly err: Output;
}

/** What the failure of an output means. */
export type OutputEnd =
  /** Nobody reads any more: EPIPE, what SIGPIPE is for (signal(7)). */
  | 'SIGPIPE'
  /** The terminal has gone: EIO, what SIGHUP is for. */
  | 'SIGHUP'
  | PandoError;

/** @param cause what `write` failed with */
export function outputEnd(output: Output, cause: NodeJS.ErrnoException): OutputEnd {
  if (cause.code === 'EPIPE' || cause.code === 'ECONNRESET') return 'SIGPIPE';
  if (cause.code === 'EIO' && output.isTTY) return 'SIGHUP';
  const reason = reasonOf(cause);
  return new PandoError('OUTPUT_UNWRITABLE', `${output.name} cannot be written: ${reason}`, {
    remedy: remedyFor(reason) ?? 'direct it to a file, pipe or terminal that takes what is written',
    cause,
  });
}

/** The standard streams of this process, each opened when it is first used. */
class StandardStreams implements Streams {
  private opened: { input?: InputStream | undefined; out?: Output; err?: Output } = {};

  get input(): InputStream | undefined {
    if (!('input' in this.opened)) this.opened.input = openInput();
    return this.opened.input;
  }

  get out(): Output {
    this.opened.out ??= openStandardOutput('standard output', 1);
    return this.opened.out;
  }

  get err(): Output {
    this.opened.err ??= openStandardOutput('standard error', 2);
    return this.opened.err;
  }
}

/**
 * Lets go of terminals that have gone, as the process ends: Node sets the mode of those it was started with, and
 * aborts when that fails. Their descriptors become /dev/null's: of a closed one another thread would get the number,
 * and libuv aborts when a thread closes such a file. For 'exit', behind whoever puts a raw terminal right.
 * @param hungUp by SIGHUP, which may come a moment before the terminal has gone
 */
export function leaveLostTerminals(hungUp: boolean): void {
  const lost = terminals.filter((descriptor) => hungUp || !isatty(descriptor));
  if (lost.length === 0) return;
  const nothing = openSync('/dev/null', 'r+');
  for (const descriptor of lost) replaceDescriptor(nothing, descriptor);
  closeSync(nothing);
}

/** Standard streams that were terminals when the process began. */
const terminals = [0, 1, 2].filter((descriptor) => isatty(descriptor));

/** Node throws for a terminal that has gone, and for kinds of descriptors that it does not know. */
function openInput(): InputStream | undefined {
  try {
    return process.stdin;
  } catch {
    return undefined;
  }
}

export const STANDARD_STREAMS: Streams = new StandardStreams();
