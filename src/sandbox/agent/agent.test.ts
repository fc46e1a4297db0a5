import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { PandoError } from '../../error.js';
import type { ExecRequest } from './agent.js';
import type { AgentCommand } from './command.js';
import { encodeFrame, encodeRequest, FIELD, INPUT, REPLY, REQUEST } from './protocol.js';
import { HostAgent } from './testing/host-agent.js';

const host = new HostAgent();
const { agent, folder } = host;
after(() => host.close());

const coded = (code: string) => (error: unknown) =>
  error instanceof PandoError && error.code === code;

async function text(stream: Readable): Promise<string> {
  const pieces: Buffer[] = [];
  for await (const piece of stream) pieces.push(piece as Buffer);
  return Buffer.concat(pieces).toString();
}

async function run(request: ExecRequest): Promise<{ out: string; err: string; exit: unknown }> {
  const command = await agent.exec(request);
  const [out, err, exit] = await Promise.all([
    text(command.stdout),
    text(command.stderr),
    command.exited,
  ]);
  return { out, err, exit };
}

const shell = (script: string): ExecRequest => ({ argv: ['sh', '-c', script] });
const status = (exitCode: number) => ({ exitCode, signal: undefined });

/** Whether a process is there and no zombie. */
function alive(pid: number): boolean {
  try {
    return !readFileSync(`/proc/${pid}/stat`, 'latin1').includes(') Z ');
  } catch {
    return false;
  }
}

async function gone(pid: number): Promise<void> {
  while (alive(pid)) await sleep(5);
}

test('the agent says which protocol it speaks', async () => {
  assert.equal(await agent.ping(), 1);
});

test('a command has arguments, environment, folder, output, errors, status', async () => {
  const request = { argv: ['sh', '-c', 'pwd; echo "$A|$1"; echo no >&2; exit 7', 'sh', 'x y'] };
  const ran = await run({ ...request, env: { A: 'b=c' }, cwd: folder });
  assert.deepEqual(ran, { out: `${folder}\nb=c|x y\n`, err: 'no\n', exit: status(7) });
});

test("what a command leaves behind is the agent's, which reaps it", async () => {
  const { out } = await run(shell('sleep 1000 > /dev/null 2>&1 & echo $!'));
  const path = `/proc/${Number(out)}/stat`;
  const [, parent] = /\) . (\d+) /.exec(readFileSync(path, 'latin1')) ?? [];
  assert.equal(Number(parent), host.process.pid);
  process.kill(Number(out), 'SIGKILL');
  while (existsSync(path)) await sleep(5);
});

test('a command that cannot be started says why', async () => {
  await assert.rejects(agent.exec({ argv: ['no-such-program'] }), coded('GUEST_ENOENT'));
  await assert.rejects(agent.exec({ argv: ['true'], cwd: '/no/such' }), coded('GUEST_ENOENT'));
  await assert.rejects(
    agent.exec({ argv: ['true'], user: 'nobody-of-that-name' }),
    coded('GUEST_ENOENT'),
  );
  await assert.rejects(agent.exec({ argv: ['/etc/passwd'] }), coded('GUEST_EACCES'));
  await assert.rejects(agent.exec({ argv: [] }), coded('GUEST_EINVAL'));
});

test('signals end the whole process group, and are told', async () => {
  const command = await agent.exec(shell('sleep 1000 & echo $!; wait'));
  const [line] = (await once(command.stdout, 'data')) as [Buffer];
  command.kill('SIGTERM');
  assert.deepEqual(await command.exited, { exitCode: undefined, signal: 'SIGTERM' });
  await gone(Number(line.toString()));
  assert.throws(() => command.kill('SIGNOPE' as NodeJS.Signals), coded('SIGNAL_UNKNOWN'));
});

