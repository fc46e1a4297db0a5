/** ioctl(2). Results are the kernel's: 0 or more, or the negated error number. */
import { errno, libc } from './libc.js';

/** An ioctl whose argument is a value or a host address. */
export function ioctl(fd: number, request: number, argument: number | bigint = 0): number {
  const result = libc().ioctlValue(fd, request, argument);
  return result === -1 ? -errno() : result;
}

/** An ioctl whose argument points to a structure; the kernel reads and writes `bytes` in place. */
export function ioctlBytes(fd: number, request: number, bytes: Uint8Array): number {
  const result = libc().ioctlBytes(fd, request, bytes);
  return result === -1 ? -errno() : result;
}
