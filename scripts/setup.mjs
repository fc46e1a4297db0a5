/**
 * Sets up a checkout: installs the packages that package-lock.json names and builds dist/, each only
 * when it is missing or out of date. Needs no root. Several may run at once: one works, the others wait.
 * `--quiet` prints what fails, and on a terminal one line about what is done, which goes again; `--test`
 * also pulls the Debian image that the tests boot.
 */
import { spawn } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildIsFresh, installIsFresh } from './freshness.cjs';
import { lock } from './lock.mjs';
import { TEST_ENVIRONMENT } from './test-store.mjs';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const quiet = process.argv.includes('--quiet');
const forTests = process.argv.includes('--test');
const live = quiet && process.stderr.isTTY === true;
const SIGNALS = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 };
const REDRAW_MS = 1000;
const PARENT_MS = 250;

/** The step's process; it has a group of its own, which ends with it. */
let running;

function leave(status) {
  if (live) process.stderr.write('\r\x1b[K');
  if (running !== undefined) {
    try {
      process.kill(-running.pid, 'SIGTERM');
    } catch {
      // The group has ended by itself.
    }
  }
  process.exit(status);
}

for (const [signal, status] of Object.entries(SIGNALS)) process.on(signal, () => leave(status));
const parent = process.ppid;
// Whoever wanted this may be gone without a signal to this process.
setInterval(() => process.ppid === parent || leave(1), PARENT_MS).unref();

const seconds = (began) => (Date.now() - began) / 1000;

/** Keeps a line about a step on the terminal; returns what tells it news, and what removes it. */
function showStep(title, began) {
  if (!live) return { news: () => undefined, end: () => undefined };
  let detail = '';
  const draw = () => {
    const line = `setting up, once: ${title}${detail} … ${seconds(began).toFixed(0)} s`;
    process.stderr.write(`\r\x1b[K${line.slice(0, (process.stderr.columns || 80) - 1)}`);
  };
  draw();
  const timer = setInterval(draw, REDRAW_MS);
  return {
    news: (text) => {
      const last = text.match(/^build: .*$/gm)?.at(-1);
      if (last !== undefined) detail = last.replace(/^build: /, ', ');
      draw();
    },
    end: () => {
      clearInterval(timer);
      process.stderr.write('\r\x1b[K');
    },
  };
}

/** Runs a step; in quiet mode its output shows only when it fails. */
async function step(title, command, args, env = {}) {
  const began = Date.now();
  if (!quiet) console.log(`setup: ${title} …`);
  const line = showStep(title, began);
  const output = quiet ? 'pipe' : 'inherit';
  const child = spawn(command, args, {
    cwd: root,
    stdio: ['ignore', output, output],
    env: { ...process.env, ...env, PANDO_SETUP: '1' },
    detached: true,
  });
  running = child;
  let text = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (more) => {
      text += more;
      line.news(more);
    });
  }
  const reason = await new Promise((resolve) => {
    child.on('error', (error) => resolve(error.message));
    child.on('close', (status, signal) =>
      resolve(status === 0 ? '' : `status ${status ?? signal}`),
    );
  });
  running = undefined;
  line.end();
  if (reason === '') {
    if (!quiet) console.log(`setup: ${title}: ${seconds(began).toFixed(1)} s`);
    return true;
  }
  process.stderr.write(`${text}SETUP_FAILED: ${title}: ${reason}\n`);
  return false;
}

const [major] = process.versions.node.split('.').map(Number);
if (major < 20) {
  console.error(
    `SETUP_NODE_OLD: Node.js ${process.version} is older than 20 (install Node.js 20 or later)`,
  );
  process.exit(1);
}
if (!installIsFresh(root) || !buildIsFresh(root)) {
  const release = await lock(join(root, 'dist', '.lock'), (pid) =>
    console.error(`setup: process ${pid} sets up this checkout; waiting for it`),
  );
  // What was waited for may have done it all.
  if (!installIsFresh(root) && !(await step('installing packages', 'npm', ['ci']))) process.exit(1);
  if (!buildIsFresh(root)) {
    const build = join(root, 'scripts', 'build.mjs');
    if (!(await step('building', process.execPath, [build]))) process.exit(1);
  }
  release();
}
if (forTests) {
  const launcher = join(root, 'bin', 'pando.js');
  const words = [launcher, 'image', 'pull', 'debian'];
  const title = 'Debian image for the tests';
  const pulled = await step(title, process.execPath, words, TEST_ENVIRONMENT);
  // Most tests need no image; those that boot one say themselves that it is missing.
  if (!pulled) process.stderr.write('setup: going on without the Debian image\n');
}
process.exit(0);
