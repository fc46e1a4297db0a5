/** Snapshots whose files are damaged, whose writer is killed, whose disk is full; many clones at once. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { GuestCode } from '../accel/conformance/testing/guest.js';
import { PandoError } from '../error.js';
import { Vm } from '../vm/vm.js';
import { formatSnapshot, type SnapshotManifest } from './manifest.js';
import { openSnapshot } from './open-snapshot.js';
import { SnapshotStore } from './snapshot-store.js';

const LOOP = fileURLToPath(new URL('./testing/capture-loop.js', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'pando-robust-'));
const store = join(folder, 'store');
const snapshots = join(store, 'snapshots');
const kernel = join(folder, 'guest.elf');
process.env.PANDO_STORE = store;

before(() => {
  // Fills memory with what no image has, waits for a byte, says so, and powers off.
  const code = new GuestCode().stack();
  code.mov('edi', 0x400000).mov('ecx', 0x100000).mov('eax', 0xa5a5a5a5).emit('f3ab');
  code.print('ready\n').label('poll').emit('66bafd03 ec a801').j('z', 'poll').emit('66baf803 ec');
  writeFileSync(kernel, code.print('goes on\n').powerOff().image());
});
after(() => rmSync(folder, { recursive: true }));

let seed = 11;
function random(limit: number): number {
  seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
  return Math.floor((seed / 2 ** 32) * limit);
}

async function readyGuest(): Promise<Vm> {
  const vm = await Vm.create({ kernel, memory: 64 << 20, accelerator: 'wasm' });
  const ready = new Promise<void>((resolve) => vm.onConsole(() => resolve()));
  vm.start();
  await ready;
  return vm;
}

/** Lets a copy go on to its end. */
async function finish(vm: Vm): Promise<void> {
  let text = '';
  vm.onConsole((bytes) => {
    text += Buffer.from(bytes).toString('latin1');
  });
  vm.start();
  await vm.writeConsole('x');
  assert.deepEqual(await vm.exited, { kind: 'poweroff' });
  await vm.close();
  assert.match(text, /goes on\n$/);
}

async function codeOf(promise: Promise<Vm>): Promise<string> {
  const error: unknown = await promise.then(
    (vm) => vm.close(),
    (cause: unknown) => cause,
  );
  assert.ok(error instanceof PandoError, String(error));
  return error.code;
}

/** Cuts and flips of each of the three files. */
const DAMAGES = 34;

test('a bit that flips, or an end that is cut off, in any file is one coded error', async () => {
  const vm = await readyGuest();
  const manifest = await vm.snapshot({ name: 'flips' });
  await vm.close();
  const { pages, state } = manifest;
  const objects = [pages, state].map(({ sha256 }) => join(snapshots, 'objects', sha256));
  for (const path of [join(snapshots, 'flips.json'), ...objects]) {
    const good = readFileSync(path);
    chmodSync(path, 0o600);
    for (let step = 0; step < DAMAGES; step += 1) {
      const at = random(good.length);
      const bytes = Buffer.from(good);
      bytes[at] = bytes[at]! ^ (1 << random(8));
      writeFileSync(path, bytes);
      assert.match(await codeOf(Vm.restore({ snapshot: 'flips' })), /^SNAPSHOT_/, `bit of ${at}`);
      writeFileSync(path, good);
      truncateSync(path, at);
      assert.match(await codeOf(Vm.restore({ snapshot: 'flips' })), /^SNAPSHOT_/, `end at ${at}`);
    }
    writeFileSync(path, good);
  }
  await finish(await Vm.restore({ snapshot: 'flips' }));
});

/** Every leaf of a value, as the keys that lead to it. */
function leaves(value: unknown, path: readonly string[] = []): (readonly string[])[] {
  if (typeof value !== 'object' || value === null) return [path];
  return Object.entries(value).flatMap(([key, part]) => leaves(part, [...path, key]));
}

/** A copy of a value with another one at a leaf. */
function changed(value: unknown, [key, ...rest]: readonly string[], leaf: unknown): unknown {
  if (key === undefined) return leaf;
  const copy = structuredClone(value) as Record<string, unknown>;
  copy[key] = changed(copy[key], rest, leaf);
  return copy;
}

/** What a field may be given that is not what stood there, nor of its kind. */
const WRONG = [undefined, null, -1, 2.5, 'x', {}];

