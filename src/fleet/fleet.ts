/** Makes the VMs of a command: all in this process, or each in one of its own. */
import { openImages } from '../run/images.js';
import type { RestoreOptions, VmOptions } from '../vm/types.js';
import { type CreateVm, type FleetVm, IsolatedVm, LocalVm } from './fleet-vm.js';
import { PlannedVm } from './planned-vm.js';
import { VmProcess } from './process.js';

/** Guest RAM in bytes unless the user chooses. */
export const DEFAULT_MEMORY = 1024 ** 3;

/** Where VMs run. */
export type Isolation = 'shared' | 'process';

/** Kernel and initrd as files that any process of this user maps, one copy for all VMs. */
export interface SharedImages {
  readonly kernel: string;
  readonly initrd: string | undefined;
  readonly modules: string | undefined;
  /** VMs keep what they have mapped. */
  close(): void;
}

/** How VMs are made; tests put substitutes here. */
export interface Makers {
  /** Checks the images of a VM and protects them from changes. */
  shareImages(options: VmOptions): SharedImages;
  /** `Vm.create`. */
  createVm: CreateVm;
  /** The program of a process of VMs. */
  readonly vmProcess: URL;
}

/** VMs of the same options, numbered from 0; each is made when its turn comes. */
export function planVms(
  options: VmOptions | RestoreOptions,
  count: number,
  isolation: Isolation,
  makers: Makers,
): PlannedVm[] {
  const make = async (index: number): Promise<FleetVm> =>
    isolation === 'process'
      ? createIsolatedVm(index, options, makers.vmProcess)
      : new LocalVm(index, await makers.createVm(options));
  return Array.from({ length: count }, (_, index) => new PlannedVm(index, () => make(index)));
}

/**
 * A VM in a process of its own.
 * @throws PandoError what `VmProcess.createVm` throws
 */
export async function createIsolatedVm(
  index: number,
  options: VmOptions | RestoreOptions,
  entry?: URL,
): Promise<FleetVm> {
  const process = new VmProcess({ vms: 'one', ...(entry && { entry }) });
  try {
    return new IsolatedVm(index, await process.createVm(options), process);
  } catch (error) {
    await process.close();
    throw error;
  }
}

/**
 * Opens the images once for all VMs of a command, whatever number of VMs map them.
 * @throws PandoError what the loader throws about a malformed image, and when it does not fit
 */
export function shareImages(options: VmOptions): SharedImages {
  const images = openImages({
    kernel: options.kernel,
    initrd: options.initrd,
    modules: options.modules,
    memory: options.memory ?? DEFAULT_MEMORY,
    immutable: options.immutableImages ?? false,
  });
  return {
    kernel: images.kernel.path,
    initrd: images.initrd?.path,
    modules: images.modules?.path,
    close: () => images.close(),
  };
}

/** Ends all VMs. */
export async function closeVms(vms: readonly FleetVm[]): Promise<void> {
  await Promise.all(vms.map((vm) => vm.close()));
}
