/**
 * A VM as one worker thread sees it: board and vCPUs over the VM's memory. Any number of threads may
 * have a Machine of the same VM; the schedule lets one at a time run it.
 */
import type { Vcpu } from '../accel/accelerator.js';
import { BOARD_STATE_AREA } from '../accel/wasm/layout.js';
import { WasmVcpu } from '../accel/wasm/vcpu.js';
import { BOOT_STAGE_PORT } from '../arch/layout.js';
import { Board } from '../devices/board.js';
import { PandoError } from '../error.js';
import { REQUEST_PARK, VmControl } from './control.js';
import { hostNanoseconds } from './host-time.js';
import { SLOT_ASLEEP, SLOT_PARKED, SLOT_READY } from './schedule.js';
import type { StageName } from './types.js';

/** Guest time-stamp counter: one tick a nanosecond. */
export const TSC_FREQUENCY = 1_000_000_000;

/** Instructions between two looks at timers and requests: some 0.2 ms. */
const TURN = 50_000;
/** How long a VM keeps its worker while others wait, in nanoseconds. */
const SLICE = 5_000_000;

/** What it takes to attach to a VM from another thread. */
export interface MachineDescription {
  readonly slot: number;
  readonly memory: WebAssembly.Memory;
  readonly vcpus: number;
  readonly module: WebAssembly.Module;
}

/** What a machine tells the thread that owns the VM. */
export type MachineEvent =
  | {
      readonly kind: 'stage';
      readonly name: StageName;
      readonly at: number;
      readonly source: string;
    }
  | { readonly kind: 'console' }
  | { readonly kind: 'parked' }
  | { readonly kind: 'reset' }
  | { readonly kind: 'poweroff' }
  | { readonly kind: 'shutdown'; readonly vcpu: number }
  | { readonly kind: 'error'; readonly code: string; readonly message: string };

/** The board of a VM, on whichever thread. */
export function attachBoard(
  memory: WebAssembly.Memory,
  vcpus: number,
  control: VmControl,
  hooks: ConstructorParameters<typeof Board>[0]['hooks'] = {},
): Board {
  return new Board({
    state: memory.buffer as unknown as SharedArrayBuffer,
    byteOffset: BOARD_STATE_AREA,
    vcpus,
    clock: control,
    tscFrequency: TSC_FREQUENCY,
    wallClock: () => Date.now(),
    hooks,
  });
}

/** Stages by the value that the guest writes to BOOT_STAGE_PORT. */
const STAGE_VALUES: Readonly<Record<number, StageName>> = {
  6: 'linux_start_kernel',
  7: 'linux_start_user',
};

export class Machine {
  readonly #control: VmControl;
  readonly #board: Board;
  readonly #vcpu: Vcpu;
  readonly #emit: (event: MachineEvent) => void;
  /** What the devices ended the slice with. */
  #ending: MachineEvent | undefined;

  constructor(description: MachineDescription, emit: (event: MachineEvent) => void) {
    const { memory, module, vcpus } = description;
    this.#emit = emit;
    this.#control = new VmControl(memory);
    const end = (event: MachineEvent): void => {
      this.#ending = event;
      this.#vcpu.kick();
    };
    this.#board = attachBoard(memory, vcpus, this.#control, {
      onPowerOff: () => end({ kind: 'poweroff' }),
      onReset: () => end({ kind: 'reset' }),
      onBootStage: (value, time, port) => this.#stage(value, time, port),
      wake: () => vcpu.interruptsChanged(),
    });
    const vcpu = new WasmVcpu({ module, memory, id: 0, bus: this.#board, clock: this.#control });
    this.#vcpu = vcpu;
  }

  #stage(value: number, time: number, port: number): void {
    const name = STAGE_VALUES[value];
    if (name === undefined || port !== BOOT_STAGE_PORT) return;
    if (name === 'linux_start_kernel') this.#control.firstSign();
    const source = `port 0x${port.toString(16)} value ${value}`;
    this.#emit({ kind: 'stage', name, at: this.#control.origin + time, source });
  }

  #console(): void {
    if (this.#board.serialOutput.length === 0) return;
    if (this.#control.firstSign()) {
      const source = 'first console byte';
      this.#emit({ kind: 'stage', name: 'linux_start_kernel', at: hostNanoseconds(), source });
    }
    if (this.#control.noticeConsole()) this.#emit({ kind: 'console' });
  }

  /** Runs the VM for a while; returns the slot's next state and, for SLOT_ASLEEP, the deadline. */
  slice(): { state: number; deadline: number } {
    const control = this.#control;
    const board = this.#board;
    const end = hostNanoseconds() + SLICE;
    if (control.firstEntry()) {
      const source = 'first vCPU entry';
      this.#emit({ kind: 'stage', name: 'vmm_init_end', at: hostNanoseconds(), source });
    }
    for (;;) {
      if (control.requests() & REQUEST_PARK) return this.#park({ kind: 'parked' });
      board.pumpInput();
      board.pumpOutput();
      board.advance(control.now());
      const stop = this.#vcpu.run(TURN);
      this.#console();
      if (this.#ending !== undefined) return this.#park(this.#ending);
      if (stop === 'shutdown') return this.#park({ kind: 'shutdown', vcpu: this.#vcpu.id });
      if (stop === 'halt') {
        board.advance(control.now());
        if (this.#vcpu.asleep()) {
          const deadline = board.nextDeadline() + control.origin;
          return { state: SLOT_ASLEEP, deadline };
        }
      }
      if (hostNanoseconds() >= end) return { state: SLOT_READY, deadline: 0 };
    }
  }

  /** Whether something came in that a sleeping VM must look at. */
  hasInput(): boolean {
    return this.#board.serialInput.length > 0 || (this.#control.requests() & REQUEST_PARK) !== 0;
  }

  #park(event: MachineEvent): { state: number; deadline: number } {
    this.#ending = undefined;
    this.#pending = event;
    return { state: SLOT_PARKED, deadline: 0 };
  }

  #pending: MachineEvent | undefined;

  /** Tells the owner why the VM was parked; called once its slot says so. */
  announceParked(): void {
    const event = this.#pending;
    this.#pending = undefined;
    if (event !== undefined) this.#emit(event);
  }

  /** Reports an exception of the monitor itself as the VM's end. */
  fail(error: unknown): { state: number; deadline: number } {
    const code = error instanceof PandoError ? error.code : 'INTERNAL';
    const message = error instanceof Error ? (error.stack ?? error.message) : String(error);
    return this.#park({ kind: 'error', code, message });
  }
}
