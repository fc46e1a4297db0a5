/**
 * A VM on the wasm accelerator: one vCPU, resumable, which the process's workers (pool.ts) drive in
 * turn with those of other VMs.
 */
import { coreModule, installDecodeTables } from '../../accel/wasm/core-module.js';
import * as L from '../../accel/wasm/layout.js';
import { WasmVcpu } from '../../accel/wasm/vcpu.js';
import { cpuModelFeatures } from '../../arch/cpu-models.js';
import { buildCpuid } from '../../arch/cpuid.js';
import type { EntryState } from '../../arch/entry-state.js';
import { PAGE_SIZE } from '../../arch/layout.js';
import type { VcpuState } from '../../arch/vcpu-state.js';
import type { Board } from '../../devices/board.js';
import { PandoError } from '../../error.js';
import type { GuestMemory } from '../../memory/guest-memory.js';
import type { SharedFile } from '../../memory/memory-layout.js';
import { REQUEST_PARK, type VmControl } from '../control.js';
import type { DeviceDescription } from '../devices.js';
import type { Execution, MachineListener } from '../execution.js';
import { checkMachineState, MACHINE_STATE_VERSION, type MachineState } from '../machine-state.js';
import { captureCode, discardIndex, mapCode } from './decoded-code.js';
import { attachBoard, TSC_FREQUENCY } from './machine.js';
import { WorkerPool } from './pool.js';

/** Bytes of one row of the CPUID table: leaf, subleaf, flags, EAX, EBX, ECX, EDX, reserved. */
const CPUID_ROW_BYTES = 32;
/** Flag of a row that answers one subleaf only. */
const CPUID_SUBLEAF_MATTERS = 1;

/** How hot code is translated. */
interface Translation {
  /** File of what became hot in earlier boots of the kernel, if there can be one. */
  readonly profile: string | undefined;
}

export interface WasmExecutionOptions {
  readonly memory: GuestMemory;
  readonly control: VmControl;
  /** CPU model (arch/cpu-models.ts). */
  readonly cpu: string;
  /** Hot code is translated; the pool has been prepared for it. */
  readonly translation: Translation | undefined;
  readonly devices: readonly DeviceDescription[];
  readonly listener: MachineListener;
}

export class WasmExecution implements Execution {
  readonly board: Board;
  readonly #memory: GuestMemory;
  readonly #control: VmControl;
  readonly #vcpu: WasmVcpu;
  readonly #pool = WorkerPool.shared();
  readonly #slot: number;
  readonly #cpu: string;

  constructor({ memory, control, cpu, translation, devices, listener }: WasmExecutionOptions) {
    this.#memory = memory;
    this.#cpu = cpu;
    this.#control = control;
    const wasm = memory.memory;
    const module = coreModule();
    installDecodeTables(wasm);
    this.board = attachBoard(wasm, 1, control, devices, {
      wake: () => {
        this.#vcpu.interruptsChanged();
        this.#pool.schedule.wake(this.#slot);
      },
      onDoorbell: (device) => setImmediate(listener, { kind: 'doorbell', device }),
    });
    this.#vcpu = new WasmVcpu({ module, memory: wasm, id: 0, bus: this.board, clock: control });
    const tenancy = this.#pool.allocate(listener, translation?.profile);
    this.#slot = tenancy.slot;
    const translate = translation !== undefined;
    this.#pool.attach({ ...tenancy, memory: wasm, vcpus: 1, module, translate, devices });
  }

  reset(entry: EntryState): void {
    const view = new DataView(this.#memory.buffer);
    // A new VM's memory is zeros already.
    if (view.getUint32(L.VCPU_BLOCKS + L.ARENA_NEXT, true) !== 0) this.#vcpu.forgetCode();
    prepareEngine(this.#memory, this.#cpu);
    this.board.reset();
    this.#vcpu.reset(entry);
  }

  start(): number {
    this.#control.startTime();
    const epoch = this.#control.startEpoch();
    this.#pool.schedule.start(this.#slot);
    return epoch;
  }

  park(): void {
    this.#control.request(REQUEST_PARK);
    this.#vcpu.kick();
    this.#pool.schedule.wake(this.#slot);
  }

  consoleMoved(): void {
    this.#pool.schedule.wake(this.#slot);
  }

  injectNmi(): void {
    this.board.injectNmi();
  }

  save(): MachineState {
    const parts = [...this.board.save(), this.#vcpu.save()];
    const time = this.#control.now();
    return { version: MACHINE_STATE_VERSION, accelerator: 'wasm', time, parts };
  }

  restore(state: MachineState, code?: SharedFile): void {
    checkMachineState(state, 'wasm');
    this.#vcpu.restore(state.parts);
    if (code !== undefined) mapCode(this.#memory, code);
    this.#control.setTime(state.time);
    this.board.restore(state.parts);
  }

  captureCode(): SharedFile | undefined {
    this.#vcpu.dropForeignWrites();
    return captureCode(this.#memory);
  }

  vcpuState(): VcpuState {
    return this.#vcpu.state();
  }

  instructions(): bigint {
    return this.#vcpu.instructions();
  }

  timestamp(): bigint {
    return BigInt(Math.floor(this.#control.now())) + this.#vcpu.timestampOffset();
  }

  /** Decoded code: most of it ran once, in the boot. */
  trim(): void {
    // The core clears what is not zero, which would be pages of this VM's own.
    discardIndex(this.#memory);
    this.#vcpu.forgetCode();
    this.#memory.discardControl(L.BLOCK_ARENA, L.CONTEXT_ARENA_END - L.BLOCK_ARENA);
  }

  close(): Promise<void> {
    return this.#pool.release(this.#slot);
  }
}

/** The words of the control area that the first entry of the core finds: its arena, RAM's size, CPUID of the model `cpu`. */
export function prepareEngine({ buffer, ramBytes }: GuestMemory, cpu: string): void {
  const view = new DataView(buffer);
  view.setUint32(L.VCPU_BLOCKS + L.ARENA_NEXT, L.BLOCK_ARENA, true);
  view.setUint32(L.VCPU_BLOCKS + L.RAM_PAGES, ramBytes / PAGE_SIZE, true);
  view.setUint32(L.VCPU_BLOCKS + L.CPUID_ROWS, writeCpuid(view, cpu), true);
}

/** Writes the CPUID table; returns the number of rows. */
function writeCpuid(view: DataView, cpu: string): number {
  const features = cpuModelFeatures(cpu);
  const rows = buildCpuid({ vcpus: 1, apicId: 0, tscFrequency: TSC_FREQUENCY, features });
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
