/** A server and a client that are killed in the middle of things: nothing of them runs on, and the store is whole. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
} from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Sandbox } from 'e2b';
import { cacheDirectory, storeDirectory } from '#dist/image/directories.js';
import { SnapshotStore } from '#dist/snapshot/snapshot-store.js';
import { debianImage } from './testing/boot.js';
import { type Served, serve, TIMEOUTS } from './testing/served.js';

/** A store of this file's own; the environment of whatever its servers start names it. */
mkdirSync(cacheDirectory(), { recursive: true });
const folder = mkdtempSync(join(cacheDirectory(), 'test-killed-'));
const snapshots = join(folder, 'snapshots');
const temporary = join(snapshots, 'temporary');
let served: Served;

/** Further names of files of another folder. */
function linkFiles(part: string, isWanted: (name: string) => boolean = () => true): void {
  const [from, to] = [join(storeDirectory(), part), join(folder, part)];
  mkdirSync(to, { recursive: true });
  for (const name of entries(from).filter(isWanted)) {
    try {
      linkSync(join(from, name), join(to, name));
    } catch (error) {
      // Other tests use that store, and may have removed it.
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
  }
}

before(async () => {
  await debianImage();
  // With the template that other tests have made, if they have.
  for (const part of ['objects', 'manifests', join('snapshots', 'objects')]) linkFiles(part);
  linkFiles('snapshots', (name) => name.startsWith('template-'));
  process.env.PANDO_STORE = folder;
  process.env.E2B_API_KEY = 'e2b_0123456789';
  served = await serve([]);
});
after(() => {
  served.kill();
  rmSync(folder, { recursive: true });
});

function entries(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}

/** Processes, but for this one, that have been started with the store of this file. */
function processes(): string[] {
  return readdirSync('/proc').filter((name) => {
    if (!/^\d+$/.test(name) || Number(name) === process.pid) return false;
    try {
      return readFileSync(`/proc/${name}/environ`, 'latin1').includes(folder);
    } catch {
      return false;
    }
  });
}

async function killServer(): Promise<void> {
  served.server.kill('SIGKILL');
  await once(served.server, 'exit');
  while (processes().length > 0) await sleep(20);
}

/** What the event loop of a thread has open (libuv), and a program that a thread loads. */
const OF_THREADS = /^(?:anon_inode:\[(?:eventpoll|eventfd|io_uring)\]|pipe:.*|.*\.c?js)$/;

/** Descriptors of the server, but those of its threads: the translator may start after a sandbox's first command. */
function descriptors(): number {
  const opened = `/proc/${served.server.pid}/fd`;
  const links = readdirSync(opened).flatMap((fd) => {
    try {
      return [readlinkSync(join(opened, fd))];
    } catch {
      return []; // It has been closed.
    }
  });
  return links.filter((link) => !OF_THREADS.test(link)).length;
}

/** What a snapshot names is there, with the bytes of its name; false for one that is not there. */
async function isWhole(name: string): Promise<boolean> {
  const store = new SnapshotStore(folder);
  if (!(await store.names()).includes(name)) return false;
  const { kernel, initrd, pages, state } = await store.manifest(name);
  for (const object of [kernel, initrd, pages, state])
    if (object !== null) await store.locateWhole(object, name);
  return true;
}

test('clients that are killed in the middle of an upload, a download and a command', async () => {
  const sandbox = await Sandbox.create(TIMEOUTS);
  await sandbox.commands.run('truncate -s 1G /root/down');
  const before = descriptors();
  const script = `
    import { Sandbox } from 'e2b';
    const sandbox = await Sandbox.connect('${sandbox.sandboxId}');
    const body = async function* () { for (;;) yield new Uint8Array(65536); };
    sandbox.files.write('/root/up', ReadableStream.from(body()));
    const down = await sandbox.files.read('/root/down', { format: 'stream', requestTimeoutMs: 0 });
    await down.getReader().read();
    const envs = { PANDO_END_WITH_CLIENT: '1' };
    const onStdout = () => process.kill(process.pid, 'SIGKILL');
    const waiting = 'until [ -s /root/up ]; do :; done; echo; sleep 1005 & sleep 1005; true';
    await sandbox.commands.run(waiting, { envs, timeoutMs: 0, onStdout });`;
  const client = spawn(process.execPath, ['--input-type=module', '--eval', script], {
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  assert.deepEqual(await once(client, 'exit'), [null, 'SIGKILL']);
  while (descriptors() > before) await sleep(20);
  const left = "ps -o args | grep -c '^sleep 1005' || true";
  while ((await sandbox.commands.run(left)).stdout !== '0\n');
  // What the server had of it by then may still be on its way.
  const size = async () => (await sandbox.commands.run('stat -c %s /root/up')).stdout;
  let last = '';
  for (let now = await size(); now !== last; now = await size()) {
    last = now;
    await sleep(500);
  }
  await sandbox.kill();
});

test('a server that is killed with sandboxes, while it writes a snapshot', async () => {
  const [first, second] = [await Sandbox.create(TIMEOUTS), await Sandbox.create(TIMEOUTS)];
  await first.files.write('/root/kept', 'kept');
  const kept = await first.createSnapshot({ ...TIMEOUTS, name: 'kept' });
  const running = await second.commands.run('sleep 1000', { background: true, timeoutMs: 0 });
  const writing = first.createSnapshot({ ...TIMEOUTS, name: 'lost' });
  let written = false;
  writing.then(
    () => {
      written = true;
    },
    () => undefined,
  );
  const lost = [assert.rejects(writing), assert.rejects(running.wait())];
  while (entries(temporary).length === 0) {
    assert.ok(!written, 'the snapshot was there before its temporary file was seen');
    await sleep(1);
  }
  await killServer();
  await Promise.all(lost);
  assert.equal(await isWhole(kept.snapshotId), true);
  assert.equal(await isWhole(kept.snapshotId.replace(/kept$/, 'lost')), false);

  served = await serve([]);
  assert.deepEqual(entries(temporary), []);
  assert.deepEqual(await Sandbox.list().nextItems(), []);
  const listed = await Sandbox.listSnapshots().nextItems();
  assert.deepEqual(
    listed.map(({ snapshotId }) => snapshotId),
    [kept.snapshotId],
  );
  const again = await Sandbox.create(kept.snapshotId, TIMEOUTS);
  assert.equal(await again.files.read('/root/kept'), 'kept');
  assert.equal((await (await Sandbox.create(TIMEOUTS)).commands.run('echo one')).stdout, 'one\n');
  await killServer();
});
