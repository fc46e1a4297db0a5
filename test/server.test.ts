/** The npm package e2b, unmodified, against `pando serve`. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { get, type IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { after, before, test } from 'node:test';
import {
  CommandExitError,
  FileNotFoundError,
  GitAuthError,
  NotFoundError,
  Sandbox,
  TimeoutError,
} from 'e2b';
import { type Served, serve, TIMEOUTS } from './testing/served.js';

const KEY = 'e2b_0123456789';
let served: Served;
let server: ChildProcess;
let url: URL;
let sandbox: Sandbox;

before(async () => {
  served = await serve(['--api-key', KEY]);
  ({ server, url } = served);
  process.env.E2B_API_KEY = KEY;
  sandbox = await Sandbox.create({ ...TIMEOUTS, metadata: { 'a b': 'c&d=' }, envs: { X: 'y' } });
});

after(() => served.kill());

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

/** A command of three processes, each of which sleeps for so many seconds. */
const sleepers = (seconds: number) =>
  `sleep ${seconds} & sleep ${seconds} & sleep ${seconds}; true`;

async function gone(seconds: number): Promise<void> {
  const left = `ps -o args | grep -c '^sleep ${seconds}' || true`;
  while ((await sandbox.commands.run(left)).stdout !== '0\n');
}

