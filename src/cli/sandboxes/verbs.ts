/** `pando ps exec attach logs cp stop kill rm pause resume fork port inspect stats`: sandboxes of the user's server. */
import type { Command } from 'commander';
import { PandoError } from '../../error.js';
import { table } from '../image-text.js';
import { repeated } from '../program.js';
import { quoted } from '../terminal/command-text.js';
import { printable } from '../terminal/console-lines.js';
import { STANDARD_STREAMS } from '../terminal/standard-streams.js';
import { mebibytes, parseCount } from '../terminal/units.js';
import { type AttachFlags, attachTo } from './attach.js';
import { copy } from './copy.js';
import { Daemon, type ListedSandbox, LONGEST_LIFE } from './daemon.js';
import { DETACH_KEYS } from './detach-keys.js';
import { type ExecFlags, execIn } from './exec.js';
import { type LogFlags, logsOf } from './logs.js';

const COMMAND_WIDTH = 24;

function print(text: string): void {
  STANDARD_STREAMS.out.write(`${text}\n`);
}

/** Docker's words for a time that has passed. */
function since(time: string): string {
  const seconds = Math.max(0, Math.round((Date.now() - Date.parse(time)) / 1000));
  const units = [
    ['day', 86_400],
    ['hour', 3600],
    ['minute', 60],
    ['second', 1],
  ] as const;
  const [name, size] = units.find(([, length]) => seconds >= length) ?? units[3];
  const count = Math.floor(seconds / size);
  return `${count} ${name}${count === 1 ? '' : 's'} ago`;
}

/** A command as a shell would read it, as far as there is room in a table. */
function shortened(command: readonly string[]): string {
  const text = printable(Buffer.from(command.map(quoted).join(' '))).replaceAll(/\s/g, ' ');
  return text.length > COMMAND_WIDTH ? `${text.slice(0, COMMAND_WIDTH - 1)}…` : text;
}

interface ListFlags {
  readonly all?: boolean;
  readonly quiet?: boolean;
  readonly json?: boolean;
}

async function list({ all: ended, quiet, json }: ListFlags): Promise<void> {
  const known = await (await Daemon.reach()).list();
  const all = ended === true ? known : known.filter(({ state }) => state !== 'exited');
  if (json === true) print(JSON.stringify(all, null, 2));
  else if (quiet === true) for (const { sandboxID } of all) print(sandboxID);
  else {
    const rows = all.map(({ sandboxID, templateID, startedAt, state, main, metadata }) => [
      sandboxID,
      templateID,
      shortened(main?.command ?? []),
      since(startedAt),
      main?.status === undefined ? state : `${state} (${main.status})`,
      metadata.name ?? '',
    ]);
    print(table([['SANDBOX ID', 'IMAGE', 'COMMAND', 'CREATED', 'STATUS', 'NAME'], ...rows]));
  }
}

/** Does the same to each, and names those that it was done to; the first failure is the command's, at the end. */
async function each(
  words: readonly string[],
  act: (daemon: Daemon, sandbox: ListedSandbox) => Promise<unknown>,
): Promise<void> {
  const daemon = await Daemon.reach();
  let failure: unknown;
  for (const word of words) {
    try {
      await act(daemon, await daemon.find(word));
      print(word);
    } catch (error) {
      failure ??= error;
    }
  }
  if (failure !== undefined) throw failure;
}

const end = (daemon: Daemon, { sandboxID }: ListedSandbox) =>
  daemon.call('DELETE', `/sandboxes/${sandboxID}`);

interface Stats {
  readonly cpuUsedPct: number;
  readonly memUsed: number;
  readonly memTotal: number;
}

async function stats(words: readonly string[]): Promise<void> {
  const daemon = await Daemon.reach();
  const wanted = words.length > 0 ? words : (await daemon.list()).map(({ sandboxID }) => sandboxID);
  const rows: string[][] = [];
  for (const word of wanted) {
    const { sandboxID, metadata } = await daemon.find(word);
    const [at] = await daemon.call<Stats[]>('GET', `/sandboxes/${sandboxID}/metrics`);
    const figures =
      at === undefined
        ? ['', 'paused']
        : [`${at.cpuUsedPct.toFixed(1)} %`, `${mebibytes(at.memUsed)} / ${mebibytes(at.memTotal)}`];
    rows.push([sandboxID, metadata.name ?? '', ...figures]);
  }
  print(table([['SANDBOX ID', 'NAME', 'CPU', 'MEMORY'], ...rows]));
}

async function inspect(words: readonly string[]): Promise<void> {
  const daemon = await Daemon.reach();
  const details: object[] = [];
  for (const word of words) {
    const { sandboxID } = await daemon.find(word);
    // The token lets whoever has it in, and inspections are shown around.
    const { envdAccessToken: _, ...rest } = await daemon.call<ListedSandbox>(
      'GET',
      `/sandboxes/${sandboxID}`,
    );
    details.push(rest);
  }
  print(JSON.stringify(details, null, 2));
}

