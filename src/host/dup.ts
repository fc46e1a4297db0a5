/** dup2(2): a descriptor that becomes another file, in one step. */
import { HostError, lastErrno } from './errno.js';
import { libc } from './libc.js';

/** `target` is `source`'s file from now on; what it was is closed. @throws HostError */
export function replaceDescriptor(source: number, target: number): void {
  if (libc().dup2(source, target) < 0) throw new HostError(`dup2 to ${target}`, lastErrno());
}
