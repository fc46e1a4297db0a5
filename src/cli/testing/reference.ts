/** The parts of README.md that are made from the program's own tables (scripts/readme.mjs). */
import type { Command } from 'commander';
import { createProgram } from '../program.js';
import { STATUSES } from '../statuses.js';
import { VERBS } from '../verbs.js';
import { memoryOutput } from './memory-output.js';

/** A table of Markdown with columns as wide as their widest cell. */
function markdownTable(titles: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [titles, ...rows].map((row) => row.map((cell) => cell.replaceAll('|', '\\|')));
  const widths = titles.map((_, column) => Math.max(...all.map((row) => row[column]?.length ?? 0)));
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(' | ')} |`;
  const [head = [], ...body] = all;
  const rule = `| ${widths.map((width) => '-'.repeat(width)).join(' | ')} |`;
  return [line(head), rule, ...body.map(line)].join('\n');
}

/** Options in code, what stands for a value in capitals: `--kernel FILE`. */
function shownFlags(flags: string): string {
  return `\`${flags.replace(/<([\w,=-]+)>/g, (_, value: string) => value.toUpperCase())}\``;
}

function optionTable(command: Command): string {
  const rows = command.options.map(({ flags, defaultValue, description }) => [
    shownFlags(flags),
    typeof defaultValue === 'string' ? `\`${defaultValue}\`` : '',
    description,
  ]);
  return markdownTable(['option', 'default', 'meaning'], rows);
}

/** Every command that has no commands below it, with its description. */
function leaves(command: Command, path: readonly string[]): string[][] {
  if (command.commands.length > 0) {
    return command.commands.flatMap((inner) => leaves(inner, [...path, inner.name()]));
  }
  return [[`\`${path.join(' ')}\``, command.description()]];
}

/** The generated parts by the name of their mark. */
export function referenceParts(): ReadonlyMap<string, string> {
  const program = createProgram(VERBS, memoryOutput().output);
  const run = program.commands.find((command) => command.name() === 'run');
  if (run === undefined) throw new Error('there is no command run');
  const statuses = STATUSES.map(([status, meaning]) => [status, meaning]);
  return new Map([
    ['commands', markdownTable(['command', 'what it does'], leaves(program, ['pando']))],
    ['run-options', optionTable(run)],
    ['exit-statuses', markdownTable(['status', 'meaning'], statuses)],
  ]);
}

/** A document with its marked parts made anew: what stands between `<!-- NAME -->` and `<!-- end -->`. */
export function withReference(document: string): string {
  let text = document;
  for (const [name, part] of referenceParts()) {
    const pattern = new RegExp(`(?<=<!-- ${name} -->\n).*?(?=<!-- end -->)`, 's');
    if (!pattern.test(text)) throw new Error(`the document has no part ${name}`);
    text = text.replace(pattern, () => `\n${part}\n\n`);
  }
  return text;
}
