import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { mkdtemp, open, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { STALE_AFTER_MS } from './atomic-file.js';
import type { KernelManifest, ObjectReference } from './manifest.js';
import { ImageStore, sha256 } from './store.js';

const STORE_MODULE = new URL('./store.js', import.meta.url).href;

function manifest(name: string, kernel: ObjectReference, initrd?: ObjectReference): KernelManifest {
  return {
    format: 1,
    name,
    created: '2026-01-01T00:00:00.000Z',
    kernel,
    ...(initrd === undefined ? {} : { initrd }),
    commandLine: 'console=ttyS0',
    provenance: {
      kind: 'import',
      kernelFile: '/boot/vmlinux',
      kernelFileSha256: kernel.sha256,
      packages: [],
    },
  };
}

/**
 * A process that stores `size` bytes of 7 as soon as its standard input says so.
 * @param dies whether it kills itself between two writes, when the first has arrived
 */
function filler(folder: string, size: number, dies = false) {
  const script = `
    import { readdirSync, statSync } from 'node:fs';
    import { ImageStore } from ${JSON.stringify(STORE_MODULE)};
    const temporary = ${JSON.stringify(join(folder, 'temporary'))};
    function dieHalfWay() {
      let names = [];
      try { names = readdirSync(temporary); } catch {}
      if (names.some((name) => statSync(temporary + '/' + name).size > 0)) process.kill(process.pid, 'SIGKILL');
      setImmediate(dieHalfWay);
    }
    console.log('ready');
    process.stdin.once('data', async () => {
      if (${dies}) dieHalfWay();
      const reference = await new ImageStore(${JSON.stringify(folder)}).put(new Uint8Array(${size}).fill(7));
      console.log(JSON.stringify(reference));
      process.exit(0);
    });`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (piece: string) => {
    output += piece;
  });
  const ready = new Promise<void>((resolve) => child.stdout.once('data', () => resolve()));
  const ended = new Promise<{ signal: string | null; status: number | null; output: string }>(
    (resolve) => {
      child.on('close', (status, signal) => resolve({ status, signal, output }));
    },
  );
  return { child, ready, ended };
}

