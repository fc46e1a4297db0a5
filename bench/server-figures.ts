/**
 * Loaded into a server that a bench has started (`--import`, `--expose-gc`): tells what the process holds, once
 * its garbage has been collected, to whoever started it, and ends with that.
 */
import { readdirSync, readlinkSync } from 'node:fs';
import { type ProcessFigures, processFigures } from './process-figures.js';

/** What a server's process holds. */
export interface ServedFigures extends ProcessFigures {
  /** Of the descriptors: clients keep some connections for later. */
  readonly sockets: number;
}

function isSocket(descriptor: string): boolean {
  try {
    return readlinkSync(`/proc/self/fd/${descriptor}`).startsWith('socket:');
  } catch {
    return false;
  }
}

function figures(): ServedFigures {
  const { descriptors, ...others } = processFigures();
  const sockets = readdirSync('/proc/self/fd').filter(isSocket).length;
  // Of the heap what is in use: what V8 keeps for more goes up and down with the load.
  const heapMiB = process.memoryUsage().heapUsed / 2 ** 20;
  return { ...others, heapMiB, sockets, descriptors: descriptors - sockets };
}

process.on('message', () => {
  // Once more for what finalisers let go of, after they have run.
  globalThis.gc?.();
  setImmediate(() => {
    globalThis.gc?.();
    process.send?.(figures());
  });
});
process.on('disconnect', () => process.kill(process.pid, 'SIGKILL'));
