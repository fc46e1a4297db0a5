/**
 * The snapshots that this process has open. What is the same for each machine of a snapshot is done for the first
 * one: finding, checking and opening its files, decoding its state, planning its images. The others find it here,
 * as long as none of the files has been changed, and until nobody has asked for it for a while.
 */
import { join } from 'node:path';
import { storeDirectory } from '../image/directories.js';
import { type GuestImages, openImages } from '../run/images.js';
import { type OpenSnapshot, openSnapshot } from './open-snapshot.js';
import type { SeenFiles } from './seen-files.js';
import { SnapshotStore } from './snapshot-store.js';

/** How long one stays open that nobody uses, in milliseconds. */
const IDLE_MS = 10_000;

interface Opened {
  readonly snapshot: OpenSnapshot;
  /** What a reset boots. */
  readonly images: GuestImages;
  readonly files: SeenFiles;
}

/** A snapshot for whoever makes a machine of it. */
export interface HeldSnapshot extends Pick<Opened, 'snapshot' | 'images'> {
  /** Machines keep what they have mapped and open. */
  release(): void;
}

async function open(name: string): Promise<Opened> {
  const store = new SnapshotStore();
  const snapshot = await openSnapshot(name, store);
  try {
    const { kernel, initrd, modules, pmem } = snapshot;
    const { memory } = snapshot.manifest.machine;
    const images = openImages({ kernel, initrd, modules, pmem, memory, immutable: true });
    return { snapshot, images, files: store.seen };
  } catch (error) {
    snapshot.close();
    throw error;
  }
}

/** One of them. It is closed once it is neither used nor to be given to anybody any more. */
class Entry {
  readonly #opening: Promise<Opened>;
  readonly #key: string;
  #opened: Opened | undefined;
  #users = 0;
  #retired = false;
  #idle: NodeJS.Timeout | undefined;

  constructor(key: string, name: string) {
    this.#key = key;
    this.#opening = open(name).then((opened) => {
      this.#opened = opened;
      return opened;
    });
  }

  /** Whether it is what the store has now. */
  get current(): boolean {
    return this.#opened === undefined || this.#opened.files.unchanged;
  }

  async take(): Promise<HeldSnapshot> {
    this.#users += 1;
    clearTimeout(this.#idle);
    let held = true;
    const release = (): void => {
      if (held) this.#leave();
      held = false;
    };
    try {
      const { snapshot, images } = await this.#opening;
      return { snapshot, images, release };
    } catch (error) {
      this.retire();
      release();
      throw error;
    }
  }

  #leave(): void {
    this.#users -= 1;
    if (this.#users > 0) return;
    if (this.#retired) this.#close();
    else this.#idle = setTimeout(() => this.retire(), IDLE_MS).unref();
  }

  /** It is given to nobody any more. */
  retire(): void {
    clearTimeout(this.#idle);
    this.#retired = true;
    if (entries.get(this.#key) === this) entries.delete(this.#key);
    if (this.#users === 0) this.#close();
  }

  #close(): void {
    this.#opened?.images.close();
    this.#opened?.snapshot.close();
  }
}

/** By path of the manifest, without its suffix. */
const entries = new Map<string, Entry>();

/**
 * A snapshot, opened unless it is open.
 * @throws PandoError what `openSnapshot` and `openImages` throw
 */
export async function holdSnapshot(name: string): Promise<HeldSnapshot> {
  const key = join(storeDirectory(), name);
  let entry = entries.get(key);
  if (entry?.current !== true) {
    entry?.retire();
    entry = new Entry(key, name);
    entries.set(key, entry);
  }
  return entry.take();
}
