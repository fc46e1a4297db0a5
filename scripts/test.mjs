/**
 * Builds, then runs every test of dist/ with Node's own runner. Arguments select tests by a part of
 * their path: `npm test -- loader`.
 */
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { TEST_ENVIRONMENT } from './test-store.mjs';

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
  'accel/wasm/translate/forced.test.js',
  'test/user-space.test.js',
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
/** A file that hangs is ended; the longest takes minutes, on a busy machine several times that. */
const FILE_LIMIT_MS = 30 * 60_000;
/** Tests wait for time-outs and for each other's processes: one more than there are processors. */
const concurrency = availableParallelism() + 1;
const options = ['--test', `--test-concurrency=${concurrency}`, `--test-timeout=${FILE_LIMIT_MS}`];
const result = spawnSync(process.execPath, [...options, ...files], {
  cwd: root,
  env: { ...process.env, ...TEST_ENVIRONMENT },
  stdio: 'inherit',
});
process.exit(result.status ?? 1);