test('a closed command takes its process group along', async () => {
  const command = await agent.exec(shell('sleep 1000 & echo $!; wait'));
  const [line] = (await once(command.stdout, 'data')) as [Buffer];
  command.close();
  await assert.rejects(command.exited, coded('COMMAND_CLOSED'));
  await gone(Number(line.toString()));
  await gone(command.pid);
});

test('input comes back, and its end ends the command', async () => {
  const command = await agent.exec({ argv: ['cat'], stdin: true });
  command.stdin.end('one\ntwo\n');
  assert.equal(await text(command.stdout), 'one\ntwo\n');
  assert.deepEqual(await command.exited, status(0));
  assert.equal((await run({ argv: ['cat'] })).out, '', 'without input it reads nothing');
});

test('a command that reads no input does not hold its end back', async () => {
  const command = await agent.exec({ ...shell('exit 3'), stdin: true });
  command.stdin.write(Buffer.alloc(1 << 20));
  assert.deepEqual(await command.exited, status(3));
});

test('64 MB through cat are the same, with other commands beside it', async () => {
  const piece = randomBytes(1 << 20);
  const sent = createHash('sha256');
  const got = createHash('sha256');
  const command = await agent.exec({ argv: ['cat'], stdin: true });
  const feed = async (): Promise<void> => {
    for (let i = 0; i < 64; i++) {
      sent.update(piece);
      if (!command.stdin.write(piece)) await once(command.stdin, 'drain');
    }
    command.stdin.end();
  };
  const drain = async (): Promise<number> => {
    let length = 0;
    for await (const bytes of command.stdout) {
      got.update(bytes as Buffer);
      length += (bytes as Buffer).length;
    }
    return length;
  };
  const others = Array.from({ length: 20 }, (_, i) => run(shell(`echo ${i}`)));
  const [, length, ...ran] = await Promise.all([feed(), drain(), ...others]);
  assert.equal(length, 64 << 20);
  assert.equal(got.digest('hex'), sent.digest('hex'));
  assert.deepEqual(
    ran.map(({ out }) => Number(out)),
    [...Array(20).keys()],
  );
});

test('a slow reader stops its own command and nobody else, also between output and errors', async () => {
  const command: AgentCommand = await agent.exec(shell('yes | head -c 10000000; echo done >&2'));
  assert.equal((await run(shell('echo fast'))).out, 'fast\n');
  const blocked = await agent.exec(shell('yes >&2 & sleep 0.1; echo out; kill $!'));
  const output = text(blocked.stdout);
  assert.equal(await output, 'out\n', 'errors that nobody reads hold no output back');
  assert.equal((await text(command.stdout)).length, 10_000_000);
  assert.equal(await text(command.stderr), 'done\n');
  blocked.stderr.resume();
  assert.deepEqual(await blocked.exited, status(0));
});

test('the end of a command does not wait for what it leaves in the background', async () => {
  const { out, exit } = await run(shell('sleep 1000 & echo $!'));
  assert.deepEqual(exit, status(0));
  assert.ok(alive(Number(out)));
  process.kill(Number(out));
});

test('a terminal has a size that changes, and Ctrl-C', async () => {
  const command = await agent.exec({
    ...shell('trap "stty size; exit 5" INT; stty size; while :; do sleep 0.02; done'),
    stdin: true,
    pty: { rows: 33, columns: 101 },
  });
  let seen = '';
  command.stdout.on('data', (bytes: Buffer) => {
    seen += bytes.toString();
  });
  while (!seen.includes('33 101')) await once(command.stdout, 'data');
  command.resize(50, 120);
  command.stdin.write('\x03');
  assert.deepEqual(await command.exited, status(5));
  assert.match(seen, /50 120/);
});

