/** Anonymous files in memory and their seals: memfd_create(2), fcntl(2) "File Sealing". */
import { HostError, lastErrno } from './errno.js';
import { libc } from './libc.js';

const MFD_CLOEXEC = 0x1;
const MFD_ALLOW_SEALING = 0x2;

const F_ADD_SEALS = 1033;
const F_GET_SEALS = 1034;

const F_SEAL_SEAL = 0x1;
const F_SEAL_SHRINK = 0x2;
const F_SEAL_GROW = 0x4;
const F_SEAL_WRITE = 0x8;

/** An empty file in memory that can be sealed. The caller closes the descriptor. */
export function createMemoryFile(name: string): number {
  const fd = libc().memfdCreate(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) throw new HostError(`memfd_create of ${name}`, lastErrno());
  return fd;
}

/** Forbids for good, to everybody, to write, shrink or grow the file, or to change its seals. */
export function sealMemoryFile(fd: number): void {
  const seals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
  if (libc().fcntl(fd, F_ADD_SEALS, seals) !== 0)
    throw new HostError(`fcntl F_ADD_SEALS on descriptor ${fd}`, lastErrno());
}

/** Whether neither contents nor size of an open file can change any more. False for files on disk. */
export function isSealed(fd: number): boolean {
  const wanted = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
  const seals = libc().fcntl(fd, F_GET_SEALS, 0);
  return seals >= 0 && (seals & wanted) === wanted;
}
