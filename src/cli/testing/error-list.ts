/**
 * docs/errors.md: every code of a PandoError with its meaning and what to do, taken from the places in
 * the sources that make the error (scripts/readme.mjs). Where these say too little, error-notes.ts does.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseSync } from 'oxc-parser';
import { ERROR_NOTES } from './error-notes.js';

const SOURCES = fileURLToPath(new URL('../../../src/', import.meta.url));
const CODE = /^[A-Z][A-Z0-9]+(_[A-Z0-9]+)*$/;
/** A constant may stand for another one, and so on. */
const DEPTH = 4;

/** A node of the syntax tree (ESTree). */
interface Node {
  readonly type: string;
  readonly start: number;
  readonly end: number;
  readonly [field: string]: unknown;
}

/** A name, where it is valid, and its value if it is a constant. */
interface Binding {
  readonly name: string;
  readonly scope: Node;
  readonly value: Node | undefined;
}

interface Source {
  readonly bindings: readonly Binding[];
  /** Constants of all files by name; undefined where several have it. */
  readonly constants: ReadonlyMap<string, Node | undefined>;
}

/** What the sources say of a code. */
export interface ErrorEntry {
  readonly code: string;
  /** The folder below src/ that makes it first. */
  readonly part: string;
  readonly meanings: readonly string[];
  readonly remedies: readonly string[];
}

const isNode = (value: unknown): value is Node =>
  typeof value === 'object' && value !== null && typeof (value as Node).type === 'string';

function walk(node: Node, visit: (node: Node, scope: Node) => void, scope = node): void {
  visit(node, scope);
  const inner = /Function|BlockStatement|Program/.test(node.type) ? node : scope;
  for (const value of Object.values(node))
    for (const child of Array.isArray(value) ? value : [value])
      if (isNode(child)) walk(child, visit, inner);
}

const field = (node: Node | undefined, name: string): Node | undefined => {
  const value = node?.[name];
  return isNode(value) ? value : undefined;
};
const list = (node: Node | undefined, name: string): readonly Node[] =>
  (node?.[name] as readonly Node[] | undefined) ?? [];

function bindingsOf(program: Node): Binding[] {
  const found: Binding[] = [];
  walk(program, (node, scope) => {
    const add = (target: Node | undefined, inside: Node, value?: Node): void => {
      if (target?.type === 'Identifier')
        found.push({ name: String(target.name), scope: inside, value });
    };
    if (node.type === 'VariableDeclaration')
      for (const one of list(node, 'declarations')) {
        const constant = node.kind === 'const' ? field(one, 'init') : undefined;
        add(field(one, 'id'), scope, constant);
      }
    if (/Function/.test(node.type))
      for (const parameter of list(node, 'params')) add(parameter, node);
  });
  return found;
}

/** `ramBytes`, `RAM_BYTES`: ram bytes. */
const words = (name: string): string =>
  /[a-z]/.test(name)
    ? name.replace(/[A-Z]+/g, (letters) => ` ${letters.toLowerCase()}`).trim()
    : name.replaceAll('_', ' ').toLowerCase();

/** A name for the value of an expression: the first argument of a call, the last property of a path. */
function nameOf(node: Node | undefined): string {
  switch (node?.type) {
    case 'Identifier':
    case 'PrivateIdentifier':
      return words(String(node.name));
    case 'MemberExpression':
      if (field(node, 'object')?.name === 'Number') return '…';
      return node.computed ? nameOf(field(node, 'object')) : nameOf(field(node, 'property'));
    case 'CallExpression': {
      const callee = field(node, 'callee');
      const name = nameOf(list(node, 'arguments')[0]);
      if (name !== '…') return name;
      return callee?.type === 'MemberExpression' ? nameOf(field(callee, 'object')) : nameOf(callee);
    }
    case 'BinaryExpression':
    case 'LogicalExpression': {
      const left = nameOf(field(node, 'left'));
      return left === '…' ? nameOf(field(node, 'right')) : left;
    }
    case 'AwaitExpression':
    case 'UnaryExpression':
      return nameOf(field(node, 'argument'));
    case 'TSAsExpression':
    case 'TSNonNullExpression':
    case 'ChainExpression':
    case 'ParenthesizedExpression':
      return nameOf(field(node, 'expression'));
    default:
      return '…';
  }
}

function constantOf(node: Node, { bindings, constants }: Source): Node | undefined {
  const name = String(node.name);
  const near = bindings
    .filter(
      (one) => one.name === name && one.scope.start <= node.start && node.end <= one.scope.end,
    )
    .sort((a, b) => b.scope.start - a.scope.start)[0];
  if (near !== undefined) return near.value;
  return name === name.toUpperCase() ? constants.get(name) : undefined;
}

const isText = (node: Node | undefined): boolean =>
  node?.type === 'TemplateLiteral' ||
  (node?.type === 'Literal' && typeof node.value === 'string') ||
  (node?.type === 'BinaryExpression' &&
    (isText(field(node, 'left')) || isText(field(node, 'right'))));

