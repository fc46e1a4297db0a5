/** The program's commands as data, for what is made from them: completion, the manual page. */
import type { Command } from 'commander';

export interface CommandOption {
  /** As help shows them: `--kernel <file>`. */
  readonly flags: string;
  /** Each spelling, `-n` and `--name`. */
  readonly names: readonly string[];
  readonly description: string;
  /** undefined when there is none, or none that is text. */
  readonly defaultValue: string | undefined;
}

export interface CommandNode {
  /** Words before it, its own name last; empty for the program itself. */
  readonly path: readonly string[];
  readonly description: string;
  /** Arguments as help shows them. */
  readonly usage: string;
  readonly options: readonly CommandOption[];
  readonly commands: readonly CommandNode[];
}

/** A command and all below it. */
export function commandTree(command: Command, path: readonly string[] = []): CommandNode {
  return {
    path,
    description: command.description(),
    usage: command.usage(),
    options: command.options
      .filter(({ hidden }) => !hidden)
      .map(({ flags, short, long, description, defaultValue }) => ({
        flags,
        names: [short, long].filter((name) => name !== undefined && name !== null),
        description,
        defaultValue: typeof defaultValue === 'string' ? defaultValue : undefined,
      })),
    commands: command.commands.map((inner) => commandTree(inner, [...path, inner.name()])),
  };
}

/** A command and all below it, each before those below it. */
export function commandsOf(node: CommandNode): CommandNode[] {
  return [node, ...node.commands.flatMap(commandsOf)];
}