async function port(word: string, number: string): Promise<void> {
  const daemon = await Daemon.reach();
  const { sandboxID } = await daemon.find(word);
  const fields = { port: parseCount('the port', number, 1, 0xffff) };
  print((await daemon.call<{ url: string }>('POST', `/sandboxes/${sandboxID}/ports`, fields)).url);
}

interface Fork {
  readonly sandbox?: ListedSandbox;
  readonly error?: { readonly message: string };
}

async function fork(word: string, flags: { readonly count: string }): Promise<void> {
  const daemon = await Daemon.reach();
  const { sandboxID } = await daemon.find(word);
  // A name is of one sandbox.
  const fields = { count: Number(flags.count), timeout: LONGEST_LIFE, metadata: {} };
  const results = await daemon.call<Fork[]>('POST', `/sandboxes/${sandboxID}/fork`, fields);
  for (const { sandbox } of results) if (sandbox !== undefined) print(sandbox.sandboxID);
  const failed = results.find(({ error }) => error !== undefined);
  if (failed !== undefined) throw new PandoError('FORK_FAILED', failed.error?.message ?? '');
}

export function registerSandboxCommands(program: Command): void {
  program
    .command('ps')
    .description('list the sandboxes that run -d has made')
    .option('-a, --all', 'also those that have ended with their main command')
    .option('-q, --quiet', 'ids alone')
    .option('--json', 'as JSON')
    .action((flags: ListFlags) => list(flags));
  program
    .command('exec')
    .description('run a command in a sandbox')
    .argument('<sandbox>', 'name, id, or the beginning of an id')
    .argument('<command...>', 'program and its arguments')
    .option('-i, --interactive', 'standard input for the command')
    .option('-t, --tty', 'a terminal for the command')
    .option('-e, --env <name=value>', 'environment; repeatable', repeated, [])
    .option('-u, --user <user>', 'user of the guest (default: root)')
    .option('-w, --workdir <folder>', "folder (default: the user's home)")
    .passThroughOptions()
    .action(async (sandbox: string, command: string[], flags: ExecFlags) => {
      process.exitCode = await execIn(sandbox, command, flags);
    });
  program
    .command('attach')
    .description("this terminal for a sandbox's main command, which goes on after Ctrl-P Ctrl-Q")
    .argument('<sandbox>', 'name, id, or the beginning of an id')
    .option('--no-stdin', 'do not give it input')
    .option('--no-sig-proxy', 'do not pass signals on to it')
    .option('--detach-keys <keys>', 'keys that leave it, with a terminal', DETACH_KEYS)
    .action(async (sandbox: string, flags: AttachFlags) => {
      process.exitCode = await attachTo(sandbox, flags);
    });
  program
    .command('logs')
    .description("what a sandbox's main command has printed, or its guest's console without one")
    .argument('<sandbox>', 'name, id, or the beginning of an id')
    .option('-f, --follow', 'go on with what it prints, until the sandbox ends')
    .option('-n, --tail <lines>', 'the last lines alone', 'all')
    .option('-t, --timestamps', 'when each line came')
    .option('--console', "the guest's console, also where there is a main command")
    .action((sandbox: string, flags: LogFlags) => logsOf(sandbox, flags));
  program
    .command('cp')
    .description('copy files and folders between the host and a sandbox')
    .argument('<from>', 'PATH or SANDBOX:PATH')
    .argument('<to>', 'PATH or SANDBOX:PATH')
    .action((from: string, to: string) => copy(from, to));
  const verb = (name: string, description: string, act: Parameters<typeof each>[1]): void => {
    program
      .command(name)
      .description(description)
      .argument('<sandboxes...>', 'names, ids, or their beginnings')
      .action((words: string[]) => each(words, act));
  };
  verb('stop', 'end sandboxes; nothing of them is kept', end);
  verb('kill', 'the same as stop', end);
  verb('rm', 'the same as stop', end);
  verb('pause', 'stop sandboxes and their time', (daemon, { sandboxID }) =>
    daemon.call('POST', `/sandboxes/${sandboxID}/pause`),
  );
  verb('resume', 'let paused sandboxes go on', (daemon, { sandboxID }) =>
    daemon.call('POST', `/sandboxes/${sandboxID}/resume`, { timeout: LONGEST_LIFE }),
  );
  program
    .command('fork')
    .description('copy a sandbox as it stands')
    .argument('<sandbox>', 'name, id, or the beginning of an id')
    .option('-n, --count <number>', 'how many copies', '1')
    .action((word: string, flags: { readonly count: string }) => fork(word, flags));
  program
    .command('port')
    .description("where programs of this host reach a port of a sandbox's loopback")
    .argument('<sandbox>', 'name, id, or the beginning of an id')
    .argument('<port>', 'port in the sandbox')
    .action((word: string, number: string) => port(word, number));
  program
    .command('inspect')
    .description('details of sandboxes, as JSON')
    .argument('<sandboxes...>', 'names, ids, or their beginnings')
    .action((words: string[]) => inspect(words));
  program
    .command('stats')
    .description('processor time and memory of sandboxes')
    .argument('[sandboxes...]', 'names, ids, or their beginnings (default: all)')
    .action((words: string[]) => stats(words));
}
