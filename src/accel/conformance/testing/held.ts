/** What this process holds of its system: proc(5). */
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import type { Worker } from 'node:worker_threads';

export interface Held {
  /** Entries of /proc/self/fd. */
  readonly descriptors: number;
  /** Lines of /proc/self/maps. */
  readonly mappings: number;
  /** Those of them that are an image's or a vCPU's. */
  readonly ofMachines: number;
  /** What they span altogether; a guest's untouched RAM counts here. */
  readonly addressMiB: number;
  /** Entries of /proc/self/task. */
  readonly threads: number;
  readonly residentMiB: number;
}

const MIB = 2 ** 20;
/** vCPUs, images in memory, and the conformance guests' files. */
const OF_MACHINES = /anon_inode:kvm|pando-image|guest\.elf/;

export function held(): Held {
  const mappings = readFileSync('/proc/self/maps', 'latin1').trimEnd().split('\n');
  const bytes = mappings.reduce((sum, line) => {
    const [start = '', end = ''] = (line.split(' ')[0] ?? '').split('-');
    return sum + Number.parseInt(end, 16) - Number.parseInt(start, 16);
  }, 0);
  return {
    descriptors: readdirSync('/proc/self/fd').length,
    mappings: mappings.length,
    ofMachines: mappings.filter((line) => OF_MACHINES.test(line)).length,
    addressMiB: bytes / MIB,
    threads: readdirSync('/proc/self/task').length,
    residentMiB: process.memoryUsage.rss() / MIB,
  };
}

/** Threads of Node.js that this process has started and that have not ended. */
export const threads = new Set<Worker>();
process.on('worker', (worker) => {
  threads.add(worker);
  worker.once('exit', () => threads.delete(worker));
});

/** Once the threads that wait for another VM have gone: one that is still loading loads first. */
export async function threadsGone(): Promise<void> {
  // They do not keep the process.
  const stay = setInterval(() => undefined, 1000);
  try {
    for (const worker of threads) {
      if (threads.has(worker)) await once(worker, 'exit');
    }
  } finally {
    clearInterval(stay);
  }
}
