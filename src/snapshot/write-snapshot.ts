/** Writes a capture in memory to the store: a snapshot, from which new VMs go on. */
import { read as readCallback } from 'node:fs';
import { promisify } from 'node:util';
import { PAGE_SIZE } from '../arch/layout.js';
import { PandoError } from '../error.js';
import type { ObjectReference } from '../image/manifest.js';
import type { MemoryRun } from '../memory/memory-image.js';
import type { MemoryLayout, SharedFile } from '../memory/memory-layout.js';
import type { BootFile } from '../run/boot-file.js';
import type { OpenDevices } from '../run/devices.js';
import type { GuestStart } from '../run/guest.js';
import type { GuestImages } from '../run/images.js';
import { VERSION } from '../version.js';
import { encodeMachine } from './machine-file.js';
import {
  RUN_FILE,
  SNAPSHOT_FORMAT,
  type SnapshotDisk,
  type SnapshotMachine,
  type SnapshotManifest,
  type SnapshotNetwork,
} from './manifest.js';
import { writeDisk } from './snapshot-disks.js';
import { type Sink, SnapshotStore } from './snapshot-store.js';

const readFrom = promisify(readCallback);
/** Bytes that are copied at a time. */
const CHUNK = 1 << 22;

/** What is written: the capture stays the caller's. */
export interface Captured {
  readonly name: string;
  /** Takes the place of a snapshot of that name. */
  readonly replace: boolean;
  readonly machine: Omit<SnapshotMachine, 'rng' | 'vsock' | 'balloon'>;
  readonly images: GuestImages;
  readonly devices: OpenDevices;
  readonly start: GuestStart;
}

function referenceOf({ content, size, name }: BootFile): ObjectReference {
  if (content !== undefined) return { sha256: content.sha256, size };
  throw new PandoError(
    'SNAPSHOT_IMAGE_NOT_STORED',
    `${name} is not in a store that can be written`,
    {
      remedy: 'import it (`pando image import`), or set PANDO_STORE to a folder that you may write',
    },
  );
}

/**
 * Writes a capture to the store.
 * @throws PandoError SNAPSHOT_EXISTS, SNAPSHOT_NAME_INVALID, SNAPSHOT_IMAGE_NOT_STORED, SNAPSHOT_DISK_UNNAMED,
 * STORE_WRITE_FAILED
 */
export async function writeSnapshot(
  { name, replace, machine, images, devices, start }: Captured,
  store: SnapshotStore = new SnapshotStore(),
): Promise<SnapshotManifest> {
  const kernel = referenceOf(images.kernel);
  const initrd = images.initrd === undefined ? null : referenceOf(images.initrd);
  const modules = images.modules === undefined ? null : referenceOf(images.modules);
  const pmem = images.pmem?.files ?? [];
  await store.prepare();
  const numbers = new Map<string, number>();
  for (const [file, number] of [
    ...pmem.map((file, index) => [file, RUN_FILE.pmem + index] as const),
    [images.modules, RUN_FILE.modules],
    [images.initrd, RUN_FILE.initrd],
    [images.kernel, RUN_FILE.kernel],
  ] as const) {
    if (file === undefined) continue;
    const { sha256 } = referenceOf(file);
    await store.keep(file.path, sha256);
    numbers.set(sha256, number);
  }
  const { layout, state, code } = start;
  const runs: (readonly [number, number, number, number])[] = [];
  const copied: MemoryRun[] = [];
  let filePage = 0;
  for (const run of layout.runs) {
    const file = numbers.get(layout.files[run.file]?.sha256 ?? '');
    if (file !== undefined) {
      runs.push([run.page, run.pages, file, run.filePage]);
      continue;
    }
    runs.push([run.page, run.pages, RUN_FILE.pages, filePage]);
    copied.push(run);
    filePage += run.pages;
  }
  const has = (kind: string): boolean => devices.descriptions.some((one) => one.kind === kind);
  const manifest: SnapshotManifest = {
    format: SNAPSHOT_FORMAT,
    name,
    created: new Date().toISOString(),
    pando: VERSION,
    machine: { ...machine, rng: has('rng'), vsock: has('vsock'), balloon: has('balloon') },
    disks: await writeDisks(devices, start, store),
    net: networkOf(devices),
    kernel,
    initrd,
    modules,
    pmem: pmem.map(referenceOf),
    pages: await store.add((sink) => copyPages(layout, copied, sink)),
    state: await store.add((sink) => sink(encodeMachine(state))),
    ...(code !== undefined && { code: await store.add((sink) => copyFile(code, sink)) }),
    runs,
  };
  await store.publish(manifest, replace);
  return manifest;
}

async function copyPages(
  layout: MemoryLayout,
  runs: readonly MemoryRun[],
  sink: Sink,
): Promise<void> {
  const buffer = Buffer.allocUnsafe(CHUNK);
  for (const { file, filePage, pages } of runs) {
    const { fd } = layout.files[file]!;
    const end = (filePage + pages) * PAGE_SIZE;
    for (let at = filePage * PAGE_SIZE; at < end; ) {
      const { bytesRead } = await readFrom(fd, buffer, 0, Math.min(CHUNK, end - at), at);
      // The last page of an image's file may be a part of one.
      if (bytesRead === 0) buffer.fill(0, 0, Math.min(CHUNK, end - at));
      const length = bytesRead === 0 ? Math.min(CHUNK, end - at) : bytesRead;
      await sink(buffer.subarray(0, length));
      at += length;
    }
  }
}

async function copyFile({ fd, size }: SharedFile, sink: Sink): Promise<void> {
  const buffer = Buffer.allocUnsafe(CHUNK);
  for (let at = 0; at < size; ) {
    const { bytesRead } = await readFrom(fd, buffer, 0, CHUNK, at);
    await sink(buffer.subarray(0, bytesRead));
    at += bytesRead;
  }
}

async function writeDisks(
  { descriptions }: OpenDevices,
  { disks: layers }: GuestStart,
  store: SnapshotStore,
): Promise<SnapshotDisk[]> {
  const disks: SnapshotDisk[] = [];
  for (const device of descriptions) {
    if (device.kind !== 'blk') continue;
    disks.push(await writeDisk(device, layers.get(device.name), store));
  }
  return disks;
}

function networkOf({ descriptions, network }: OpenDevices): SnapshotNetwork | null {
  for (const device of descriptions) {
    if (device.kind !== 'net') continue;
    const { mtu, offloads } = device.settings;
    const { another } = network ?? {};
    const hooked = another?.mode === 'user' && another.onConnection !== undefined;
    return { mtu, offloads, options: hooked ? null : (another ?? null) };
  }
  return null;
}
