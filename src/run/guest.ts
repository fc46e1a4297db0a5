/**
 * The guest's memory with everything in it that a boot needs: images and boot data. `restore` makes it
 * new, as a reset does.
 */
import { dirname } from 'node:path';
import { CONTROL_BYTES, VM_CONTROL as KVM_VM_CONTROL } from '../accel/kvm/layout.js';
import { GUEST_BASE, VM_CONTROL as WASM_VM_CONTROL } from '../accel/wasm/layout.js';
import { type EntryState, pvhEntryState } from '../arch/entry-state.js';
import { writeBootData } from '../boot/boot-data.js';
import { BootedPages } from '../memory/booted-pages.js';
import { GuestMemory } from '../memory/guest-memory.js';
import type { GuestRam } from '../memory/guest-ram.js';
import { MappedMemory } from '../memory/mapped-memory.js';
import { type PlacedImages, placeImages } from '../memory/place-images.js';
import { boundBooted } from './boot-gains.js';
import { VmControl } from './control.js';
import type { Execution, MachineListener } from './execution.js';
import type { GuestImages } from './images.js';
import { KvmExecution } from './kvm/execution.js';
import type { AcceleratorName, LoadMode, TierChoice } from './types.js';
import { WasmExecution } from './wasm/execution.js';

export interface GuestOptions {
  readonly accelerator: AcceleratorName;
  readonly images: GuestImages;
  readonly memory: number;
  readonly cpus: number;
  /** CPU model, see VmOptions. */
  readonly cpu: string;
  readonly commandLine: string;
  readonly load: LoadMode;
  readonly tier: TierChoice;
  /** File of the pages that guests of this image have alike once they have booted, see BootedPages. */
  readonly booted: string | undefined;
}

export class Guest {
  readonly memory: GuestRam;
  readonly control: VmControl;
  readonly placed: PlacedImages;
  readonly booted: BootedPages | undefined;
  readonly execution: Execution;
  readonly #options: GuestOptions;

  /** @param listener hears what the execution says, never before this returns */
  constructor(options: GuestOptions, listener: MachineListener) {
    this.#options = options;
    const { images, load, booted } = options;
    const { memory, controlOffset, execute } = machineFor(options, listener);
    this.memory = memory;
    this.booted =
      booted === undefined
        ? undefined
        : new BootedPages(memory, booted, () => boundBooted(dirname(booted)));
    let execution: Execution | undefined;
    try {
      const files = {
        kernel: images.kernel,
        ...(images.initrd ? { initrd: images.initrd } : {}),
      };
      this.placed = placeImages(memory, images.placements, files, load);
      this.control = new VmControl(memory.buffer, controlOffset);
      this.control.initialise();
      const entry = this.#writeBootData();
      execution = execute(this.control);
      this.execution = execution;
      execution.reset(entry);
    } catch (error) {
      if (execution === undefined) memory.release();
      else void execution.close().then(() => memory.release());
      throw error;
    }
  }

  /** After a reset: images, RAM, devices and vCPUs as at the start. No thread runs the VM. */
  restart(): void {
    this.placed.restore();
    this.booted?.forget();
    this.execution.reset(this.#writeBootData());
  }

  #writeBootData(): EntryState {
    const { images, memory, cpus, commandLine } = this.#options;
    const modules = images.initrd
      ? [{ address: images.initrdAddress, size: images.initrd.size }]
      : [];
    const startInfo = writeBootData(
      { write: (address, bytes) => this.memory.bytes(address, bytes.length).set(bytes) },
      { memoryBytes: memory, vcpus: cpus, commandLine, modules },
    );
    return pvhEntryState(images.plan.entry, startInfo);
  }

  /** No vCPU runs any more. */
  async release(): Promise<void> {
    await this.execution.close();
    this.memory.release();
  }
}

/** Memory as the accelerator wants it, and how to make the execution over it. */
interface MachineParts {
  readonly memory: GuestRam;
  readonly controlOffset: number;
  readonly execute: (control: VmControl) => Execution;
}

function machineFor(options: GuestOptions, listener: MachineListener): MachineParts {
  const { accelerator, memory: ramBytes, cpus, cpu, tier } = options;
  if (accelerator === 'wasm') {
    const memory = GuestMemory.create({ ramBytes, controlBytes: GUEST_BASE });
    return {
      memory,
      controlOffset: WASM_VM_CONTROL,
      execute: (control) => new WasmExecution(memory, control, tier !== '0', listener),
    };
  }
  const memory = MappedMemory.create({ ramBytes, controlBytes: CONTROL_BYTES });
  return {
    memory,
    controlOffset: KVM_VM_CONTROL,
    execute: (control) => new KvmExecution({ memory, control, cpus, cpu, listener }),
  };
}
