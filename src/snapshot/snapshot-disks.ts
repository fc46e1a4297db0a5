/**
 * Disks in a snapshot. The file of a disk is named by path and content and stays where it is; what a guest
 * wrote to a disk of mode `cow` is stored with the snapshot.
 */
import { openSync, read as readCallback } from 'node:fs';
import { promisify } from 'node:util';
import { PandoError } from '../error.js';
import type { ObjectReference } from '../image/manifest.js';
import { storedContent } from '../image/store-folders.js';
import { checkLayer, type DiskLayer, layerRuns } from '../run/device-copies.js';
import type { DeviceDescription, DiskOptions } from '../run/devices.js';
import type { SnapshotDisk } from './manifest.js';
import type { SnapshotStore } from './snapshot-store.js';

const readFrom = promisify(readCallback);
/** Bytes that are copied at a time. */
const CHUNK = 1 << 20;

/** A disk of a machine that can be copied. */
type Blk = Extract<DeviceDescription, { kind: 'blk' }>;

/**
 * Stores what a snapshot needs of a disk.
 * @throws PandoError STORE_WRITE_FAILED, SNAPSHOT_DISK_UNNAMED, FILE_CHANGED
 */
export async function writeDisk(
  { name, options }: Blk,
  layer: DiskLayer | undefined,
  store: SnapshotStore,
): Promise<SnapshotDisk> {
  const files: (ObjectReference & { path: string | null })[] = [];
  for (const path of [options.path].flat()) {
    const stored = storedContent(path);
    try {
      const content = await store.contentOf(path);
      if (stored !== undefined) await store.keep(path, content.sha256);
      files.push({ ...content, path: stored === undefined ? path : null });
    } catch (cause) {
      if (!(cause instanceof PandoError) || cause.code !== 'FILE_NOT_REGULAR') throw cause;
      const message = `${name} is ${path}, which is no file: a snapshot cannot name what is on it`;
      throw new PandoError('SNAPSHOT_DISK_UNNAMED', message, {
        remedy: 'give the VM a file as its disk, or clone it in this process',
        cause,
      });
    }
  }
  if (layer === undefined) return { mode: 'ro', files, layer: null };
  const { fd, bytes, runs } = layer;
  const clusters = await store.add(async (sink) => {
    const buffer = Buffer.allocUnsafe(CHUNK);
    for (let at = 0; at < bytes; ) {
      const { bytesRead } = await readFrom(fd, buffer, 0, Math.min(CHUNK, bytes - at), at);
      await sink(buffer.subarray(0, bytesRead));
      at += bytesRead;
    }
  });
  const words = Buffer.from(runs.buffer, runs.byteOffset, runs.byteLength);
  return { mode: 'cow', files, layer: { clusters, runs: await store.add((sink) => sink(words)) } };
}

/** Where the files of a disk are now. @throws PandoError SNAPSHOT_DISK_CHANGED, SNAPSHOT_OBJECT_* */
async function locateFiles({ files }: SnapshotDisk, store: SnapshotStore): Promise<string[]> {
  const paths: string[] = [];
  for (const { path, sha256, size } of files) {
    if (path === null) {
      paths.push(await store.locateImage({ sha256, size }, 'disk'));
      continue;
    }
    let why: string;
    try {
      const now = await store.contentOf(path);
      if (now.sha256 === sha256) {
        paths.push(path);
        continue;
      }
      why = 'has been changed';
    } catch (cause) {
      if (!(cause instanceof PandoError)) throw cause;
      why = `cannot be read (${cause.code})`;
    }
    throw new PandoError('SNAPSHOT_DISK_CHANGED', `${path}, a disk of the snapshot, ${why}`, {
      remedy: 'bring the file back as it was, or make the snapshot again',
    });
  }
  return paths;
}

/** An open disk of a snapshot. */
export interface OpenSnapshotDisk {
  readonly options: DiskOptions;
  /** The caller closes its descriptor. */
  readonly layer: DiskLayer | undefined;
}

/**
 * @throws PandoError SNAPSHOT_DISK_CHANGED, SNAPSHOT_DISK_INVALID, SNAPSHOT_OBJECT_*
 */
export async function openSnapshotDisk(
  disk: SnapshotDisk,
  store: SnapshotStore,
): Promise<OpenSnapshotDisk> {
  const paths = await locateFiles(disk, store);
  const { mode, layer, files } = disk;
  const [first = ''] = paths;
  const options = { path: paths.length === 1 ? first : paths, mode };
  if (layer === null) return { options, layer: undefined };
  const path = await store.locateWhole(layer.clusters, "disk's clusters");
  const runs = layerRuns(await store.read(layer.runs, "disk's runs"));
  const bytes = layer.clusters.size;
  checkLayer({ bytes, runs }, files[0]?.size ?? 0);
  return { options, layer: { fd: openSync(path, 'r'), bytes, runs } };
}