test('a process group ends by its time, by kill, and with a client that says so', async () => {
  await assert.rejects(sandbox.commands.run(sleepers(1001), { timeoutMs: 2000 }), TimeoutError);
  await gone(1001);

  const killed = await sandbox.commands.run(sleepers(1002), { background: true, timeoutMs: 0 });
  assert.equal(await killed.kill(), true);
  await gone(1002);

  const envs = { PANDO_END_WITH_CLIENT: '1' };
  const stop = new AbortController();
  const options = { envs, timeoutMs: 0, signal: stop.signal };
  const aborted = await sandbox.commands.run(`env; ${sleepers(1003)}`, {
    ...options,
    background: true,
    onStdout: () => stop.abort(),
  });
  await assert.rejects(aborted.wait());
  assert.doesNotMatch(aborted.stdout, /PANDO_END/, 'it is not for the command');
  await gone(1003);

  const script = `
    import { Sandbox } from 'e2b';
    const sandbox = await Sandbox.connect('${sandbox.sandboxId}');
    const onStdout = () => process.kill(process.pid, 'SIGKILL');
    await sandbox.commands.run('echo; ${sleepers(1004)}', {
      envs: { PANDO_END_WITH_CLIENT: '1' }, timeoutMs: 0, onStdout,
    });`;
  const client = spawn(process.execPath, ['--input-type=module', '--eval', script]);
  assert.deepEqual(await once(client, 'exit'), [null, 'SIGKILL']);
  await gone(1004);
  // Of the shell the server hears when its turn to die has come.
  while ((await sandbox.commands.list()).length > 0);
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
  const user = { user: 'user' };
  await files.write('own/inner/file', 'text', user);
  await files.makeDir('folder', user);
  const owners = await sandbox.commands.run(
    'stat -c %u ~ own own/inner own/inner/file folder /home',
    {
      user: 'user',
    },
  );
  assert.equal(owners.stdout, '1000\n1000\n1000\n1000\n1000\n0\n');
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

/** An HTTP server that keeps the head of a request, then answers. */
const HELLO = `#!/bin/sh
end=$(printf '\\r')
while IFS= read -r line; do
  printf '%s\\n' "$line" >> /tmp/request
  [ "$line" = "$end" ] && break
done
printf 'HTTP/1.1 200 OK\\r\\nContent-Length: 5\\r\\n\\r\\nhello'`;

test('a server in the sandbox, by its host name', async () => {
  await sandbox.files.write('/tmp/hello', HELLO);
  const serve = 'chmod +x /tmp/hello; nc -l -p 8080 -e /tmp/hello';
  const serving = await sandbox.commands.run(serve, { background: true, timeoutMs: 0 });
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

/** An RFC 6455 server: it shakes hands, then sends back all that comes. */
const WEBSOCKET = `#!/bin/sh
while IFS= read -r line; do
  line=$(printf %s "$line" | tr -d '\\r')
  case $line in Sec-WebSocket-Key:*) key=\${line#*: };; '') break;; esac
done
accept=$(printf %s258EAFA5-E914-47DA-95CA-C5AB0DC85B11 "$key" | sha1sum | xxd -r -p | base64)
printf 'HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\n'
printf 'Sec-WebSocket-Accept: %s\\r\\n\\r\\n' "$accept"
exec cat`;

test('WebSocket to a server in the sandbox, by host name and by header', async () => {
  await sandbox.files.write('/tmp/websocket', WEBSOCKET);
  const serve = 'chmod +x /tmp/websocket; nc -ll -p 8090 -e /tmp/websocket';
  const serving = await sandbox.commands.run(serve, { background: true, timeoutMs: 0 });
  const open = async (own: Record<string, string>): Promise<[IncomingMessage, Duplex]> => {
    const headers = {
      ...own,
      connection: 'Upgrade',
      upgrade: 'websocket',
      'Sec-WebSocket-Version': '13',
      // The key and its answer of RFC 6455, section 1.3.
      'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==',
    };
    const request = get({ host: url.hostname, port: url.port, headers });
    const upgraded = new Promise<[IncomingMessage, Duplex] | undefined>((resolve, reject) => {
      request.once('upgrade', (response, socket) => resolve([response, socket]));
      // Until the server in the guest listens.
      request.once('response', (response) =>
        response.resume().once('close', () => resolve(undefined)),
      );
      request.once('error', reject);
    });
    return (await upgraded) ?? open(own);
  };
  const masked = Buffer.from('818537fa213d7f9f4d5158', 'hex');
  const ways = [
    { host: sandbox.getHost(8090) },
    { 'e2b-sandbox-id': sandbox.sandboxId, 'e2b-sandbox-port': '8090' },
  ];
  for (const way of ways) {
    const [response, socket] = await open(way);
    assert.equal(response.headers['sec-websocket-accept'], 's3pPLMBiTxaQ9kYGzzhZRbK+xOo=');
    socket.end(masked);
    const pieces: Buffer[] = [];
    for await (const piece of socket) pieces.push(piece as Buffer);
    assert.ok(Buffer.concat(pieces).equals(masked));
  }
  await serving.kill();
});

/** Says what it was called with, as git says it for `status` and `branch`. */
const GIT = `#!/bin/sh
echo "$GIT_TERMINAL_PROMPT $PWD: $*" >> /tmp/git-calls
case "$*" in
  *status*) printf '## main...origin/main [ahead 2]\\n M changed\\n?? new one\\n';;
  *branch*) printf 'main\\t*\\nother\\t\\n';;
  *clone*) echo 'fatal: Authentication failed' >&2; exit 128;;
esac`;

test('the commands of git, by a program of that name: the image has none', async () => {
  await sandbox.files.write('/usr/local/bin/git', GIT);
  await sandbox.commands.run('chmod +x /usr/local/bin/git; : > /tmp/git-calls');
  const { git } = sandbox;
  await git.init('/tmp/a repository', { initialBranch: 'main' });
  await git.add('/tmp/a repository', { files: ["it's"] });
  await git.commit('/tmp/a repository', 'One $message', { authorName: 'A B', authorEmail: 'a@b' });
  const { currentBranch, ahead, fileStatus } = await git.status('/tmp/a repository');
  assert.deepEqual([currentBranch, ahead], ['main', 2]);
  assert.deepEqual(
    fileStatus.map(({ name, status }) => [name, status]),
    [
      ['changed', 'modified'],
      ['new one', 'untracked'],
    ],
  );
  assert.deepEqual(await git.branches('/tmp/a repository'), {
    branches: ['main', 'other'],
    currentBranch: 'main',
  });
  await assert.rejects(git.clone('https://example.invalid/a.git'), GitAuthError);
  const calls = (await sandbox.files.read('/tmp/git-calls')).trim().split('\n');
  assert.deepEqual(calls, [
    '0 /root: init --initial-branch main /tmp/a repository',
    "0 /root: -C /tmp/a repository add -- it's",
    '0 /root: -C /tmp/a repository -c user.name=A B -c user.email=a@b commit -m One $message',
    '0 /root: -C /tmp/a repository status --porcelain=1 -b',
    '0 /root: -C /tmp/a repository branch --format=%(refname:short)\t%(HEAD)',
    '0 /root: clone https://example.invalid/a.git',
  ]);
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
  const forks = await sandbox.fork({ ...TIMEOUTS, count: 5 });
  assert.equal(forks.length, 5);
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
  assert.equal((await again.commands.run('echo $X')).stdout, 'y\n', 'its environment goes along');
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

test('a sandbox whose guest ends: its commands fail at once, and it is not found any more', async () => {
  for (const script of ['poweroff -f', 'echo c > /proc/sysrq-trigger']) {
    const ending = await Sandbox.create(TIMEOUTS);
    const silent = await ending.commands.run('sleep 1000', { background: true, timeoutMs: 0 });
    const ended = [silent.wait(), ending.commands.run(script, { timeoutMs: 0 })];
    await Promise.all(ended.map((command) => assert.rejects(command, TimeoutError)));
    await assert.rejects(ending.getInfo(), NotFoundError);
    await assert.rejects(ending.files.read('/etc/passwd'));
    assert.equal(await ending.isRunning(), false);
    assert.equal(await ending.kill(), false);
  }
  const figures = await fetch(`${url.origin}/metrics`, { headers: { 'x-api-key': KEY } });
  assert.match(await figures.text(), /^pando_sandboxes_ended_total\{cause="crashed"\} 2$/m);
});

test('logs: the lines of the console', async () => {
  const logged = await Sandbox.create(TIMEOUTS);
  // In one piece, and on lines of their own: a shell prompts on the console, too.
  await logged.commands.run("printf '\\none line\\nanother\\n' > /dev/console");
  const ask = async (path: string): Promise<unknown> =>
    (await fetch(`${url.origin}${path}`, { headers: { 'x-api-key': KEY } })).json();
  const entries = async (query: string) => {
    const path = `/v2/sandboxes/${logged.sandboxId}/logs?${query}`;
    return ((await ask(path)) as { logs: { message: string }[] }).logs;
  };
  while ((await entries('search=another')).length === 0);
  const backward = await entries('direction=backward&level=info');
  const at = (line: string) => backward.findIndex(({ message }) => message === line);
  assert.ok(at('another') >= 0 && at('another') < at('one line'));
  assert.equal((await entries('limit=1')).length, 1);
  assert.deepEqual(await entries('level=error'), []);
  const path = `/sandboxes/${logged.sandboxId}/logs`;
  const { logs } = (await ask(path)) as { logs: { line: string }[] };
  assert.ok(logs.some(({ line }) => line === 'one line'));
  const start = Date.parse('2999-01-01');
  assert.deepEqual(await ask(`${path}?start=${start}`), { logs: [], logEntries: [] });
  await logged.kill();
});

test('keys; figures; a graceful stop', async () => {
  await assert.rejects(Sandbox.create({ apiKey: 'e2b_ffffffffff' }), /API key/);
  const figures = await fetch(`${url.origin}/metrics`, { headers: { 'x-api-key': KEY } });
  assert.match(await figures.text(), /^pando_sandboxes_created_total 10$/m);
  assert.equal((await fetch(`${url.origin}/health`)).status, 200);
  const short = await Sandbox.create({ ...TIMEOUTS, timeoutMs: 1000 });
  while (await short.isRunning()) await fetch(`${url.origin}/health`);
  await Sandbox.create(TIMEOUTS);
  server.kill('SIGTERM');
  assert.deepEqual(await once(server, 'exit'), [143, null]);
});
