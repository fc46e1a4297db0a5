/** The command line as a whole: its verbs, and how its errors end. */
import { Command, CommanderError } from 'commander';
import { PandoError } from '../error.js';
import { VERSION } from '../version.js';
import { registerBenchCommand } from './bench.js';
import { registerDebugCommand } from './debug.js';
import { registerDemoCommand } from './demo.js';
import { registerDoctorCommand } from './doctor.js';
import { registerImageCommand } from './image.js';
import { registerQemuCommand } from './qemu.js';
import { registerRunCommand } from './run.js';

const STATUS_ERROR = 1;
const STATUS_USAGE = 2;
/** An error that is no PandoError is a fault of Pando (EX_SOFTWARE of sysexits.h). */
const STATUS_BUG = 70;

/** Commander would end the process itself, with messages that have no code. */
function quieten(command: Command): void {
  command.exitOverride().configureOutput({ writeErr: () => undefined });
  for (const inner of command.commands) quieten(inner);
}

/** All verbs. */
export function createProgram(): Command {
  const program = new Command('pando')
    .description('boots Linux VMs from memory-mapped images, many at once')
    .version(VERSION);
  registerRunCommand(program);
  registerDemoCommand(program);
  registerImageCommand(program);
  registerDoctorCommand(program);
  registerDebugCommand(program);
  registerBenchCommand(program);
  registerQemuCommand(program);
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
 * @param words the command line after the program's name
 * @returns the exit status
 * @throws PandoError, USAGE for a command line that is wrong as such
 */
export async function runProgram(words: readonly string[]): Promise<number> {
  const program = createProgram();
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
