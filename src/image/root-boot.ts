/** What a VM is made of that runs a program in an image's root file system. */
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PandoError } from '../error.js';
import { mergeCommandLine } from '../loader/command-line.js';
import { ROOT_AGENT, withAgent } from './agent-root.js';
import { ensureImage } from './ensure-image.js';
import { formatExt4 } from './ext4/format-ext4.js';
import { formatLaunch, type Launch, launchInitrd, launchOf } from './launch.js';
import { DEFAULT_IMAGE_NAME } from './manifest.js';
import { parseImageReference, storeNameOf } from './oci/reference.js';
import type { ProgressSink } from './progress.js';
import { type Image, ImageStore, type RootImage } from './store.js';

/** The kernel says nothing: what the console shows is the program's. */
export const COMMAND_LINE = 'console=ttyS0 retain_initrd quiet loglevel=0';

/** What to run. */
export interface RootChoice {
  /** Name of an image of the store, or a registry's reference, which is pulled when it is missing. */
  readonly image: string;
  /** Takes the place of the image's command; empty: the image's. */
  readonly command: readonly string[];
  /** The console is a terminal. */
  readonly terminal: boolean;
  /** Image whose kernel is booted; by default the image's own, or Debian's when it has none. */
  readonly kernel?: string | undefined;
  /** Bytes of a disk that takes what the guest writes; its memory takes it when absent. */
  readonly diskBytes?: number | undefined;
  /** More of the kernel's command line. */
  readonly append?: string | undefined;
}

/** Options of the VM; `close` when it has been made. */
export interface RootBoot {
  readonly kernel: string;
  readonly initrd: string;
  readonly modules: string;
  readonly commandLine: string;
  /** Files that are the root's device, one behind the other. */
  readonly device: readonly string[];
  /** Bytes of all of them. */
  readonly deviceBytes: number;
  /** File of an empty file system, to be a `cow` disk of each VM. */
  readonly scratch: string | undefined;
  /** Deletes what was written for this VM; VMs keep what they have opened. */
  close(): Promise<void>;
}

/**
 * A root of the store, or of a registry.
 * @throws PandoError IMAGE_NOT_FOUND, IMAGE_WITHOUT_ROOT, and what pulling throws
 */
export async function findRoot(
  store: ImageStore,
  image: string,
  progress: ProgressSink,
): Promise<RootImage> {
  if (!image.includes('/')) return store.openRoot(image);
  const name = storeNameOf(parseImageReference(image));
  try {
    return await store.openRoot(name);
  } catch (cause) {
    const missing = cause instanceof PandoError && cause.code === 'IMAGE_NOT_FOUND';
    if (!missing) throw cause;
    const { pullImage } = await import('./oci/pull.js');
    return pullImage(image, { store, progress });
  }
}

/** What of the machine a choice decides. */
type Machine = Pick<RootChoice, 'kernel' | 'diskBytes' | 'append'>;

/** The kernel that a root is booted with, and the modules that a root needs. */
export async function kernelOf(
  store: ImageStore,
  { name, manifest }: Pick<RootImage, 'name' | 'manifest'>,
  choice: string | undefined,
  progress: ProgressSink,
): Promise<Image & { readonly modulesPath: string }> {
  const own = manifest.kernel === undefined ? DEFAULT_IMAGE_NAME : name;
  const image = await ensureImage(choice ?? own, { store, progress, modules: true });
  const { modulesPath } = image;
  if (modulesPath !== undefined) return { ...image, modulesPath };
  throw new PandoError(
    'KERNEL_MODULES_MISSING',
    `image ${image.name} has no modules: a root needs virtio_mmio, virtio_blk, erofs and overlay`,
    { remedy: 'take the kernel of an image that was pulled, such as debian' },
  );
}

async function assemble(
  store: ImageStore,
  root: RootImage,
  launch: Launch,
  { kernel, diskBytes, append }: Machine,
  progress: ProgressSink,
): Promise<RootBoot> {
  const uuid = randomBytes(16);
  const upper = diskBytes === undefined ? {} : { upper: uuid.toString('hex') };
  const configuration = formatLaunch({ ...launch, ...upper });
  const image = await kernelOf(store, root, kernel, progress);
  const initrd = store.objectPath(await store.put(launchInitrd()));
  const folder = await mkdtemp(join(tmpdir(), 'pando-launch-'));
  const file = join(folder, 'configuration');
  const scratch = diskBytes === undefined ? undefined : join(folder, 'scratch.img');
  const close = () => rm(folder, { recursive: true, force: true });
  try {
    await writeFile(file, configuration, { mode: 0o600 });
    if (scratch !== undefined) await formatExt4(scratch, diskBytes ?? 0, uuid);
  } catch (cause) {
    await close();
    throw cause;
  }
  return {
    kernel: image.kernelPath,
    initrd,
    modules: image.modulesPath,
    commandLine: mergeCommandLine(COMMAND_LINE, append ?? ''),
    device: [...root.paths, file],
    deviceBytes: root.bytes + configuration.length,
    scratch,
    close,
  };
}

/**
 * Prepares a VM for a program in a root file system.
 * @throws PandoError IMAGE_NOT_FOUND, IMAGE_WITHOUT_ROOT, COMMAND_MISSING, COMMAND_INVALID,
 *   KERNEL_MODULES_MISSING, and what pulling and the store throw
 */
export async function prepareRoot(choice: RootChoice, progress: ProgressSink): Promise<RootBoot> {
  const store = new ImageStore();
  const root = await findRoot(store, choice.image, progress);
  const launch = launchOf(root.name, root.config, choice.command, choice.terminal);
  return assemble(store, root, launch, choice, progress);
}

/**
 * Prepares a VM whose program is the agent, in a root file system that has it besides what the image has.
 * @throws PandoError KERNEL_MODULES_MISSING, and what the store throws
 */
export async function prepareAgent(
  store: ImageStore,
  root: RootImage,
  progress: ProgressSink,
): Promise<RootBoot> {
  const launch = {
    arguments: [`/${ROOT_AGENT}`],
    environment: root.config.env,
    user: '',
    directory: '',
    terminal: false,
  };
  return assemble(store, await withAgent(store, root), launch, {}, progress);
}