test('what a command has printed on a terminal by its end arrives, however late the agent looks', async () => {
  const go = join(folder, 'go');
  const script = `until [ -e ${go} ]; do sleep 0.01; done; seq 1000`;
  const command = await agent.exec({ ...shell(script), pty: { rows: 24, columns: 80 } });
  const state = (): string => {
    const stat = readFileSync(`/proc/${command.pid}/stat`, 'latin1');
    return stat.charAt(stat.lastIndexOf(')') + 2);
  };
  // Of an end it hears first, then of output.
  const { out: other } = await run(shell('sleep 1000 > /dev/null 2>&1 & echo $!'));
  host.process.kill('SIGSTOP');
  process.kill(Number(other), 'SIGKILL');
  writeFileSync(go, '');
  while (state() !== 'Z') await sleep(5);
  host.process.kill('SIGCONT');
  const numbers = (await text(command.stdout)).split('\r\n');
  assert.deepEqual([numbers.length, numbers.at(-2)], [1001, '1000']);
  assert.deepEqual(await command.exited, status(0));
});

test('files: written, read in part, listed, renamed, removed', async () => {
  const root = join(folder, 'files');
  await agent.mkdir(join(root, 'a/b'), { recursive: true });
  await agent.mkdir(join(root, 'a/b'), { recursive: true });
  await assert.rejects(agent.mkdir(join(root, 'a')), coded('GUEST_EEXIST'));
  const bytes = randomBytes(300_000);
  await agent.write(join(root, 'a/b/c'), bytes, { mode: 0o640 });
  await agent.write(join(root, 'deep/er/d'), 'text', { parents: true });
  await agent.write(join(root, 'deep/er/d'), Readable.from([' and', ' more']), { append: true });
  await assert.rejects(
    agent.write(join(root, 'a/b/c'), '', { exclusive: true }),
    coded('GUEST_EEXIST'),
  );
  assert.equal(await text(await agent.read(join(root, 'deep/er/d'))), 'text and more');
  const got: Buffer[] = [];
  for await (const piece of await agent.read(join(root, 'a/b/c'))) got.push(piece as Buffer);
  assert.ok(Buffer.concat(got).equals(bytes));
  assert.equal(
    await text(await agent.read(join(root, 'deep/er/d'), { offset: 5, length: 3 })),
    'and',
  );
  symlinkSync('b/c', join(root, 'a/link'));
  const stat = await agent.stat(join(root, 'a/link'));
  assert.deepEqual([stat.kind, stat.size, stat.mode], ['file', 300_000, 0o640]);
  const link = await agent.stat(join(root, 'a/link'), false);
  assert.deepEqual([link.kind, link.target], ['symlink', 'b/c']);
  await agent.chmod(join(root, 'a/b/c'), 0o600);
  assert.equal((await agent.stat(join(root, 'a/b/c'))).mode, 0o600);
  await agent.symlink('nowhere', join(root, 'dangling'));
  await agent.rename(join(root, 'deep'), join(root, 'moved'));
  const paths: string[] = [];
  for await (const entry of agent.list(root, 10)) paths.push(`${entry.kind} ${entry.path}`);
  assert.deepEqual(paths.sort(), [
    'directory a',
    'directory a/b',
    'directory moved',
    'directory moved/er',
    'file a/b/c',
    'file moved/er/d',
    'symlink a/link',
    'symlink dangling',
  ]);
  const top: string[] = [];
  for await (const entry of agent.list(root)) top.push(entry.path);
  assert.deepEqual(top.sort(), ['a', 'dangling', 'moved']);
  await assert.rejects(agent.remove(join(root, 'a')), coded('GUEST_ENOTEMPTY'));
  await agent.remove(join(root, 'dangling'));
  await agent.remove(root, true);
  await assert.rejects(agent.stat(root), coded('GUEST_ENOENT'));
  await assert.rejects(agent.read(folder), coded('GUEST_EISDIR'));
});

test('removing a tree does not follow links out of it', async () => {
  const kept = join(folder, 'kept');
  const tree = join(folder, 'tree');
  mkdirSync(kept);
  mkdirSync(tree);
  writeFileSync(join(kept, 'file'), 'kept');
  symlinkSync(kept, join(tree, 'link'));
  await agent.remove(tree, true);
  assert.equal(readFileSync(join(kept, 'file'), 'utf8'), 'kept');
});

