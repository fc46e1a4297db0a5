/** Starts VMs for tests: Debian's image, pulled once, and the console that goes with each VM. */
import { existsSync } from 'node:fs';
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Image, ImageStore, pullDebian, Vm, type VmOptions } from 'pando';
import { cacheDirectory, storeDirectory } from '#dist/image/directories.js';
import { TRIM_DELAY } from '#dist/vm/vm.js';
import { Console } from './console.js';

// As scripts/test-store.mjs has it, for a file that is run by itself.
process.env.PANDO_STORE ??= join(cacheDirectory(), 'test-store');

/** A booting or booted VM. */
export interface Booted {
  readonly vm: Vm;
  readonly console: Console;
}

/** The image of a kernel package, from the tests' store; pulled when it is not there. */
export async function debianImage(
  name = 'debian',
  kernelPackage = 'linux-image-cloud-amd64',
): Promise<Image> {
  const store = new ImageStore();
  if ((await store.names()).includes(name)) return store.open(name);
  return pullDebian({ store, name, kernelPackage });
}

/**
 * Debian's image in a store of its own.
 * @param folder is there, and gets nothing else of the tests' store: other files write to that, and remove from it
 */
export async function copyOfDebian(folder: string): Promise<Image> {
  await debianImage();
  const [manifests, objects] = ['manifests', 'objects'] as const;
  for (const part of [manifests, objects]) await mkdir(join(folder, part));
  const text = await readFile(join(storeDirectory(), manifests, 'debian.json'), 'utf8');
  await writeFile(join(folder, manifests, 'debian.json'), text);
  for (const [hash] of text.matchAll(/[0-9a-f]{64}/g)) {
    const from = join(storeDirectory(), objects, hash);
    // The manifest names packages by their hashes, too.
    if (existsSync(from)) await copyFile(from, join(folder, objects, hash));
  }
  return new ImageStore(folder).open('debian');
}

/** A boot is followed by a trim of itself: until that is over. */
export async function trimmed(vm: Vm): Promise<void> {
  const { ms = 0 } = vm.stages.find(({ name }) => name === 'linux_start_user') ?? {};
  await sleep(Math.max(0, ms + 2 * TRIM_DELAY - performance.now()));
  await vm.trim();
}

/** Starts a VM of an image of the store. */
export async function boot(image: Image, options: Partial<VmOptions> = {}): Promise<Booted> {
  const { initrdPath: initrd } = image;
  const vm = await Vm.create({
    kernel: image.kernelPath,
    ...(initrd === undefined ? {} : { initrd }),
    immutableImages: true,
    commandLine: image.commandLine,
    ...options,
  });
  const console = new Console(vm);
  vm.start();
  return { vm, console };
}

/** Starts a VM and waits for its shell. */
export async function bootToShell(image: Image, options: Partial<VmOptions> = {}): Promise<Booted> {
  const booted = await boot(image, options);
  try {
    await booted.console.expect('Pando: user space is up');
    await booted.console.prompt();
    // A guest on a busy host may say so at any moment, in the middle of what a test reads.
    await booted.console.run('dmesg -n 1');
    return booted;
  } catch (error) {
    await booted.vm.close();
    throw error;
  }
}
