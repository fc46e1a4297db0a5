/**
 * A disk that a guest makes a file system on: what it wrote is there after a reboot, and in the file on the
 * host; a disk that is `cow` starts again as it was with the next VM.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, test } from 'node:test';
import { type CpioInput, writeCpio } from '#dist/loader/cpio-writer.js';
import { bootToShell, debianImage } from './testing/boot.js';

/** `PANDO_DISK_KERNEL=linux-image-amd64`: another of Debian's kernels, by hand; `…_MIB=200` writes more. */
const KERNEL = process.env.PANDO_DISK_KERNEL;
const MIB = Number(process.env.PANDO_DISK_MIB ?? 24);
const MKFS = '/usr/sbin/mkfs.ext4';

const found = spawnSync('ldd', [MKFS], { encoding: 'utf8' });
const skip = found.status === 0 ? false : `${MKFS} is not installed`;
const folder = mkdtempSync(join(tmpdir(), 'pando-disk-'));
after(() => rmSync(folder, { recursive: true, force: true }));

/** The host's mkfs.ext4 and its libraries, at their own paths. */
function mkfsArchive(): Uint8Array {
  const libraries = found.stdout.match(/\/\S+(?= \(0x)/g) ?? [];
  const files = [MKFS, ...libraries];
  const folders = new Set<string>();
  for (const file of files) {
    for (let path = dirname(file); path !== '/'; path = dirname(path)) folders.add(path.slice(1));
  }
  return writeCpio([
    ...[...folders]
      .sort()
      .map((name): CpioInput => ({ kind: 'directory', name, permissions: 0o755 })),
    ...files.map(
      (file): CpioInput => ({
        kind: 'file',
        name: file.slice(1),
        permissions: 0o755,
        content: readFileSync(realpathSync(file)),
      }),
    ),
  ]);
}

test('a file system on a disk outlives a reboot of its guest', { skip }, async () => {
  const image =
    KERNEL === undefined
      ? await debianImage()
      : await debianImage(`disk-${KERNEL.slice(-20).replaceAll('+', '-')}`, KERNEL);
  const modules = join(folder, 'modules');
  const modulesOf = readFileSync(image.modulesPath ?? '');
  writeFileSync(modules, Buffer.concat([modulesOf, mkfsArchive()]));
  const disk = join(folder, 'disk.img');
  const scratch = join(folder, 'scratch.img');
  await writeFile(disk, '');
  await truncate(disk, (MIB + 80) << 20);
  await writeFile(scratch, Buffer.alloc(1 << 20, 's'));
  const { vm, console } = await bootToShell(image, {
    accelerator: 'wasm',
    memory: 256 << 20,
    modules,
    disks: [
      { path: disk, mode: 'rw' },
      { path: scratch, mode: 'cow' },
    ],
  });
  await using _ = vm;
  await console.run(`${MKFS} -q -F /dev/vda && mkdir /mnt && mount -t ext4 /dev/vda /mnt`);
  await console.run('head -c 4194304 /dev/urandom > /part; echo text > /mnt/text');
  // No two parts are alike, nor at the same place of a block.
  const parts = `for i in $(seq ${Math.ceil(MIB / 4)}); do echo $i; cat /part; done`;
  await console.run(`(${parts}) > /mnt/random`);
  const [sum = ''] = /^[0-9a-f]{64}/m.exec(await console.run('sha256sum /mnt/random')) ?? [];
  assert.notEqual(sum, '');
  await console.run('echo changed | dd of=/dev/vdb conv=notrunc 2>/dev/null; umount /mnt');
  console.send('reboot -f\n');
  await console.expect('Pando: user space is up');
  await console.prompt();
  await console.run('mkdir /mnt && mount -t ext4 /dev/vda /mnt');
  const again = await console.run('sha256sum /mnt/random; cat /mnt/text');
  assert.ok(again.includes(sum) && again.includes('text\n'), again);
  assert.match(await console.run('head -c 8 /dev/vdb'), /changed/);
  await console.run('umount /mnt; sync');
  await vm.close();

  const check = spawnSync('/usr/sbin/fsck.ext4', ['-fn', disk], { encoding: 'utf8' });
  assert.equal(check.status, 0, check.stdout);
  assert.ok(readFileSync(scratch).equals(Buffer.alloc(1 << 20, 's')));
});
