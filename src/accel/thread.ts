/** Starts threads. */
import { Worker, type WorkerOptions } from 'node:worker_threads';
import { PandoError, reasonOf } from '../error.js';
import { remedyFor } from '../system-error.js';

/**
 * @param entry a file of this project
 * @throws PandoError TOO_MANY_THREADS when the system gives this process no further one
 */
export function startThread(entry: URL, options: WorkerOptions = {}): Worker {
  try {
    return new Worker(entry, options);
  } catch (cause) {
    const message = `the system refuses a thread: ${reasonOf(cause)}`;
    const remedy = remedyFor('EAGAIN') ?? '';
    throw new PandoError('TOO_MANY_THREADS', message, { remedy, cause });
  }
}
