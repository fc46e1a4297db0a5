/**
 * The folder of downloaded packages, which all stores of a user have in common: what images were made of
 * stays, for pulling again without the network; what a newer version has replaced may go.
 *
 *     packages/<package>_<sha256>.deb
 *     stores/<hash>                    the path of a store that has been pulled into
 */
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { type RemovedFile, removeFiles } from './atomic-file.js';
import { cacheDirectory, makeDirectory, storeDirectory } from './directories.js';
import { ImageStore, sha256 } from './store.js';

const DOWNLOAD = /_([0-9a-f]{64})\.deb$/;

/** Where downloads are. */
export function downloadsDirectory(cache: string = cacheDirectory()): string {
  return join(cache, 'packages');
}

function storesDirectory(cache: string): string {
  return join(cache, 'stores');
}

/**
 * Lets a store's images keep their downloads, whichever store is pruned.
 * @throws PandoError DIRECTORY_NOT_WRITABLE
 */
export async function registerStore(store: ImageStore, cache: string): Promise<void> {
  const folder = resolve(store.folder);
  const stores = storesDirectory(cache);
  await makeDirectory(stores, 'XDG_CACHE_HOME');
  await writeFile(join(stores, sha256(Buffer.from(folder))), folder);
}

/** All stores that may have been pulled into. */
async function knownStores(cache: string): Promise<ImageStore[]> {
  const folders = new Set([storeDirectory(), storeDirectory({ ...process.env, PANDO_STORE: '' })]);
  const stores = storesDirectory(cache);
  for (const name of await readdir(stores).catch(() => [])) {
    folders.add(await readFile(join(stores, name), 'utf8'));
  }
  return [...folders].map((folder) => new ImageStore(folder));
}

/**
 * Deletes downloads.
 * @param all those of images of a store, too
 * @returns what was deleted
 */
export async function pruneDownloads(
  all: boolean,
  cache: string = cacheDirectory(),
): Promise<RemovedFile[]> {
  const wanted = new Set<string>();
  for (const store of all ? [] : await knownStores(cache)) {
    for (const hash of await store.referenced()) wanted.add(hash);
  }
  return removeFiles(downloadsDirectory(cache), (name) => {
    const [, hash] = DOWNLOAD.exec(name) ?? [];
    return hash !== undefined && !wanted.has(hash);
  });
}
