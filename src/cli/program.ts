/** The command line as a whole: its verbs, and how its errors end. */
import { Command, CommanderError } from 'commander';
import { PandoError } from '../error.js';
import { VERSION } from '../version.js';

const STATUS_ERROR = 1;
const STATUS_USAGE = 2;
/** An error that is no PandoError is a fault of Pando (EX_SOFTWARE of sysexits.h). */
const STATUS_BUG = 70;

/** Commander would end the process itself, with messages that have no code. */
function quieten(command: Command): void {
  command.exitOverride().configureOutput({ writeErr: () => undefined });
  for (const inner of command.commands) quieten(inner);
}

/** Adds a verb to the program. */
export type Registration = (program: Command) => void;

/** The program with these verbs. */
function createProgram(verbs: readonly Registration[]): Command {
  const program = new Command('pando')
    .description('boots Linux VMs from memory-mapped images, many at once')
    .version(VERSION);
  for (const register of verbs) register(program);
  quieten(program);
  return program;
}

/** What a failure prints on standard error, and the exit status it gives. */
export function failure(cause: unknown): { readonly text: string; readonly status: number } {
  if (cause instanceof PandoError) {
    return { text: cause.toLine(), status: cause.code === 'USAGE' ? STATUS_USAGE : STATUS_ERROR };
  }
  const stack = cause instanceof Error ? (cause.stack ?? cause.message) : String(cause);
  return { text: stack, status: STATUS_BUG };
}

/**
 * Runs one command.
 * @param verbs the verbs that there are
 * @param words the command line after the program's name
 * @returns the exit status
 * @throws PandoError, USAGE for a command line that is wrong as such
 */
export async function runProgram(
  verbs: readonly Registration[],
  words: readonly string[],
): Promise<number> {
  const program = createProgram(verbs);
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

/** Waits until a stream has passed on what it was given: exit would cut it off in a pipe. */
function flushed(stream: NodeJS.WriteStream): Promise<void> {
  return new Promise((resolve) => {
    if (stream.destroyed || stream.writableEnded) resolve();
    else stream.write('', () => resolve());
  });
}

/** The whole life of this process: runs the command that its arguments name, and exits. */
export async function main(verbs: readonly Registration[]): Promise<never> {
  let status: number;
  try {
    status = await runProgram(verbs, process.argv.slice(2));
  } catch (cause) {
    const { text, status: failed } = failure(cause);
    process.stderr.write(`${text}\n`);
    status = failed;
  }
  await Promise.all([flushed(process.stdout), flushed(process.stderr)]);
  process.exit(status);
}
