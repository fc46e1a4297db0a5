/** Makes the VMs of a command: all in this process, or each in one of its own. */
import type { VmOptions } from '../vm/types.js';
import { ForkedMachine } from './forked-machine.js';
import { type CreateVm, LocalMachine, type Machine } from './machine.js';

/** Where VMs run. */
export type Isolation = 'shared' | 'process';

/** How VMs are made; tests put substitutes here. */
export interface Makers {
  /** `Vm.create`. */
  readonly createVm: CreateVm;
  /** The program of a VM's own process. */
  readonly vmProcess: URL;
}

/**
 * Makes `count` VMs of the same options, numbered from 0. When one cannot be made the others are closed.
 * @throws PandoError what `Vm.create` throws, VM_PROCESS_DIED
 */
export async function createMachines(
  options: VmOptions,
  count: number,
  isolation: Isolation,
  makers: Makers,
): Promise<Machine[]> {
  const make = async (index: number): Promise<Machine> =>
    isolation === 'process'
      ? ForkedMachine.create(index, options, makers.vmProcess)
      : new LocalMachine(index, await makers.createVm(options));
  const results = await Promise.allSettled(Array.from({ length: count }, (_, index) => make(index)));
  const machines = results.flatMap((result) =>
    result.status === 'fulfilled' ? [result.value] : [],
  );
  const failure = results.find((result) => result.status === 'rejected');
  if (failure === undefined) return machines;
  await closeMachines(machines);
  throw failure.reason;
}

/** Ends all VMs. */
export async function closeMachines(machines: readonly Machine[]): Promise<void> {
  await Promise.all(machines.map((machine) => machine.close()));
}
