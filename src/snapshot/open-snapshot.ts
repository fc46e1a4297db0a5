/** A snapshot of the store, opened: what VMs start from, and map copy-on-write. */
import { open } from 'node:fs/promises';
import { MemoryLayout, SharedFile } from '../memory/memory-layout.js';
import { closeLayers, type DiskLayer } from '../run/device-copies.js';
import type { DiskOptions } from '../run/devices.js';
import { closeStart, type GuestStart } from '../run/guest.js';
import { decodeMachine } from './machine-file.js';
import { memoryRuns, type SnapshotMachine, type SnapshotManifest } from './manifest.js';
import { openSnapshotDisk } from './snapshot-disks.js';
import { SnapshotStore } from './snapshot-store.js';

/** Where the files of the image are that a machine was booted with; a reset boots them again. */
interface ImagePaths {
  readonly kernel: string;
  readonly initrd: string | undefined;
  readonly modules: string | undefined;
  /** Files of persistent memory. */
  readonly pmem: readonly string[];
}

/** What a snapshot's machine was booted with. */
export interface BootedMachine extends SnapshotMachine, ImagePaths {}

/** @throws PandoError SNAPSHOT_OBJECT_MISSING, SNAPSHOT_OBJECT_SIZE */
async function imagePaths(
  { kernel, initrd, modules, pmem }: SnapshotManifest,
  store: SnapshotStore,
): Promise<ImagePaths> {
  return {
    kernel: await store.locateImage(kernel, 'kernel'),
    initrd: initrd === null ? undefined : await store.locateImage(initrd, 'initrd'),
    modules: modules === null ? undefined : await store.locateImage(modules, 'modules'),
    pmem: await Promise.all(pmem.map((file) => store.locateImage(file, 'persistent memory'))),
  };
}

/** @throws PandoError as `openSnapshot` */
export async function snapshotMachine(
  name: string,
  store: SnapshotStore = new SnapshotStore(),
): Promise<BootedMachine> {
  const manifest = await store.manifest(name);
  return { ...manifest.machine, ...(await imagePaths(manifest, store)) };
}

/** An open snapshot: VMs start from it until it is closed. */
export interface OpenSnapshot extends ImagePaths {
  readonly manifest: SnapshotManifest;
  readonly start: GuestStart;
  /** Its disks, where their files are now. */
  readonly disks: readonly DiskOptions[];
  /** VMs keep what they have mapped and open. */
  close(): void;
}

async function openCode(
  { code }: SnapshotManifest,
  store: SnapshotStore,
): Promise<SharedFile | undefined> {
  if (code === undefined) return undefined;
  const file = await open(await store.locateWhole(code, 'decoded code'), 'r');
  return new SharedFile(file.fd, code.size, code.sha256, () => void file.close());
}

/**
 * Opens a snapshot.
 * @throws PandoError SNAPSHOT_NOT_FOUND and other SNAPSHOT_… for one that is damaged or incomplete
 */
export async function openSnapshot(
  name: string,
  store: SnapshotStore = new SnapshotStore(),
): Promise<OpenSnapshot> {
  const manifest = await store.manifest(name);
  const paths = await imagePaths(manifest, store);
  const state = decodeMachine(await store.read(manifest.state, 'state'));
  const pages = await store.locateWhole(manifest.pages, 'pages');
  const code = await openCode(manifest, store);
  const files: SharedFile[] = [];
  const layers = new Map<string, DiskLayer>();
  const disks: DiskOptions[] = [];
  try {
    // In the order of RUN_FILE; a run of a file that is not there has been refused.
    for (const [path, reference] of [
      [pages, manifest.pages],
      [paths.kernel, manifest.kernel],
      [paths.initrd ?? paths.kernel, manifest.initrd ?? manifest.kernel],
      [paths.modules ?? paths.kernel, manifest.modules ?? manifest.kernel],
      ...manifest.pmem.map((file, index) => [paths.pmem[index]!, file] as const),
    ] as const) {
      const file = await open(path, 'r');
      const kept = path === pages ? undefined : reference.sha256;
      files.push(new SharedFile(file.fd, reference.size, kept, () => void file.close()));
    }
    for (const disk of manifest.disks) {
      const { options, layer } = await openSnapshotDisk(disk, store);
      if (layer !== undefined) layers.set(`blk${disks.length}`, layer);
      disks.push(options);
    }
  } catch (error) {
    for (const file of files) file.close();
    code?.close();
    closeLayers(layers);
    throw error;
  }
  const layout = new MemoryLayout(files, memoryRuns(manifest));
  const start = { layout, state, disks: layers, code };
  let closed = false;
  return {
    manifest,
    start,
    ...paths,
    disks,
    close: () => {
      if (!closed) closeStart(start);
      closed = true;
    },
  };
}
