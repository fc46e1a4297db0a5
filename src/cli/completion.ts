/**
 * `pando completion SHELL`: a script that completes commands and options, made from the commands'
 * definitions. Whatever is neither is a file's name.
 */
import { Argument, type Command } from 'commander';
import { type CommandNode, commandsOf, commandTree } from './command-tree.js';
import { STANDARD_STREAMS } from './terminal/standard-streams.js';

/** Option names and, before the first option, names of commands. */
function wordsOf({ commands, options }: CommandNode): string[] {
  const below = commands.map(({ path }) => path.at(-1) ?? '');
  return [...below, ...options.flatMap(({ names }) => names), '--help'];
}

const key = (node: CommandNode): string => node.path.join(' ');
/** Text within single quotes of a shell. */
const quoted = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`;

/** Shell code that adds a word before the cursor to the command that the words so far name, in a variable. */
function findCommand(root: CommandNode, variable: string, word: string): string {
  const known = commandsOf(root).filter(({ path }) => path.length > 0);
  const longer = `$${variable}\${${variable}:+ }${word}`;
  return [
    `    case "${longer}" in`,
    `      ${known.map((node) => quoted(key(node))).join('|')}) ${variable}="${longer}" ;;`,
    '      *) break ;;',
    '    esac',
  ].join('\n');
}

function bash(root: CommandNode): string {
  const cases = commandsOf(root).map(
    (node) => `    ${quoted(key(node))}) words=${quoted(wordsOf(node).join(' '))} ;;`,
  );
  return `# bash completion of pando: source <(pando completion bash)
_pando() {
  local word="\${COMP_WORDS[COMP_CWORD]}" path='' words='' before at
  for ((at = 1; at < COMP_CWORD; at++)); do
    before="\${COMP_WORDS[at]}"
${findCommand(root, 'path', '$before')}
  done
  case "$path" in
${cases.join('\n')}
  esac
  for ((; at < COMP_CWORD; at++)); do
    [[ "\${COMP_WORDS[at]}" != -- ]] || words=''
  done
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
  if [[ \${#COMPREPLY[@]} -eq 0 ]]; then mapfile -t COMPREPLY < <(compgen -f -- "$word"); fi
}
complete -o filenames -F _pando pando
`;
}

function zsh(root: CommandNode): string {
  const described = (name: string, text: string): string =>
    quoted(`${name.replaceAll(':', '\\:')}:${text}`);
  const cases = commandsOf(root).map((node) => {
    const commands = node.commands.map(({ path, description }) =>
      described(path.at(-1) ?? '', description),
    );
    const options = node.options.flatMap(({ names, description }) =>
      names.map((name) => described(name, description)),
    );
    return `    ${quoted(key(node))}) commands=(${commands.join(' ')}); options=(${options.join(' ')}) ;;`;
  });
  return `#compdef pando
# zsh completion of pando: source <(pando completion zsh), after compinit
_pando() {
  local path_words=("\${words[@]:1:$((CURRENT - 2))}") word command=''
  local -a commands options
  for word in "\${path_words[@]}"; do
${findCommand(root, 'command', '$word')}
  done
  case "$command" in
${cases.join('\n')}
  esac
  if (( \${path_words[(Ie)--]} == 0 )); then
    [[ $PREFIX != -* ]] || { _describe -o option options; return }
    (( \${#commands} == 0 )) || { _describe command commands; return }
  fi
  _files
}
compdef _pando pando
`;
}

function fish(root: CommandNode): string {
  const all = commandsOf(root);
  const paths = all.filter(({ path }) => path.length > 0).map((node) => quoted(key(node)));
  const lines = all.flatMap((node) => {
    const at = `complete -c pando -n ${quoted(`__pando_at ${quoted(key(node))}`)}`;
    return [
      ...node.commands.map(
        ({ path, description }) =>
          `${at} -f -a ${quoted(path.at(-1) ?? '')} -d ${quoted(description)}`,
      ),
      ...node.options.flatMap(({ names, description }) =>
        names.map((name) => {
          const kind = name.startsWith('--') ? `-l ${name.slice(2)}` : `-s ${name.slice(1)}`;
          return `${at} ${kind} -d ${quoted(description)}`;
        }),
      ),
    ];
  });
  return `# fish completion of pando: pando completion fish | source
function __pando_at
  set -l known ${paths.join(' ')}
  set -l command
  for word in (commandline -opc)[2..-1]
    contains -- "$(string join ' ' $command $word)" $known; or break
    set command $command $word
  end
  test "$command" = $argv[1]
end
${lines.join('\n')}
`;
}

const SHELLS: Readonly<Record<string, (root: CommandNode) => string>> = { bash, zsh, fish };

/** Adds the command to the program. */
export function registerCompletionCommand(program: Command): void {
  program
    .command('completion')
    .description('print a script that completes commands and options in a shell')
    .addArgument(new Argument('<shell>', 'which shell').choices(Object.keys(SHELLS)))
    .action((shell: string) => {
      STANDARD_STREAMS.out.write(SHELLS[shell]?.(commandTree(program)) ?? '');
    });
}
