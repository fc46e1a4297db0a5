/** Guests of one image write most of their pages alike: those are in memory once, and nobody notices. */
import assert from 'node:assert/strict';
import { copyFile, mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Vm } from 'pando';
import { bootToShell, copyOfDebian, debianImage } from './testing/boot.js';

await debianImage();

/** Pages of a VM's own: all, and those of the kernel's code. */
function own(vm: Vm): { readonly all: number; readonly text: number } {
  const { parts } = vm.memory();
  const all = parts.reduce((sum, part) => sum + part.own, 0);
  return { all, text: parts.find(({ part }) => part === 'text')?.own ?? 0 };
}

const SUMS = 'sha256sum $(find /bin /sbin /etc /init -xdev -type f) | sha256sum';

test('a second guest shares what it wrote as the first did, works on, and boots again', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'pando-deduplicated-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const image = await copyOfDebian(folder);
  const options = { memory: 256 << 20 };
  const apart = await bootToShell(image, { ...options, deduplicate: false });
  await using _ = apart.vm;
  const first = await bootToShell(image, options);
  await using _first = first.vm;
  const second = await bootToShell(image, options);
  await using _second = second.vm;

  // What --expose-gc makes: collecting goes with trimming.
  const collect = t.mock.fn();
  globalThis.gc = collect as unknown as typeof globalThis.gc;
  await apart.vm.trim();
  // Trims of other VMs may just have collected: then it comes a little later.
  while (collect.mock.callCount() === 0) await sleep(20);
  globalThis.gc = undefined;
  const alone = own(apart.vm);
  assert.ok(alone.text > 2000, `${alone.text} pages of patched code`);
  await first.vm.trim();
  assert.equal((await readdir(join(folder, 'deduplicated'))).length, 1);
  await second.vm.trim();
  const shared = own(second.vm);
  assert.ok(shared.text < alone.text / 10, `${shared.text} of ${alone.text} pages of code`);
  assert.ok(shared.all < alone.all / 2, `${shared.all} of ${alone.all} pages`);

  const expected = await apart.console.run(SUMS);
  for (const { console } of [first, second]) {
    assert.equal(await console.run(SUMS), expected);
    await console.run('seq 200000 > /tmp/numbers');
  }
  second.console.send('reboot -f\n');
  await second.console.expect('Linux version ');
  await second.console.expect('Pando: user space is up');
  await second.console.prompt();
  assert.equal(await second.console.run('ls /tmp'), '');
  assert.equal(await second.console.run(SUMS), expected);
  await second.vm.trim();
  assert.ok(own(second.vm).all < alone.all / 2, 'shared again after the reboot');
  assert.equal(await first.console.run('tail -n 1 /tmp/numbers'), '200000\n');
});

test('a kernel and an initrd given by path share as the image of the same kernel does', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'pando-by-path-'));
  const before = process.env.PANDO_STORE;
  t.after(async () => {
    if (before === undefined) delete process.env.PANDO_STORE;
    else process.env.PANDO_STORE = before;
    await rm(folder, { recursive: true, force: true });
  });
  const image = await debianImage();
  process.env.PANDO_STORE = join(folder, 'store');
  const mine = join(folder, 'mine', 'build');
  await mkdir(mine, { recursive: true });
  const [kernel, initrd] = [join(mine, 'vmlinux'), join(mine, 'initrd')];
  await copyFile(image.kernelPath, kernel);
  await copyFile(image.initrdPath!, initrd);
  const options = { kernel, initrd, immutableImages: false, memory: 256 << 20 };
  const first = await bootToShell(image, options);
  await using _first = first.vm;
  await first.vm.trim();
  const second = await bootToShell(image, options);
  await using _second = second.vm;
  await second.vm.trim();
  assert.ok(own(second.vm).text < 300, `${own(second.vm).text} pages of code of its own`);
  assert.deepEqual(await readdir(mine), ['initrd', 'vmlinux']);
  assert.deepEqual(await readdir(join(folder, 'mine')), ['build']);
  const { sha256 } = image.manifest.kernel;
  assert.deepEqual(await readdir(join(folder, 'store', 'deduplicated')), [
    `${sha256}-wasm-1-max-256`,
  ]);
});
