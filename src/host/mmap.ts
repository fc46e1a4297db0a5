/** mmap(2), munmap(2) and madvise(2) with the flags that guest memory needs (Linux, x86-64 values). */
import { HostError, lastErrno } from './errno.js';
import { libc } from './libc.js';

const PROT_READ = 0x1;
const PROT_WRITE = 0x2;

const MAP_SHARED = 0x01;
const MAP_PRIVATE = 0x02;
const MAP_FIXED = 0x10;
const MAP_ANONYMOUS = 0x20;
/** Untouched pages must not count against the host's commit limit: many VMs share most of theirs. */
const MAP_NORESERVE = 0x4000;
const MAP_POPULATE = 0x8000;
const MAP_FAILED = 0xffff_ffff_ffff_ffffn;

const MADV_DONTNEED = 4;

/**
 * Maps file pages private and writable over existing memory of this process.
 *
 * @param address page-aligned; everything mapped in the range is replaced
 * @param length bytes, a multiple of the page size; the file must reach into the last page
 * @param offset page-aligned offset in the file
 * @returns undefined, or the symbolic error name when the kernel refuses
 */
export function mapFileOver(
  address: bigint,
  length: number,
  fd: number,
  offset: number,
): string | undefined {
  const flags = MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE;
  const got = libc().mmap(address, length, PROT_READ | PROT_WRITE, flags, fd, offset);
  return got === MAP_FAILED ? lastErrno() : undefined;
}

/**
 * Whether a file can be mapped as `mapFileOver` does, found out away from any memory in use: a kernel
 * may tear down what a fixed mapping replaces before the file's own mmap operation refuses.
 *
 * @returns undefined, or the symbolic error name
 */
export function probeFileMapping(fd: number, pageSize: number): string | undefined {
  const flags = MAP_PRIVATE | MAP_NORESERVE;
  const got = libc().mmap(null, pageSize, PROT_READ | PROT_WRITE, flags, fd, 0);
  if (got === MAP_FAILED) return lastErrno();
  unmap(got, pageSize);
  return undefined;
}

/** Fresh zero pages over existing memory; what was mapped in the range is gone, its pages given back. */
export function mapZeroOver(address: bigint, length: number): void {
  const flags = MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS | MAP_NORESERVE;
  const got = libc().mmap(address, length, PROT_READ | PROT_WRITE, flags, -1, 0);
  if (got === MAP_FAILED)
    throw new HostError(
      `mmap of ${length} anonymous bytes over 0x${address.toString(16)}`,
      lastErrno(),
    );
}

/** Anonymous zero memory where the kernel likes; the caller unmaps it. */
export function mapZero(length: number): bigint {
  const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  const got = libc().mmap(null, length, PROT_READ | PROT_WRITE, flags, -1, 0);
  if (got === MAP_FAILED) throw new HostError(`mmap of ${length} anonymous bytes`, lastErrno());
  return got;
}

/**
 * The same at a multiple of `alignment`, which is a power of two and a multiple of the page size, as
 * `length` is of the page size.
 */
export function mapZeroAligned(length: number, alignment: number): bigint {
  const got = mapZero(length + alignment);
  const before = (alignment - Number(got % BigInt(alignment))) % alignment;
  const start = got + BigInt(before);
  if (before > 0) unmap(got, before);
  unmap(start + BigInt(length), alignment - before);
  return start;
}

/** Shares a descriptor's pages with this process: what is written is seen by every mapper. */
export function mapShared(length: number, fd: number, offset: number): bigint {
  const got = libc().mmap(null, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, offset);
  if (got === MAP_FAILED)
    throw new HostError(
      `mmap of ${length} shared bytes of descriptor ${fd} at ${offset}`,
      lastErrno(),
    );
  return got;
}

/** Shows this process a file's pages as they are, from its first on; the pages are in the page table at once. */
export function mapForReading(length: number, fd: number): bigint {
  // A shared mapping of a file that can be written would keep it from being sealed.
  const got = libc().mmap(null, length, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
  if (got === MAP_FAILED)
    throw new HostError(`mmap of ${length} bytes of descriptor ${fd}`, lastErrno());
  return got;
}

/** Removes a mapping. */
export function unmap(address: bigint, length: number): void {
  if (libc().munmap(address, length) !== 0)
    throw new HostError(`munmap of ${length} bytes at 0x${address.toString(16)}`, lastErrno());
}

/**
 * Drops this process's own pages of a private range: anonymous memory reads as zeros again, a mapped
 * file as the file (madvise(2), MADV_DONTNEED).
 */
export function discard(address: bigint, length: number): void {
  if (libc().madvise(address, length, MADV_DONTNEED) !== 0)
    throw new HostError(`madvise of ${length} bytes at 0x${address.toString(16)}`, lastErrno());
}
