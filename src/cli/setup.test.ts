/** Setting up a checkout: a small one, whose build is a script of the test's. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { PseudoTerminal } from './testing/pseudo-terminal.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const MAIN = fileURLToPath(new URL('./main.js', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'pando-setup-'));
after(() => rmSync(folder, { recursive: true }));

/** Builds what counts as fresh once there is a file `go`, and notes that it has. */
const BUILD = `
import { appendFileSync, existsSync, mkdirSync, writeFileSync } from 'node:fs';
console.log('build: TypeScript');
appendFileSync('log', 'built\\n');
while (!existsSync('go')) await new Promise((resolve) => setTimeout(resolve, 10));
mkdirSync('dist/accel/wasm', { recursive: true });
mkdirSync('dist/cli', { recursive: true });
writeFileSync('dist/cli/main.js', 'console.log("the command")');
for (const name of ['tsconfig.tsbuildinfo', 'accel/wasm/core.wasm']) writeFileSync('dist/' + name, '');
`;

/** Never ends, and has a child that does not either; notes both. */
const HANG = `
import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
const child = spawn(process.execPath, ['-e', 'setInterval(() => 0, 1000)']);
writeFileSync('pids', process.pid + ' ' + child.pid);
setInterval(() => 0, 1000);
`;

/** A checkout with this build. */
function checkout(name: string, build: string): string {
  const root = join(folder, name);
  for (const part of ['bin', 'scripts'])
    cpSync(join(ROOT, part), join(root, part), { recursive: true });
  mkdirSync(join(root, 'src', 'accel', 'wasm'), { recursive: true });
  symlinkSync(folder, join(root, 'node_modules'));
  writeFileSync(join(root, 'tsconfig.json'), '{}');
  writeFileSync(join(root, 'scripts', 'build.mjs'), build);
  return root;
}

function launch(root: string): { readonly child: ChildProcess; readonly text: () => string } {
  const child = spawn(process.execPath, [join(root, 'bin', 'pando.js')], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let text = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (more: string) => {
      text += more;
    });
  }
  return { child, text: () => text };
}

const ended = (child: ChildProcess): Promise<number | null> =>
  new Promise((resolve) => child.once('close', resolve));

async function eventually(what: () => boolean): Promise<void> {
  for (let tries = 0; !what(); tries++) {
    assert.ok(tries < 6000, 'a minute has passed');
    await sleep(10);
  }
}

test('of several that set up one checkout one builds, the others wait and say so', async () => {
  const root = checkout('several', BUILD);
  // A holder that has died.
  mkdirSync(join(root, 'dist'));
  writeFileSync(join(root, 'dist', '.lock'), `${2 ** 22 + 1} 1`);
  const launched = [1, 2, 3].map(() => launch(root));
  const closed = launched.map(({ child }) => ended(child));
  const waiting = () => launched.filter(({ text }) => text().includes('waiting for it')).length;
  await eventually(() => waiting() === 2);
  writeFileSync(join(root, 'go'), '');
  const statuses = await Promise.all(closed);
  assert.deepEqual(statuses, [0, 0, 0]);
  assert.equal(readFileSync(join(root, 'log'), 'utf8'), 'built\n');
  const texts = launched.map(({ text }) => text());
  assert.ok(texts.every((text) => text.includes('the command')));
  assert.equal(waiting(), 2);
  assert.equal(existsSync(join(root, 'dist', '.lock')), false);
});

for (const [signal, status] of [
  ['SIGTERM', 143],
  ['SIGINT', 130],
  ['SIGKILL', null],
] as const) {
  test(`${signal} in the middle of a build leaves no process behind`, async () => {
    const root = checkout(signal, HANG);
    const { child } = launch(root);
    const closed = ended(child);
    const file = join(root, 'pids');
    await eventually(() => existsSync(file) && readFileSync(file, 'utf8').includes(' '));
    const pids = readFileSync(file, 'utf8').split(' ').map(Number);
    child.kill(signal);
    assert.equal(await closed, status);
    await eventually(() => pids.every((pid) => !existsSync(`/proc/${pid}`)));
    await eventually(() => !existsSync(join(root, 'dist', '.lock')));
  });
}

test('SIGTERM in the middle of a pull leaves no process behind', async () => {
  const tools = join(folder, 'tools');
  const file = join(folder, 'pull-pid');
  mkdirSync(tools);
  for (const tool of ['apt-get', 'apt-cache', 'apt-config']) {
    writeFileSync(join(tools, tool), `#!/bin/sh\necho $$ > ${file}\nexec sleep 1000\n`, {
      mode: 0o755,
    });
  }
  const child = spawn(process.execPath, [MAIN, 'image', 'pull', 'debian'], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: {
      ...process.env,
      PATH: `${tools}:${process.env.PATH}`,
      XDG_CACHE_HOME: join(folder, 'cache'),
      PANDO_STORE: join(folder, 'store'),
    },
  });
  const closed = ended(child);
  await eventually(() => existsSync(file) && readFileSync(file, 'utf8').endsWith('\n'));
  const pid = Number(readFileSync(file, 'utf8'));
  child.kill('SIGTERM');
  assert.equal(await closed, 143);
  await eventually(() => !existsSync(`/proc/${pid}`));
});

test('on a terminal a build shows what it does, and clears it', async () => {
  const terminal = new PseudoTerminal();
  const root = checkout('terminal', BUILD);
  const child = terminal.start(process.execPath, [join(root, 'bin', 'pando.js')]);
  const closed = ended(child);
  await terminal.until('building, TypeScript');
  writeFileSync(join(root, 'go'), '');
  await terminal.until('the command');
  assert.equal(await closed, 0);
  assert.match(terminal.text, /setting up, once: building, TypeScript/);
  assert.ok(terminal.text.includes('\r\u001b[Kthe command'));
  terminal.close();
});
