/**
 * Templates of `pando run`: for an image a snapshot of its machine at its first ready moment, under a name of the
 * image's. A run of that machine goes on from it instead of booting. When the image is another, or Pando, it is
 * made again.
 */
import { PandoError } from '../error.js';
import { ensureImage } from '../image/ensure-image.js';
import { DEFAULT_IMAGE_NAME } from '../image/manifest.js';
import type { ProgressSink } from '../image/progress.js';
import type { Image } from '../image/store.js';
import { holdSnapshot } from '../snapshot/held-snapshots.js';
import type { SnapshotMachine, SnapshotManifest } from '../snapshot/manifest.js';
import { SnapshotStore } from '../snapshot/snapshot-store.js';
import { VERSION } from '../version.js';
import { writeReady } from './ready.js';

/** How its snapshot is called, before the image's name. */
const PREFIX = 'image-';
const TIMEOUT_MS = 300_000;

export interface TemplateOptions {
  /** Guest RAM in bytes. */
  readonly memory: number;
  /** Text on the console that says that the guest is ready; that it waits when absent. */
  readonly until?: string | undefined;
  /** Milliseconds that it may take. */
  readonly timeoutMs?: number;
  readonly progress: ProgressSink;
}

/** A template, and the image that it is of. */
export interface Template {
  readonly image: string;
  readonly manifest: SnapshotManifest;
}

export function snapshotName(image: string): string {
  return PREFIX + image;
}

/** Whether it is of this image and of this release. */
export function isCurrent({ manifest }: Template, { manifest: image }: Image): boolean {
  return (
    manifest.pando === VERSION &&
    manifest.kernel.sha256 === image.kernel.sha256 &&
    manifest.initrd?.sha256 === image.initrd?.sha256 &&
    manifest.machine.commandLine === image.commandLine
  );
}

/** All templates, by name; what of them cannot be read is left out. */
export async function templates(store: SnapshotStore = new SnapshotStore()): Promise<Template[]> {
  const found: Template[] = [];
  for (const name of await store.names()) {
    if (!name.startsWith(PREFIX)) continue;
    const manifest = await usable(store.manifest(name));
    if (manifest !== undefined) found.push({ image: name.slice(PREFIX.length), manifest });
  }
  return found;
}

/** What is read of a snapshot; undefined when it cannot be used. @throws what is no error of a snapshot */
async function usable<T>(read: Promise<T>): Promise<T | undefined> {
  try {
    return await read;
  } catch (error) {
    if (error instanceof PandoError && error.code.startsWith('SNAPSHOT_')) return undefined;
    throw error;
  }
}

/**
 * Boots an image and writes it down as its template.
 * @throws PandoError what pulling the image, making the VM and writing the snapshot throw, SNAPSHOT_TIMEOUT,
 * SNAPSHOT_GUEST_ENDED
 */
export async function makeTemplate(
  image: string,
  { memory, until, timeoutMs = TIMEOUT_MS, progress }: TemplateOptions,
): Promise<SnapshotManifest> {
  const { kernelPath, initrdPath, commandLine } = await ensureImage(image, { progress });
  progress(`booting a template of ${image}`);
  const machine = { kernel: kernelPath, initrd: initrdPath, commandLine, memory };
  const snapshot = { name: snapshotName(image), replace: true };
  return writeReady(machine, snapshot, { until, timeoutMs }, () =>
    progress('writing the template'),
  );
}

/** What a run wants of the machine. */
export interface WantedMachine extends Pick<SnapshotMachine, 'memory' | 'cpus' | 'tier'> {
  readonly accelerator: SnapshotMachine['accelerator'] | 'auto';
}

/**
 * The snapshot that a run of an image goes on from, made again when it is of another release or another image;
 * undefined when the image has no template, or one of another machine.
 * @throws PandoError as `makeTemplate`
 */
export async function templateFor(
  image: string | undefined,
  wanted: WantedMachine,
  progress: ProgressSink,
): Promise<string | undefined> {
  const name = image ?? DEFAULT_IMAGE_NAME;
  const manifest = await usable(new SnapshotStore().manifest(snapshotName(name)));
  if (manifest === undefined) return undefined;
  const { memory, cpus, tier, accelerator } = manifest.machine;
  const same =
    memory === wanted.memory &&
    cpus === wanted.cpus &&
    tier === wanted.tier &&
    (wanted.accelerator === 'auto' || wanted.accelerator === accelerator);
  if (!same) return undefined;
  const found = await ensureImage(name, { progress });
  const current = isCurrent({ image: name, manifest }, found) && (await isWhole(name));
  if (!current) await makeTemplate(name, { memory, progress });
  return snapshotName(name);
}

/** Whether all that it needs is there, undamaged; the run that goes on from it finds it open. */
async function isWhole(image: string): Promise<boolean> {
  const held = await usable(holdSnapshot(snapshotName(image)));
  held?.release();
  return held !== undefined;
}
