/**
 * Threads and the mailboxes between them (Node.js, worker_threads). A thread that drives guests takes its
 * mail when it has time for it, without an event loop.
 */
import { availableParallelism } from 'node:os';
import {
  type MessagePort,
  parentPort as ownParent,
  Worker,
  type WorkerOptions,
  workerData,
} from 'node:worker_threads';
import { PandoError, reasonOf } from '../error.js';
import { remedyFor } from '../system-error.js';

export { MessageChannel, type MessagePort, receiveMessageOnPort } from 'node:worker_threads';
export type Thread = Worker;

/**
 * @param entry a file of this project
 * @throws PandoError TOO_MANY_THREADS when the system gives this process no further one
 */
export function startThread(entry: URL, options: WorkerOptions = {}): Thread {
  try {
    return new Worker(entry, options);
  } catch (cause) {
    const message = `the system refuses a thread: ${reasonOf(cause)}`;
    const remedy = remedyFor('EAGAIN') ?? '';
    throw new PandoError('TOO_MANY_THREADS', message, { remedy, cause });
  }
}

/** What this thread was started with. */
export function startOf<Start>(): Start {
  return workerData as Start;
}

/** Leads to the thread that started this one; undefined in a process's first thread. */
export function parentPort(): MessagePort | undefined {
  return ownParent ?? undefined;
}

/** How many threads run at once. */
export function processors(): number {
  return availableParallelism();
}
