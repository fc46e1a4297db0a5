/**
 * The content of files that snapshots are made of: hashed when a file is first seen, and known from then on by
 * its device, inode, size and times (image/file-cache.ts). A file that has been changed is hashed again.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { FileCache } from '../image/file-cache.js';
import type { ObjectReference } from '../image/manifest.js';
import { FileSource } from '../loader/byte-source.js';

/** Bytes that are read at a time. */
const CHUNK = 1 << 20;
/** How often a file is read whose times change while it is: names that others give it change them, and its bytes not. */
const TRIES = 8;
/** Longer than FileSource.identify waits for, which would keep the thread. */
const SETTLE_MS = 25;

function keyOf(source: FileSource): string {
  return `content ${source.identify()}`;
}

/**
 * A file's content.
 * @param store the store's folder, which remembers it
 * @throws PandoError FILE_NOT_FOUND, FILE_UNREADABLE, FILE_NOT_REGULAR, FILE_CHANGED
 */
export async function contentOf(path: string, store: string): Promise<ObjectReference> {
  const source = FileSource.open(path);
  try {
    const cache = new FileCache(store);
    const { fd, size } = source;
    for (let tries = 1; ; tries += 1) {
      const key = keyOf(source);
      const known = cache.recall(key);
      if (known !== undefined && known.size === size) return known;
      const hash = createHash('sha256');
      const bytes = createReadStream('', { fd, autoClose: false, start: 0, highWaterMark: CHUNK });
      let read = 0;
      for await (const chunk of bytes) {
        hash.update(chunk as Buffer);
        read += (chunk as Buffer).length;
      }
      if (read === size && !source.unchanged && tries < TRIES) continue;
      source.checkUnchanged();
      const sha256 = hash.digest('hex');
      cache.remember(key, sha256, size);
      return { sha256, size };
    }
  } finally {
    source.close();
  }
}

/** Remembers the content of a file that has just been written with it. */
export async function rememberContent(
  path: string,
  { sha256, size }: ObjectReference,
  store: string,
): Promise<void> {
  // Its times tell it from another only once the clock has gone on.
  await sleep(SETTLE_MS);
  const source = FileSource.open(path);
  try {
    new FileCache(store).remember(keyOf(source), sha256, size);
  } finally {
    source.close();
  }
}
