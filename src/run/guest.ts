/**
 * The guest's memory with everything in it that a boot needs: images and boot data. `restore` makes it
 * new, as a reset does.
 */
import { dirname } from 'node:path';
import { CONTROL_BYTES, VM_CONTROL as KVM_VM_CONTROL } from '../accel/kvm/layout.js';
import { GUEST_BASE, VM_CONTROL as WASM_VM_CONTROL } from '../accel/wasm/layout.js';
import { type EntryState, pvhEntryState } from '../arch/entry-state.js';
import { VM_GENERATION_ID_ADDRESS } from '../arch/layout.js';
import type { BalloonHost } from '../backend/balloon-host.js';
import { fillRandom } from '../backend/entropy.js';
import type { VsockHost } from '../backend/vsock-host.js';
import { virtioMmioDevice } from '../boot/acpi/virtio.js';
import { PandoError } from '../error.js';
import { DeduplicatedPages } from '../memory/deduplicated-pages.js';
import { discardPages } from '../memory/discard-pages.js';
import { GuestMemory } from '../memory/guest-memory.js';
import type { GuestRam } from '../memory/guest-ram.js';
import type { ImageRange } from '../memory/image-pages.js';
import { MappedMemory } from '../memory/mapped-memory.js';
import type { MemoryLayout, SharedFile } from '../memory/memory-layout.js';
import type { PlacedImages } from '../memory/place-images.js';
import type { Precopy } from '../memory/precopy.js';
import { boundDeduplicated, profilePath } from './boot-gains.js';
import { VmControl } from './control.js';
import { captureDisks, closeLayers } from './device-copies.js';
import { type DiskLayers, declareDevices, HostEnds, type OpenDevices } from './devices.js';
import type { Execution, MachineListener } from './execution.js';
import { firstLayout, placeGuestImages, writeGuestBootData } from './first-memory.js';
import type { GuestImages } from './images.js';
import { KvmExecution } from './kvm/execution.js';
import type { MachineState } from './machine-state.js';
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
  /** Whether a reset boots again, see VmOptions. */
  readonly reboot: boolean;
  /** File of the pages that guests of this image have alike once they have booted, see DeduplicatedPages. */
  readonly deduplicated: string | undefined;
  /** Open; closed by whoever opened them. */
  readonly devices: OpenDevices;
  /** Goes on from here instead of booting. The guest shares the layout. */
  readonly start?: GuestStart | undefined;
}

/** A machine as it stood when it was captured. */
export interface GuestStart {
  readonly layout: MemoryLayout;
  readonly state: MachineState;
  /** For whoever opens the devices. */
  readonly disks: DiskLayers;
  /** What has been decoded of the code in RAM, if anything. */
  readonly code: SharedFile | undefined;
}

/** Guests keep what they have mapped and open. */
export function closeStart({ layout, disks, code }: GuestStart): void {
  layout.close();
  code?.close();
  closeLayers(disks);
}

/** What a capture has begun with while its guest runs. */
export interface PreparedCapture {
  /** Where the guest's RAM came from, once it has been captured. */
  readonly layout: MemoryLayout | undefined;
  /** How many ranges it shared with other guests. */
  readonly alike: number;
  readonly copy: Precopy;
}

/** Of vCPUs that get the registers of a capture. */
const NO_ENTRY = pvhEntryState(0, 0);

export class Guest {
  readonly memory: GuestRam;
  readonly control: VmControl;
  readonly #deduplicated: DeduplicatedPages | undefined;
  readonly execution: Execution;
  readonly #hostEnds: HostEnds;
  readonly #options: GuestOptions;
  /** 16 bytes that no other machine has. */
  readonly #generation = new Uint8Array(16);
  /** Undefined for a guest that goes on from a capture and has not been reset since. */
  #placed: PlacedImages | undefined;
  /** Where RAM comes from, once the guest has been captured, or was made of a capture. */
  #layout: MemoryLayout | undefined;

