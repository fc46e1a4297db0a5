/**
 * A snapshot of the store: a machine as it stood, that new VMs map copy-on-write. Writing one turns a
 * capture in memory into files; opening one gives what a VM starts from.
 */
import { read as readCallback } from 'node:fs';
import { open, readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { PAGE_SIZE } from '../arch/layout.js';
import { PandoError } from '../error.js';
import type { ObjectReference } from '../image/manifest.js';
import type { MemoryRun } from '../memory/memory-image.js';
import { MemoryLayout, SharedFile } from '../memory/memory-layout.js';
import type { BootFile } from '../run/boot-file.js';
import type { GuestStart } from '../run/guest.js';
import type { GuestImages } from '../run/images.js';
import { VERSION } from '../version.js';
import { decodeMachine, encodeMachine } from './machine-file.js';
import {
  memoryRuns,
  RUN_FILE,
  SNAPSHOT_FORMAT,
  type SnapshotMachine,
  type SnapshotManifest,
} from './manifest.js';
import { type Sink, SnapshotStore } from './snapshot-store.js';

const readFrom = promisify(readCallback);
/** Bytes that are copied at a time. */
const CHUNK = 1 << 22;

/** What is written: the capture stays the caller's. */
export interface Captured {
  readonly name: string;
  /** Takes the place of a snapshot of that name. */
  readonly replace: boolean;
  readonly machine: SnapshotMachine;
  readonly images: GuestImages;
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
 * @throws PandoError SNAPSHOT_EXISTS, SNAPSHOT_NAME_INVALID, SNAPSHOT_IMAGE_NOT_STORED, STORE_WRITE_FAILED
 */
export async function writeSnapshot(
  { name, replace, machine, images, start }: Captured,
  store: SnapshotStore = new SnapshotStore(),
): Promise<SnapshotManifest> {
  const kernel = referenceOf(images.kernel);
  const initrd = images.initrd === undefined ? null : referenceOf(images.initrd);
  const modules = images.modules === undefined ? null : referenceOf(images.modules);
  await store.prepare();
  const numbers = new Map<string, number>();
  for (const [file, number] of [
    [images.modules, RUN_FILE.modules],
    [images.initrd, RUN_FILE.initrd],
    [images.kernel, RUN_FILE.kernel],
  ] as const) {
    if (file === undefined) continue;
    const { sha256 } = referenceOf(file);
    await store.keep(file.path, sha256);
    numbers.set(sha256, number);
  }
  const { layout, state } = start;
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
  const manifest: SnapshotManifest = {
    format: SNAPSHOT_FORMAT,
    name,
    created: new Date().toISOString(),
    pando: VERSION,
    machine,
    kernel,
    initrd,
    modules,
    pages: await store.add((sink) => copyPages(layout, copied, sink)),
    state: await store.add((sink) => sink(encodeMachine(state))),
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

/** What a snapshot's machine was booted with, and where its image's files are. */
export interface BootedMachine extends SnapshotMachine {
  readonly kernel: string;
  readonly initrd: string | undefined;
  readonly modules: string | undefined;
}

/** @throws PandoError SNAPSHOT_OBJECT_MISSING, SNAPSHOT_OBJECT_SIZE */
async function imagePaths(
  { kernel, initrd, modules }: SnapshotManifest,
  store: SnapshotStore,
): Promise<Pick<OpenSnapshot, 'kernel' | 'initrd' | 'modules'>> {
  return {
    kernel: await store.locateImage(kernel, 'kernel'),
    initrd: initrd === null ? undefined : await store.locateImage(initrd, 'initrd'),
    modules: modules === null ? undefined : await store.locateImage(modules, 'modules'),
  };
}

/** @throws PandoError as `openSnapshot` */
export async function snapshotMachine(
  name: string,
  store: SnapshotStore = new SnapshotStore(),
): Promise<BootedMachine> {
  const manifest = await store.read(name);
  return { ...manifest.machine, ...(await imagePaths(manifest, store)) };
}

/** An open snapshot: VMs start from it until it is closed. */
export interface OpenSnapshot {
  readonly manifest: SnapshotManifest;
  readonly start: GuestStart;
  /** Paths of the image's files, for a reset. */
  readonly kernel: string;
  readonly initrd: string | undefined;
  readonly modules: string | undefined;
  /** VMs keep what they have mapped. */
  close(): void;
}

/**
 * Opens a snapshot.
 * @throws PandoError SNAPSHOT_NOT_FOUND and other SNAPSHOT_… for one that is damaged or incomplete
 */
export async function openSnapshot(
  name: string,
  store: SnapshotStore = new SnapshotStore(),
): Promise<OpenSnapshot> {
  const manifest = await store.read(name);
  const paths = await imagePaths(manifest, store);
  const state = decodeMachine(await readFile(await store.locate(manifest.state, 'state')));
  const pages = await store.locate(manifest.pages, 'pages');
  const files: SharedFile[] = [];
  try {
    // In the order of RUN_FILE; a run of a file that is not there has been refused.
    for (const [path, reference] of [
      [pages, manifest.pages],
      [paths.kernel, manifest.kernel],
      [paths.initrd ?? paths.kernel, manifest.initrd ?? manifest.kernel],
      [paths.modules ?? paths.kernel, manifest.modules ?? manifest.kernel],
    ] as const) {
      const file = await open(path, 'r');
      const kept = path === pages ? undefined : reference.sha256;
      files.push(new SharedFile(file.fd, reference.size, kept, () => void file.close()));
    }
  } catch (error) {
    for (const file of files) file.close();
    throw error;
  }
  const layout = new MemoryLayout(files, memoryRuns(manifest));
  let closed = false;
  return {
    manifest,
    start: { layout, state },
    ...paths,
    close: () => {
      if (!closed) layout.close();
      closed = true;
    },
  };
}
