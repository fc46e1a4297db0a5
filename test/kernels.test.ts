/** Debian's other kernels boot to the shell, unmodified. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { run } from '#dist/image/subprocess.js';
import { bootToShell, debianImage } from './testing/boot.js';

/** The newest 6.12 cloud kernel of bookworm-security, which no metapackage names. */
async function newestCloudKernel(): Promise<string> {
  const { stdout } = await run('apt-cache', ['pkgnames', 'linux-image-6.12.']);
  const names = stdout.split('\n').filter((name) => /^[\w.+-]+deb12-cloud-amd64$/.test(name));
  const patch = (name: string): number => Number(/^linux-image-6\.12\.(\d+)/.exec(name)?.[1]);
  const [newest] = names.sort((a, b) => patch(b) - patch(a));
  return newest ?? 'linux-image-6.12.117+deb12-cloud-amd64';
}

const KERNELS = [
  { name: 'debian-amd64', kernelPackage: 'linux-image-amd64', release: /^6\.1\.0-\d+-amd64$/ },
  {
    name: 'debian-6.12-cloud',
    kernelPackage: await newestCloudKernel(),
    release: /^6\.12\.\d+\+deb12-cloud-amd64$/,
  },
];

for (const { name, kernelPackage, release } of KERNELS) {
  test(`${kernelPackage} boots to the shell`, async () => {
    const image = await debianImage(name, kernelPackage);
    assert.ok(image.provenance.packages[0]?.name.startsWith('linux-image-'));
    const { vm, console } = await bootToShell(image);
    await using _ = vm;
    assert.match((await console.run('uname -r')).trim(), release);
    assert.equal(vm.stages.at(-1)?.name, 'linux_start_user');
    await console.run('dmesg | grep -E "BUG|WARNING|Oops|Call Trace"', { status: 1 });
    console.send('poweroff -f\n');
    assert.deepEqual(await vm.exited, { kind: 'poweroff' });
  });
}
