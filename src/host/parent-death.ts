/** What becomes of a process when the one that started it dies: prctl(2), PR_SET_PDEATHSIG. */
import { constants } from 'node:os';
import { HostError, lastErrno } from './errno.js';
import { libc } from './libc.js';

const PR_SET_PDEATHSIG = 1;

/**
 * Has the kernel kill this process when the thread that started it ends, whatever this process is doing
 * then.
 * @param parent number of the process that started it
 * @returns false when that one has died already
 */
export function dieWithParent(parent: number): boolean {
  if (libc().prctl(PR_SET_PDEATHSIG, constants.signals.SIGKILL) !== 0) {
    throw new HostError('prctl PR_SET_PDEATHSIG', lastErrno());
  }
  return process.ppid === parent;
}
