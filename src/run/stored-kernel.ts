/**
 * What boots of a stored kernel leave beside the folder of the kernels: what became hot, and the pages
 * that guests have alike. A stored kernel's name is its hash; one that is given by its descriptor (a
 * sealed copy of a user's file) has no place for such files.
 */
import { basename, dirname, join } from 'node:path';
import type { AcceleratorName } from './types.js';

/** `folder`, beside the folder of the kernels; undefined for a kernel outside of a store. */
function beside(kernel: string, folder: string): string | undefined {
  const kernels = dirname(kernel);
  return kernels.startsWith('/proc/') ? undefined : join(dirname(kernels), folder);
}

/** The profile of a kernel. */
export function profilePath(kernel: string): string | undefined {
  const folder = beside(kernel, 'profiles');
  return folder && join(folder, basename(kernel));
}

/** The pages that guests of a kernel on the same machine have alike once they have booted. */
export function bootedPath(
  kernel: string,
  machine: {
    readonly accelerator: AcceleratorName;
    readonly memory: number;
    readonly cpus: number;
  },
): string | undefined {
  const { accelerator, memory, cpus } = machine;
  const folder = beside(kernel, 'booted');
  return folder && join(folder, `${basename(kernel)}-${accelerator}-${cpus}-${memory / 2 ** 20}`);
}
