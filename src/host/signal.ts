/**
 * A signal that does nothing but end a blocking system call of one thread: sigaction(2), tgkill(2).
 *
 * JavaScript cannot run in a signal handler, so the handler is a function of the C library that takes
 * an int and touches no memory: abs(3). Without SA_RESTART the interrupted call returns EINTR.
 */
import { HostError, lastErrno } from './errno.js';
import { libc } from './libc.js';

/** struct sigaction of x86-64: handler, mask of 128 bytes, flags, restorer. */
const SIGACTION_BYTES = 152;
const SIG_DFL = 0n;
/** Real-time signals to choose from: 32 to 34 are the C library's own (nptl(7)). */
const FIRST_SIGNAL = 40;
const LAST_SIGNAL = 63;

let installed: number | undefined;

/**
 * The number of the process's interrupting signal, installed on the first call: the lowest free one,
 * so every thread comes to the same.
 * @throws HostError when every candidate has a handler of somebody else
 */
export function interruptSignal(): number {
  installed ??= install();
  return installed;
}

function install(): number {
  const handler = libc().dlsym(null, 'abs');
  if (handler === null) throw new HostError('dlsym of abs', 'ENOENT');
  const action = new Uint8Array(SIGACTION_BYTES);
  const view = new DataView(action.buffer);
  for (let signal = FIRST_SIGNAL; signal <= LAST_SIGNAL; signal += 1) {
    action.fill(0);
    if (libc().sigaction(signal, null, action) !== 0) throw new HostError('sigaction', lastErrno());
    const current = view.getBigUint64(0, true);
    if (current === handler) return signal;
    if (current !== SIG_DFL) continue;
    action.fill(0);
    view.setBigUint64(0, handler, true);
    if (libc().sigaction(signal, action, null) !== 0) throw new HostError('sigaction', lastErrno());
    return signal;
  }
  throw new HostError(`sigaction: signals ${FIRST_SIGNAL} to ${LAST_SIGNAL} are taken`, 'EBUSY');
}

/** The kernel's number of the calling thread. */
export function threadId(): number {
  return libc().gettid();
}

/** Interrupts a system call of a thread of this process; without effect on a thread that has gone. */
export function interruptThread(thread: number): void {
  libc().tgkill(process.pid, thread, interruptSignal());
}
