/**
 * Copies of image files in memory that nobody can change (memfd_create(2), fcntl(2) "File Sealing"): for
 * what the store cannot keep. A process has one copy of a file, however many of its VMs map it.
 */
import { closeSync, writeSync } from 'node:fs';
import { PandoError } from '../error.js';
import { errnoOf, HostError } from '../host/errno.js';
import { createMemoryFile, isSealed, sealMemoryFile } from '../host/memfd.js';
import { remedyFor } from '../system-error.js';

/** Whether an open file is in memory, and sealed: it can be mapped as it is. */
export function isSealedFile(fd: number): boolean {
  return isSealed(fd);
}

/** A sealed copy. */
export interface SealedCopy {
  readonly fd: number;
  /** Bytes. */
  readonly size: number;
  /** Where another process of the same user opens the very same copy, as long as this one holds it. */
  readonly path: string;
  /** Releases this holder's claim; the last one closes the descriptor. VMs keep what they mapped. */
  close(): void;
}

interface Copy {
  readonly fd: number;
  readonly size: number;
  holders: number;
}

const copies = new Map<string, Copy>();

/** A file in memory takes no space on a disk. */
const NO_MEMORY = 'free some memory, or let the store keep the file (docs/images.md)';

/** Bytes that are written at a time. */
const CHUNK = 1 << 22;

/**
 * The copy with this key; made when this process has none.
 *
 * @param key tells what the copy contains
 * @param name for messages
 * @param fill gives the bytes in order
 * @throws PandoError IMAGE_COPY_FAILED when the host has no memory or no descriptor for it, and what
 * `fill` throws
 */
export function sealedCopy(
  key: string,
  name: string,
  fill: (write: (bytes: Uint8Array) => void) => void,
): SealedCopy {
  let copy = copies.get(key);
  if (copy === undefined) {
    copy = { ...makeCopy(name, fill), holders: 0 };
    copies.set(key, copy);
  }
  const held = copy;
  held.holders++;
  let closed = false;
  const close = (): void => {
    if (closed) return;
    closed = true;
    if (--held.holders > 0) return;
    copies.delete(key);
    closeSync(held.fd);
  };
  return { fd: held.fd, size: held.size, path: `/proc/${process.pid}/fd/${held.fd}`, close };
}

function makeCopy(
  name: string,
  fill: (write: (bytes: Uint8Array) => void) => void,
): { readonly fd: number; readonly size: number } {
  let size = 0;
  let fd: number | undefined;
  try {
    const file = createMemoryFile('pando-image');
    fd = file;
    fill((bytes) => {
      for (let done = 0; done < bytes.length; ) {
        done += writeSync(file, bytes, done, Math.min(CHUNK, bytes.length - done));
      }
      size += bytes.length;
    });
    sealMemoryFile(file);
    return { fd: file, size };
  } catch (error) {
    if (fd !== undefined) closeSync(fd);
    const reason = error instanceof HostError ? error.errno : errnoOf(error);
    if ((error instanceof PandoError && !(error instanceof HostError)) || reason === undefined) {
      throw error;
    }
    const remedy = reason === 'ENOSPC' ? NO_MEMORY : (remedyFor(reason) ?? NO_MEMORY);
    const message = `${name} cannot be copied to memory: ${reason}`;
    throw new PandoError('IMAGE_COPY_FAILED', message, { remedy, cause: error });
  }
}
