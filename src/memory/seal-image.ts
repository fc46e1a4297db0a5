/**
 * Image files that nobody can change under a running VM. A file of the store is immutable already; any
 * other is copied once per process into memory and sealed (memfd_create(2), fcntl(2) "File Sealing"),
 * and all VMs that are given the same file map the one copy.
 */
import { type BigIntStats, closeSync, fstatSync, openSync, readSync, writeSync } from 'node:fs';
import { PandoError } from '../error.js';
import { errnoOf } from '../host/errno.js';
import { createMemoryFile, isSealed, sealMemoryFile } from '../host/memfd.js';
import type { ImageFile } from './place-images.js';

/** An image file ready to be placed. */
export interface SealedImage extends ImageFile {
  /** `immutable`: the file itself; `copied`: a sealed copy in memory. */
  readonly kind: 'immutable' | 'copied';
  /**
   * Where another process of the same user opens the very same file, so that it shares its pages; for
   * a copy only as long as this process holds it.
   */
  readonly path: string;
  /** Releases this holder's claim; the last one closes the descriptor. VMs keep what they mapped. */
  close(): void;
}

interface Copy {
  readonly fd: number;
  holders: number;
}

const copies = new Map<string, Copy>();

const COPY_CHUNK = 1 << 22;
/** Longer than the kernel's tick, by which files are stamped (1 to 10 ms). */
const STAMP_SETTLES_MS = 20;

/**
 * Opens an image so that later changes to the file, truncation included, do not reach it.
 *
 * @param options.immutable the caller knows that nobody changes this file (it is the store's)
 * @throws PandoError IMAGE_NOT_FOUND, IMAGE_NOT_READABLE, IMAGE_NOT_REGULAR, IMAGE_CHANGED (while it
 * was being copied)
 */
export function sealImage(path: string, options: { immutable?: boolean } = {}): SealedImage {
  const fd = open(path);
  let keep = false;
  try {
    const stat = fstatSync(fd, { bigint: true });
    if (!stat.isFile())
      throw new PandoError('IMAGE_NOT_REGULAR', `${path} is not a regular file`, {
        remedy: 'save it to a file first',
      });
    if (options.immutable || isSealed(fd)) {
      keep = true;
      const size = Number(stat.size);
      const close = once(() => closeSync(fd));
      return { fd, size, name: path, kind: 'immutable', path, close };
    }
    return shareCopy(fd, path, stat);
  } finally {
    if (!keep) closeSync(fd);
  }
}

function open(path: string): number {
  try {
    return openSync(path, 'r');
  } catch (cause) {
    const name = errnoOf(cause);
    if (name === undefined) throw cause;
    if (name === 'ENOENT')
      throw new PandoError('IMAGE_NOT_FOUND', `${path} does not exist`, { cause });
    throw new PandoError('IMAGE_NOT_READABLE', `${path}: ${name}`, { cause });
  }
}

function shareCopy(fd: number, path: string, stat: BigIntStats): SealedImage {
  const settled = settle(fd, stat);
  const key = identity(settled);
  let copy = copies.get(key);
  if (copy === undefined) {
    copy = { fd: copyAndSeal(fd, path, settled), holders: 0 };
    copies.set(key, copy);
  }
  const held = copy;
  held.holders++;
  const close = once(() => {
    if (--held.holders > 0) return;
    copies.delete(key);
    closeSync(held.fd);
  });
  const shared = `/proc/${process.pid}/fd/${held.fd}`;
  return {
    fd: held.fd,
    size: Number(settled.size),
    name: path,
    kind: 'copied',
    path: shared,
    close,
  };
}

/** What tells one content from another without reading it. */
function identity(stat: BigIntStats): string {
  return [stat.dev, stat.ino, stat.size, stat.mtimeNs, stat.ctimeNs].join(':');
}

/**
 * A sealed image in memory from bytes that this process made (a vmlinux unpacked from a bzImage).
 *
 * @param name for messages
 */
export function sealBytes(name: string, bytes: Uint8Array): SealedImage {
  const fd = createMemoryFile('pando-image');
  try {
    for (let done = 0; done < bytes.length; ) {
      done += writeSync(fd, bytes, done, Math.min(COPY_CHUNK, bytes.length - done), done);
    }
    sealMemoryFile(fd);
  } catch (error) {
    closeSync(fd);
    throw error;
  }
  const close = once(() => closeSync(fd));
  const path = `/proc/${process.pid}/fd/${fd}`;
  return { fd, size: bytes.length, name, kind: 'copied', path, close };
}

/** Waits until a further change to the file must leave another time stamp than the one it has. */
function settle(fd: number, stat: BigIntStats): BigIntStats {
  const age = Date.now() - Number(stat.ctimeMs);
  if (age > STAMP_SETTLES_MS) return stat;
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, STAMP_SETTLES_MS);
  return fstatSync(fd, { bigint: true });
}

function copyAndSeal(from: number, path: string, stat: BigIntStats): number {
  const to = createMemoryFile('pando-image');
  try {
    const size = Number(stat.size);
    const chunk = new Uint8Array(Math.min(COPY_CHUNK, Math.max(size, 1)));
    for (let position = 0; position < size; ) {
      const got = readSync(from, chunk, 0, Math.min(chunk.length, size - position), position);
      if (got === 0) throw changed(path);
      for (let done = 0; done < got; )
        done += writeSync(to, chunk, done, got - done, position + done);
      position += got;
    }
    if (identity(fstatSync(from, { bigint: true })) !== identity(stat)) throw changed(path);
    sealMemoryFile(to);
    return to;
  } catch (error) {
    closeSync(to);
    throw error;
  }
}

function changed(path: string): PandoError {
  return new PandoError('IMAGE_CHANGED', `${path} changed while it was being read`, {
    remedy: 'start again once nobody writes to it',
  });
}

/** A release that can be called twice. */
function once(release: () => void): () => void {
  let done = false;
  return () => {
    if (done) return;
    done = true;
    release();
  };
}
