/**
 * The folder of downloaded packages: what images of the store were made of stays, for pulling again
 * without the network; what a newer version has replaced may go.
 */
import { join } from 'node:path';
import { type RemovedFile, removeFiles } from './atomic-file.js';
import { cacheDirectory } from './directories.js';
import type { ImageStore } from './store.js';

/** `<package>_<sha256>.deb`, as apt.ts names downloads. */
const DOWNLOAD = /_([0-9a-f]{64})\.deb$/;

/** Where downloads are. */
export function downloadsDirectory(cache: string = cacheDirectory()): string {
  return join(cache, 'packages');
}

/**
 * Deletes downloads.
 * @param all those of images of the store, too
 * @returns what was deleted
 */
export async function pruneDownloads(
  store: ImageStore,
  all: boolean,
  cache: string = cacheDirectory(),
): Promise<RemovedFile[]> {
  const wanted = all ? new Set<string>() : await store.packages();
  return removeFiles(downloadsDirectory(cache), (name) => {
    const [, sha256] = DOWNLOAD.exec(name) ?? [];
    return sha256 !== undefined && !wanted.has(sha256);
  });
}
