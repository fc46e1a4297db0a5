/**
 * The guest's memory with everything in it that a boot needs: images, boot data, decoder and CPUID
 * tables, board and vCPU state. `restart` makes all of it new, as a reset does.
 */
import { coreModule, installDecodeTables } from '../accel/wasm/core-module.js';
import * as L from '../accel/wasm/layout.js';
import { WasmVcpu } from '../accel/wasm/vcpu.js';
import { buildCpuid } from '../arch/cpuid.js';
import { pvhEntryState } from '../arch/entry-state.js';
import { writeBootData } from '../boot/boot-data.js';
import type { Board } from '../devices/board.js';
import { PandoError } from '../error.js';
import { GuestMemory } from '../memory/guest-memory.js';
import { type PlacedImages, placeImages } from '../memory/place-images.js';
import { VmControl } from './control.js';
import type { GuestImages } from './images.js';
import { attachBoard, TSC_FREQUENCY } from './machine.js';
import type { LoadMode } from './types.js';

export interface GuestOptions {
  readonly images: GuestImages;
  readonly memory: number;
  readonly cpus: number;
  readonly commandLine: string;
  readonly load: LoadMode;
}

/** Bytes of one row of the CPUID table: leaf, subleaf, flags, EAX, EBX, ECX, EDX, reserved. */
const CPUID_ROW_BYTES = 32;
/** Flag of a row that answers one subleaf only. */
const CPUID_SUBLEAF_MATTERS = 1;

export class Guest {
  readonly memory: GuestMemory;
  readonly control: VmControl;
  readonly board: Board;
  readonly placed: PlacedImages;
  readonly #vcpu: WasmVcpu;
  readonly #options: GuestOptions;

  constructor(options: GuestOptions) {
    this.#options = options;
    const { images, memory, cpus, load } = options;
    this.memory = GuestMemory.create({ ramBytes: memory, controlBytes: L.GUEST_BASE });
    try {
      const files = {
        kernel: images.kernel,
        ...(images.initrd ? { initrd: images.initrd } : {}),
      };
      this.placed = placeImages(this.memory, images.placements, files, load);
      const wasm = this.memory.memory;
      this.control = new VmControl(wasm);
      this.control.initialise();
      installDecodeTables(wasm);
      this.board = attachBoard(wasm, cpus, this.control);
      this.#vcpu = new WasmVcpu({
        module: coreModule(),
        memory: wasm,
        id: 0,
        bus: this.board,
        clock: this.control,
      });
      this.#initialise();
    } catch (error) {
      this.memory.release();
      throw error;
    }
  }

  /** After a reset: images, RAM, devices and vCPUs as at the start. No thread runs the VM. */
  restart(): void {
    this.placed.restore();
    // A new VM's memory is zeros already: writing them would make 7 MiB of pages its own.
    new Uint8Array(this.memory.buffer, L.BLOCK_HASH, L.BLOCK_ARENA - L.BLOCK_HASH).fill(0);
    this.#initialise();
  }

  #initialise(): void {
    const { images, memory, cpus, commandLine } = this.#options;
    const view = new DataView(this.memory.buffer);
    const vcpu = L.VCPU_BLOCKS;
    view.setUint32(vcpu + L.ARENA_NEXT, L.BLOCK_ARENA, true);
    view.setUint32(vcpu + L.RAM_PAGES, memory / 4096, true);
    view.setUint32(vcpu + L.CPUID_ROWS, this.#writeCpuid(view), true);
    const modules = images.initrd
      ? [{ address: images.initrdAddress, size: images.initrd.size }]
      : [];
    const startInfo = writeBootData(
      { write: (address, bytes) => this.memory.bytes(address, bytes.length).set(bytes) },
      { memoryBytes: memory, vcpus: cpus, commandLine, modules },
    );
    this.board.reset();
    this.#vcpu.reset(pvhEntryState(images.plan.entry, startInfo));
  }

  /** Writes the CPUID table; returns the number of rows. */
  #writeCpuid(view: DataView): number {
    const rows = buildCpuid({
      vcpus: this.#options.cpus,
      apicId: 0,
      tscFrequency: TSC_FREQUENCY,
    });
    const limit = (L.CPUID_TABLE_LIMIT - L.CPUID_TABLE) / CPUID_ROW_BYTES;
    if (rows.length > limit) {
      throw new PandoError('CPUID_TABLE_FULL', `CPUID has ${rows.length} rows, the table ${limit}`);
    }
    rows.forEach((row, index) => {
      const subleaf = row.subleaf === 'any' ? 0 : row.subleaf;
      const flags = row.subleaf === 'any' ? 0 : CPUID_SUBLEAF_MATTERS;
      const words = [row.leaf, subleaf, flags, row.eax, row.ebx, row.ecx, row.edx, 0];
      words.forEach((word, at) => {
        view.setUint32(L.CPUID_TABLE + index * CPUID_ROW_BYTES + at * 4, word, true);
      });
    });
    return rows.length;
  }

  vcpu(): WasmVcpu {
    return this.#vcpu;
  }

  release(): void {
    this.memory.release();
  }
}
