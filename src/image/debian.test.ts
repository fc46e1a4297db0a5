import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { BytesSource } from '../loader/byte-source.js';
import { readCpio } from '../loader/cpio.js';
import { pullDebian } from './debian.js';
import { ensureImage } from './ensure-image.js';
import { importImage } from './import.js';
import { inspectInitrdFile, inspectKernelFile } from './inspect.js';
import { type Image, ImageStore, sha256 } from './store.js';

const hasApt = spawnSync('apt-get', ['--version']).status === 0;

/** Really pulls; packages are kept in the user's cache between runs. */
describe('image of Debian', { skip: hasApt ? false : 'no APT on this host' }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'pando-debian-'));
  const store = new ImageStore(join(folder, 'images'));
  const phases = new Map<string, number[]>();
  let image: Image;

  before(async () => {
    image = await ensureImage('debian', {
      store,
      progress: (phase, fraction) => {
        phases.set(phase, [
          ...(phases.get(phase) ?? []),
          ...(fraction === undefined ? [] : [fraction]),
        ]);
      },
    });
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  it('says where it came from', () => {
    const [kernel, busybox] = image.provenance.packages;
    assert.match(kernel!.name, /^linux-image-\d[\w.+-]*-cloud-amd64$/);
    assert.equal(
      image.provenance.kernelFile,
      `boot/vmlinuz-${kernel!.name.slice('linux-image-'.length)}`,
    );
    assert.equal(busybox!.name, 'busybox-static');
    assert.equal(image.commandLine, 'console=ttyS0 retain_initrd');
    assert.ok(phases.has('resolving packages') && phases.has('building the initrd'));
    for (const fraction of [...phases.values()].flat()) assert.ok(fraction >= 0 && fraction <= 1);
  });

  it('has a kernel whose pages can nearly all be mapped', () => {
    const kernel = inspectKernelFile(image.kernelPath);
    assert.equal(kernel.format, 'elf');
    assert.ok(kernel.mappedBytes > 20e6, `${kernel.mappedBytes} bytes mapped`);
    for (const { split } of kernel.segments) {
      assert.ok(split.congruent);
      for (const { length } of split.read) assert.ok(length < 4096);
    }
  });

  it('has an initrd with the busybox of the package', () => {
    const bytes = readFileSync(image.initrdPath!);
    const found = new Map(
      [...readCpio(new BytesSource(bytes))].map((entry) => [entry.name, entry]),
    );
    const program = found.get('bin/busybox')!.read();
    assert.deepEqual([...program.subarray(0, 4)], [0x7f, 0x45, 0x4c, 0x46]);
    for (const name of ['bin/sh', 'sbin/init', 'sbin/poweroff', 'sbin/reboot', 'usr/bin/top']) {
      assert.equal(Buffer.from(found.get(name)?.read() ?? []).toString(), '/bin/busybox', name);
    }
    assert.ok(inspectInitrdFile(image.initrdPath!).entries > 200);
  });

  it('is opened without pulling when it is there, and pulled again when damaged', async () => {
    const seen: string[] = [];
    const options = { store, progress: (phase: string) => void seen.push(phase) };
    assert.equal((await ensureImage('debian', options)).manifest.created, image.manifest.created);
    assert.equal(seen.length, 0);
    chmodSync(image.kernelPath, 0o644);
    writeFileSync(image.kernelPath, 'damaged');
    const again = await ensureImage('debian', options);
    assert.ok(seen.includes('storing the kernel'));
    assert.equal(sha256(readFileSync(again.kernelPath)), image.manifest.kernel.sha256);
    await assert.rejects(ensureImage('other', options), { code: 'IMAGE_NOT_FOUND' });
  });

  it('is the same when pulled twice at once', async () => {
    const second = new ImageStore(join(folder, 'second'));
    const both = await Promise.all([
      pullDebian({ store: second }),
      pullDebian({ store: second, name: 'twin' }),
    ]);
    for (const { manifest } of both) {
      assert.deepEqual(manifest.kernel, image.manifest.kernel);
      assert.deepEqual(manifest.initrd, image.manifest.initrd);
    }
    assert.equal(readdirSync(join(folder, 'second', 'objects')).length, 3);
  });

  it('can be imported from its own files', async () => {
    const imported = await importImage({
      name: 'copy',
      kernel: image.kernelPath,
      initrd: image.initrdPath!,
      commandLine: 'console=ttyS0 quiet',
      store,
    });
    assert.deepEqual(imported.manifest.kernel, image.manifest.kernel);
    assert.equal(imported.provenance.kernelFileSha256, image.manifest.kernel.sha256);
    assert.equal(imported.commandLine, 'console=ttyS0 quiet');
    assert.deepEqual((await store.remove('copy')).objects, []);
    await store.open('debian', { verify: true });
  });

  it('refuses to import what is no kernel', async () => {
    const kernel = image.initrdPath!;
    await assert.rejects(importImage({ name: 'bad', kernel, store }), {
      code: 'KERNEL_FORMAT_UNKNOWN',
    });
    await assert.rejects(importImage({ name: 'bad', kernel: folder, store }), {
      code: 'FILE_NOT_REGULAR',
    });
    await assert.rejects(store.open('bad'), { code: 'IMAGE_NOT_FOUND' });
  });
});
