import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { PandoError } from '../error.js';
import { Agent } from './agent/agent.js';
import { HostAgent } from './agent/testing/host-agent.js';
import { Exec, type ExecOptions } from './exec.js';
import { SandboxFiles } from './files.js';

const host = new HostAgent();
const files = new SandboxFiles(host.agent);
after(() => host.close());

const exec = (command: string | readonly string[], options?: ExecOptions): Exec =>
  new Exec(host.agent, command, options);
const coded = (code: string) => (error: unknown) =>
  error instanceof PandoError && error.code === code;

async function gone(pid: number): Promise<void> {
  const alive = (): boolean => {
    try {
      return !readFileSync(`/proc/${pid}/stat`, 'latin1').includes(') Z ');
    } catch {
      return false;
    }
  };
  while (alive()) await sleep(5);
}

test('awaited, a command gives what it printed and how it ended', async () => {
  assert.deepEqual(await exec('echo out; echo err >&2; exit 4'), {
    exitCode: 4,
    signal: undefined,
    stdout: 'out\n',
    stderr: 'err\n',
  });
  const { stdout } = await exec(['echo', '$HOME']);
  assert.equal(stdout, '$HOME\n', 'argv goes through no shell');
  const killed = await exec('kill -9 $$');
  assert.deepEqual([killed.exitCode, killed.signal], [undefined, 'SIGKILL']);
});

test('options reach the command', async () => {
  const { stdout } = await exec('pwd; echo $A; cat', { cwd: '/', env: { A: 'b' }, stdin: 'in' });
  assert.equal(stdout, '/\nb\nin');
  const streamed = await exec('cat', { stdin: Readable.from(['one', 'two']) });
  assert.equal(streamed.stdout, 'onetwo');
  const terminal = await exec('stty size', { pty: { rows: 9, columns: 31 }, stdin: 'pipe' });
  assert.equal(terminal.stdout, '9 31\r\n');
});

test('a source of input is read as far as the command takes it, and let go when that ends', async () => {
  const piece = Buffer.alloc(65536, 'input');
  let given = 0;
  let taken = 0;
  let ahead = 0;
  let left = false;
  async function* source(pieces: number): AsyncGenerator<Buffer> {
    try {
      for (let i = 0; i < pieces; i++) {
        given += piece.length;
        ahead = Math.max(ahead, given - taken);
        yield piece;
      }
    } finally {
      left = true;
    }
  }
  const command = exec(['cat'], { stdin: source(512) });
  const input = await command.stdin;
  let listeners = 0;
  for await (const { data } of command) {
    taken += data.length;
    listeners = Math.max(listeners, input.listenerCount('close'), input.listenerCount('error'));
  }
  assert.deepEqual([given, taken], [512 * 65536, 512 * 65536]);
  assert.ok(ahead < 2 ** 21, `${ahead} bytes were under way`);
  assert.ok(listeners < 5, `${listeners} listeners wait for the input`);

  left = false;
  const { stdout } = await exec(['head', '-c', '5'], { stdin: source(Number.POSITIVE_INFINITY) });
  assert.equal(stdout, 'input');
  while (!left) await sleep(5);
});

test('a failure is thrown only when asked for, one to start always', async () => {
  await assert.rejects(
    async () => exec('echo why >&2; exit 3', { check: true }),
    (error: unknown) => {
      assert.ok(error instanceof PandoError);
      assert.deepEqual(
        [error.code, error.message],
        ['EXEC_FAILED', 'echo why >&2; exit 3: status 3: why'],
      );
      return true;
    },
  );
  await assert.rejects(async () => exec(['no-such-program']), coded('GUEST_ENOENT'));
});

test('iterated, output comes as it is printed, and the loop can be left', async () => {
  const seen: string[] = [];
  const speaking = exec('echo one; read go; echo two >&2; read go; echo three', { stdin: 'pipe' });
  const input = await speaking.stdin;
  for await (const { stream, data } of speaking) {
    seen.push(`${stream} ${data.toString().trim()}`);
    input.write('go\n');
  }
  assert.deepEqual(seen, ['stdout one', 'stderr two', 'stdout three']);
  const endless = exec('yes');
  const pid = await endless.pid;
  for await (const { data } of endless) if (data.length > 0) break;
  await gone(pid);
});

