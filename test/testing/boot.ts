/** Starts VMs for tests: Debian's image, pulled once, and the console that goes with each VM. */
import { join } from 'node:path';
import { type Image, ImageStore, pullDebian, Vm, type VmOptions } from 'pando';
import { cacheDirectory } from '#dist/image/directories.js';
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
