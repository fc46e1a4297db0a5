/** The command line as a whole: its verbs, and how its errors end. */
import { Command, CommanderError } from 'commander';
import { PandoError, traceOf } from '../error.js';
import { coded } from '../system-error.js';
import { VERSION } from '../version.js';
import { listenToSignals } from './interruption.js';
import {
  INTERRUPTION_STATUS,
  patienceFor,
  STATUS_BUG,
  STATUS_FAILED,
  STATUS_USAGE,
} from './statuses.js';
import type { Output } from './terminal/output.js';
import {
  leaveLostTerminals,
  outputEnd,
  STANDARD_STREAMS,
  type Streams,
} from './terminal/standard-streams.js';

/** Width of help where there is no terminal. */
const HELP_COLUMNS = 80;

/** Commander would end the process itself, with messages that have no code, and write past `out`. */
function redirect(command: Command, out: Output): void {
  command.exitOverride().configureOutput({
    writeOut: (text) => out.write(text),
    writeErr: () => undefined,
    getOutHelpWidth: () => out.columns ?? HELP_COLUMNS,
    getOutHasColors: () => out.isTTY,
  });
  for (const inner of command.commands) redirect(inner, out);
}

/** Values of an option that may come more than once. */
export function repeated(value: string, all: readonly string[]): readonly string[] {
  return [...all, value];
}

/** Adds a verb to the program. */
export type Registration = (program: Command) => void;

/** The program with these verbs; help and version go to `out`. */
export function createProgram(verbs: readonly Registration[], out: Output): Command {
  const program = new Command('pando')
    .description('boots Linux VMs from memory-mapped images, many at once')
    .version(VERSION)
    // What follows a command of a sandbox is the command's own.
    .enablePositionalOptions();
  for (const register of verbs) register(program);
  redirect(program, out);
  return program;
}

/** What a failure prints on standard error, and the exit status it gives. */
export function failure(thrown: unknown): { readonly text: string; readonly status: number } {
  const cause = coded(thrown);
  if (cause instanceof PandoError) {
    return { text: cause.toLine(), status: cause.code === 'USAGE' ? STATUS_USAGE : STATUS_FAILED };
  }
  const stack = traceOf(cause);
  return { text: stack, status: STATUS_BUG };
}

/**
 * Runs one command.
 * @param verbs the verbs that there are
 * @param words the command line after the program's name
 * @param out gets help and version
 * @returns the exit status
 * @throws PandoError, USAGE for a command line that is wrong as such
 */
export async function runProgram(
  verbs: readonly Registration[],
  words: readonly string[],
  out: Output,
): Promise<number> {
  const program = createProgram(verbs, out);
  if (words.length === 0) {
    program.outputHelp();
    return STATUS_USAGE;
  }
  try {
    await program.parseAsync(words, { from: 'user' });
  } catch (cause) {
    if (!(cause instanceof CommanderError)) throw cause;
    // Help and version that were asked for.
    if (cause.exitCode === 0) return 0;
    const message = cause.message.replace(/^error: /, '').replace(/\s*\n\s*/g, ' ');
    const asked = program.commands.find((command) => command.name() === words[0]);
    const help = asked === undefined ? 'pando --help' : `pando ${asked.name()} --help`;
    throw new PandoError('USAGE', message, { remedy: `see \`${help}\`` });
  }
  return Number(process.exitCode ?? 0);
}

/**
 * Passes on what standard output and standard error still hold.
 * @param status of the command so far
 * @returns the exit status: an output that has failed makes a success an error
 */
async function conclude(status: number, { out, err }: Streams): Promise<number> {
  const patience = patienceFor(status);
  await out.flush(patience);
  let concluded = status;
  if (out.failure !== undefined && status === 0) {
    const end = outputEnd(out, out.failure);
    if (end instanceof PandoError) {
      err.write(`${end.toLine()}\n`);
      concluded = STATUS_FAILED;
    } else concluded = INTERRUPTION_STATUS[end];
  }
  await err.flush(patience);
  // A message that nobody waits for is not missed; one that had no room is.
  const lost = err.failure !== undefined && outputEnd(err, err.failure) instanceof PandoError;
  return lost && concluded === 0 ? STATUS_FAILED : concluded;
}

/** The whole life of this process: runs the command that its arguments name, and exits. */
export async function main(verbs: readonly Registration[]): Promise<never> {
  const streams = STANDARD_STREAMS;
  listenToSignals();
  process.on('exit', (status) => leaveLostTerminals(status === INTERRUPTION_STATUS.SIGHUP));
  // What is thrown where nobody waits for it ends the command as what it throws itself.
  const astray = new Promise<never>((_, reject) => process.on('uncaughtException', reject));
  let status: number;
  try {
    const command = runProgram(verbs, process.argv.slice(2), streams.out);
    status = await Promise.race([command, astray]);
  } catch (cause) {
    const { text, status: failed } = failure(cause);
    streams.err.write(`${text}\n`);
    status = failed;
  }
  process.exit(await conclude(status, streams));
}
