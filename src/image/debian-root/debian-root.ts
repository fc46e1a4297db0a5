/**
 * A Debian root file system, made of the machine's package sources as an ordinary user: packages are
 * unpacked into a layer here and configured by dpkg in a VM, whose changes are a second layer.
 */
import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PandoError } from '../../error.js';
import { type Pulling, type PullOptions, provenance, pullBoot, withSources } from '../debian.js';
import { formatLaunch, launchInitrd } from '../launch.js';
import type { ContainerConfig, LayerReference } from '../manifest.js';
import { storeRoot } from '../oci/build.js';
import type { StoredLayer } from '../oci/layer.js';
import { COMMAND_LINE } from '../root-boot.js';
import type { Image, ImageStore, RootImage } from '../store.js';
import { storeChanges } from './changes-layer.js';
import { configureScript } from './configure-script.js';
import { unpackPackages } from './unpack-packages.js';

/** Sparse: what the guest writes is what it costs. */
const ARCHIVE_BYTES = 16 * 2 ** 30;

const CONFIG: ContainerConfig = {
  entrypoint: [],
  cmd: ['/bin/bash'],
  env: ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'],
  user: '',
  workdir: '',
  exposedPorts: [],
  labels: {},
};

/** A VM that is to run once; its root is EROFS on a device of its own. */
export interface GuestWork {
  readonly kernel: string;
  readonly initrd: string;
  readonly modules: string;
  readonly commandLine: string;
  /** Files that are the root's device, one behind the other, and the bytes of all of them. */
  readonly device: readonly string[];
  readonly deviceBytes: number;
  /** File of a disk that the guest writes: the first disk that is not the root's. */
  readonly disk: string;
}

/** Whether a root of so many bytes is a disk of the guest itself, and not memory. */
export type RootIsDisk = (deviceBytes: number) => boolean;

/**
 * Runs a VM to its end.
 * @returns the guest's exit status, and what it printed
 */
export type RunGuest = (
  work: GuestWork,
) => Promise<{ readonly status: number; readonly output: string }>;

export interface DebianRootOptions extends PullOptions {
  /** Names, or `name=version`, of what is installed beside the essential packages and all dependencies. */
  readonly packages: readonly string[];
  readonly runGuest: RunGuest;
  readonly rootIsDisk: RootIsDisk;
}

function referenceTo(layer: Pick<StoredLayer, 'index' | 'data'>): LayerReference {
  // No archive of it ever was: the index names all that is in it.
  const digest = `sha256:${layer.index.sha256}`;
  return { digest, diffId: digest, ...layer };
}

/** The layer of what configuring has changed. */
async function configure(
  image: Image,
  unpacked: LayerReference,
  names: readonly string[],
  store: ImageStore,
  { runGuest, rootIsDisk }: DebianRootOptions,
): Promise<LayerReference> {
  const { metadata, data } = await storeRoot(store, [unpacked], CONFIG);
  const folder = await mkdtemp(join(tmpdir(), 'pando-configure-'));
  try {
    const launchFile = join(folder, 'configuration');
    const disk = join(folder, 'changes.tar');
    const parts = [metadata, ...data];
    const rootBytes = parts.reduce((sum, { size }) => sum + size, 0);
    const name = rootIsDisk(rootBytes) ? '/dev/vdb' : '/dev/vda';
    const launch = formatLaunch({
      arguments: ['/bin/sh', '-c', configureScript(names, name)],
      environment: [],
      user: '',
      directory: '',
      terminal: false,
      changes: true,
    });
    await writeFile(launchFile, launch);
    await writeFile(disk, '');
    await truncate(disk, ARCHIVE_BYTES);
    const { status, output } = await runGuest({
      kernel: image.kernelPath,
      initrd: store.objectPath(await store.put(launchInitrd())),
      modules: image.modulesPath ?? '',
      commandLine: COMMAND_LINE,
      device: [...parts.map((part) => store.objectPath(part)), launchFile],
      deviceBytes: rootBytes,
      disk,
    });
    if (status !== 0) {
      const last = output.trim().split(/\r?\n/).slice(-8).join('\n');
      throw new PandoError(
        'PACKAGES_NOT_CONFIGURED',
        `dpkg in the guest ended with ${status}; its last lines:\n${last}`,
        { remedy: 'leave the package away whose script fails, and pull again' },
      );
    }
    return referenceTo(await storeChanges(disk, store));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function pullWith(pulling: Pulling, options: DebianRootOptions): Promise<RootImage> {
  const { apt, store, progress } = pulling;
  const image = await pullBoot(pulling, options);
  progress('resolving packages');
  const records = await apt.resolve(options.packages);
  const files = await apt.downloadAll(records);
  const { layer, names } = await unpackPackages(files, store, progress);
  const unpacked = referenceTo(layer);
  progress('configuring packages');
  const changed = await configure(image, unpacked, names, store, options);
  progress('writing the file system');
  const root = await storeRoot(store, [unpacked, changed], CONFIG);
  const { manifest } = image;
  await store.commitManifest({
    ...manifest,
    format: 2,
    created: new Date().toISOString(),
    root,
    provenance: {
      ...manifest.provenance,
      packages: [...manifest.provenance.packages.slice(0, 2), ...records.map(provenance)],
    },
  });
  return store.openRoot(image.name);
}

/**
 * Gets packages with all that they depend on, and makes a root file system of them.
 * @throws PandoError PACKAGES_NOT_CONFIGURED, and what Apt, layers, the store and `runGuest` throw
 */
export function pullDebianRoot(options: DebianRootOptions): Promise<RootImage> {
  return withSources(options, (pulling) => pullWith(pulling, options));
}