describe('image store', () => {
  let folder: string;
  let store: ImageStore;

  beforeEach(async () => {
    folder = join(await mkdtemp(join(tmpdir(), 'pando-store-')), 'images');
    store = new ImageStore(folder);
  });
  afterEach(() => rm(join(folder, '..'), { recursive: true, force: true }));

  it('names an object by its hash and makes it read-only', async () => {
    const reference = await store.put(new TextEncoder().encode('abc'));
    // FIPS 180-4's example for "abc".
    assert.equal(
      reference.sha256,
      'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad',
    );
    assert.equal(reference.size, 3);
    const path = store.objectPath(reference);
    assert.equal(readFileSync(path, 'utf8'), 'abc');
    assert.equal(statSync(path).mode & 0o7777, 0o444);
    assert.deepEqual(await readdir(join(folder, 'temporary')), []);
  });

  it('is filled with the same object by two processes at once', async () => {
    const size = 24 * 1024 * 1024;
    const fillers = [filler(folder, size), filler(folder, size)];
    await Promise.all(fillers.map(({ ready }) => ready));
    for (const { child } of fillers) child.stdin.write('go\n');
    const expected = { sha256: sha256(new Uint8Array(size).fill(7)), size };
    for (const { status, output } of await Promise.all(fillers.map(({ ended }) => ended))) {
      assert.equal(status, 0);
      assert.deepEqual(JSON.parse(output.replace('ready\n', '')), expected);
    }
    assert.deepEqual(await readdir(join(folder, 'objects')), [expected.sha256]);
    assert.deepEqual(await readdir(join(folder, 'temporary')), []);
    assert.equal(sha256(readFileSync(store.objectPath(expected))), expected.sha256);
  });

  it('survives a process that is killed while it writes', async () => {
    const size = 64 * 1024 * 1024;
    const { child, ready, ended } = filler(folder, size, true);
    await ready;
    child.stdin.write('go\n');
    assert.equal((await ended).signal, 'SIGKILL');
    const temporary = join(folder, 'temporary');
    const [partial] = await readdir(temporary);
    assert.ok(partial !== undefined);
    assert.ok(statSync(join(temporary, partial)).size < size, 'killed half-way');
    assert.deepEqual(await readdir(join(folder, 'objects')), []);

    // What may be another process's work stays while it is young; what a dead one left goes at the next write.
    const [, namespace, word] = partial.split('-');
    const foreign = join(temporary, `${process.pid}-1${namespace}-${word}`);
    writeFileSync(foreign, '');
    await store.put(new Uint8Array([1]));
    assert.deepEqual(await readdir(temporary), [basename(foreign)]);
    const old = new Date(Date.now() - STALE_AFTER_MS - 1000);
    utimesSync(foreign, old, old);
    await store.put(new Uint8Array([2]));
    assert.deepEqual(await readdir(temporary), []);
  });

  it('detects a damaged object, by size always and by hash when asked', async () => {
    const bytes = randomBytes(10_000);
    const kernel = await store.put(bytes);
    await store.commit(manifest('one', kernel));
    const path = store.objectPath(kernel);
    chmodSync(path, 0o644);
    const flipped = Buffer.from(bytes);
    flipped[5000]! ^= 1;
    writeFileSync(path, flipped);
    assert.equal((await store.open('one')).kernelPath, path);
    await assert.rejects(store.open('one', { verify: true }), {
      code: 'OBJECT_DAMAGED',
      remedy: /pando image import one/,
    });
    writeFileSync(path, flipped.subarray(1));
    await assert.rejects(store.open('one'), { code: 'OBJECT_DAMAGED' });
    await rm(path);
    await assert.rejects(store.open('one'), { code: 'OBJECT_MISSING' });
  });

  it('replaces a damaged object and leaves its readers what they have', async () => {
    const bytes = randomBytes(4096);
    const kernel = await store.put(bytes);
    const path = store.objectPath(kernel);
    chmodSync(path, 0o644);
    writeFileSync(path, Buffer.alloc(4096, 1));
    const reader = await open(path, 'r');
    try {
      await store.put(bytes);
      assert.deepEqual(readFileSync(path), bytes);
      assert.deepEqual((await reader.read(Buffer.alloc(2), 0, 2, 0)).buffer, Buffer.alloc(2, 1));
    } finally {
      await reader.close();
    }
  });

  it('removes an image with the objects that no other needs', async () => {
    const shared = await store.put(randomBytes(100));
    const own = await store.put(randomBytes(200));
    const image = await store.commit(manifest('one', shared, own));
    await store.commit(manifest('two', shared));
    const running = await open(image.initrdPath!, 'r');
    try {
      assert.deepEqual((await store.remove('one')).objects, [own]);
      assert.deepEqual(await store.names(), ['two']);
      assert.equal(existsSync(store.objectPath(own)), false);
      assert.equal((await running.stat()).size, 200);
    } finally {
      await running.close();
    }
    await store.open('two', { verify: true });
    assert.deepEqual((await store.remove('two')).objects, [shared]);
    await assert.rejects(store.remove('two'), { code: 'IMAGE_NOT_FOUND' });
  });

  it('drops what a replaced manifest referred to, and old objects that none refers to', async () => {
    const first = await store.put(randomBytes(10));
    const second = await store.put(randomBytes(10));
    await store.commit(manifest('one', first));
    await store.commit(manifest('one', second));
    assert.deepEqual(await readdir(join(folder, 'objects')), [second.sha256]);

    const young = await store.put(randomBytes(10));
    const orphan = await store.put(randomBytes(10));
    const old = new Date(Date.now() - STALE_AFTER_MS - 1000);
    utimesSync(store.objectPath(orphan), old, old);
    assert.deepEqual((await store.remove('one')).objects, [second, orphan]);
    assert.deepEqual(await readdir(join(folder, 'objects')), [young.sha256]);
  });

  it('refuses manifests that are not ones, yet removes them', async () => {
    const kernel = await store.put(randomBytes(10));
    await store.commit(manifest('one', kernel));
    const path = join(folder, 'manifests', 'one.json');
    const good = JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>;
    const cases: readonly [string, RegExp][] = [
      ['{', /the whole is not JSON/],
      ['[]', /the whole is not an object/],
      [JSON.stringify({ ...good, format: 0 }), /format is not 1 or 2/],
      [JSON.stringify({ ...good, kernel: undefined }), /kernel is not an object/],
      [
        JSON.stringify({ ...good, kernel: { sha256: '../../etc/passwd', size: 1 } }),
        /kernel\.sha256/,
      ],
      [JSON.stringify({ ...good, kernel: { ...kernel, size: -1 } }), /kernel\.size/],
      [JSON.stringify({ ...good, provenance: { kind: 'other' } }), /provenance\.kind/],
    ];
    for (const [json, message] of cases) {
      writeFileSync(path, json);
      await assert.rejects(store.open('one'), { code: 'MANIFEST_INVALID', message });
    }
    await store.remove('one');
    assert.deepEqual(await store.names(), []);
  });

  it('keeps all that a manifest of a newer version refers to', async () => {
    const bytes = [1, 2, 3].map((byte) => Uint8Array.of(byte));
    const [kernel, disk, stray] = await Promise.all(bytes.map((byte) => store.put(byte)));
    await store.commit(manifest('one', kernel!));
    const path = join(folder, 'manifests', 'one.json');
    const newer = {
      format: 3,
      parts: { vmlinux: kernel!.sha256 },
      disks: [`sha256:${disk!.sha256}`],
    };
    writeFileSync(path, JSON.stringify(newer));
    mkdirSync(join(folder, 'profiles'));
    writeFileSync(join(folder, 'profiles', kernel!.sha256), 'hot');
    const old = new Date(Date.now() - 2 * STALE_AFTER_MS);
    for (const object of [kernel!, disk!, stray!]) utimesSync(store.objectPath(object), old, old);
    const { objects, profiles } = await store.prune();
    assert.deepEqual(objects, [stray]);
    assert.deepEqual(profiles, []);
    await assert.rejects(store.open('one'), { code: 'MANIFEST_TOO_NEW', remedy: /version/ });
    const removed = (await store.remove('one')).objects.map(({ sha256: hash }) => hash);
    assert.deepEqual(removed.sort(), [kernel!.sha256, disk!.sha256].sort());
  });

  it('refuses names that would leave its folder', async () => {
    for (const name of ['', '..', '../x', 'a/b', 'A', '-a', 'x'.repeat(65)]) {
      await assert.rejects(store.open(name), { code: 'IMAGE_NAME_INVALID' });
    }
    await assert.rejects(store.open('none'), { code: 'IMAGE_NOT_FOUND' });
  });

  it('says which variable moves a store that cannot be made', async () => {
    await store.put(new Uint8Array(1));
    const inTheWay = store.objectPath({ sha256: sha256(new Uint8Array(1)), size: 1 });
    const blocked = new ImageStore(join(inTheWay, 'images'));
    await assert.rejects(blocked.put(new Uint8Array(1)), {
      code: 'DIRECTORY_NOT_WRITABLE',
      remedy: /PANDO_STORE/,
    });
  });

  it("removes a kernel's profile with the kernel, and prunes those that nobody needs", async () => {
    const profiles = join(folder, 'profiles');
    const kernel = await store.put(new TextEncoder().encode('kernel'));
    await store.commit(manifest('one', kernel));
    await store.commit(manifest('two', kernel));
    mkdirSync(profiles);
    const old = new Date(Date.now() - 2 * STALE_AFTER_MS);
    const names = [kernel.sha256, `${kernel.sha256}.1`, `${kernel.sha256}.2`, 'f'.repeat(64)];
    for (const name of names) writeFileSync(join(profiles, name), 'hot');
    utimesSync(join(profiles, `${kernel.sha256}.1`), old, old);
    const { profiles: pruned } = await store.prune();
    assert.deepEqual(pruned.map(({ name }) => name).sort(), [names[1], names[3]].sort());
    assert.deepEqual((await store.remove('one')).profiles, [], 'the other image has that kernel');
    assert.equal((await store.remove('two')).profiles.length, 2);
    assert.deepEqual(await readdir(profiles), []);
  });
});
