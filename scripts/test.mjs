/**
 * Builds, then runs every test of dist/ with Node's own runner. Arguments select tests by a part of
 * their path: `npm test -- loader`.
 */
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { runTests } from './test-run.mjs';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const build = spawnSync(process.execPath, [join(root, 'scripts', 'build.mjs')], {
  stdio: 'inherit',
});
if (build.status !== 0) process.exit(build.status ?? 1);
const wholeBoots = spawnSync(
  process.execPath,
  [
    join(root, 'node_modules', 'typescript', 'bin', 'tsc'),
    '-p',
    'test',
    '--incremental',
    '--tsBuildInfoFile',
    join('dist', 'test', 'tsconfig.tsbuildinfo'),
  ],
  { cwd: root, stdio: 'inherit' },
);
if (wholeBoots.status !== 0) process.exit(wholeBoots.status ?? 1);

/** What takes longest begins first, so that no single file is left at the end. */
const LONGEST = [
  'test/user-space.test.js',
  'test/rootfs.test.js',
  'vm/vm-model.test.js',
  'accel/wasm/translate/forced.test.js',
  'cli/streams.test.js',
  'test/',
  'image/',
  'cli/',
  'vm/',
  'fleet/',
].map((part) => join('dist', part));
const rank = (file) => {
  const place = LONGEST.findIndex((part) => file.startsWith(part));
  return place < 0 ? LONGEST.length : place;
};

const wanted = process.argv.slice(2);
const files = readdirSync(join(root, 'dist'), { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile() && entry.name.endsWith('.test.js'))
  .map((entry) => relative(root, join(entry.parentPath ?? entry.path, entry.name)))
  .filter((file) => wanted.length === 0 || wanted.some((part) => file.includes(part)))
  .sort((a, b) => rank(a) - rank(b) || (a < b ? -1 : 1));
if (files.length === 0) {
  console.error(`no test matches ${wanted.join(' ')}`);
  process.exit(1);
}
process.exit(await runTests(files, { cwd: root }));
