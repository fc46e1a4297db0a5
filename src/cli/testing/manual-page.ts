/** The manual page pando(1), in the macros of man(7), made from the commands' definitions (scripts/readme.mjs). */
import { VERSION } from '../../version.js';
import { type CommandNode, type CommandOption, commandsOf, commandTree } from '../command-tree.js';
import { createProgram } from '../program.js';
import { STATUSES } from '../statuses.js';
import { VERBS } from '../verbs.js';
import { memoryOutput } from './memory-output.js';

/** Text of a page: nothing in it is a request or an escape. */
function text(plain: string): string {
  return plain
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replace(/^([.'])/gm, '\\&$1');
}

/** `--kernel <file>` with the name bold and the value italic. */
function flagsOf({ flags }: CommandOption): string {
  return flags
    .split(/(<[^>]+>|\[[^\]]+\])/)
    .map((part) =>
      /^[<[]/.test(part) ? `\\fI${text(part.slice(1, -1))}\\fR` : `\\fB${text(part)}\\fR`,
    )
    .join('');
}

function optionsOf({ options }: CommandNode): string[] {
  return options.flatMap((option) => {
    const { description, defaultValue } = option;
    const fallback = defaultValue === undefined ? '' : ` (default: ${defaultValue})`;
    return ['.TP', flagsOf(option), text(description + fallback)];
  });
}

/** docs/pando.1. */
export function manualPage(): string {
  const root = commandTree(createProgram(VERBS, memoryOutput().output));
  const commands = commandsOf(root).filter(({ commands: below }) => below.length === 0);
  const lines = [
    `.TH PANDO 1 "" "pando ${VERSION}" "User Commands"`,
    '.SH NAME',
    `pando \\- ${text(root.description)}`,
    '.SH SYNOPSIS',
    '.B pando',
    '.I command',
    '[options]',
    '.SH COMMANDS',
    ...commands.flatMap((command) => [
      `.SS pando ${text(`${command.path.join(' ')} ${command.usage}`)}`,
      `${text(command.description)}.`,
      ...optionsOf(command),
    ]),
    '.SH EXIT STATUS',
    ...STATUSES.flatMap(([status, meaning]) => ['.TP', `.B ${text(status)}`, text(meaning)]),
    '.SH ENVIRONMENT',
    '.TP',
    '.B PANDO_STORE',
    text('where images, snapshots and profiles are kept (default: ~/.local/share/pando/images)'),
  ];
  return `${lines.join('\n')}\n`;
}