test('a command that is lost while its guest shuts down is told how that ended', async () => {
  const host = new HostAgent();
  let down: () => void = () => undefined;
  let error: PandoError | undefined;
  const ended = new Promise<void>((resolve) => {
    down = resolve;
  });
  const guest = {
    get error() {
      return error;
    },
    ended,
  };
  const running = new Exec(new Agent(() => host.connect(), guest), 'echo said; exec sleep 1000');
  const out = await running.stdout;
  assert.equal(String((await once(out, 'data'))[0]), 'said\n');
  await host.close();
  error = new PandoError('SANDBOX_ENDED', 'the guest powered off');
  down();
  await assert.rejects(running.exited, error);
});

test('a guest that does not answer holds nobody longer than was said', async () => {
  const silent = new Agent(() => new Promise(() => undefined));
  await assert.rejects(
    async () => new Exec(silent, 'true', { timeout: 10 }),
    coded('EXEC_TIMEOUT'),
  );
  const controller = new AbortController();
  const aborted = new Exec(silent, 'true', { signal: controller.signal });
  const rejected = assert.rejects(async () => aborted, { message: 'enough' });
  controller.abort(new Error('enough'));
  await rejected;
});

test('abort, timeout and kill end the process group', async (t) => {
  const controller = new AbortController();
  const aborted = exec('sleep 1000 & wait', { signal: controller.signal });
  const first = await aborted.pid;
  controller.abort(new Error('enough'));
  await assert.rejects(async () => aborted, { message: 'enough' });
  await gone(first);

  t.mock.timers.enable({ apis: ['setTimeout'] });
  const slow = exec('sleep 1000 & wait', { timeout: 50 });
  const second = await slow.pid;
  t.mock.timers.tick(50);
  t.mock.timers.reset();
  await assert.rejects(async () => slow, coded('EXEC_TIMEOUT'));
  await gone(second);

  const killed = exec('sleep 1000 & wait');
  await killed.kill('SIGINT');
  assert.equal((await killed).signal, 'SIGINT');
  await assert.rejects(async () => exec('true', { signal: AbortSignal.abort() }), {
    name: 'AbortError',
  });
});

test('files as in node:fs/promises', async () => {
  const root = join(host.folder, 'root');
  await files.writeFile(join(root, 'a/b.txt'), 'text');
  await files.appendFile(join(root, 'a/b.txt'), ' and more');
  assert.equal(await files.readFile(join(root, 'a/b.txt'), 'utf8'), 'text and more');
  assert.equal((await files.readFile(join(root, 'a/b.txt'))).length, 13);
  assert.equal((await files.stat(join(root, 'a/b.txt'))).size, 13);
  assert.equal(await files.exists(join(root, 'a/c')), false);
  assert.equal(await files.exists(join(root, 'a/b.txt/c')), false);
  await files.mkdir(join(root, 'x/y'), { recursive: true });
  assert.deepEqual(
    (await files.readdir(root, { depth: 5 })).map(({ path }) => path),
    ['a', 'a/b.txt', 'x', 'x/y'],
  );
  await files.rename(join(root, 'x'), join(root, 'z'));
  await files.symlink('a', join(root, 'link'));
  assert.equal((await files.lstat(join(root, 'link'))).kind, 'symlink');
  await files.chmod(join(root, 'a/b.txt'), 0o600);
  assert.equal((await files.stat(join(root, 'a/b.txt'))).mode, 0o600);
  const part: Buffer[] = [];
  for await (const piece of await files.createReadStream(join(root, 'a/b.txt'), { offset: 5 }))
    part.push(piece as Buffer);
  assert.equal(Buffer.concat(part).toString(), 'and more');
  await files.rm(root, { recursive: true });
  await assert.rejects(files.stat(root), coded('GUEST_ENOENT'));
});

test('a watch tells what happens until it is aborted', async () => {
  const root = join(host.folder, 'watch');
  await files.mkdir(root);
  const controller = new AbortController();
  const changes = await files.watch(root, { signal: controller.signal });
  await files.writeFile(join(root, 'one'), '1');
  assert.deepEqual((await changes.next()).value, { type: 'create', path: 'one' });
  assert.deepEqual((await changes.next()).value, { type: 'write', path: 'one' });
  await files.rm(join(root, 'one'));
  assert.deepEqual((await changes.next()).value, { type: 'remove', path: 'one' });
  const rest = changes.next();
  controller.abort();
  assert.equal((await rest).done, true);
});