test('a manifest with any one field changed is one coded error, or another machine', async () => {
  const vm = await readyGuest();
  const name = 'fields';
  const manifest = await vm.snapshot({ name });
  await vm.close();
  const path = join(snapshots, `${name}.json`);
  const good = readFileSync(path);
  rmSync(path);
  // One run tells of all of them.
  const { runs, ...fields } = manifest;
  const places = [...leaves(fields), ...leaves({ runs: runs.slice(0, 1) })];
  assert.ok(places.length > 20);
  for (const place of places) {
    const wrong = changed(manifest, place, WRONG[random(WRONG.length)]) as SnapshotManifest;
    writeFileSync(path, formatSnapshot(wrong));
    const error: unknown = await Vm.restore({ snapshot: name }).then(
      (made) => made.close(),
      (cause: unknown) => cause,
    );
    if (error === undefined) continue;
    assert.ok(error instanceof PandoError, `${place.join('.')}: ${String(error)}`);
  }
  const older = { ...manifest, format: 1 } as unknown as SnapshotManifest;
  writeFileSync(path, formatSnapshot(older));
  assert.equal(await codeOf(Vm.restore({ snapshot: name })), 'SNAPSHOT_FORMAT');
  writeFileSync(path, good);
  const kept = join(snapshots, 'objects', manifest.kernel.sha256);
  renameSync(kept, `${kept}.away`);
  assert.equal(await codeOf(Vm.restore({ snapshot: name })), 'SNAPSHOT_OBJECT_MISSING');
  renameSync(`${kept}.away`, kept);
  await finish(await Vm.restore({ snapshot: name }));
});

test('64 clones at once go on', async () => {
  const vm = await readyGuest();
  const results = await vm.clone(64);
  const clones = results.map((result) => {
    if (result.status === 'rejected') throw result.reason;
    return result.value;
  });
  await Promise.all(clones.map(finish));
  await finish(vm);
});

test('a disk that is full is one coded error, and leaves nothing', async () => {
  const vm = await readyGuest();
  // What the guest has of its own is in memory from now on, and is only written to the store.
  const [clone] = await vm.clone();
  if (clone?.status === 'fulfilled') await clone.value.close();
  const limit = (soft: string): void => {
    const set = spawnSync('prlimit', [`--pid=${process.pid}`, `--fsize=${soft}:`]);
    assert.equal(set.status, 0, String(set.stderr));
  };
  const objects = readdirSync(join(snapshots, 'objects')).sort();
  limit(String(1 << 20));
  try {
    await assert.rejects(
      vm.snapshot({ name: 'full' }),
      (error: unknown) => error instanceof PandoError && error.code === 'STORE_WRITE_FAILED',
    );
  } finally {
    limit('unlimited');
  }
  assert.deepEqual(readdirSync(join(snapshots, 'temporary')), []);
  assert.deepEqual(readdirSync(join(snapshots, 'objects')).sort(), objects);
  await assert.rejects(new SnapshotStore().manifest('full'));
  await vm.snapshot({ name: 'full' });
  await vm.close();
  await finish(await Vm.restore({ snapshot: 'full' }));
});

/** Makes snapshots until it is killed. @returns the names of those that it said were made */
async function killedCapture(prefix: string): Promise<string[]> {
  const child = spawn(process.execPath, [LOOP, kernel, prefix], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let printed = '';
  child.stdout.setEncoding('latin1').on('data', (text: string) => {
    printed += text;
  });
  const ended = once(child, 'close');
  await once(child.stdout, 'data');
  await sleep(random(200));
  child.kill('SIGKILL');
  await ended;
  return printed.split('\n').slice(0, -1);
}

const WAVES = 10;

test('captures that are killed, three at a time, leave a store that is whole', async () => {
  const snapshotStore = new SnapshotStore();
  for (let wave = 0; wave < WAVES; wave += 1) {
    const prefixes = [0, 1, 2].map((member) => `killed${wave}-${member}`);
    const made = (await Promise.all(prefixes.map(killedCapture))).flat();
    const names = await snapshotStore.names();
    for (const name of made) assert.ok(names.includes(name), name);
    for (const name of names) (await openSnapshot(name)).close();
    // Removing is right, too, whatever a killed one has left; one stays.
    for (const name of names) if (name !== 'killed0-0-0') await snapshotStore.remove(name);
    assert.deepEqual(await snapshotStore.names(), ['killed0-0-0']);
  }
  await snapshotStore.prepare();
  assert.deepEqual(readdirSync(join(snapshots, 'temporary')), []);
  await finish(await Vm.restore({ snapshot: 'killed0-0-0' }));
});