test('20,000 files are listed', async () => {
  const many = join(folder, 'many');
  mkdirSync(many);
  for (let i = 0; i < 20_000; i++) writeFileSync(join(many, `file-${i}`), '');
  let count = 0;
  for await (const { kind } of agent.list(many)) count += kind === 'file' ? 1 : 0;
  assert.equal(count, 20_000);
});

test('a watched folder tells what happens, in folders made later, too', async () => {
  const root = join(folder, 'watched');
  mkdirSync(root);
  const events = await agent.watch(root, true);
  const seen: string[] = [];
  writeFileSync(join(root, 'one'), '');
  mkdirSync(join(root, 'sub'));
  const until = async (name: string): Promise<void> => {
    for (;;) {
      const { value, done } = await events.next();
      if (done === true) throw new Error('the events have ended');
      seen.push(value.path);
      if (value.path === name) return;
    }
  };
  // The agent watches the new folder before it tells of it.
  await until('sub');
  writeFileSync(join(root, 'sub/two'), '');
  await until('sub/two');
  assert.ok(seen.includes('one'));
  await events.return();
});

test('a connection to a port of the guest goes both ways, with half-close', async () => {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    const hash = createHash('sha256');
    socket.on('data', (bytes) => hash.update(bytes));
    socket.on('end', () => socket.end(hash.digest('hex')));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  const socket = await agent.forward(port);
  const bytes = randomBytes(5_000_000);
  socket.end(bytes);
  assert.equal(await text(socket), createHash('sha256').update(bytes).digest('hex'));
  server.close();
  await once(server, 'close');
  await assert.rejects(agent.forward(port), coded('GUEST_ECONNREFUSED'));
});

test('a host that breaks the protocol is told so, and the agent lives on', async () => {
  const open = async (...frames: readonly Buffer[]): Promise<Buffer> => {
    const socket = await host.connect();
    for (const frame of frames) socket.write(frame);
    const pieces: Buffer[] = [];
    for await (const piece of socket) pieces.push(piece as Buffer);
    return Buffer.concat(pieces);
  };
  const answers = [
    await open(Buffer.alloc(8, 0xff)),
    await open(encodeFrame(0x7f)),
    await open(encodeFrame(REQUEST.EXEC, Buffer.alloc(3))),
    await open(encodeFrame(REQUEST.STAT)),
    await open(encodeRequest(0x7f, [])),
    await open(encodeRequest(REQUEST.WATCH, [[FIELD.PATH, folder]]), encodeFrame(INPUT.DATA)),
  ];
  for (const answer of answers) assert.ok(answer.includes(REPLY.ERROR));
  for (let i = 0; i < 300; i++) {
    const socket = await host.connect();
    socket.on('error', () => undefined);
    const noise = randomBytes(64);
    if (i % 2 === 0) noise.writeUInt32LE(noise.readUInt8(0), 0);
    if (i % 2 === 0) noise.fill(0, 5, 8);
    socket.end(noise);
    await once(socket.resume(), 'close');
  }
  assert.equal(await agent.ping(), 1);
});

test('a connection beyond the limit of descriptors is closed, and the agent lives on', async () => {
  const limited = new HostAgent(24);
  const sockets: Socket[] = [];
  const closed: Promise<unknown>[] = [];
  try {
    for (let i = 0; i < 40; i++) {
      const socket = await limited.connect();
      socket.on('error', () => undefined);
      sockets.push(socket);
      closed.push(once(socket.resume(), 'close'));
    }
    await Promise.any(closed);
    for (const socket of sockets) socket.destroy();
    // The agent hears of the ends in its own time.
    let version: number | undefined;
    while (version === undefined) version = await limited.agent.ping().catch(() => undefined);
    assert.equal(version, 1);
  } finally {
    for (const socket of sockets) socket.destroy();
    await limited.close();
  }
});
