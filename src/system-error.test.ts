import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { guestKernel, STAY, say } from './cli/testing/guest-kernel.js';
import { PandoError } from './error.js';
import { coded, remedyFor } from './system-error.js';

/** What a call throws, coded. */
function thrownBy(call: () => unknown): unknown {
  try {
    call();
  } catch (error) {
    return coded(error);
  }
  return assert.fail('the call did not fail');
}

test('errors of the system that files give have a code, the path and a remedy', () => {
  const folder = mkdtempSync(join(tmpdir(), 'pando-system-error-'));
  try {
    const file = join(folder, 'file');
    const loop = join(folder, 'loop');
    writeFileSync(file, '');
    symlinkSync(loop, loop);
    for (const [code, path, call] of [
      ['NOT_A_FOLDER', join(file, 'x'), readFileSync],
      ['NOT_A_FOLDER', file, readdirSync],
      ['IS_A_FOLDER', folder, (path: string) => openSync(path, 'w')],
      ['PATH_LOOPS', loop, readFileSync],
      ['PATH_TOO_LONG', join(folder, 'n'.repeat(300)), readFileSync],
      ['FILE_NOT_FOUND', join(folder, 'missing'), readFileSync],
      ['FILE_EXISTS', folder, mkdirSync],
    ] as const) {
      const error = thrownBy(() => call(path));
      assert.ok(error instanceof PandoError, code);
      assert.equal(error.code, code);
      assert.ok(error.message.startsWith(`${path}: `), error.message);
      assert.ok(error.remedy);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('what a user can cause or cure has a remedy, whichever call meets it', () => {
  for (const name of [
    ...['EMFILE', 'ENFILE', 'EFBIG', 'ENOSPC', 'EDQUOT', 'EACCES', 'EPERM', 'ENOTDIR', 'EISDIR'],
    ...['EROFS', 'ENOMEM', 'EAGAIN', 'ELOOP', 'ENAMETOOLONG', 'EIO', 'EBUSY', 'ETXTBSY', 'ENXIO'],
  ]) {
    const errno = constants.errno[name as keyof typeof constants.errno];
    const error = coded(Object.assign(new Error(name), { code: name, errno, syscall: 'write' }));
    assert.ok(error instanceof PandoError, name);
    assert.equal(error.remedy, remedyFor(name));
    assert.match(error.message, new RegExp(`^write: .*\\(${name}\\)$`));
  }
});

test('a thread that the system refuses, and nothing that is no error of the system', () => {
  const refused = Object.assign(new Error('EAGAIN'), { code: 'ERR_WORKER_INIT_FAILED' });
  assert.equal((coded(refused) as PandoError).code, 'TOO_MANY_THREADS');
  const own = new PandoError('X', 'y');
  const bug = Object.assign(new Error('no'), { code: 'ENOENT' });
  for (const other of [own, bug, new TypeError('z'), 'text', undefined]) {
    assert.equal(coded(other), other);
  }
});

test('the command says in one line what the system refused', (t) => {
  const program = fileURLToPath(new URL('./cli/main.js', import.meta.url));
  const folder = mkdtempSync(join(tmpdir(), 'pando-refused-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'file');
  writeFileSync(file, '');
  const run = (shell: string, env: NodeJS.ProcessEnv = {}) =>
    spawnSync('bash', ['-c', shell, 'bash', process.execPath, program], {
      env: { ...process.env, ...env },
      encoding: 'utf8',
      timeout: 120_000,
    });
  for (const [shell, env, line] of [
    ['"$@" image ls', { PANDO_STORE: file }, /^NOT_A_FOLDER: .*PANDO_STORE/],
    ['"$@" run', { PANDO_STORE: file }, /^NOT_A_FOLDER: /],
    ['"$@" image rm x', { PANDO_STORE: file }, /^NOT_A_FOLDER: /],
    ['"$@" image ls', { PANDO_STORE: join(folder, 'n'.repeat(300)) }, /^PATH_TOO_LONG: /],
  ] as const) {
    const { status, stderr } = run(shell, env);
    assert.match(stderr, line);
    assert.equal(stderr.trim().split('\n').length, 1, stderr);
    assert.equal(status, 1);
  }
});

/** The program in one file: Node.js opens none of its own to load it. */
const BUNDLES = fileURLToPath(new URL('./bundles/', import.meta.url));
const bundled = existsSync(join(BUNDLES, 'complete'));

test('wherever the descriptors of a run are used up, a message says so', {
  skip: !bundled && 'no bundler',
}, (t) => {
  const program = join(BUNDLES, 'run-main.cjs');
  const folder = mkdtempSync(join(tmpdir(), 'pando-descriptors-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const kernel = guestKernel(join(folder, 'kernel'), say('READY\r\n'), STAY);
  const words = ['run', '--accel', 'wasm', '--memory', '64M', '--kernel', kernel, '--count', '2'];
  words.push('--until', 'READY', '--serial', 'null', '--timeout', '60');
  const count = 'fs.readdirSync("/proc/self/fd").length';
  const own = Number(execFileSync(process.execPath, ['-p', count], { encoding: 'utf8' }));
  const seen = new Set<number | null>();
  // What Node.js itself has open, and one for it to load the program.
  for (let limit = own + 1; limit <= own + 25; limit += 3) {
    const shell = `ulimit -n ${limit}; exec "$@"`;
    const { status, stderr } = spawnSync(
      'bash',
      ['-c', shell, 'bash', process.execPath, program, ...words],
      { encoding: 'utf8', timeout: 120_000 },
    );
    assert.doesNotMatch(stderr, /^ {4}at /m, `ulimit -n ${limit}`);
    assert.ok(status === 0 || status === 1, `ulimit -n ${limit}: status ${status}\n${stderr}`);
    if (status === 1) assert.match(stderr, /ulimit -n/);
    seen.add(status);
  }
  assert.ok(seen.has(1));
});