  /** @param listener hears what the execution says, never before this returns */
  constructor(options: GuestOptions, listener: MachineListener) {
    this.#options = options;
    fillRandom(this.#generation);
    const { deduplicated, start } = options;
    const { memory, controlOffset, execute } = machineFor(options, (event, epoch) => {
      if (event.kind === 'doorbell') this.#hostEnds.ring(event.device);
      else listener(event, epoch);
    });
    this.memory = memory;
    this.#deduplicated =
      deduplicated === undefined
        ? undefined
        : new DeduplicatedPages(memory, deduplicated, () =>
            boundDeduplicated(dirname(deduplicated)),
          );
    let execution: Execution | undefined;
    try {
      this.control = new VmControl(memory.buffer, controlOffset);
      this.control.initialise();
      if (start === undefined) this.#placed = this.#place();
      const entry = start === undefined ? this.#writeBootData() : NO_ENTRY;
      execution = execute(this.control);
      this.execution = execution;
      this.#hostEnds = new HostEnds(execution.board, options.devices, (address, length, zeros) =>
        // Mapped pages that are discarded show their file again.
        discardPages(this.memory, address, length, zeros ? this.#mapped : []),
      );
      execution.reset(entry);
      if (start !== undefined) this.#goOn(start);
    } catch (error) {
      this.#layout?.close();
      if (execution === undefined) memory.release();
      else void execution.close().then(() => memory.release());
      throw error;
    }
  }

  /** The host end of the socket device, if the guest has one. */
  get vsock(): VsockHost | undefined {
    return this.#hostEnds.vsock;
  }

  /** The balloon's, if the guest has one. */
  get balloon(): BalloonHost | undefined {
    return this.#hostEnds.balloon;
  }

  get #mapped(): readonly Pick<ImageRange, 'guestAddress' | 'length'>[] {
    return this.fileRanges.filter(({ how }) => how === 'mapped');
  }

