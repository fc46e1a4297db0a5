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
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { BlockSource } from '../devices/virtio/block-source.js';
import { PandoError, reasonOf } from '../error.js';
import { CowDisk, type CowDiskHandle, captureCow, cowBitmapBytes } from './cow-disk.js';
import type { DiskLayer } from './disk-layer.js';
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
 * @param layer what a guest had written to it when its machine was captured; the caller keeps it
 * @throws PandoError DISK_UNREADABLE, DISK_KIND, DISK_SIZE
 */
export function openDisk(
  path: string | readonly string[],
  mode: DiskMode,
  layer?: DiskLayer,
): DiskHandle {
  if (typeof path !== 'string') return openJoined(path, mode);
  const fd = open(path, mode === 'rw' ? constants.O_RDWR : constants.O_RDONLY);
  try {
    const base = { fd, bytes: sizeOf(fd, path), readOnly: mode === 'ro' };
    if (mode !== 'cow') return { kind: 'file', ...base };
    return openCow({ ...base, readOnly: true }, layer);
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** @param layer gets a descriptor of its own */
function openCow(base: FileDiskHandle, layer?: DiskLayer): DiskHandle {
  const { bytes } = base;
  const overlay = { fd: openNameless(bytes), bytes, readOnly: false };
  const present = new SharedArrayBuffer(cowBitmapBytes(bytes));
  if (layer === undefined) return { kind: 'cow', base, overlay, present };
  try {
    const held = { ...layer, fd: reopen(layer.fd) };
    return { kind: 'cow', base, overlay, present, layer: held };
  } catch (error) {
    closeSync(overlay.fd);
    throw error;
  }
}

/** A descriptor of its own for an open file that is only read. */
function reopen(fd: number): number {
  return open(`/proc/self/fd/${fd}`, constants.O_RDONLY);
}

/**
 * The same disk for one more machine, which goes on from a capture.
 * @param disk one that is not written, or whose file stays as it is
 * @param layer what the guest had written
 * @throws PandoError DISK_UNREADABLE
 */
export function reopenDisk(disk: DiskHandle, layer?: DiskLayer): DiskHandle {
  if (disk.kind === 'file') return { ...disk, fd: reopen(disk.fd) };
  if (disk.kind === 'cow') {
    const base = { ...disk.base, fd: reopen(disk.base.fd) };
    try {
      return openCow(base, layer);
    } catch (error) {
      closeSync(base.fd);
      throw error;
    }
  }
  const parts: FileDiskHandle[] = [];
  try {
    for (const part of disk.parts) parts.push({ ...part, fd: reopen(part.fd) });
    return { ...disk, parts };
  } catch (error) {
    for (const { fd } of parts) closeSync(fd);
    throw error;
  }
}

/**
 * What the guest has written to a disk whose file stays as it is; undefined for other disks. The machine
 * stands still. The caller closes the layer's descriptor.
 */
export function captureDisk(disk: DiskHandle): DiskLayer | undefined {
  if (disk.kind !== 'cow') return undefined;
  const fd = openNameless(0);
  try {
    const layer = captureCow(disk, (bytes) => {
      for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at, bytes.length - at);
    });
    return { fd, ...layer };
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** Closes a layer's file; machines keep what they have open. */
export function closeLayer({ fd }: DiskLayer): void {
  closeSync(fd);
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
  if (disk.layer !== undefined) closeSync(disk.layer.fd);
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
    throw new PandoError('DISK_UNREADABLE', `disk ${path}: ${reasonOf(cause)}`, {
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
function openNameless(bytes: number): number {
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
