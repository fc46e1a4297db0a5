/** Where things are in a store (docs/images.md), and the folders themselves. */
import { mkdirSync, statSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';

/** A store's folders. */
export interface StoreFolders {
  readonly objects: string;
  readonly manifests: string;
  readonly files: string;
  readonly known: string;
  readonly profiles: string;
  readonly deduplicated: string;
  readonly layers: string;
  readonly temporary: string;
}

export function storeFolders(store: string): StoreFolders {
  return {
    objects: join(store, 'objects'),
    manifests: join(store, 'manifests'),
    files: join(store, 'files'),
    known: join(store, 'known'),
    profiles: join(store, 'profiles'),
    deduplicated: join(store, 'deduplicated'),
    layers: join(store, 'layers'),
    temporary: join(store, 'temporary'),
  };
}

/** Length of a SHA-256 in hexadecimal digits. */
export const HASH_DIGITS = 64;
const HASH = /^[0-9a-f]{64}$/;

/** A content that a store keeps, and the store. */
export interface StoredContent {
  /** 64 lower-case hexadecimal digits. */
  readonly sha256: string;
  /** The store's folder. */
  readonly store: string;
}

/** The content that a path names when it is that of an object or of a kept file of a store. */
export function storedContent(path: string): StoredContent | undefined {
  const sha256 = basename(path);
  const folder = dirname(resolve(path));
  const store = dirname(folder);
  const { objects, files, manifests } = storeFolders(store);
  if (!HASH.test(sha256) || (folder !== objects && folder !== files)) return undefined;
  const isStore = statSync(manifests, { throwIfNoEntry: false })?.isDirectory() === true;
  return isStore ? { sha256, store } : undefined;
}

/**
 * Makes a folder and its parents. Not mkdir's own way: Node 20 never comes back where a parent takes no
 * folders.
 */
export function makeFolders(path: string): void {
  try {
    mkdirSync(path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST' && statSync(path, { throwIfNoEntry: false })?.isDirectory()) return;
    if (code !== 'ENOENT' || dirname(path) === path) throw error;
    makeFolders(dirname(path));
    mkdirSync(path);
  }
}
