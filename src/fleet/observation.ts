/** What is seen of a VM at one moment, wherever it runs. */
import type { VcpuState, VmMemory } from '../vm/types.js';
import type { Vm } from '../vm/vm.js';

export interface Observation {
  /** Instructions retired; 0 where the accelerator does not count them. */
  readonly instructions: bigint;
  /** The first vCPU. */
  readonly vcpu: VcpuState;
  readonly memory: VmMemory;
}

/** Reads everything that changes while a VM runs; a guest with a balloon is asked first. */
export async function observeVm(
  vm: Pick<Vm, 'instructions' | 'vcpuState' | 'memory' | 'refreshStatistics'>,
): Promise<Observation> {
  let memory = vm.memory();
  if (memory.balloon !== undefined) {
    await vm.refreshStatistics();
    memory = vm.memory();
  }
  return { instructions: vm.instructions(), vcpu: vm.vcpuState(), memory };
}