/** The texts that an expression may give; what is only known at run time stands in them as `*its name*`. */
function textsOf(node: Node | undefined, source: Source, depth = 0): string[] {
  if (node === undefined) return [];
  const joined = (parts: readonly (readonly string[])[]): string[] =>
    parts.reduce<string[]>(
      (all, part) => all.flatMap((before) => part.map((text) => before + text)),
      [''],
    );
  switch (node.type) {
    case 'Literal':
      return [String(node.value)];
    case 'TemplateLiteral': {
      const values = list(node, 'expressions').map((value) => textsOf(value, source, depth + 1));
      return joined(
        list(node, 'quasis').flatMap((quasi, index) => [
          [(quasi.value as { cooked: string }).cooked],
          ...(values[index] === undefined ? [] : [values[index]]),
        ]),
      );
    }
    case 'BinaryExpression':
      if (isText(node))
        return joined(['left', 'right'].map((side) => textsOf(field(node, side), source, depth)));
      break;
    case 'ConditionalExpression':
      return ['consequent', 'alternate'].flatMap((one) => textsOf(field(node, one), source, depth));
    case 'ParenthesizedExpression':
      return textsOf(field(node, 'expression'), source, depth);
    case 'Identifier': {
      const value = depth < DEPTH ? constantOf(node, source) : undefined;
      const plain = isText(value) || value?.type === 'ConditionalExpression';
      if (plain || value?.type === 'Literal') return textsOf(value, source, depth + 1);
      break;
    }
  }
  const name = nameOf(node);
  return [name === '…' ? name : `*${name}*`];
}

/** A text in which nothing but names stands says nothing. */
const says = (text: string): boolean => /[a-z]{3}/.test(text.replace(/\*[^*]+\*/g, ''));

function property(node: Node | undefined, name: string): Node | undefined {
  const found = list(node, 'properties').find((one) => field(one, 'key')?.name === name);
  return field(found, 'value');
}

interface Site {
  readonly codes: readonly string[];
  readonly meanings: readonly string[];
  readonly remedies: readonly string[];
}

/** What a node says of errors: `new PandoError(code, message, { remedy })`, or a row of a table of them. */
function siteOf(node: Node, source: Source): Site | undefined {
  const made = node.type === 'NewExpression' && field(node, 'callee')?.name === 'PandoError';
  if (!made && node.type !== 'ObjectExpression') return undefined;
  const [code, message, detail] = made
    ? list(node, 'arguments')
    : [property(node, 'code'), property(node, 'message') ?? property(node, 'text'), node];
  if (code === undefined || message === undefined) return undefined;
  const codes = textsOf(code, source).filter((text) => CODE.test(text.replace(/\*[^*]+\*/g, 'X')));
  const meanings = textsOf(message, source).filter(says);
  return { codes, meanings, remedies: textsOf(property(detail, 'remedy'), source).filter(says) };
}

/** All codes in the order of the alphabet. */
export function errorEntries(): readonly ErrorEntry[] {
  const files = readdirSync(SOURCES, { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts') && !/\.test\.ts$|(^|[/\\])testing[/\\]/.test(file))
    .sort();
  const programs = files.map((file) => {
    const { program } = parseSync(file, readFileSync(join(SOURCES, file), 'utf8'));
    const root = program as unknown as Node;
    return { file, root, bindings: bindingsOf(root) };
  });
  const constants = new Map<string, Node | undefined>();
  for (const { name, value } of programs.flatMap(({ bindings }) => bindings))
    constants.set(name, constants.has(name) ? undefined : value);
  const entries = new Map<string, ErrorEntry>();
  for (const { file, root, bindings } of programs) {
    walk(root, (node) => {
      const site = siteOf(node, { bindings, constants });
      for (const code of site?.codes ?? []) {
        const known = entries.get(code);
        const part = file.includes(sep) ? file.slice(0, file.indexOf(sep)) : 'any part';
        const merge = (key: 'meanings' | 'remedies'): readonly string[] => [
          ...new Set([...(known?.[key] ?? []), ...(site?.[key] ?? [])]),
        ];
        const [meanings, remedies] = [merge('meanings'), merge('remedies')];
        entries.set(code, { code, part: known?.part ?? part, meanings, remedies });
      }
    });
  }
  return [...entries.values()].sort((a, b) => (a.code < b.code ? -1 : 1));
}

/** The entries with the notes in place of what the sources do not say. */
export function explained(entries: readonly ErrorEntry[]): readonly ErrorEntry[] {
  return entries.map((entry) => {
    const note = ERROR_NOTES[entry.code];
    const meanings = note?.meaning === undefined ? entry.meanings : [note.meaning];
    const remedies = note?.remedy === undefined ? entry.remedies : [note.remedy];
    return { ...entry, meanings, remedies };
  });
}

const HEAD = `# Errors

Every failure that a user can cause or cure has a code, which stays the same across releases. The command prints
\`CODE: message (what to do)\`; a program finds them in \`code\`, \`message\` and \`remedy\` of \`PandoError\`.
This list is made from the sources (\`node scripts/readme.mjs\`). Words in CAPITALS stand for what the message names.
`;

/** docs/errors.md. */
export function errorPage(entries: readonly ErrorEntry[]): string {
  const named = (text: string): string =>
    text.replace(/\*([^*]+)\*/g, (_, name: string) => name.toUpperCase().replaceAll(' ', '_'));
  const line = (texts: readonly string[]): string =>
    named(texts.join('; ').replaceAll('**', '* *'))
      .replaceAll('\n', ' ')
      .replaceAll('<', '&lt;')
      .replace(/(?<!\.\.)\.?$/, '.');
  const items = explained(entries).map(
    ({ code, meanings, remedies }) =>
      `- \`${named(code)}\`: ${line(meanings)} **Do:** ${line(remedies)}`,
  );
  return [HEAD, ...items, ''].join('\n');
}
