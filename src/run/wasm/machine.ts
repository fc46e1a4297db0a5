/**
 * A VM as one worker thread sees it: board and vCPUs over the VM's memory. Any number of threads may
 * have a Machine of the same VM; the schedule lets one at a time run it.
 */
import { ForeignWrites } from '../../accel/wasm/foreign-writes.js';
import { BOARD_STATE_AREA, GUEST_BASE, VM_CONTROL } from '../../accel/wasm/layout.js';
import type { Library } from '../../accel/wasm/translate/library.js';
import { WasmVcpu } from '../../accel/wasm/vcpu.js';
import { Board, type BoardHooks } from '../../devices/board.js';
import { DeviceMemory } from '../../devices/device-memory.js';
import { hostNanoseconds } from '../../platform/clock.js';
import { REQUEST_PARK, VmControl } from '../control.js';
import { type DeviceDescription, declareDevices } from '../devices.js';
import type { Ending, MachineEvent } from '../execution.js';
import { Reporter } from '../reporter.js';
import { SLOT_ASLEEP, SLOT_PARKED, SLOT_READY } from './schedule.js';

/** Guest time-stamp counter: one tick a nanosecond. */
export const TSC_FREQUENCY = 1_000_000_000;

/** How long a vCPU runs between two looks at timers and requests, in nanoseconds. */
const TURN = 400_000;
/** The same in instructions: code runs at anything from 20 to 2,000 million a second. */
const SHORTEST_TURN = 25_000;
const LONGEST_TURN = 800_000;
/** How long a VM keeps its worker while others wait, in nanoseconds. */
const SLICE = 5_000_000;

/** What it takes to attach to a VM from another thread. */
export interface MachineDescription {
  readonly slot: number;
  /** Tells the VMs that have had the slot apart. */
  readonly tenant: number;
  readonly memory: WebAssembly.Memory;
  readonly vcpus: number;
  readonly module: WebAssembly.Module;
  /** Whether hot code is translated. */
  readonly translate: boolean;
  readonly devices: readonly DeviceDescription[];
}

/** How a slice ended: the slot's next state, its deadline for SLOT_ASLEEP, why for SLOT_PARKED. */
export interface SliceEnd {
  readonly state: number;
  readonly deadline: number;
  readonly ending?: Ending;
}

/** The board of a VM, on whichever thread. */
export function attachBoard(
  memory: WebAssembly.Memory,
  vcpus: number,
  control: VmControl,
  devices: readonly DeviceDescription[],
  hooks: BoardHooks,
): Board {
  const state = memory.buffer as unknown as SharedArrayBuffer;
  const foreign = new ForeignWrites(state);
  const ram = { address: 0, bytes: new Uint8Array(state, GUEST_BASE) };
  return new Board({
    state,
    byteOffset: BOARD_STATE_AREA,
    room: VM_CONTROL - BOARD_STATE_AREA,
    memory: new DeviceMemory([ram], (address, length) => foreign.written(address, length)),
    vcpus,
    clock: control,
    tscFrequency: TSC_FREQUENCY,
    wallClock: () => Date.now(),
    declared: declareDevices(devices),
    hooks,
  });
}

export class Machine {
  readonly library: Library | undefined;
  readonly #control: VmControl;
  readonly #board: Board;
  readonly #vcpu: WasmVcpu;
  readonly #reporter: Reporter;
  /** Instructions of the next turn. */
  #turn = SHORTEST_TURN;
  /** What the devices ended the slice with. */
  #ending: Ending | undefined;

  /** @param library the thread's translations, for a machine that uses them */
  constructor(
    description: MachineDescription,
    emit: (event: MachineEvent) => void,
    library?: Library,
  ) {
    const { memory, module, vcpus, devices } = description;
    this.library = library;
    this.#control = new VmControl(memory.buffer as SharedArrayBuffer, VM_CONTROL);
    const end = (event: Ending): void => {
      this.#ending = event;
      this.#vcpu.kick();
    };
    this.#reporter = new Reporter(this.#control, emit, end);
    const hooks = this.#reporter.hooks(() => vcpu.interruptsChanged());
    this.#board = attachBoard(memory, vcpus, this.#control, devices, hooks);
    const vcpu = new WasmVcpu({
      module,
      memory,
      id: 0,
      bus: this.#board,
      clock: this.#control,
      library,
    });
    this.#vcpu = vcpu;
  }

  /** Runs the VM for a while. */
  slice(): SliceEnd {
    const control = this.#control;
    const board = this.#board;
    let now = hostNanoseconds();
    const end = now + SLICE;
    this.#reporter.entering();
    for (;;) {
      if (control.requests() & REQUEST_PARK) return this.#park({ kind: 'parked' });
      board.pumpInput();
      board.pumpOutput();
      board.advance(control.now());
      const stop = this.#vcpu.run(this.#turn);
      this.#reporter.console(board);
      if (this.#ending !== undefined) return this.#park(this.#ending);
      if (stop === 'shutdown') return this.#park({ kind: 'shutdown', vcpu: this.#vcpu.id });
      if (stop === 'halt') {
        board.advance(control.now());
        if (this.#vcpu.asleep()) {
          const deadline = board.nextDeadline() + control.origin;
          return { state: SLOT_ASLEEP, deadline };
        }
      }
      const then = now;
      now = hostNanoseconds();
      if (stop === 'budget') this.#adjustTurn(now - then);
      if (now >= end) return { state: SLOT_READY, deadline: 0 };
    }
  }

  /** A turn's instructions took so many nanoseconds. */
  #adjustTurn(took: number): void {
    if (took > 2 * TURN) {
      this.#turn = Math.max(Math.floor((this.#turn * TURN) / took), SHORTEST_TURN);
    } else if (took < TURN) this.#turn = Math.min(this.#turn * 2, LONGEST_TURN);
  }

  #park(ending: Ending): SliceEnd {
    this.#ending = undefined;
    return { state: SLOT_PARKED, deadline: 0, ending };
  }

  /** Forgets the VM's translations; between slices. */
  forgetTranslations(): void {
    this.#vcpu.forgetTranslations();
  }

  /** This thread no longer runs the VM. */
  close(): void {
    this.#vcpu.close();
  }
}
