/** What this process holds of its system: proc(5). */
import { readdirSync, readFileSync } from 'node:fs';

export interface Held {
  /** Entries of /proc/self/fd. */
  readonly descriptors: number;
  /** Lines of /proc/self/maps. */
  readonly mappings: number;
  /** Entries of /proc/self/task. */
  readonly threads: number;
  readonly residentMiB: number;
}

export function held(): Held {
  return {
    descriptors: readdirSync('/proc/self/fd').length,
    mappings: readFileSync('/proc/self/maps', 'latin1').split('\n').length - 1,
    threads: readdirSync('/proc/self/task').length,
    residentMiB: process.memoryUsage.rss() / 2 ** 20,
  };
}
