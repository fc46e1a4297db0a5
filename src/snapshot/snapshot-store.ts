/**
 * Where snapshots are kept, beside the images of a store:
 *
 *     snapshots/NAME.json         manifest (manifest.ts)
 *     snapshots/objects/<sha256>  pages and states; kernel and initrd as further names of the store's files
 *
 * Objects are written and on the disk before a manifest names them, and never change. A capture that dies
 * leaves temporary files, which later ones delete by their age.
 */
import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { copyFile, link, open, readdir, readFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { PandoError, reasonOf } from '../error.js';
import {
  publishNew,
  publishReplacing,
  removeFiles,
  removeStale,
  temporaryName,
  writeTemporary,
} from '../image/atomic-file.js';
import { makeDirectory, storeDirectory } from '../image/directories.js';
import type { ObjectReference } from '../image/manifest.js';
import { storeFolders } from '../image/store-folders.js';
import { contentOf, rememberContent } from './file-content.js';
import {
  checkSnapshotName,
  formatSnapshot,
  parseSnapshot,
  type SnapshotManifest,
} from './manifest.js';
import { SeenFiles } from './seen-files.js';

const MANIFEST_SUFFIX = '.json';
/** Objects younger than this may belong to a snapshot whose manifest is still to come. */
const GRACE_MS = 60 * 60 * 1000;

/** Writes bytes behind those before. */
export type Sink = (bytes: Uint8Array) => Promise<void>;

export class SnapshotStore {
  /** What has been read here. */
  readonly seen = new SeenFiles();
  readonly #store: string;
  readonly #folder: string;
  readonly #objects: string;
  readonly #temporary: string;

  constructor(store: string = storeDirectory()) {
    this.#store = store;
    this.#folder = join(store, 'snapshots');
    this.#objects = join(this.#folder, 'objects');
    this.#temporary = join(this.#folder, 'temporary');
  }

  #manifest(name: string): string {
    checkSnapshotName(name);
    return join(this.#folder, name + MANIFEST_SUFFIX);
  }

  /** Makes the folders, and deletes what dead captures left. */
  async prepare(): Promise<void> {
    for (const folder of [this.#folder, this.#objects, this.#temporary]) {
      await makeDirectory(folder, 'PANDO_STORE');
    }
    await removeStale(this.#temporary);
  }

  /**
   * Stores what `fill` writes.
   * @throws PandoError STORE_WRITE_FAILED
   */
  async add(fill: (sink: Sink) => Promise<void>): Promise<ObjectReference> {
    const path = temporaryName(this.#temporary);
    const hash = createHash('sha256');
    let size = 0;
    try {
      const file = await open(path, 'wx', 0o600);
      try {
        await fill(async (bytes) => {
          hash.update(bytes);
          for (let at = 0; at < bytes.length; ) {
            const { bytesWritten } = await file.write(bytes, at, bytes.length - at);
            at += bytesWritten;
          }
          size += bytes.length;
        });
        await file.chmod(0o444);
        await file.sync();
      } finally {
        await file.close();
      }
      const reference = { sha256: hash.digest('hex'), size };
      const object = join(this.#objects, reference.sha256);
      await publishReplacing(path, object);
      await rememberContent(object, reference, this.#store);
      return reference;
    } catch (cause) {
      await rm(path, { force: true });
      if (cause instanceof PandoError) throw cause;
      throw new PandoError(
        'STORE_WRITE_FAILED',
        `a snapshot cannot be written to ${this.#folder}: ${reasonOf(cause)}`,
        { remedy: 'free some space, or set PANDO_STORE to another folder', cause },
      );
    }
  }

  /** A file's content, see file-content.ts. */
  contentOf(path: string): Promise<ObjectReference> {
    this.seen.see(path);
    return contentOf(path, this.#store);
  }

  /** Keeps a file of an image for a snapshot: another name of the same file, or a copy. */
  async keep(path: string, sha256: string): Promise<void> {
    const kept = join(this.#objects, sha256);
    try {
      await link(path, kept);
    } catch (cause) {
      const code = reasonOf(cause);
      if (code === 'EEXIST') return;
      if (code !== 'EXDEV' && code !== 'EPERM' && code !== 'EMLINK') throw cause;
      const temporary = temporaryName(this.#temporary);
      await copyFile(path, temporary, constants.COPYFILE_FICLONE);
      await publishReplacing(temporary, kept);
    }
  }

  /**
   * Gives a snapshot its name.
   * @param replace takes the place of one that has it
   * @throws PandoError SNAPSHOT_EXISTS
   */
  async publish(manifest: SnapshotManifest, replace: boolean): Promise<void> {
    const path = this.#manifest(manifest.name);
    const text = Buffer.from(formatSnapshot(manifest));
    const temporary = await writeTemporary(this.#temporary, text, 0o444);
    if (replace) await publishReplacing(temporary, path);
    else if (!(await publishNew(temporary, path))) {
      throw new PandoError('SNAPSHOT_EXISTS', `there is a snapshot ${manifest.name} already`, {
        remedy: `give another name, or remove it: pando snapshot rm ${manifest.name}`,
      });
    }
  }

  /**
   * A snapshot's manifest.
   * @throws PandoError SNAPSHOT_NOT_FOUND, SNAPSHOT_NAME_INVALID, and what `parseSnapshot` throws
   */
  async manifest(name: string): Promise<SnapshotManifest> {
    const path = this.#manifest(name);
    let text: string;
    try {
      this.seen.see(path);
      text = await readFile(path, 'utf8');
    } catch (cause) {
      if (reasonOf(cause) !== 'ENOENT') throw cause;
      throw new PandoError('SNAPSHOT_NOT_FOUND', `there is no snapshot ${name}`, {
        remedy: 'see `pando snapshot ls`',
      });
    }
    return parseSnapshot(name, text);
  }

  /** Names of all snapshots, sorted. */
  async names(): Promise<string[]> {
    const files = await readdir(this.#folder).catch(() => []);
    return files
      .filter((file) => file.endsWith(MANIFEST_SUFFIX))
      .map((file) => file.slice(0, -MANIFEST_SUFFIX.length))
      .sort();
  }

  /**
   * The path of an object.
   * @throws PandoError SNAPSHOT_OBJECT_MISSING, SNAPSHOT_OBJECT_SIZE
   */
  locate({ sha256, size }: ObjectReference, what: string): string {
    const path = join(this.#objects, sha256);
    const found = this.seen.see(path);
    if (found === undefined) {
      throw new PandoError('SNAPSHOT_OBJECT_MISSING', `the snapshot's ${what} ${sha256} is gone`, {
        remedy: 'make the snapshot again',
      });
    }
    if (found !== size) {
      throw new PandoError(
        'SNAPSHOT_OBJECT_SIZE',
        `the snapshot's ${what} has ${found} bytes, not ${size}`,
        { remedy: 'make the snapshot again: this one is damaged' },
      );
    }
    return path;
  }

  /**
   * The path of an object whose bytes are those that were stored.
   * @throws PandoError SNAPSHOT_OBJECT_MISSING, SNAPSHOT_OBJECT_SIZE, SNAPSHOT_OBJECT_DAMAGED
   */
  async locateWhole(reference: ObjectReference, what: string): Promise<string> {
    const path = this.locate(reference, what);
    const { sha256 } = await this.contentOf(path);
    if (sha256 !== reference.sha256) throw damaged(what);
    return path;
  }

  /**
   * The bytes of a small object.
   * @throws PandoError SNAPSHOT_OBJECT_MISSING, SNAPSHOT_OBJECT_SIZE, SNAPSHOT_OBJECT_DAMAGED
   */
  async read(reference: ObjectReference, what: string): Promise<Buffer> {
    const bytes = await readFile(this.locate(reference, what));
    const sha256 = createHash('sha256').update(bytes).digest('hex');
    if (sha256 !== reference.sha256) throw damaged(what);
    return bytes;
  }

  /**
   * A file of an image under the name that the store knows it by, so that what boots of it have left is
   * found; it may have been pruned there.
   */
  async locateImage(reference: ObjectReference, what: string): Promise<string> {
    const kept = this.locate(reference, what);
    const { objects, files } = storeFolders(this.#store);
    for (const folder of [objects, files]) {
      const path = join(folder, reference.sha256);
      if (this.seen.see(path) === reference.size) return path;
    }
    const path = join(files, reference.sha256);
    await link(kept, path).catch(() => undefined);
    return this.seen.see(path) === undefined ? kept : path;
  }

  /**
   * Removes a snapshot, and objects that no other names.
   * @returns bytes given back
   * @throws PandoError SNAPSHOT_NOT_FOUND
   */
  async remove(name: string): Promise<number> {
    const own = await this.#referencesOf(name);
    try {
      await rm(this.#manifest(name));
    } catch (cause) {
      if (cause instanceof PandoError || reasonOf(cause) !== 'ENOENT') throw cause;
      throw new PandoError('SNAPSHOT_NOT_FOUND', `there is no snapshot ${name}`, {
        remedy: 'see `pando snapshot ls`',
      });
    }
    const used = new Set<string>();
    for (const other of await this.names()) {
      for (const hash of await this.#referencesOf(other)) used.add(hash);
    }
    // A capture may just have linked an image's files for a manifest that is still to come.
    const images = await this.#linked(own);
    const removed = await removeFiles(
      this.#objects,
      (hash, age) => !used.has(hash) && (age > GRACE_MS || (own.has(hash) && !images.has(hash))),
    );
    return removed.reduce((sum, { size }) => sum + size, 0);
  }

  /** Whatever the manifest's version: a hash in it is a reference. */
  async #referencesOf(name: string): Promise<Set<string>> {
    const text = await readFile(this.#manifest(name), 'latin1').catch(() => '');
    return new Set([...text.matchAll(/[0-9a-f]{64}/g)].map(([hash]) => hash));
  }

  /** Those objects that have another name elsewhere. */
  async #linked(hashes: ReadonlySet<string>): Promise<Set<string>> {
    const linked = new Set<string>();
    for (const hash of hashes) {
      const found = await stat(join(this.#objects, hash)).catch(() => undefined);
      if (found !== undefined && found.nlink > 1) linked.add(hash);
    }
    return linked;
  }
}

function damaged(what: string): PandoError {
  return new PandoError(
    'SNAPSHOT_OBJECT_DAMAGED',
    `the snapshot's ${what} is not what was stored`,
    {
      remedy: 'make the snapshot again: this one is damaged',
    },
  );
}
