/** Opens what a disk of a VM is stored in. Whoever opens it closes it, after the VM. */
import {
  closeSync,
  constants,
  fstatSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readSync,
  rmSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { BlockSource } from '../devices/virtio/block-source.js';
import { PandoError } from '../error.js';
import { errnoOf } from '../host/errno.js';
import { CowDisk, type CowDiskHandle, cowBitmapBytes } from './cow-disk.js';
import { FileDisk, type FileDiskHandle } from './file-disk.js';
import { JoinedDisk, type JoinedDiskHandle } from './joined-disk.js';

/**
 * `ro` lets the guest read only; `rw` writes to the file; `cow` lets the guest write, and the file stays
 * as it is.
 */
export type DiskMode = 'ro' | 'rw' | 'cow';

/** A disk that is open, as it can be posted to other threads. */
export type DiskHandle =
  | ({ readonly kind: 'file' } & FileDiskHandle)
  | ({ readonly kind: 'cow' } & CowDiskHandle)
  | ({ readonly kind: 'joined' } & JoinedDiskHandle);

const SECTOR = 512;

/**
 * @param path of a file or block device; several are one disk, one behind the other, that is only read
 * @throws PandoError DISK_UNREADABLE, DISK_KIND, DISK_SIZE
 */
export function openDisk(path: string | readonly string[], mode: DiskMode): DiskHandle {
  if (typeof path !== 'string') return openJoined(path, mode);
  const fd = open(path, mode === 'rw' ? constants.O_RDWR : constants.O_RDONLY);
  try {
    const base = { fd, bytes: sizeOf(fd, path), readOnly: mode === 'ro' };
    if (mode !== 'cow') return { kind: 'file', ...base };
    const overlay = { fd: openOverlay(base.bytes), bytes: base.bytes, readOnly: false };
    const present = new SharedArrayBuffer(cowBitmapBytes(base.bytes));
    return { kind: 'cow', base: { ...base, readOnly: true }, overlay, present };
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

function openJoined(paths: readonly string[], mode: DiskMode): DiskHandle {
  if (mode !== 'ro') {
    throw new PandoError('DISK_KIND', `a disk of ${paths.length} files cannot be written`, {
      remedy: 'use the mode ro',
    });
  }
  const parts: FileDiskHandle[] = [];
  try {
    for (const path of paths) {
      const handle = openDisk(path, mode);
      if (handle.kind === 'file') parts.push(handle);
    }
  } catch (error) {
    for (const { fd } of parts) closeSync(fd);
    throw error;
  }
  return { kind: 'joined', parts, bytes: parts.reduce((total, { bytes }) => total + bytes, 0) };
}

export function closeDisk(disk: DiskHandle): void {
  if (disk.kind === 'joined') {
    for (const { fd } of disk.parts) closeSync(fd);
    return;
  }
  if (disk.kind === 'file') {
    closeSync(disk.fd);
    return;
  }
  closeSync(disk.base.fd);
  closeSync(disk.overlay.fd);
}

/** The disk as this thread reads and writes it. */
export function blockSource(disk: DiskHandle): BlockSource {
  switch (disk.kind) {
    case 'file':
      return new FileDisk(disk);
    case 'cow':
      return new CowDisk(disk);
    case 'joined':
      return new JoinedDisk(disk);
  }
}

function open(path: string, flags: number): number {
  try {
    return openSync(path, flags);
  } catch (cause) {
    throw new PandoError('DISK_UNREADABLE', `disk ${path}: ${errnoOf(cause) ?? String(cause)}`, {
      remedy: 'name a file or block device that you may open, or use another mode',
      cause,
    });
  }
}

function sizeOf(fd: number, path: string): number {
  const status = fstatSync(fd);
  if (!status.isFile() && !status.isBlockDevice()) {
    throw new PandoError('DISK_KIND', `disk ${path} is neither a file nor a block device`, {
      remedy: 'name a raw disk image or a block device',
    });
  }
  const bytes = status.isFile() ? status.size : deviceSize(fd);
  if (bytes < SECTOR) {
    throw new PandoError(
      'DISK_SIZE',
      `disk ${path} has ${bytes} bytes, less than a sector of 512`,
      {
        remedy: 'make it larger, e.g. with truncate -s 1G',
      },
    );
  }
  return bytes - (bytes % SECTOR);
}

/** The kernel tells no size of a block device but by its end: the last byte that can be read. */
function deviceSize(fd: number): number {
  const probe = new Uint8Array(1);
  const readable = (at: number): boolean => {
    try {
      return readSync(fd, probe, 0, 1, at) === 1;
    } catch {
      return false;
    }
  };
  let low = 0;
  let high = SECTOR;
  while (high < Number.MAX_SAFE_INTEGER / 2 && readable(high - 1)) {
    low = high;
    high *= 2;
  }
  while (high - low > SECTOR) {
    const middle = Math.floor((low + high) / 2 / SECTOR) * SECTOR;
    if (readable(middle - 1)) low = middle;
    else high = middle;
  }
  return low;
}

/** A sparse file without a name: it is gone with its descriptor. */
function openOverlay(bytes: number): number {
  const folder = mkdtempSync(join(tmpdir(), 'pando-overlay-'));
  try {
    const fd = openSync(join(folder, 'disk'), 'wx+', 0o600);
    try {
      ftruncateSync(fd, bytes);
    } catch (error) {
      closeSync(fd);
      throw error;
    }
    return fd;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
