/**
 * Completes package-lock.json after `npm install`. A registry mirror may lack the optional packages of
 * platforms it does not serve; npm then leaves them out of the lock, and `npm ci` refuses a lock that
 * does not name them. Adds those entries (they are never fetched: Pando runs on linux-x64 alone).
 */
import { readFileSync, writeFileSync } from 'node:fs';

const SYSTEMS = ['android', 'darwin', 'freebsd', 'linux', 'openharmony', 'win32'];
const PROCESSORS = [
  'arm',
  'arm64',
  'ia32',
  'loong64',
  'ppc64',
  'riscv64',
  's390x',
  'wasm32',
  'x64',
];

const file = new URL('../package-lock.json', import.meta.url);
const lock = JSON.parse(readFileSync(file, 'utf8'));
const packages = lock.packages;

/** A lock entry from a platform package's name, e.g. `@biomejs/cli-linux-x64-musl`. */
function entryOf(name, version, dev) {
  const words = name.split('/').at(-1).split('-');
  const pick = (known) => known.filter((word) => words.includes(word));
  const cpu = pick(PROCESSORS);
  const os = pick(SYSTEMS);
  const libc = words.flatMap((word) =>
    word.startsWith('musl') ? ['musl'] : word.startsWith('gnu') ? ['glibc'] : [],
  );
  return {
    version,
    ...(cpu.length > 0 && { cpu }),
    ...(dev && { dev }),
    ...(libc.length > 0 && { libc }),
    optional: true,
    ...(os.length > 0 && { os }),
  };
}

let added = 0;
for (const [path, { optionalDependencies = {}, dev }] of Object.entries(packages)) {
  for (const [name, range] of Object.entries(optionalDependencies)) {
    const key = `node_modules/${name}`;
    if (packages[key] !== undefined || packages[`${path}/${key}`] !== undefined) continue;
    packages[key] = entryOf(name, range.replace(/^\D+/, ''), dev);
    added++;
  }
}
lock.packages = Object.fromEntries(Object.entries(packages).sort(([a], [b]) => (a < b ? -1 : 1)));
writeFileSync(file, `${JSON.stringify(lock, null, 2)}\n`);
console.log(`package-lock.json: ${added} entries of other platforms added`);
