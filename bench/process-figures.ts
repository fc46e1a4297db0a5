/** What a process holds of its machine: memory, machine code, mappings, descriptors, threads (proc(5)). */
import { readdirSync, readFileSync } from 'node:fs';

export interface ProcessFigures {
  /** Resident memory and, of it, private memory that can be executed: V8's machine code. In MiB. */
  readonly residentMiB: number;
  readonly codeMiB: number;
  readonly heapMiB: number;
  readonly mappings: number;
  readonly descriptors: number;
  readonly threads: number;
}

export function processFigures(): ProcessFigures {
  let code = 0;
  let mappings = 0;
  let executable = false;
  for (const line of readFileSync('/proc/self/smaps', 'latin1').split('\n')) {
    const head = /^[0-9a-f]+-[0-9a-f]+ (\S{4}) \S+ \S+ (\d+) *(.*)$/.exec(line);
    if (head) {
      mappings++;
      executable = (head[1] ?? '').includes('x') && head[2] === '0' && head[3] === '';
    } else if (executable && line.startsWith('Rss:')) code += Number(/\d+/.exec(line)?.[0]);
  }
  const { rss, heapTotal } = process.memoryUsage();
  return {
    residentMiB: rss / 2 ** 20,
    codeMiB: code / 1024,
    heapMiB: heapTotal / 2 ** 20,
    mappings,
    descriptors: readdirSync('/proc/self/fd').length,
    threads: readdirSync('/proc/self/task').length,
  };
}
