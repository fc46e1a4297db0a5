/**
 * Sets up a checkout: installs the packages that package-lock.json names and builds dist/, each only
 * when it is missing or out of date. Needs no root. `--quiet` prints only what fails; `--test` also
 * pulls the Debian image that the tests boot.
 */
import { spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildIsFresh, installIsFresh } from './freshness.cjs';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const quiet = process.argv.includes('--quiet');
const forTests = process.argv.includes('--test');

/** Runs a step; in quiet mode its output shows only when it fails. */
function step(title, command, args) {
  const began = Date.now();
  if (!quiet) console.log(`setup: ${title} …`);
  const result = spawnSync(command, args, {
    cwd: root,
    stdio: quiet ? ['ignore', 'pipe', 'pipe'] : ['ignore', 'inherit', 'inherit'],
    encoding: 'utf8',
    maxBuffer: 64 * 1024 * 1024,
  });
  if (result.status === 0) {
    if (!quiet) console.log(`setup: ${title}: ${((Date.now() - began) / 1000).toFixed(1)} s`);
    return true;
  }
  if (quiet) process.stderr.write(`${result.stdout ?? ''}${result.stderr ?? ''}`);
  const reason = result.error?.message ?? `status ${result.status ?? result.signal}`;
  process.stderr.write(`SETUP_FAILED: ${title}: ${reason}\n`);
  return false;
}

const [major] = process.versions.node.split('.').map(Number);
if (major < 20) {
  console.error(
    `SETUP_NODE_OLD: Node.js ${process.version} is older than 20 (install Node.js 20 or later)`,
  );
  process.exit(1);
}
if (!installIsFresh(root) && !step('installing packages (npm ci)', 'npm', ['ci'])) process.exit(1);
if (!buildIsFresh(root)) {
  const build = join(root, 'scripts', 'build.mjs');
  if (!step('building', process.execPath, [build])) process.exit(1);
}
if (forTests) {
  const launcher = join(root, 'bin', 'pando.js');
  const pulled = step('Debian image for the tests', process.execPath, [
    launcher,
    'image',
    'pull',
    'debian',
  ]);
  // Most tests need no image; those that boot one say themselves that it is missing.
  if (!pulled) process.stderr.write('setup: going on without the Debian image\n');
}
