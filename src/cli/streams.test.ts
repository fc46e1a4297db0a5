/** Every verb with standard streams that break, stall or go away. */
import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  constants,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  symlinkSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { after, describe, it, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { importImage } from '../image/import.js';
import { USER_SPACE_LINE } from '../image/init-script.js';
import { ImageStore } from '../image/store.js';
import { guestKernel, PRINT_ON, STAY, say } from './testing/guest-kernel.js';
import { loopKernel } from './testing/loop-kernel.js';
import { PseudoTerminal } from './testing/pseudo-terminal.js';

const PROGRAM = fileURLToPath(new URL('../../bin/pando.js', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'pando-streams-'));
after(() => rmSync(folder, { recursive: true }));

const saying = guestKernel(join(folder, 'saying'), say('READY\r\n'), STAY);
const printing = guestKernel(join(folder, 'printing'), say('READY\r\n'), PRINT_ON);
const looping = loopKernel(join(folder, 'looping'));
/** The words of a run; the time-out in seconds. */
const run = (kernel: string, timeout = 60): string[] => {
  const machine = ['--kernel', kernel, '--accel', 'wasm', '--memory', '64M'];
  return ['run', ...machine, '--timeout', String(timeout)];
};

/** A store whose `debian` says at once that user space is up: the demo boots its VMs in a moment. */
const store = join(folder, 'store');
const up = guestKernel(join(folder, 'up'), say(`${USER_SPACE_LINE}\r\n`), STAY);
await importImage({ name: 'debian', kernel: up, store: new ImageStore(store) });

/** Verbs by what is typed; all write to standard output. */
const VERBS: readonly (readonly string[])[] = [
  ['--help'],
  ['--version'],
  ['run', '--help'],
  ['doctor'],
  ['doctor', '--json'],
  ['image', 'ls'],
  ['image', 'inspect', looping, '--json'],
  ['bench', '--help'],
  ['debug', 'lockstep', '--kernel', looping, '--memory', '64M', '--limit', '1000', '--json'],
  ['qemu', '-kernel', saying, '-m', '64M', '-serial', 'stdio'],
  [...run(saying)],
  [...run(saying), '--count', '2'],
  [...run(saying), '--isolate', 'process'],
  [...run(saying), '--count', '2', '--isolate', 'process'],
  [...run(saying), '--until', 'READY', '--json'],
  ['demo'],
];

const shown = (words: readonly string[]): string => words.join(' ').replaceAll(folder, 'DIR');

function pando(words: readonly string[], out: number | 'pipe', err: number | 'pipe' = 'pipe') {
  const stdio = ['ignore', out, err] as const;
  return spawnSync(process.execPath, [PROGRAM, ...words], {
    encoding: 'utf8',
    stdio: [...stdio],
    env: { ...process.env, PANDO_STORE: store },
    timeout: 600_000,
  });
}

/** A pipe whose reader has gone. */
function brokenPipe(): number {
  const path = join(folder, 'fifo');
  rmSync(path, { force: true });
  execFileSync('mkfifo', [path]);
  const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const writer = openSync(path, constants.O_WRONLY);
  closeSync(reader);
  return writer;
}

for (const words of VERBS) {
  test(`pando ${shown(words)}: a full disk gives 1 and one line, a reader that has gone 141`, () => {
    const full = openSync('/dev/full', 'w');
    const filled = pando(words, full);
    closeSync(full);
    const lines = filled.stderr.trimEnd().split('\n');
    assert.match(lines.at(-1) ?? '', /^OUTPUT_UNWRITABLE: standard output .*: ENOSPC \(free some/);
    assert.doesNotMatch(filled.stderr, /^ {4}at /m);
    assert.equal(filled.status, 1);
    const pipe = brokenPipe();
    const broken = pando(words, pipe);
    closeSync(pipe);
    assert.deepEqual(
      [broken.status, broken.stderr.replace(/^(pando qemu: .*|booting 4 VMs of .*\n)/s, '')],
      [141, ''],
    );
  });
}

test('a message that has no room on standard error makes a success an error', () => {
  const full = openSync('/dev/full', 'w');
  const until = [...run(saying), '--until', 'READY'];
  assert.equal(pando(until, 'pipe', full).status, 1);
  assert.equal(pando([...run(saying, 1)], 'pipe', full).status, 3);
  closeSync(full);
  const pipe = brokenPipe();
  assert.equal(pando(until, 'pipe', pipe).status, 0);
  closeSync(pipe);
});

for (const number of [0, 1]) symlinkSync('/dev/full', join(folder, `full-${number}`));

for (const count of ['1', '2']) {
  for (const isolate of ['shared', 'process']) {
    test(`a console file without room gives 1 and one line: ${count} VMs, ${isolate}`, () => {
      const pattern = `file:${join(folder, 'full-%d')}`;
      const words = ['--count', count, '--isolate', isolate, '--serial', pattern];
      const { status, stderr } = pando([...run(saying), ...words], 'pipe');
      assert.equal(status, 1);
      assert.match(stderr, /^SERIAL_FILE_UNWRITABLE: .*full-[01]: ENOSPC \(free some .*\n$/);
    });
  }
}

test('a report without room gives 1 and one line', () => {
  const words = ['--until', 'READY', '--serial', 'null', '--report', '/dev/full'];
  const { status, stderr } = pando([...run(saying), ...words], 'pipe');
  assert.equal(status, 1);
  assert.match(stderr, /^REPORT_UNWRITABLE: report file \/dev\/full: ENOSPC \(free some .*\n$/);
});

test('standard input that cannot be read is no input', () => {
  const input = openSync('/dev/null', 'w');
  const words = [PROGRAM, ...run(saying), '--until', 'READY'];
  const { status, stderr } = spawnSync(process.execPath, words, {
    encoding: 'utf8',
    stdio: [input, 'pipe', 'pipe'],
  });
  closeSync(input);
  assert.equal(status, 0, stderr);
  assert.doesNotMatch(stderr, /EBADF/);
});

const ended = (child: ChildProcess): Promise<number | null> =>
  new Promise((resolve) => child.once('exit', resolve));

/** Bytes that a process and its children have in memory; 0 for those that have gone. */
function resident(pid: number): number {
  const read = (name: string): string => {
    try {
      return readFileSync(`/proc/${pid}/${name}`, 'utf8');
    } catch {
      return '';
    }
  };
  const children = read(`task/${pid}/children`).trim().split(' ').filter(Boolean);
  const own = Number(/VmRSS:\s+(\d+) kB/.exec(read('status'))?.[1] ?? 0) * 1024;
  return children.reduce((sum, child) => sum + resident(Number(child)), own);
}

/** Threads and the engine are there when in so many looks, 50 ms apart, it was less than so much more. */
const QUIET_LOOKS = 20;
const QUIET_BYTES = 4 * 1024 * 1024;

/** How much more memory a process and its children take than once they have started, until they end. */
async function growth(child: ChildProcess): Promise<number> {
  const seen: number[] = [];
  let before: number | undefined;
  while (child.exitCode === null && child.signalCode === null) {
    seen.push(resident(child.pid ?? 0));
    const last = seen.slice(-QUIET_LOOKS);
    const quiet = last.length === QUIET_LOOKS && Math.max(...last) - last[0]! < QUIET_BYTES;
    if (quiet) before ??= last[0];
    await sleep(50);
  }
  // What grows all the time is never quiet.
  const most = Math.max(...seen);
  return most - (before ?? seen[2 * QUIET_LOOKS] ?? most);
}

/** A guest prints some 100 MB in the time, and an endless input gives more. */
const BOUND = 64 * 1024 * 1024;

// Each waits for seconds.
describe('streams without end', { concurrency: true }, () => {
  for (const isolate of ['shared', 'process']) {
    it(`a reader that takes nothing holds the guest back, isolate ${isolate}`, async () => {
      const words = [...run(printing, 8), '--isolate', isolate];
      const child = spawn(process.execPath, [PROGRAM, ...words], {
        stdio: ['ignore', 'pipe', 'ignore'],
      });
      const status = ended(child);
      await once(child.stdout as Readable, 'readable');
      const grown = await growth(child);
      assert.equal(await status, 3);
      assert.ok(grown < BOUND, `${grown} bytes`);
    });

    it(`an endless input is read as the guest takes it, isolate ${isolate}`, async () => {
      const zeros = openSync('/dev/zero', 'r');
      const words = [...run(saying, 8), '--isolate', isolate];
      const child = spawn(process.execPath, [PROGRAM, ...words], {
        stdio: [zeros, 'pipe', 'ignore'],
      });
      closeSync(zeros);
      const status = ended(child);
      await once(child.stdout as Readable, 'readable');
      const grown = await growth(child);
      assert.equal(await status, 3);
      assert.ok(grown < BOUND, `${grown} bytes`);
    });
  }
});

test('the terminal: a hint, raw mode, raw again after a stop, the mode of before at the end', async () => {
  const terminal = new PseudoTerminal();
  const child = terminal.start(process.execPath, [PROGRAM, ...run(saying)]);
  const status = ended(child);
  await terminal.until('READY');
  assert.match(terminal.text, /^Ctrl-A X ends the VM and leaves.*\r\nREADY/s);
  assert.equal(terminal.raw, true);
  child.kill('SIGSTOP');
  terminal.cook();
  assert.equal(terminal.raw, false);
  child.kill('SIGCONT');
  for (let tries = 0; tries < 6000 && !terminal.raw; tries++) await sleep(10);
  assert.equal(terminal.raw, true);
  terminal.type('\u0001x');
  assert.equal(await status, 0);
  assert.equal(terminal.raw, false);
  terminal.close();
});

for (const isolate of ['shared', 'process']) {
  test(`a terminal that goes away ends the VMs, isolate ${isolate}`, async () => {
    const terminal = new PseudoTerminal();
    const words = [PROGRAM, ...run(saying), '--isolate', isolate];
    const child = terminal.start(process.execPath, words);
    const status = ended(child);
    await terminal.until('READY');
    terminal.close();
    assert.equal(await status, 129);
  });
}

test('without SIGHUP, the first byte to a terminal that has gone ends the VMs', async () => {
  const terminal = new PseudoTerminal();
  const script = 'trap "" HUP; exec "$@"';
  const words = ['-c', script, 'sh', process.execPath, PROGRAM, ...run(printing)];
  const child = terminal.start('sh', words);
  const status = ended(child);
  await terminal.until('READY');
  terminal.close();
  assert.equal(await status, 129);
});

test('a signal ends a command at any time with its status, the second one at once', async () => {
  for (const [signal, expected] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ] as const) {
    const child = spawn(process.execPath, [PROGRAM, ...run(saying)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const status = ended(child);
    await new Promise((resolve) => child.stdout?.once('data', resolve));
    child.kill(signal);
    child.kill(signal);
    assert.equal(await status, expected);
  }
});
