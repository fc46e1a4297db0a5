/**
 * Which part of src/ may import which (docs/architecture.md, "Who may know whom"). Sees type imports
 * too. Tests are exempt: they may look at anything.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve, sep } from 'node:path';
import { parseSync } from 'oxc-parser';

/** Each part with the parts it may import besides itself; `error` stands for src/error.ts and src/system-error.ts. */
const ALLOWED = {
  error: [],
  version: [],
  platform: ['error'],
  arch: ['error'],
  host: ['error'],
  loader: ['platform', 'arch', 'error'],
  boot: ['loader', 'arch', 'error'],
  devices: ['arch', 'error'],
  net: ['devices', 'error'],
  backend: ['devices', 'arch', 'host', 'error'],
  memory: ['loader', 'arch', 'host', 'error'],
  measure: ['host', 'error'],
  'accel/wasm': ['accel', 'platform', 'arch', 'error'],
  'accel/kvm': ['accel', 'arch', 'host', 'error'],
  accel: ['arch', 'error'],
  image: ['loader', 'arch', 'error'],
  run: [
    'accel',
    'accel/wasm',
    'accel/kvm',
    'devices',
    'backend',
    'net',
    'boot',
    'image',
    'memory',
    'loader',
    'platform',
    'arch',
    'error',
  ],
  snapshot: ['run', 'image', 'memory', 'loader', 'arch', 'error', 'version'],
  vm: ['snapshot', 'run', 'backend', 'devices', 'memory', 'loader', 'platform', 'arch', 'error'],
  fleet: ['vm', 'run', 'host', 'platform', 'error'],
  debug: ['run', 'accel', 'accel/wasm', 'devices', 'boot', 'memory', 'loader', 'arch', 'error'],
  bench: [
    'fleet',
    'debug',
    'vm',
    'run',
    'image',
    'measure',
    'cli/terminal',
    'loader',
    'arch',
    'error',
    'version',
  ],
  'cli/terminal': ['image', 'host', 'error'],
  sandbox: ['snapshot', 'vm', 'image', 'error', 'version'],
  server: ['sandbox', 'snapshot', 'image', 'error', 'version'],
  provision: ['vm', 'run', 'image', 'error'],
  cli: [
    'provision',
    'sandbox',
    'cli/terminal',
    'server',
    'snapshot',
    'bench',
    'debug',
    'fleet',
    'vm',
    'run',
    'image',
    'measure',
    'loader',
    'platform',
    'arch',
    'error',
    'version',
  ],
  index: [
    'provision',
    'fleet',
    'sandbox',
    'snapshot',
    'vm',
    'run',
    'net',
    'image',
    'loader',
    'error',
    'version',
  ],
};

/**
 * What a web page could run as well: Node.js is reached through `platform` alone. `run/wasm` is a folder of
 * the part `run`.
 */
const PORTABLE = ['accel', 'arch', 'boot', 'devices', 'run/wasm'].map((folder) => folder + sep);
const OF_KVM = join('accel', 'kvm') + sep;

function isPortable(file) {
  return PORTABLE.some((folder) => file.startsWith(folder)) && !file.startsWith(OF_KVM);
}

/** The core is AssemblyScript and sees nothing but itself, its layout and its tables. */
const CORE = join('accel', 'wasm', 'core');

/** The part that a file of src/ belongs to. */
function partOf(file) {
  const [first, second] = file.split(sep);
  if (`${first}/${second}` in ALLOWED) return `${first}/${second}`;
  if (first === 'system-error.ts') return 'error';
  return first.replace(/\.ts$/, '');
}

/** What a file imports or re-exports, types too. */
function importsOf(path) {
  const { module } = parseSync(path, readFileSync(path, 'utf8'));
  const imported = module.staticImports.map(({ moduleRequest }) => moduleRequest.value);
  const exported = module.staticExports
    .flatMap(({ entries }) => entries)
    .filter(({ moduleRequest }) => moduleRequest !== null)
    .map(({ moduleRequest }) => moduleRequest.value);
  return [...imported, ...exported];
}

/** A cycle through a file, or undefined; `done` holds files that are on none. */
function cycleFrom(file, graph, trail, done) {
  const at = trail.indexOf(file);
  if (at >= 0) return [...trail.slice(at), file];
  if (done.has(file)) return undefined;
  for (const next of graph.get(file) ?? []) {
    const cycle = cycleFrom(next, graph, [...trail, file], done);
    if (cycle !== undefined) return cycle;
  }
  done.add(file);
  return undefined;
}

/** Every breach of the rules below `source`, as a line each. */
export function importBreaches(source) {
  const files = readdirSync(source, { recursive: true })
    .filter((file) => file.endsWith('.ts') && !file.endsWith('.test.ts'))
    .filter((file) => !file.startsWith(CORE) && !file.split(sep).includes('testing'));
  const breaches = [];
  const graph = new Map();
  for (const file of files) {
    const part = partOf(file);
    const allowed = ALLOWED[part];
    if (allowed === undefined) {
      breaches.push(`src/${file}: the import rules do not know the part "${part}"`);
      continue;
    }
    const imports = importsOf(join(source, file));
    const builtin = imports.find((name) => name.startsWith('node:'));
    if (builtin !== undefined && isPortable(file)) {
      breaches.push(`src/${file}: reaches ${builtin} without src/platform/`);
    }
    const targets = new Set(
      imports
        .filter((name) => name.startsWith('.'))
        .map((name) =>
          relative(source, resolve(source, dirname(file), name)).replace(/\.js$/, '.ts'),
        ),
    );
    graph.set(file, [...targets]);
    for (const target of targets) {
      const other = partOf(target);
      if (other !== part && !allowed.includes(other)) {
        breaches.push(`src/${file}: ${part} must not import ${other} (src/${target})`);
      }
    }
  }
  const done = new Set();
  for (const file of graph.keys()) {
    const cycle = cycleFrom(file, graph, [], done);
    if (cycle !== undefined) {
      breaches.push(`cycle: ${cycle.join(' -> ')}`);
      break;
    }
  }
  return breaches;
}
