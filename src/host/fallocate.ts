/** fallocate(2); for files on a disk beside the calling thread: it may wait for the disk. */
import { HostError, lastErrno } from './errno.js';
import { fallocateAsync, libc } from './libc.js';

const FALLOC_FL_KEEP_SIZE = 0x1;
const FALLOC_FL_PUNCH_HOLE = 0x2;
const FALLOC_FL_ZERO_RANGE = 0x10;

/** Takes the room of a range away; its bytes are zeros. False where the file system cannot. */
export async function punchHole(fd: number, at: number, length: number): Promise<boolean> {
  const mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  return (await fallocateAsync(fd, mode, at, length)) === 0;
}

/** Makes the bytes of a range zeros and keeps its room. False where the file system cannot. */
export async function zeroRange(fd: number, at: number, length: number): Promise<boolean> {
  const mode = FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;
  return (await fallocateAsync(fd, mode, at, length)) === 0;
}

/** Takes the room of a range of a file in memory, which grows to its end. */
export function allocateRange(fd: number, at: number, length: number): void {
  if (libc().fallocate(fd, 0, at, length) !== 0)
    throw new HostError(`fallocate of ${length} bytes at ${at}`, lastErrno());
}
