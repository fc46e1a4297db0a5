/**
 * `npm run bench -- [NAME] [OPTIONS]`: builds, then runs bench/NAME.ts (default: interpreter) with the
 * options.
 */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const words = process.argv.slice(2);
const named = /^[a-z][\w-]*$/.test(words[0] ?? '');
const name = named ? words.shift() : 'interpreter';

function node(...args) {
  const { status } = spawnSync(process.execPath, args, { cwd: root, stdio: 'inherit' });
  if (status !== 0) process.exit(status ?? 1);
}

if (!existsSync(join(root, 'bench', `${name}.ts`))) {
  console.error(`BENCH_UNKNOWN: there is no bench/${name}.ts`);
  process.exit(2);
}
node(join(root, 'scripts', 'build.mjs'));
node(join(root, 'node_modules', 'typescript', 'bin', 'tsc'), '-p', 'bench');
node(join(root, 'dist', 'benches', `${name}.js`), ...words);
