/** A VM on KVM as its threads share it, and its board: the kernel has the interrupt controllers. */

import { ramRuns } from '../../accel/kvm/guest-views.js';
import { KvmIrqLines, memorySlots } from '../../accel/kvm/kvm-vm.js';
import { BOARD_STATE_AREA, VM_CONTROL } from '../../accel/kvm/layout.js';
import { Board, type BoardHooks } from '../../devices/board.js';
import { DeviceMemory } from '../../devices/device-memory.js';
import type { VmControl } from '../control.js';
import { type DeviceDescription, declareDevices } from '../devices.js';

/** What it takes to reach a VM from another thread of the process. */
export interface KvmDescription {
  /** The control area (accel/kvm/layout.ts). */
  readonly control: SharedArrayBuffer;
  readonly ramHostAddress: bigint;
  readonly ramBytes: number;
  readonly vmFd: number;
  readonly vcpus: readonly {
    readonly id: number;
    readonly fd: number;
    readonly runAddress: bigint;
    readonly runBytes: number;
  }[];
  readonly devices: readonly DeviceDescription[];
}

/** One nanosecond a tick; only local APICs and timers would use it, and these are the kernel's. */
const UNUSED_FREQUENCY = 1_000_000_000;

/** The board of a VM, on whichever thread. */
export function attachKvmBoard(
  vm: KvmDescription,
  control: VmControl,
  hooks: BoardHooks = {},
): Board {
  return new Board({
    state: vm.control,
    byteOffset: BOARD_STATE_AREA,
    room: VM_CONTROL - BOARD_STATE_AREA,
    memory: new DeviceMemory(ramRuns(memorySlots(vm.ramHostAddress, vm.ramBytes))),
    vcpus: vm.vcpus.length,
    clock: control,
    tscFrequency: UNUSED_FREQUENCY,
    wallClock: () => Date.now(),
    interruptLines: new KvmIrqLines(vm.vmFd),
    declared: declareDevices(vm.devices),
    hooks,
  });
}
