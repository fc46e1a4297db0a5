/** eventfd(2): a 64-bit counter behind a descriptor, by which threads and the kernel wake each other. */
import { readSync, writeSync } from 'node:fs';
import { errnoOf, HostError, lastErrno } from './errno.js';
import { libc } from './libc.js';

const EFD_CLOEXEC = 0o2000000;
const EFD_NONBLOCK = 0o4000;

/** A new counter at zero, non-blocking. The caller closes the descriptor. */
export function createEventfd(): number {
  const fd = libc().eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (fd < 0) throw new HostError('eventfd', lastErrno());
  return fd;
}

/** Adds one to the counter. */
export function signalEventfd(fd: number): void {
  const one = new Uint8Array(8);
  one[0] = 1;
  writeSync(fd, one);
}

/** Takes the counter's value and sets it to zero; 0n when nothing was signalled. */
export function takeEventfd(fd: number): bigint {
  const value = new BigUint64Array(1);
  try {
    readSync(fd, value);
  } catch (error) {
    if (errnoOf(error) === 'EAGAIN') return 0n;
    throw error;
  }
  return value[0] ?? 0n;
}
