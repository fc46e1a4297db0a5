/** What happens to image files, and with bad ones, while a VM runs: nothing that the VM notices. */
import assert from 'node:assert/strict';
import {
  chmod,
  copyFile,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  truncate,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { PandoError, Vm, type VmOptions } from 'pando';
import { MALFORMED } from '#dist/loader/testing/malformed.js';
import { collectGarbage } from '#dist/platform/testing/garbage.js';
import { bootToShell, copyOfDebian, debianImage, trimmed } from './testing/boot.js';
import { Console } from './testing/console.js';

const image = await debianImage();

async function temporaryFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'pando-images-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** Reads all files, and has the kernel do what it has not done before. */
async function exercise(console: Console): Promise<void> {
  await console.run('sha256sum $(find / -xdev -type f) | sort | wc -l');
  await console.run('md5sum < /proc/iomem; ps; free; df; uname -a; dmesg | tail -3');
}

test('files that are truncated and replaced do not reach a VM that maps them', async (t) => {
  const folder = await temporaryFolder(t);
  const kernel = join(folder, 'vmlinux');
  const initrd = join(folder, 'initrd');
  await copyFile(image.kernelPath, kernel);
  await copyFile(image.initrdPath!, initrd);
  // Objects of the store cannot be written, so neither can their copies.
  for (const path of [kernel, initrd]) await chmod(path, 0o644);
  const vm = await Vm.create({ kernel, initrd, commandLine: image.commandLine });
  await using _ = vm;
  // Before the guest has touched a page: nothing of the files is in its memory yet.
  await writeFile(kernel, 'no kernel any more');
  await truncate(initrd, 0);
  const console = new Console(vm);
  vm.start();
  await console.expect('Pando: user space is up');
  await console.prompt();
  await writeFile(join(folder, 'other'), Buffer.alloc(50_000_000, 0xcc));
  await rename(join(folder, 'other'), kernel);
  await rm(initrd);
  await exercise(console);
  await assert.rejects(Vm.create({ kernel, commandLine: '' }), { code: 'KERNEL_FORMAT_UNKNOWN' });
  assert.equal(await console.run('echo fine'), 'fine\n');
});

test('an image that is removed from the store stays in a VM that maps it', async (t) => {
  const folder = await temporaryFolder(t);
  const copy = await copyOfDebian(folder);
  for (const path of [copy.kernelPath, copy.initrdPath!]) {
    assert.equal((await stat(path)).mode & 0o222, 0, 'an object of the store is not writable');
  }
  const vm = await Vm.create({
    kernel: copy.kernelPath,
    initrd: copy.initrdPath!,
    immutableImages: true,
    commandLine: copy.commandLine,
  });
  await using _ = vm;
  for (const path of [copy.kernelPath, copy.initrdPath!]) {
    await rm(path);
    await writeFile(path, Buffer.alloc(1_000_000, 0xcc));
  }
  const console = new Console(vm);
  vm.start();
  await console.expect('Pando: user space is up');
  await console.prompt();
  await exercise(console);
});

/** A mapping as large as this is a guest's RAM: the runtime's own pieces are smaller. */
const GUEST_RAM = 64 << 20;

/** Descriptors of this process, its mappings of image files, and of guests' RAM. */
async function resources(): Promise<{ files: number; images: number; guests: number }> {
  collectGarbage();
  await new Promise((resolve) => setTimeout(resolve, 50));
  const maps = (await readFile('/proc/self/maps', 'utf8')).split('\n');
  const isGuest = (line: string): boolean => {
    const [from, to] = (line.split(' ')[0] ?? '')
      .split('-')
      .map((part) => Number.parseInt(part, 16));
    return / rw/.test(line) && (to ?? 0) - (from ?? 0) >= GUEST_RAM;
  };
  return {
    files: (await readdir('/proc/self/fd')).length,
    images: maps.filter((line) => /pando|memfd/.test(line)).length,
    guests: maps.filter(isGuest).length,
  };
}

test('bad input gives one error each, leaves nothing, and a VM beside it goes on', async (t) => {
  const folder = await temporaryFolder(t);
  const { vm, console } = await bootToShell(image);
  await using _ = vm;
  const instructions = vm.instructions();
  const good = { kernel: image.kernelPath, initrd: image.initrdPath!, immutableImages: true };
  const refused = async (what: string, code: string, options: VmOptions): Promise<void> => {
    await assert.rejects(Vm.create(options), (error) => {
      assert.ok(error instanceof PandoError, `${what}: ${error}`);
      assert.equal(error.code, code, what);
      return true;
    });
  };
  const file = async (name: string, bytes: Uint8Array): Promise<string> => {
    const path = join(folder, name);
    await writeFile(path, bytes);
    return path;
  };
  const others: readonly (readonly [string, string, Partial<VmOptions>])[] = [
    ['no such kernel', 'FILE_NOT_FOUND', { kernel: join(folder, 'none') }],
    ['a folder as kernel', 'FILE_NOT_REGULAR', { kernel: folder }],
    ['no such initrd', 'FILE_NOT_FOUND', { initrd: join(folder, 'none') }],
    ['an empty initrd', 'INITRD_EMPTY', { initrd: await file('empty', new Uint8Array(0)) }],
    [
      'an initrd larger than memory',
      'INITRD_DOES_NOT_FIT',
      { initrd: await file('large', new Uint8Array(70 << 20)), memory: 128 << 20 },
    ],
    ['memory smaller than the kernel', 'KERNEL_DOES_NOT_FIT', { memory: 32 << 20 }],
    ['memory of no whole pages', 'VM_MEMORY_INVALID', { memory: 1000 }],
    ['no processors', 'VM_CPUS_INVALID', { cpus: 0 }],
    ['a command line too long', 'COMMAND_LINE_TOO_LONG', { commandLine: 'x'.repeat(2048) }],
    ['a command line with a NUL', 'COMMAND_LINE_CONTROL_CHARACTER', { commandLine: 'a\0b' }],
  ];
  const round = async (): Promise<void> => {
    for (const [code, what, bytes] of MALFORMED) {
      await refused(what, code, { kernel: await file('kernel', bytes) });
    }
    for (const [what, code, options] of others) await refused(what, code, { ...good, ...options });
  };
  assert.ok(MALFORMED.length >= 40);
  await round();
  await trimmed(vm);
  const before = await resources();
  await round();
  await round();
  assert.ok(before.guests >= 1 && before.images >= 1, 'the running VM is seen');
  assert.deepEqual(await resources(), before);
  assert.ok(vm.instructions() > instructions);
  assert.equal(await console.run('echo fine'), 'fine\n');
});
