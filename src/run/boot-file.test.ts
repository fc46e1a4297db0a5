import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  fstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { importImage } from '../image/import.js';
import { ImageStore, sha256 } from '../image/store.js';
import { buildElf, kernelLayout } from '../loader/testing/elf-builder.js';
import { GuestMemory } from '../memory/guest-memory.js';
import { placeImages } from '../memory/place-images.js';
import { type BootFile, openInitrdFile, openKernelFile } from './boot-file.js';
import { deduplicatedPath, profilePath } from './boot-gains.js';
import { openImages } from './images.js';

const MIB = 1 << 20;
const pass = (): void => undefined;
const openInitrd = (path: string): BootFile => openInitrdFile(path, false, pass);
const openFiles = (): number => readdirSync('/proc/self/fd').length;

/** A guest with the whole of a file mapped at 1 MiB. */
function map(file: BootFile): GuestMemory {
  const guest = GuestMemory.create({ ramBytes: 4 * MIB, controlBytes: 0 });
  const { size: fileLength } = file;
  const place = { source: 'initrd', part: 'initrd', guestAddress: MIB, zeroLength: 0 } as const;
  const plan = [{ ...place, fileOffset: 0, fileLength }];
  const { ranges } = placeImages(guest, plan, { initrd: file }, 'map');
  assert.equal(ranges[0]?.how, 'mapped');
  return guest;
}

const holds = (guest: GuestMemory, byte: number): boolean =>
  guest.bytes(MIB, MIB).every((value) => value === byte);

