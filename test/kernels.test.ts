/** Debian's other kernels boot to the shell, unmodified; one of them with the 8254 as its only timer. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Vm } from 'pando';
import { run } from '#dist/image/subprocess.js';
import { bootToShell, debianImage } from './testing/boot.js';
import { Console } from './testing/console.js';

/** The newest 6.12 cloud kernel of bookworm-security, which no metapackage names. */
async function newestCloudKernel(): Promise<string> {
  const { stdout } = await run('apt-cache', ['pkgnames', 'linux-image-6.12.']);
  const names = stdout.split('\n').filter((name) => /^[\w.+-]+deb12-cloud-amd64$/.test(name));
  const patch = (name: string): number => Number(/^linux-image-6\.12\.(\d+)/.exec(name)?.[1]);
  const [newest] = names.sort((a, b) => patch(b) - patch(a));
  return newest ?? 'linux-image-6.12.117+deb12-cloud-amd64';
}

const KERNELS = [
  {
    name: 'debian-amd64',
    kernelPackage: 'linux-image-amd64',
    release: /^6\.1\.0-\d+-amd64$/,
    append: ' nolapic_timer',
  },
  {
    name: 'debian-6.12-cloud',
    kernelPackage: await newestCloudKernel(),
    release: /^6\.12\.\d+\+deb12-cloud-amd64$/,
    append: '',
  },
];

/** A clone's kernel makes its random state anew, since its generation ID (VMGenID) is another. */
async function checkGeneration(vm: Vm, console: Console): Promise<void> {
  const message = 'random: crng reseeded due to virtual machine fork';
  // The kernel says so once it had enough entropy.
  await console.run('head -c 1 /dev/random > /dev/null');
  await console.run(`dmesg | grep "${message}"`, { status: 1 });
  const [result] = await vm.clone();
  assert.equal(result?.status, 'fulfilled');
  await using clone = result.value;
  const copied = new Console(clone);
  clone.start();
  copied.send('\n');
  await copied.prompt();
  await copied.run(`until dmesg | grep -q "${message}"; do :; done`);
}

for (const { name, kernelPackage, release, append } of KERNELS) {
  test(`${kernelPackage}${append} boots to the shell`, async () => {
    const image = await debianImage(name, kernelPackage);
    assert.ok(image.provenance.packages[0]?.name.startsWith('linux-image-'));
    const { vm, console } = await bootToShell(image, {
      commandLine: `${image.commandLine}${append}`,
    });
    await using _ = vm;
    assert.match((await console.run('uname -r')).trim(), release);
    assert.equal(vm.stages.at(-1)?.name, 'linux_start_user');
    await console.run('dmesg | grep -E "BUG|WARNING|Oops|Call Trace"', { status: 1 });
    // Sleeping takes a timer's interrupt: of the local APIC, or of the 8254.
    await console.run('sleep 1');
    const ticks = await console.run("awk '/ timer$|^LOC:/ { print ($2 > 0) }' /proc/interrupts");
    assert.equal(ticks, append === '' ? '1\n1\n' : '1\n0\n');
    await checkGeneration(vm, console);
    console.send('poweroff -f\n');
    assert.deepEqual(await vm.exited, { kind: 'poweroff' });
  });
}
