/** Sandboxes from the command line, which outlive the commands that make them. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { PseudoTerminal } from '#dist/cli/testing/pseudo-terminal.js';
import { debianImage } from './testing/boot.js';

const MAIN = fileURLToPath(new URL('../../bin/pando.js', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'pando-verbs-'));
const env = { ...process.env, XDG_RUNTIME_DIR: folder, PANDO_SERVER_IDLE: '2' };

async function pando(words: readonly string[], input = ''): Promise<[number, string, string]> {
  const child = spawn(process.execPath, [MAIN, ...words], { env: { ...process.env, ...env } });
  let out = '';
  let err = '';
  child.stdout.on('data', (piece) => {
    out += piece;
  });
  child.stderr.on('data', (piece) => {
    err += piece;
  });
  child.stdin.on('error', () => undefined);
  child.stdin.end(input);
  const [status] = await once(child, 'close');
  return [status, out, err];
}

async function output(...words: readonly string[]): Promise<string> {
  const [status, out, err] = await pando(words);
  assert.deepEqual([status, err], [0, ''], words.join(' '));
  return out;
}

before(async () => {
  await debianImage();
});
after(async () => {
  for (const id of (await pando(['ps', '-aq']))[1].split('\n').filter(Boolean))
    await pando(['rm', id]);
  rmSync(folder, { recursive: true });
});

test('a sandbox is made, used by its name, and ended', async () => {
  assert.match(await output('ps'), /^SANDBOX ID +IMAGE +COMMAND +CREATED +STATUS +NAME\n$/);
  assert.deepEqual(readdirSync(join(folder, 'pando')), [], 'to list nothing needs no server');
  const id = (await output('run', '-d', '--name', 'one')).trim();
  assert.match(id, /^[0-9a-z]{20}$/);
  assert.match(await output('ps'), new RegExp(`\n${id} +debian +.* ago +running +one\n$`));
  const [taken, , why] = await pando(['run', '-d', '--name', 'one']);
  assert.equal(taken, 1);
  assert.match(why, /^NAME_TAKEN: /);

  assert.equal(await output('exec', 'one', 'echo', '-n', '--', '$HOME'), '-- $HOME');
  const script = 'echo $A; pwd; cat; echo why >&2; exit 7';
  const words = ['exec', '-i', '-e', 'A=b', '-w', '/tmp', id.slice(0, 8), 'sh', '-c', script];
  assert.deepEqual(await pando(words, 'input\n'), [7, 'b\n/tmp\ninput\n', 'why\n']);
  assert.deepEqual((await pando(['exec', 'one', 'sh', '-c', 'kill -9 $$']))[0], 137);
  assert.equal((await pando(['exec', 'one', 'no-such-program']))[0], 127);
  assert.match((await pando(['exec', 'none', 'true']))[2], /^SANDBOX_NOT_FOUND: /);

  assert.equal(await output('pause', 'one'), 'one\n');
  assert.match(await output('ps'), / paused /);
  await output('resume', 'one');
  await output('exec', 'one', 'sh', '-c', 'echo page > /tmp/index.html; httpd -p 8080 -h /tmp');
  const url = (await output('port', 'one', '8080')).trim();
  const page = (): Promise<string> => fetch(url).then((answer) => answer.text(), page);
  assert.equal(await page(), 'page\n');
  assert.match((await pando(['port', 'one', '70000']))[2], /^NUMBER_INVALID: /);
  const copy = (await output('fork', 'one')).trim();
  assert.equal(await output('exec', copy, 'echo', 'here'), 'here\n');
  assert.match(await output('stats'), new RegExp(`${copy} +\\d+\\.\\d %`));
  const [inspected] = JSON.parse(await output('inspect', 'one')) as object[];
  assert.equal((inspected as { sandboxID: string }).sandboxID, id);
  assert.equal('envdAccessToken' in inspected!, false);
});

test('the console is logged, and followed until the sandbox ends', async () => {
  const logged = async (...words: readonly string[]) => output('logs', ...words, 'one');
  // In one piece, and on a line of its own: a shell prompts on the console, too.
  await output('exec', 'one', 'sh', '-c', "printf '\\nthird\\n' > /dev/console");
  while (!/^third$/m.test(await logged()));
  const [, time = ''] = /^(\S+Z) third$/m.exec(await logged('-t')) ?? [];
  assert.ok(Math.abs(Date.parse(time) - Date.now()) < 600_000, time);
  assert.match(await logged('-n', '1'), /^.*\n$/);
  const short = (await output('run', '-d')).trim();
  const words = [MAIN, 'logs', '-f', short];
  const child = spawn(process.execPath, words, { env: { ...process.env, ...env } });
  let followed = '';
  child.stdout.on('data', (piece) => {
    followed += piece;
  });
  const ended = once(child, 'close');
  for (const word of ['early', 'late']) {
    await output('exec', short, 'sh', '-c', `echo ${word} > /dev/console`);
    while (!followed.includes(`${word}\n`)) await once(child.stdout, 'data');
  }
  await output('rm', short);
  assert.deepEqual(await ended, [0, null]);
});

test('a command ends with the one that runs it, whatever ends that', async () => {
  const words = ['exec', 'one', 'sh', '-c', 'sleep 1234 & echo begun; sleep 1234'];
  const child = spawn(process.execPath, [MAIN, ...words], { env: { ...process.env, ...env } });
  let err = '';
  child.stderr.on('data', (piece) => {
    err += piece;
  });
  const [first] = await Promise.race([once(child.stdout, 'data'), once(child, 'close')]);
  assert.equal(String(first), 'begun\n', err);
  child.kill('SIGKILL');
  await once(child, 'close');
  const left = "ps -o args | grep -c '^sleep 1234' || true";
  while ((await output('exec', 'one', 'sh', '-c', left)) !== '0\n');
});

test('a reader that goes ends what writes to it, and a main command goes on', async () => {
  const script = 'while :; do echo line; sleep 0.1; done';
  await output('run', '-d', '--rm', '--name', 'lines', 'debian', '--', 'sh', '-c', script);
  const verbs = [
    ['attach', 'lines'],
    ['logs', '-f', 'lines'],
    ['exec', 'one', 'sh', '-c', script],
  ];
  for (const words of verbs) {
    const child = spawn(process.execPath, [MAIN, ...words], { env });
    const ended = once(child, 'exit');
    await once(child.stdout, 'data');
    child.stdout.destroy();
    assert.deepEqual(await ended, [141, null], words[0]);
  }
  const attached = spawn(process.execPath, [MAIN, 'attach', 'lines'], { env });
  const closed = once(attached, 'close');
  let why = '';
  attached.stderr.on('data', (piece) => {
    why += piece;
  });
  await once(attached.stdout, 'data');
  await output('rm', 'lines');
  attached.stdout.resume();
  assert.deepEqual(await closed, [1, null]);
  assert.match(why, /^SANDBOX_ENDED: /);
});

test('a terminal has its size, and the command its status', async () => {
  const terminal = new PseudoTerminal(37, 101);
  const words = [MAIN, 'exec', '-it', 'one', 'sh', '-c', 'read a; stty size; echo $a; exit 5'];
  const child = terminal.start(process.execPath, words, env);
  const ended = once(child, 'exit');
  terminal.type('typed\r');
  await terminal.until('37 101');
  await terminal.until('typed');
  assert.deepEqual(await ended, [5, null]);
  terminal.close();
});

test('a main command outlives its terminals, and the sandbox ends with it', async () => {
  const script = 'echo begun; while read a; do echo got $a; [ "$a" = end ] && exit 6; done';
  const words = ['run', '-d', '-it', '--name', 'main', '-e', 'A=b', '-w', '/tmp', 'debian', '--'];
  const id = (await output(...words, 'sh', '-c', script)).trim();
  const follower = spawn(process.execPath, [MAIN, 'logs', '-f', 'main'], { env });
  let followed = '';
  follower.stdout.on('data', (piece) => {
    followed += piece;
  });
  const followerEnded = once(follower, 'close');

  const attach = (): [PseudoTerminal, Promise<unknown[]>] => {
    const terminal = new PseudoTerminal(33, 99);
    const child = terminal.start(process.execPath, [MAIN, 'attach', 'main'], env);
    return [terminal, once(child, 'exit')];
  };
  const [first, firstEnded] = attach();
  first.type('one\r');
  await first.until('got one');
  const [second, secondEnded] = attach();
  second.type('two\r');
  await Promise.all([first.until('got two'), second.until('got two')]);
  first.type('\x10\x11');
  assert.deepEqual(await firstEnded, [0, null]);
  await first.until('main goes on');
  assert.equal(await output('exec', 'main', 'sh', '-c', 'echo $A; pwd'), 'b\n/tmp\n');
  const running = JSON.parse(await output('ps', '--json')) as {
    sandboxID: string;
    main?: object;
  }[];
  const { main } = running.find(({ sandboxID }) => sandboxID === id) ?? {};
  assert.equal('status' in main!, false);
  second.type('end\r');
  assert.deepEqual(await secondEnded, [6, null]);
  first.close();
  second.close();

  assert.deepEqual(await followerEnded, [0, null]);
  assert.match(followed, /^begun\r\n.*got one\r\n.*got two\r\n.*got end\r\n$/s);
  assert.equal(await output('logs', 'main'), followed);
  assert.equal(await output('logs', '-n', '1', 'main'), 'got end\r\n');
  assert.match(
    await output('ps', '-a'),
    new RegExp(`\n${id} +debian +sh -c .* exited \\(6\\) +main\n`),
  );
  assert.equal((await output('ps')).includes(id), false);
  assert.match((await pando(['attach', 'main']))[2], /^SANDBOX_EXITED: .* status 6 /);
  assert.match((await pando(['exec', 'main', 'true']))[2], /^SANDBOX_EXITED: /);
  assert.match((await pando(['attach', 'one']))[2], /^MAIN_COMMAND_NONE: /);
  await output('rm', 'main');
});

test('a main command without a terminal has streams, gets signals, and may leave nothing', async () => {
  const script =
    'trap "echo caught; exit 4" TERM; echo out; echo err >&2; read a; echo got $a; sleep 1234';
  await output('run', '-d', '-i', '--rm', '--name', 'piped', 'debian', '--', 'sh', '-c', script);
  const child = spawn(process.execPath, [MAIN, 'attach', 'piped'], { env });
  let heard = '';
  child.stdout.on('data', (piece) => {
    heard += piece;
  });
  const ended = once(child, 'close');
  child.stdin.write('one\n');
  while (!heard.includes('got one\n')) await once(child.stdout, 'data');
  assert.deepEqual((await pando(['logs', 'piped'])).slice(1), ['out\ngot one\n', 'err\n']);
  child.kill('SIGTERM');
  assert.deepEqual(await ended, [4, null]);
  assert.match(heard, /caught\n$/);
  while ((await output('ps', '-a')).includes('piped')) await sleep(50);
  const missing = ['run', '-d', '--name', 'missing', 'debian', '--', 'no-such-program'];
  assert.match((await pando(missing))[2], /GUEST_ENOENT/);
  assert.equal((await output('ps', '-a')).includes('missing'), false);
  assert.match((await pando(['run', '-d', '-t', 'debian']))[2], /^OPTION_CONFLICT: /);
  assert.match((await pando(['run', '-t', 'debian', '--', 'sh']))[2], /^OPTION_CONFLICT: /);
});

test('files and folders are copied both ways; links and devices are not', async () => {
  const from = join(folder, 'from');
  mkdirSync(join(from, 'inner'), { recursive: true });
  const bytes = Buffer.alloc(300_000, 'bytes ');
  writeFileSync(join(from, 'inner', 'file'), bytes);
  symlinkSync('/etc/passwd', join(from, 'link'));
  await output('cp', from, 'one:/tmp');
  const seen = await output('exec', 'one', 'find', '/tmp/from', '-mindepth', '1');
  assert.deepEqual(seen.split('\n').sort(), ['', '/tmp/from/inner', '/tmp/from/inner/file']);
  await output('exec', 'one', 'ln', '-s', '/etc/passwd', '/tmp/from/guest-link');
  await output('exec', 'one', 'mkfifo', '/tmp/from/fifo');
  const to = join(folder, 'to');
  await output('cp', 'one:/tmp/from', to);
  assert.deepEqual(readdirSync(to), ['inner']);
  assert.ok(bytes.equals(readFileSync(join(to, 'inner', 'file'))));
  await output('cp', 'one:/tmp/from/inner/file', to);
  assert.ok(existsSync(join(to, 'file')), 'into a folder that is there');
  assert.match((await pando(['cp', from, to]))[2], /^USAGE: /);
  assert.match((await pando(['cp', 'one:/no/such', to]))[2], /^COPY_FAILED: /);
});

test('the server ends when nobody wants it any more', async () => {
  const ids = (await output('ps', '-q')).split('\n').filter(Boolean);
  assert.equal(ids.length, 2);
  await output('stop', ...ids);
  const sockets = () => readdirSync(join(folder, 'pando')).filter((name) => name.endsWith('.sock'));
  while (sockets().length > 0) await sleep(50);
});