  /** After a reset: images, RAM, devices and vCPUs as at the start. No thread runs the VM. */
  restart(): void {
    this.#layout?.close();
    this.#layout = undefined;
    if (this.#placed === undefined) this.#placed = this.#place();
    else this.#placed.restore();
    this.#deduplicated?.forget();
    this.execution.reset(this.#writeBootData());
  }

  #place(): PlacedImages {
    return placeGuestImages(this.memory, this.#options.images, this.#options.load);
  }

  #goOn({ layout, state, code }: GuestStart): void {
    this.#layout = layout.share();
    this.#layout.map(this.memory);
    this.execution.restore(state, code);
    this.#writeGeneration();
    this.execution.board.generationChanged();
    this.#hostEnds.restored();
    // The first machine's reader has had this, or will have it.
    this.execution.board.serialOutput.read();
  }

  /** Why images were read although they should have been mapped. */
  get fallbacks(): readonly string[] {
    if (this.#options.load !== 'map') return [];
    const read = (this.#placed?.ranges ?? []).filter(({ how }) => how === 'read');
    return [...new Set(read.map(({ source, reason }) => `${source}: ${reason}`))];
  }

  /** Ranges of RAM that show a file again when their pages are dropped, or are there to be compared with one. */
  get fileRanges(): readonly Pick<ImageRange, 'guestAddress' | 'length' | 'how'>[] {
    return this.#layout?.ranges ?? [...(this.#placed?.ranges ?? []), ...this.#alike];
  }

  /** Makes few files of the captures that RAM comes from; the guest may run. */
  compact(): void {
    const compacted = this.#layout?.compacted();
    if (compacted === undefined) return;
    this.#layout?.close();
    this.#layout = compacted;
  }

  /** Does what a capture can do while the guest runs. The caller closes it. */
  prepareCapture(): PreparedCapture {
    const layout = this.#layout;
    const first = layout ?? this.#bootLayout();
    try {
      return { layout, alike: this.#alike.length, copy: first.precopy(this.memory) };
    } finally {
      if (layout === undefined) first.close();
    }
  }

  /**
   * The machine as it stands, for others to go on from; the guest maps its own pages from the capture, too.
   * All vCPUs are parked and guest time stands.
   * @param often see MemoryLayout.capture
   * @param prepared what has been done while the guest ran
   */
  capture(often = false, prepared?: PreparedCapture): GuestStart {
    const state = this.execution.save();
    const disks = captureDisks(this.#options.devices);
    try {
      // What the guest maps may have become another file's meanwhile.
      const holds = prepared?.layout === this.#layout && prepared?.alike === this.#alike.length;
      const before = this.#layout ?? this.#bootLayout();
      const layout = before.capture(this.memory, often, holds ? prepared?.copy : undefined);
      before.close();
      this.#layout = layout;
      // A clone's guest stands still as shortly as possible.
      const code = often ? this.execution.captureCode() : undefined;
      return { layout: layout.share(), state, disks, code };
    } catch (error) {
      closeLayers(disks);
      throw error;
    }
  }

  /** Shares the pages that guests of the image have alike. After a capture the guest maps its pages from there. */
  shareAlike(): void {
    if (this.#layout === undefined) this.#deduplicated?.share();
  }

  get #alike(): readonly ImageRange[] {
    return this.#deduplicated?.ranges ?? [];
  }

  /** Where RAM comes from before the first capture, which copies the pages that guests have alike. */
  #bootLayout(): MemoryLayout {
    return firstLayout(this.#options.images, this.#placed?.ranges ?? [], this.#alike);
  }

  #writeGeneration(): void {
    this.memory.bytes(VM_GENERATION_ID_ADDRESS, this.#generation.length).set(this.#generation);
  }

  #writeBootData(): EntryState {
    this.#writeGeneration();
    const { images, memory, cpus, commandLine, devices } = this.#options;
    const dsdtDevices = declareDevices(devices.descriptions).map((device, index) =>
      virtioMmioDevice(index, device),
    );
    return writeGuestBootData(this.memory, images, { memory, cpus, commandLine, dsdtDevices });
  }

  /**
   * The VM has ended: no vCPU will run any more.
   * @param reason for whoever waits for the guest
   * @param finish whether devices take first what the guest has left
   */
  end(reason: Error, finish: boolean): void {
    this.#hostEnds.close(reason, finish);
  }

  /** No vCPU runs any more. */
  async release(): Promise<void> {
    this.#hostEnds.close(new PandoError('VM_CLOSED', 'the VM has been closed'), false);
    await this.execution.close();
    this.memory.release();
    this.#layout?.close();
  }
}

/** Memory as the accelerator wants it, and how to make the execution over it. */
interface MachineParts {
  readonly memory: GuestRam;
  readonly controlOffset: number;
  readonly execute: (control: VmControl) => Execution;
}

function machineFor(options: GuestOptions, listener: MachineListener): MachineParts {
  const { accelerator, images, cpus, cpu, tier, devices } = options;
  const ramBytes = images.machineBytes;
  if (accelerator === 'wasm') {
    const memory = GuestMemory.create({ ramBytes, controlBytes: GUEST_BASE });
    const translation = tier === '0' ? undefined : { profile: profilePath(images.kernel) };
    return {
      memory,
      controlOffset: WASM_VM_CONTROL,
      execute: (control) =>
        new WasmExecution({
          memory,
          control,
          cpu,
          translation,
          devices: devices.descriptions,
          listener,
        }),
    };
  }
  const memory = MappedMemory.create({ ramBytes, controlBytes: CONTROL_BYTES });
  return {
    memory,
    controlOffset: KVM_VM_CONTROL,
    execute: (control) =>
      new KvmExecution({
        memory,
        control,
        cpus,
        cpu,
        devices: devices.descriptions,
        listener,
      }),
  };
}
