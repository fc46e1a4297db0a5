/** Starts threads. */
import { Worker, type WorkerOptions } from 'node:worker_threads';
import { PandoError } from '../error.js';

/**
 * @param entry a file of this project
 * @throws PandoError THREAD_REFUSED when the system gives this process no further thread
 */
export function startThread(entry: URL, options: WorkerOptions = {}): Worker {
  try {
    return new Worker(entry, options);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new PandoError('THREAD_REFUSED', `the system refuses a thread: ${reason}`, {
      remedy: 'allow more processes and threads (ulimit -u), or run fewer VMs at a time',
      cause,
    });
  }
}