describe('a kernel or an initrd given by path', () => {
  let folder: string;
  let store: string;
  const before = process.env.PANDO_STORE;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'pando-boot-file-'));
    store = join(folder, 'store', 'images');
    process.env.PANDO_STORE = store;
  });
  afterEach(() => {
    if (before === undefined) delete process.env.PANDO_STORE;
    else process.env.PANDO_STORE = before;
    rmSync(folder, { recursive: true });
  });

  function write(name: string, byte: number, size = MIB): string {
    const path = join(folder, name);
    writeFileSync(path, new Uint8Array(size).fill(byte));
    return path;
  }

  /** A kernel whose segments are not on pages of the file. */
  function writeKernel(path: string): string {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, Buffer.concat([buildElf(kernelLayout(64))]));
    return path;
  }

  test('is kept in the store by its content, once, and found again', () => {
    const path = write('initrd', 3);
    const one = openInitrd(path);
    assert.equal(one.name, path);
    assert.deepEqual(one.content, { sha256: sha256(readFileSync(path)), store });
    assert.equal(one.path, join(store, 'files', one.content?.sha256 ?? ''));
    assert.equal(statSync(one.path).mode & 0o777, 0o444);
    chmodSync(join(store, 'temporary'), 0o555);
    const again = openInitrd(path);
    chmodSync(join(store, 'temporary'), 0o755);
    const other = openInitrd(write('the same elsewhere', 3));
    for (const file of [again, other]) {
      assert.equal(fstatSync(file.fd).ino, fstatSync(one.fd).ino);
      file.close();
    }
    one.close();
    assert.deepEqual(readdirSync(join(store, 'temporary')), []);
  });

  test('has the content of the image that is imported from it', async () => {
    const kernel = writeKernel(join(folder, 'vmlinux'));
    const initrd = write('initrd', 4);
    const byPath = openImages({ kernel, initrd, memory: 256 * MIB, immutable: false });
    const { manifest } = await importImage({ name: 'mine', kernel, initrd });
    assert.equal(byPath.kernel.content?.sha256, manifest.kernel.sha256);
    assert.equal(byPath.initrd?.content?.sha256, manifest.initrd?.sha256);
    byPath.close();
    const found = openImages({ kernel, initrd, memory: 256 * MIB, immutable: false });
    assert.equal(found.kernel.path, join(store, 'objects', manifest.kernel.sha256));
    found.close();
  });

  test('truncation and replacement of the file do not reach a VM', () => {
    const path = write('initrd', 3);
    const file = openInitrd(path);
    const guest = map(file);
    truncateSync(path, 0);
    assert.ok(holds(guest, 3));
    renameSync(write('other', 4), path);
    const restarted = map(file);
    assert.ok(holds(restarted, 3));
    rmSync(file.path);
    file.close();
    assert.ok(holds(guest, 3));
  });

  test('a file written again at once, with the same size, has another content', () => {
    const path = write('initrd', 6);
    const one = openInitrd(path);
    write('initrd', 7);
    const two = openInitrd(path);
    assert.ok(holds(map(one), 6));
    assert.ok(holds(map(two), 7));
    one.close();
    two.close();
  });

  test('what boots leave is kept in the store, and nothing beside the file', () => {
    const kernel = writeKernel(join(folder, 'mine', 'builds', 'vmlinux'));
    const machine = { accelerator: 'wasm', memory: 256 * MIB, cpus: 1, cpu: 'max' } as const;
    for (const immutable of [false, true]) {
      const file = openKernelFile(kernel, immutable, pass);
      const name = file.content?.sha256;
      assert.equal(profilePath(file), join(store, 'profiles', `${name}`));
      assert.equal(
        deduplicatedPath(file, machine),
        join(store, 'deduplicated', `${name}-wasm-1-max-256`),
      );
      assert.equal(file.path === kernel, immutable);
      file.close();
    }
    assert.deepEqual(readdirSync(join(folder, 'mine')), ['builds']);
    assert.deepEqual(readdirSync(join(folder, 'mine', 'builds')), ['vmlinux']);
  });

  test('beside an object of the store, whichever store, that object is not copied', async () => {
    const elsewhere = new ImageStore(join(folder, 'elsewhere'));
    const kernel = writeKernel(join(folder, 'vmlinux'));
    const image = await importImage({ name: 'mine', kernel, store: elsewhere });
    const initrd = write('initrd', 5);
    const images = openImages({
      kernel: image.kernelPath,
      initrd,
      memory: 256 * MIB,
      immutable: false,
    });
    assert.equal(images.kernel.path, image.kernelPath);
    assert.equal(fstatSync(images.kernel.fd).ino, statSync(image.kernelPath).ino);
    const content = { sha256: image.manifest.kernel.sha256, store: elsewhere.folder };
    assert.deepEqual(images.kernel.content, content);
    assert.deepEqual(readdirSync(join(store, 'files')), [images.initrd?.content?.sha256]);
    images.close();
  });

  test('without a store that can be written, VMs hold one sealed copy until the last closes', () => {
    writeFileSync(join(folder, 'store'), 'in the way');
    const path = write('initrd', 5);
    const before = openFiles();
    const [one, two] = [openInitrd(path), openInitrd(path)];
    assert.equal(one.fd, two.fd);
    assert.equal(one.content, undefined);
    assert.equal(openFiles(), before + 1);
    const script = `const s = require('fs').statSync(${JSON.stringify(one.path)}); console.log(s.ino, s.size)`;
    const seen = execFileSync(process.execPath, ['-e', script], { encoding: 'latin1' });
    assert.equal(seen.trim(), `${fstatSync(one.fd).ino} ${MIB}`);
    const handedOn = openInitrd(one.path);
    assert.equal(fstatSync(handedOn.fd).ino, fstatSync(one.fd).ino);
    handedOn.close();
    truncateSync(path, 0);
    one.close();
    one.close();
    assert.ok(holds(map(two), 5));
    two.close();
    assert.equal(openFiles(), before);
    const kernel = openKernelFile(writeKernel(join(folder, 'vmlinux')), false, pass);
    assert.equal(profilePath(kernel), undefined);
    kernel.close();
  });

  test('a file that does not fit is refused before it is copied', () => {
    const kernel = writeKernel(join(folder, 'vmlinux'));
    const initrd = join(folder, 'sparse');
    writeFileSync(initrd, '');
    truncateSync(initrd, 2 ** 40);
    const options = { kernel, initrd, memory: 256 * MIB, immutable: false };
    const before = openFiles();
    assert.throws(() => openImages(options), { code: 'INITRD_DOES_NOT_FIT' });
    truncateSync(kernel, 2 ** 40);
    assert.throws(() => openImages({ ...options, initrd: undefined }), {
      code: 'KERNEL_TOO_LARGE',
      remedy: /strip/,
    });
    writeFileSync(kernel, '');
    truncateSync(kernel, 2 ** 40);
    assert.throws(() => openImages({ ...options, initrd: undefined }), {
      code: 'KERNEL_FORMAT_UNKNOWN',
    });
    assert.equal(openFiles(), before);
  });

  test('what is no regular file is refused at once, and nothing stays open', () => {
    const pipe = join(folder, 'pipe');
    execFileSync('mkfifo', [pipe]);
    const before = openFiles();
    for (const path of [folder, '/dev/zero', pipe]) {
      assert.throws(() => openInitrd(path), { code: 'FILE_NOT_REGULAR' });
    }
    assert.throws(() => openInitrd(join(folder, 'missing')), { code: 'FILE_NOT_FOUND' });
    assert.throws(() => openInitrd(join(folder, 'missing', '\0')), { code: 'FILE_UNREADABLE' });
    assert.equal(openFiles(), before);
  });
});
