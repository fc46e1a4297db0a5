/** The npm package e2b, unmodified, against `pando serve`. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { get, type IncomingMessage } from 'node:http';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { CommandExitError, FileNotFoundError, Sandbox, TimeoutError } from 'e2b';
import { debianImage } from './testing/boot.js';

const MAIN = fileURLToPath(import.meta.resolve('#dist/cli/main.js'));
const KEY = 'e2b_0123456789';
/** Long enough for a machine with other work. */
const TIMEOUTS = { requestTimeoutMs: 300_000, timeoutMs: 600_000 };

let server: ChildProcess;
let url: URL;
let sandbox: Sandbox;

before(async () => {
  await debianImage();
  server = spawn(process.execPath, [MAIN, 'serve', '--listen', '127.0.0.1:0', '--api-key', KEY], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  for await (const line of createInterface({ input: server.stdout! })) {
    const [, address] = /^pando serve: (\S+)$/.exec(line) ?? [];
    if (address === undefined) continue;
    url = new URL(address);
    break;
  }
  process.env.E2B_API_URL = url.origin;
  process.env.E2B_SANDBOX_URL = url.origin;
  process.env.E2B_API_KEY = KEY;
  sandbox = await Sandbox.create({ ...TIMEOUTS, metadata: { 'a b': 'c&d=' }, envs: { X: 'y' } });
});

after(() => {
  if (server.exitCode === null) server.kill('SIGKILL');
});

test('commands: output, status, environment, folder, user', async () => {
  const run = await sandbox.commands.run('echo $X $Z; pwd; id -u', { envs: { Z: 'z' } });
  assert.deepEqual([run.stdout, run.exitCode], ['y z\n/root\n0\n', 0]);
  const elsewhere = await sandbox.commands.run('pwd; id -un', { cwd: '/tmp', user: 'user' });
  assert.equal(elsewhere.stdout, '/tmp\nuser\n');
  await assert.rejects(sandbox.commands.run('echo why >&2; exit 3'), (error: unknown) => {
    assert.ok(error instanceof CommandExitError);
    assert.deepEqual([error.exitCode, error.stderr], [3, 'why\n']);
    return true;
  });
});

test('a command in the background: input, list, another client that listens, the end', async () => {
  const pieces: string[] = [];
  const options = { background: true, stdin: true, timeoutMs: 0 } as const;
  const command = await sandbox.commands.run('while read line; do echo got $line; done', options);
  const listed = await sandbox.commands.list();
  assert.deepEqual(
    listed.map(({ pid }) => pid),
    [command.pid],
  );
  let heard = (): void => undefined;
  const echo = new Promise<void>((resolve) => {
    heard = resolve;
  });
  const second = await sandbox.commands.connect(command.pid, {
    timeoutMs: 0,
    onStdout: (text) => {
      pieces.push(text);
      heard();
    },
  });
  await command.disconnect();
  await sandbox.commands.sendStdin(command.pid, 'one\n');
  await echo;
  await second.sendStdin('two\n');
  await second.closeStdin();
  await second.wait();
  assert.equal(pieces.join(''), 'got one\ngot two\n');
  assert.equal(await sandbox.commands.kill(command.pid), false, 'it has ended');
  const sleeping = await sandbox.commands.run('sleep 1000', { background: true });
  assert.equal(await sleeping.kill(), true);
  await assert.rejects(sleeping.wait(), CommandExitError);
});

test('a command that takes too long is killed', async () => {
  await assert.rejects(sandbox.commands.run('sleep 1000', { timeoutMs: 2000 }), TimeoutError);
  // The limit of a process is the server's own; its client has gone before.
  while ((await sandbox.commands.list()).length > 0) await sandbox.commands.run('true');
  const { stdout } = await sandbox.commands.run('ps | grep -c "[s]leep 1000" || true');
  assert.equal(stdout, '0\n');
});

test('a terminal', async () => {
  let output = '';
  let sized = (): void => undefined;
  const first = new Promise<void>((resolve) => {
    sized = resolve;
  });
  const terminal = await sandbox.pty.create({
    cols: 91,
    rows: 17,
    timeoutMs: 0,
    onData: (bytes) => {
      output += Buffer.from(bytes).toString();
      if (output.includes('17 91')) sized();
    },
  });
  const type = (text: string) => sandbox.pty.sendInput(terminal.pid, Buffer.from(text));
  await type('stty size\n');
  await first;
  await sandbox.pty.resize(terminal.pid, { cols: 33, rows: 44 });
  await type('stty size; exit 0\n');
  await terminal.wait();
  assert.match(output, /44 33/);
});

test('files: write, read, list, rename, remove, watch', async () => {
  const { files } = sandbox;
  const written = await files.write([
    { path: '/tmp/x/one', data: 'first' },
    { path: '/tmp/x/two', data: new Blob(['second']) },
  ]);
  assert.deepEqual(
    written.map(({ path, name, type }) => [path, name, type]),
    [
      ['/tmp/x/one', 'one', 'file'],
      ['/tmp/x/two', 'two', 'file'],
    ],
  );
  const bytes = Buffer.alloc(3_000_000, 'some bytes ');
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
  const writer = writable.getWriter();
  const sent = writer.write(bytes).then(() => writer.close());
  await files.write('large', readable);
  await sent;
  assert.ok(bytes.equals(await files.read('large', { format: 'bytes' })));
  await files.write('zipped', 'text', { gzip: true });
  assert.equal(await files.read('/root/zipped'), 'text');
  const pieces: Uint8Array[] = [];
  for await (const piece of await files.read('/tmp/x/one', { format: 'stream' }))
    pieces.push(piece);
  assert.equal(Buffer.concat(pieces).toString(), 'first');
  assert.equal(await (await files.read('/tmp/x/two', { format: 'blob' })).text(), 'second');
  await assert.rejects(files.read('/no/such/file'), FileNotFoundError);

  await sandbox.commands.run('ln -s one /tmp/x/link');
  assert.deepEqual(
    (await files.list('/tmp', { depth: 2 }))
      .filter(({ path }) => path.startsWith('/tmp/x'))
      .map(({ path, type, permissions, owner, symlinkTarget }) =>
        [path, type, permissions, owner, symlinkTarget].join(' '),
      ),
    [
      '/tmp/x dir drwxr-xr-x root ',
      '/tmp/x/link file lrwxrwxrwx root /tmp/x/one',
      '/tmp/x/one file -rw-r--r-- root ',
      '/tmp/x/two file -rw-r--r-- root ',
    ],
  );
  assert.equal((await files.getInfo('/tmp/x/two')).size, 6);
  assert.equal(await files.makeDir('/tmp/x/sub'), true);
  assert.equal(await files.makeDir('/tmp/x/sub'), false);

  const events: string[] = [];
  let enough = (): void => undefined;
  const seen = new Promise<void>((resolve) => {
    enough = resolve;
  });
  const watch = await files.watchDir('/tmp/x/sub', ({ type, name }) => {
    events.push(`${type} ${name}`);
    if (type === 'remove') enough();
  });
  await files.rename('/tmp/x/one', '/tmp/x/sub/moved');
  await files.remove('/tmp/x/sub/moved');
  await seen;
  await watch.stop();
  assert.deepEqual(events, ['rename moved', 'remove moved']);
  assert.equal(await files.exists('/tmp/x/one'), false);

  const signed = await fetch(await sandbox.downloadUrl('/tmp/x/two'));
  assert.equal(await signed.text(), 'second');
  assert.equal((await fetch(`${url.origin}/files?path=/tmp/x/two`)).status, 401);
});

test('a server in the sandbox, by its host name', async () => {
  const script = `printf 'HTTP/1.1 200 OK\\r\\nContent-Length: 5\\r\\n\\r\\nhello' > /tmp/answer
    nc -l -p 8080 < /tmp/answer > /tmp/request`;
  const serving = await sandbox.commands.run(script, { background: true, timeoutMs: 0 });
  const ask = async (): Promise<IncomingMessage> => {
    const headers = { host: sandbox.getHost(8080), 'x-api-key': KEY, 'x-own': 'kept' };
    const request = get({ host: url.hostname, port: url.port, path: '/path?a=b', headers });
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    return response;
  };
  let response = await ask();
  while (response.statusCode !== 200) {
    response.resume();
    await once(response, 'close');
    response = await ask();
  }
  let body = '';
  for await (const piece of response) body += String(piece);
  assert.equal(body, 'hello');
  await serving.kill().catch(() => false);
  const request = await sandbox.files.read('/tmp/request');
  assert.match(request, /^GET \/path\?a=b HTTP\/1\.1\r\n/);
  assert.match(request, /x-own: kept/i);
  assert.doesNotMatch(request, new RegExp(KEY), 'a key is not for the guest');
});

test('listing, pausing, copying, writing down, ending', async () => {
  const found = Sandbox.list({ query: { metadata: { 'a b': 'c&d=' }, state: ['running'] } });
  assert.deepEqual(
    (await found.nextItems()).map(({ sandboxId }) => sandboxId),
    [sandbox.sandboxId],
  );
  assert.equal(found.hasNext, false);
  assert.deepEqual(await Sandbox.list({ query: { metadata: { a: 'x' } } }).nextItems(), []);

  const counting = await sandbox.commands.run('cat', { background: true, stdin: true });
  assert.equal(await sandbox.pause(), true);
  assert.equal(await sandbox.pause(), false, 'it is paused already');
  assert.equal((await sandbox.getInfo()).state, 'paused');
  assert.equal(await sandbox.isRunning(), false);
  await Sandbox.connect(sandbox.sandboxId, TIMEOUTS);
  await counting.sendStdin('still here');
  await counting.closeStdin();
  assert.equal((await counting.wait()).stdout, 'still here');

  await sandbox.files.write('/root/before', 'copied');
  const forks = await sandbox.fork({ ...TIMEOUTS, count: 2 });
  const [snapshot] = await Promise.all([
    sandbox.createSnapshot({ ...TIMEOUTS, name: 'one' }),
    ...forks.map(async (fork) => {
      if (fork instanceof Error) throw fork;
      assert.equal(await fork.files.read('/root/before'), 'copied');
      assert.equal(await fork.kill(), true);
    }),
  ]);
  const again = await Sandbox.create(snapshot.snapshotId, TIMEOUTS);
  assert.equal(await again.files.read('/root/before'), 'copied');
  const page = Sandbox.list({ limit: 1, order: 'asc' });
  const pages = [await page.nextItems(), await page.nextItems()];
  assert.deepEqual(
    pages.flat().map(({ sandboxId }) => sandboxId),
    [sandbox.sandboxId, again.sandboxId],
  );
  assert.equal(page.hasNext, false);
  await again.kill();
  assert.equal(await Sandbox.deleteSnapshot(snapshot.snapshotId), true);
  assert.equal(await Sandbox.deleteSnapshot(snapshot.snapshotId), false);

  const [metrics] = await sandbox.getMetrics();
  assert.ok(metrics !== undefined && metrics.memTotal > 400e6 && metrics.memUsed > 0);
  const running = await sandbox.commands.run('sleep 1000', { background: true });
  assert.equal(await sandbox.kill(), true);
  await assert.rejects(running.wait());
  assert.equal(await sandbox.kill(), false);
  assert.equal(await sandbox.isRunning(), false);
});

test('keys; figures; a graceful stop', async () => {
  await assert.rejects(Sandbox.create({ apiKey: 'e2b_ffffffffff' }), /API key/);
  const figures = await fetch(`${url.origin}/metrics`, { headers: { 'x-api-key': KEY } });
  assert.match(await figures.text(), /^pando_sandboxes_created_total 4$/m);
  assert.equal((await fetch(`${url.origin}/health`)).status, 200);
  const short = await Sandbox.create({ ...TIMEOUTS, timeoutMs: 1000 });
  while (await short.isRunning()) await fetch(`${url.origin}/health`);
  await Sandbox.create(TIMEOUTS);
  server.kill('SIGTERM');
  assert.deepEqual(await once(server, 'exit'), [143, null]);
});
