/**
 * Files that appear whole or not at all, after POSIX rename(2), link(2) and fsync(2): content goes to
 * a temporary file of an own name, reaches the disk, and takes its final name in one step. A process
 * that dies half-way leaves nothing but that temporary file, which the next ones delete.
 */
import { randomBytes } from 'node:crypto';
import { existsSync, readlinkSync } from 'node:fs';
import { link, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { PandoError, reasonOf } from '../error.js';
import { coded } from '../system-error.js';

/** Older than any write that is still under way. */
export const STALE_AFTER_MS = 60 * 60 * 1000;

/** Whether a file has been left half-written: one that is being written has a suffix behind a dot (platform/file.ts). */
export function isHalfWritten(name: string, age: number): boolean {
  return name.includes('.') && age > STALE_AFTER_MS;
}

/** Write in pieces of this many bytes, so that progress and signals get their turn. */
const PIECE = 4 * 1024 * 1024;

/**
 * Numbers of processes mean something in here alone: the inode of the PID namespace (pid_namespaces(7)).
 * Empty where there is no /proc: then age alone counts.
 */
function pidNamespace(): string {
  const link = '/proc/self/ns/pid';
  return existsSync(link) ? (/[0-9]+/.exec(readlinkSync(link))?.[0] ?? '') : '';
}

/** A name in `folder` that no other process has; it tells which process had it. */
export function temporaryName(folder: string): string {
  return join(folder, `${process.pid}-${pidNamespace()}-${randomBytes(8).toString('hex')}`);
}

/** Whether a temporary file is one of a process that has ended. */
function isDead(name: string): boolean {
  const [, pid, namespace] = /^([0-9]+)-([0-9]+)-[0-9a-f]{16}$/.exec(name) ?? [];
  if (pid === undefined || namespace !== pidNamespace()) return false;
  return !existsSync(`/proc/${pid}`);
}

/**
 * Writes a temporary file and waits until it is on the disk.
 * @param folder an existing folder on the same file system as the final name
 * @returns the file's path; on failure nothing is left
 * @throws PandoError STORE_WRITE_FAILED
 */
export async function writeTemporary(
  folder: string,
  bytes: Uint8Array,
  mode: number,
): Promise<string> {
  const path = temporaryName(folder);
  try {
    const file = await open(path, 'wx', 0o600);
    try {
      for (let at = 0; at < bytes.length; ) {
        const { bytesWritten } = await file.write(bytes, at, Math.min(PIECE, bytes.length - at));
        at += bytesWritten;
      }
      await file.chmod(mode);
      await file.sync();
    } finally {
      await file.close();
    }
    return path;
  } catch (cause) {
    await rm(path, { force: true });
    throw new PandoError(
      'STORE_WRITE_FAILED',
      `${bytes.length} bytes cannot be written to ${path}: ${reasonOf(cause)}`,
      { remedy: 'free some space, or set PANDO_STORE to another folder', cause },
    );
  }
}

/** Makes a folder's entries last a power failure, as fsync(2) asks for. */
async function syncDirectory(path: string): Promise<void> {
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

/** Gives a temporary file its final name, in place of whatever has that name. */
export async function publishReplacing(temporary: string, path: string): Promise<void> {
  try {
    await rename(temporary, path);
  } catch (cause) {
    await rm(temporary, { force: true });
    throw coded(cause);
  }
  await syncDirectory(dirname(path));
}

/**
 * Gives a temporary file its final name unless that name is taken.
 * @returns false when the name was taken; the temporary file is gone either way
 */
export async function publishNew(temporary: string, path: string): Promise<boolean> {
  try {
    await link(temporary, path);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw coded(cause);
  } finally {
    await rm(temporary, { force: true });
  }
  await syncDirectory(dirname(path));
  return true;
}

/**
 * Deletes what dead processes left in a folder of temporary files: at once where the name tells the process,
 * else by age.
 * @returns how many entries
 */
export async function removeStale(folder: string, now: number = Date.now()): Promise<number> {
  let removed = 0;
  for (const name of await readdir(folder)) {
    const path = join(folder, name);
    try {
      const { mtimeMs } = await stat(path);
      if (now - mtimeMs < STALE_AFTER_MS && !isDead(name)) continue;
      await rm(path, { recursive: true, force: true });
      removed++;
    } catch (cause) {
      // Another process may clean at the same time, and then the entry is gone already.
      if ((cause as NodeJS.ErrnoException).code !== 'ENOENT') throw coded(cause);
    }
  }
  return removed;
}

/** A file that was deleted, and how many bytes it had on the disk. */
export interface RemovedFile {
  readonly name: string;
  readonly size: number;
}

/**
 * Deletes the files of a folder that `unwanted` picks; one that somebody else deletes meanwhile, or that
 * may not be deleted, stays out of the result. A folder that is not there has none.
 * @param unwanted told a file's name and its age in milliseconds
 */
export async function removeFiles(
  folder: string,
  unwanted: (name: string, age: number) => boolean,
): Promise<RemovedFile[]> {
  const removed: RemovedFile[] = [];
  for (const name of await readdir(folder).catch(() => [])) {
    const path = join(folder, name);
    const found = await stat(path).catch(() => undefined);
    if (!found?.isFile() || !unwanted(name, Date.now() - found.mtimeMs)) continue;
    const gone = await rm(path).then(
      () => true,
      () => false,
    );
    // A file with holes takes up less than its length.
    if (gone) removed.push({ name, size: Math.min(found.size, found.blocks * 512) });
  }
  return removed;
}
