/**
 * Kernels and initrds that a user names by path, kept in the store by their content, so that they can be
 * mapped: the user may change a file while a VM runs, but not what the store has of it.
 *
 *     files/<sha256>  as in objects/, but no image refers to them
 *     known/<hash>    SHA-256 and size of what a file was prepared to, under its device, inode, size and times
 *
 * A file that has been seen before costs two small reads. Everything here may go at any time; what was
 * used last stays longest. Synchronous: a VM is made of it.
 */
import { createHash, randomBytes } from 'node:crypto';
import {
  closeSync,
  fchmodSync,
  fsyncSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { PandoError } from '../error.js';
import { storeDirectory } from './directories.js';
import { removeLeastRecent } from './least-recent.js';
import { makeFolders, type StoreFolders, storeFolders } from './store-folders.js';

/** Bytes of files/. */
const CACHE_LIMIT = 2 ** 31;
/** Entries of known/ that are kept. */
const KNOWN_LIMIT = 1024;

/** A content of the store. */
export interface KeptFile {
  readonly sha256: string;
  /** Bytes. */
  readonly size: number;
  readonly path: string;
}

/** Gives a file's bytes in order. */
export type Fill = (write: (bytes: Uint8Array) => void) => void;

export class FileCache {
  readonly #folders: StoreFolders;
  readonly #limit: number;

  /**
   * @param folder of the store; made when something is first kept
   * @param limit bytes of files/ beyond which those go that have not been used for longest; a file of more
   * than half of it is not kept, for it would drive out everything else
   */
  constructor(
    readonly folder: string = storeDirectory(),
    limit: number = CACHE_LIMIT,
  ) {
    this.#folders = storeFolders(folder);
    this.#limit = limit;
  }

  /** What is kept of a file. @param key tells what the file contains and what is to be made of it */
  find(key: string): KeptFile | undefined {
    const known = this.recall(key);
    return known && this.#locate(known.sha256, known.size);
  }

  /** What `remember` was told under a key. */
  recall(key: string): { readonly sha256: string; readonly size: number } | undefined {
    try {
      const text = readFileSync(this.#entry(key), 'latin1');
      const [, sha256, size] = /^([0-9a-f]{64}) ([0-9]+)\n$/.exec(text) ?? [];
      return sha256 === undefined ? undefined : { sha256, size: Number(size) };
    } catch {
      return undefined;
    }
  }

  /** Writes down what a file contains; a store that cannot be written forgets it. */
  remember(key: string, sha256: string, size: number): void {
    orUndefined(() => {
      this.#prepare();
      this.#publish(this.#entry(key), Buffer.from(`${sha256} ${size}\n`, 'latin1'));
    });
  }

  /**
   * Keeps a content.
   * @param size of the file, bytes
   * @returns undefined when the store cannot be written, or the file is too large for it
   * @throws what `fill` throws of its own
   */
  add(key: string, size: number, fill: Fill): KeptFile | undefined {
    if (size > this.#limit / 2) return undefined;
    let temporary: string | undefined;
    let fd: number | undefined;
    try {
      this.#prepare();
      temporary = this.#temporaryName();
      fd = openSync(temporary, 'wx', 0o600);
      const written = write(fd, fill);
      const { sha256 } = written;
      let kept = this.#locate(sha256, written.size);
      if (kept === undefined) {
        fchmodSync(fd, 0o444);
        fsyncSync(fd);
        const path = join(this.#folders.files, sha256);
        renameSync(temporary, path);
        kept = { ...written, path };
        this.#makeRoom(sha256);
      }
      this.remember(key, sha256, written.size);
      return kept;
    } catch (error) {
      if (error instanceof PandoError || !isSystemError(error)) throw error;
      return undefined;
    } finally {
      if (fd !== undefined) closeSync(fd);
      if (temporary !== undefined) rmSync(temporary, { force: true });
    }
  }

  /** An object of an image or a kept file; its time tells when it was used last. */
  #locate(sha256: string, size: number): KeptFile | undefined {
    const { objects, files } = this.#folders;
    for (const folder of [objects, files]) {
      const path = join(folder, sha256);
      const found = orUndefined(() => statSync(path, { throwIfNoEntry: false }));
      if (!found?.isFile() || found.size !== size) continue;
      if (folder === files) orUndefined(() => utimesSync(path, new Date(), new Date()));
      return { sha256, size, path };
    }
    return undefined;
  }

  #entry(key: string): string {
    return join(this.#folders.known, createHash('sha256').update(key).digest('hex'));
  }

  #prepare(): void {
    const { manifests, files, known, temporary } = this.#folders;
    for (const folder of [manifests, files, known, temporary]) makeFolders(folder);
  }

  #temporaryName(): string {
    return join(this.#folders.temporary, `${process.pid}-${randomBytes(8).toString('hex')}`);
  }

  #publish(path: string, bytes: Uint8Array): void {
    const temporary = this.#temporaryName();
    try {
      writeFileSync(temporary, bytes, { flag: 'wx' });
      renameSync(temporary, path);
    } finally {
      rmSync(temporary, { force: true });
    }
  }

  /** Takes away what has not been used for longest, with what boots of it left. */
  #makeRoom(added: string): void {
    const { objects, files, known, profiles, deduplicated } = this.#folders;
    for (const name of removeLeastRecent(files, this.#limit, ({ size }) => size, added)) {
      if (statSync(join(objects, name), { throwIfNoEntry: false }) !== undefined) continue;
      for (const folder of [profiles, deduplicated]) {
        for (const left of orUndefined(() => readdirSync(folder)) ?? []) {
          if (left.startsWith(name)) rmSync(join(folder, left), { force: true });
        }
      }
    }
    removeLeastRecent(known, KNOWN_LIMIT, () => 1);
  }
}

/** Writes what `fill` gives to an empty file. */
function write(fd: number, fill: Fill): { readonly sha256: string; readonly size: number } {
  const hash = createHash('sha256');
  let size = 0;
  fill((bytes) => {
    hash.update(bytes);
    for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
    size += bytes.length;
  });
  return { sha256: hash.digest('hex'), size };
}

function isSystemError(error: unknown): boolean {
  return error instanceof Error && 'errno' in error;
}

/** What a system call gives, or undefined where the system refuses it. */
function orUndefined<T>(call: () => T): T | undefined {
  try {
    return call();
  } catch (error) {
    if (isSystemError(error)) return undefined;
    throw error;
  }
}
