/** Where the pages are kept that guests of a stored kernel have alike once they have booted. */
import { basename, dirname, join } from 'node:path';
import type { AcceleratorName } from './types.js';

/**
 * Beside the folder of the kernels: one file for guests of the same kernel on the same machine.
 * @param kernel path of an object of the store, whose name is its hash
 */
export function bootedPath(
  kernel: string,
  machine: {
    readonly accelerator: AcceleratorName;
    readonly memory: number;
    readonly cpus: number;
  },
): string {
  const { accelerator, memory, cpus } = machine;
  const name = `${basename(kernel)}-${accelerator}-${cpus}-${memory / 2 ** 20}`;
  return join(dirname(dirname(kernel)), 'booted', name);
}
