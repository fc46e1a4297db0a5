/** Guests of one image write most of their pages alike: those are in memory once, and nobody notices. */
import assert from 'node:assert/strict';
import { cp, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { ImageStore, type Vm } from 'pando';
import { storeDirectory } from '#dist/image/directories.js';
import { bootToShell, debianImage } from './testing/boot.js';

await debianImage();

/** Pages of a VM's own: all, and those of the kernel's code. */
function own(vm: Vm): { readonly all: number; readonly text: number } {
  const { parts } = vm.memory();
  const all = parts.reduce((sum, part) => sum + part.own, 0);
  return { all, text: parts.find(({ part }) => part === 'text')?.own ?? 0 };
}

const SUMS = 'sha256sum $(find /bin /sbin /etc /init -xdev -type f) | sha256sum';

test('a second guest shares what it wrote as the first did, works on, and boots again', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'pando-booted-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  for (const part of ['objects', 'manifests']) {
    await cp(join(storeDirectory(), part), join(folder, part), { recursive: true });
  }
  const image = await new ImageStore(folder).open('debian');
  const options = { memory: 256 << 20 };
  const apart = await bootToShell(image, { ...options, shareBooted: false });
  await using _ = apart.vm;
  const first = await bootToShell(image, options);
  await using _first = first.vm;
  const second = await bootToShell(image, options);
  await using _second = second.vm;

  // What --expose-gc makes: collecting goes with trimming.
  const collect = t.mock.fn();
  globalThis.gc = collect as unknown as typeof globalThis.gc;
  await apart.vm.trim();
  globalThis.gc = undefined;
  assert.equal(collect.mock.callCount(), 1);
  const alone = own(apart.vm);
  assert.ok(alone.text > 2000, `${alone.text} pages of patched code`);
  await first.vm.trim();
  assert.equal((await readdir(join(folder, 'booted'))).length, 1);
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
