/** `pando run -d`: a sandbox of the user's server, with a main command or to run commands in. */
import { PandoError } from '../../error.js';
import { STANDARD_STREAMS } from '../terminal/standard-streams.js';
import { Daemon, type ListedSandbox, LONGEST_LIFE } from './daemon.js';
import { environmentOf } from './exec.js';

export interface DetachedFlags {
  readonly name?: string | undefined;
  readonly image?: string | undefined;
  /** Keep the main command's input open; give it a terminal; keep nothing of the sandbox once it has ended. */
  readonly interactive?: boolean;
  readonly tty?: boolean;
  readonly rm?: boolean;
  /** Of all commands of the sandbox. */
  readonly env?: readonly string[];
  readonly user?: string;
  readonly workdir?: string;
}

/** @throws PandoError USAGE */
function checkFlags({ name, interactive, tty, rm }: DetachedFlags, command: readonly string[]) {
  if (name !== undefined && !/^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(name)) {
    throw new PandoError(
      'USAGE',
      `--name ${name}: use letters, digits, dots, hyphens, underscores`,
    );
  }
  const idle = [interactive && '-i', tty && '-t', rm && '--rm'].find(Boolean);
  if (command.length > 0 || !idle) return;
  throw new PandoError('OPTION_CONFLICT', `${idle} is for a main command, and there is none`, {
    remedy: 'give one: pando run -d IMAGE -- COMMAND',
  });
}

/**
 * Makes a sandbox that outlives this command, and prints its id.
 * @param command its main command, with which it ends; empty: it waits for commands
 * @throws PandoError NAME_TAKEN, OPTION_CONFLICT, SERVER_REFUSED, USAGE
 */
export async function runDetached(flags: DetachedFlags, command: readonly string[]): Promise<void> {
  checkFlags(flags, command);
  const { name, image = 'debian', interactive, tty, rm, env = [], user, workdir } = flags;
  const envVars = environmentOf(env);
  const daemon = await Daemon.start();
  const taken = name !== undefined && (await daemon.list()).some((s) => s.metadata.name === name);
  if (taken) {
    throw new PandoError('NAME_TAKEN', `there is a sandbox ${name}`, {
      remedy: `end it: pando rm ${name}`,
    });
  }
  const main = { command, stdin: interactive, terminal: tty, remove: rm };
  const { sandboxID } = await daemon.call<ListedSandbox>('POST', '/v2/sandboxes', {
    templateID: image,
    timeout: LONGEST_LIFE,
    metadata: name === undefined ? {} : { name },
    envVars,
    user,
    cwd: workdir,
    ...(command.length > 0 && { main }),
  });
  STANDARD_STREAMS.out.write(`${sandboxID}\n`);
}
