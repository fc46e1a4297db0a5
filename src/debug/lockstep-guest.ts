/**
 * A guest whose time is the number of its instructions: two of them, made alike, go through the same
 * states whatever runs their code. Like any guest of the wasm accelerator it is all in its memory but
 * for the clock, so one thread can make it and another run it.
 */
import { coreModule, installDecodeTables } from '../accel/wasm/core-module.js';
import * as L from '../accel/wasm/layout.js';
import { Library } from '../accel/wasm/translate/library.js';
import type { TranslationService } from '../accel/wasm/translate/service.js';
import type { TierOptions } from '../accel/wasm/translate/tier.js';
import { WasmVcpu } from '../accel/wasm/vcpu.js';
import { DEFAULT_CPU_MODEL } from '../arch/cpu-models.js';
import { pvhEntryState } from '../arch/entry-state.js';
import type { VcpuState } from '../arch/vcpu-state.js';
import { Board } from '../devices/board.js';
import { GuestMemory } from '../memory/guest-memory.js';
import { MemoryLayout, type SharedFile } from '../memory/memory-layout.js';
import { firstLayout, placeGuestImages, writeGuestBootData } from '../run/first-memory.js';
import type { GuestStart } from '../run/guest.js';
import type { GuestImages } from '../run/images.js';
import { MACHINE_STATE_VERSION, type MachineState } from '../run/machine-state.js';
import { captureCode, mapCode } from '../run/wasm/decoded-code.js';
import { prepareEngine } from '../run/wasm/execution.js';
import { TSC_FREQUENCY } from '../run/wasm/machine.js';

/** Nanoseconds that pass from one look at the clock to the next. */
const CLOCK_STEP = 20;
/** The guest's wall clock starts here: 2024-01-01. */
const WALL_CLOCK = 1_704_067_200_000;
/** Bytes of output that are kept. */
const OUTPUT_LIMIT = 1 << 16;

/** What runs a guest's code. */
export interface LockstepEngine {
  readonly module: WebAssembly.Module;
  /** With both, hot code is translated. */
  readonly service?: TranslationService | undefined;
  readonly tier?: TierOptions | undefined;
}

/** What a guest is made from. */
export interface LockstepMachine {
  readonly images: GuestImages;
  /** Bytes of RAM. */
  readonly memory: number;
  readonly commandLine: string;
  /** CPU model; the default one when absent. */
  readonly cpu?: string | undefined;
  /** A machine that has been saved, without devices beside its board: the guest goes on from there. */
  readonly start?: { readonly layout: MemoryLayout; readonly state: MachineState } | undefined;
}

/** Guest time, in nanoseconds. */
export interface LockstepTime {
  readonly time: number;
  /** How far it is ahead of the number of instructions, at least. */
  readonly ahead: number;
}

/** Notices what a guest reads from devices. */
class WatchedBoard extends Board {
  reads = 0;

  override portIn(port: number, size: number): number {
    this.reads++;
    return super.portIn(port, size);
  }

  override mmioRead(vcpu: number, gpa: number, size: number): number {
    this.reads++;
    return super.mmioRead(vcpu, gpa, size);
  }
}

export class LockstepGuest {
  readonly memory: GuestMemory;
  readonly #board: WatchedBoard;
  readonly #vcpu: WasmVcpu;
  readonly #view: DataView;
  readonly #bytes: Uint8Array;
  #time: number;
  #ahead: number;
  #looks = 0;
  #firstLayout: (() => MemoryLayout) | undefined;
  /** The end of the console output so far. */
  output = '';
  ended = false;
  /** Last value written to a boot-stage port. */
  stage = -1;

  /** Goes on with what is in `memory`. */
  constructor(
    memory: GuestMemory,
    { module, service, tier }: LockstepEngine,
    { time, ahead }: LockstepTime = { time: 0, ahead: 0 },
  ) {
    this.memory = memory;
    this.#time = time;
    this.#ahead = ahead;
    const wasm = memory.memory;
    const clock = { now: () => this.#time + CLOCK_STEP * this.#looks++ };
    const end = (): void => {
      this.ended = true;
    };
    this.#board = new WatchedBoard({
      state: wasm.buffer as unknown as SharedArrayBuffer,
      byteOffset: L.BOARD_STATE_AREA,
      vcpus: 1,
      clock,
      tscFrequency: TSC_FREQUENCY,
      wallClock: () => WALL_CLOCK + this.#time / 1e6,
      hooks: {
        onPowerOff: end,
        onReset: end,
        onBootStage: (value) => {
          this.stage = value;
        },
        wake: () => this.#vcpu.interruptsChanged(),
      },
    });
    this.#vcpu = new WasmVcpu({
      module,
      memory: wasm,
      id: 0,
      bus: this.#board,
      clock,
      library: service ? new Library(service) : undefined,
      tier,
      bootTime: () => WALL_CLOCK,
    });
    this.#view = new DataView(wasm.buffer, L.VCPU_BLOCKS, L.VCPU_SIZE);
    this.#bytes = new Uint8Array(wasm.buffer);
  }

  /** Makes a guest at its first instruction, or one that goes on from a saved machine. */
  static create(machine: LockstepMachine, engine: LockstepEngine): LockstepGuest {
    const { images, memory, commandLine, cpu = DEFAULT_CPU_MODEL, start } = machine;
    if (start !== undefined) {
      const guest = LockstepGuest.restored(machine, start, engine);
      guest.#ahead = guest.#time - Number(guest.count);
      return guest;
    }
    const guestMemory = GuestMemory.create({ ramBytes: memory, controlBytes: L.GUEST_BASE });
    const { ranges } = placeGuestImages(guestMemory, images, 'map');
    installDecodeTables(guestMemory.memory);
    const entry = writeGuestBootData(guestMemory, images, { memory, cpus: 1, commandLine });
    prepareEngine(guestMemory, cpu);
    const guest = new LockstepGuest(guestMemory, engine);
    guest.#firstLayout = () => firstLayout(images, ranges);
    guest.#board.reset();
    guest.#vcpu.reset(entry);
    return guest;
  }

  /** Makes a guest that is interpreted. */
  static interpreted(machine: LockstepMachine): LockstepGuest {
    return LockstepGuest.create(machine, { module: coreModule() });
  }

  /** Makes a guest that goes on from a saved one, whose time was the number of its instructions. */
  static restored(
    { images, memory, cpu = DEFAULT_CPU_MODEL }: LockstepMachine,
    {
      layout,
      state,
      code,
    }: Pick<GuestStart, 'layout' | 'state'> & Partial<Pick<GuestStart, 'code'>>,
    engine: LockstepEngine,
  ): LockstepGuest {
    const guestMemory = GuestMemory.create({ ramBytes: memory, controlBytes: L.GUEST_BASE });
    installDecodeTables(guestMemory.memory);
    prepareEngine(guestMemory, cpu);
    const guest = new LockstepGuest(guestMemory, engine, { time: state.time, ahead: 0 });
    guest.#board.reset();
    guest.#vcpu.reset(pvhEntryState(images.plan.entry, 0));
    layout.map(guestMemory);
    guest.#vcpu.restore(state.parts);
    if (code !== undefined) mapCode(guestMemory, code);
    guest.#board.restore(state.parts);
    guest.#looks = 0;
    return guest;
  }

  /** RAM, of a guest that has booted, between two turns: the guest maps its pages from there, too. */
  capture(): MemoryLayout {
    const before = this.#firstLayout?.() ?? new MemoryLayout([], []);
    const layout = before.capture(this.memory);
    before.close();
    return layout;
  }

  /** What it has decoded, between two turns. */
  captureCode(): SharedFile | undefined {
    this.#vcpu.dropForeignWrites();
    return captureCode(this.memory);
  }

  /** All but RAM, between two turns. */
  save(): MachineState {
    const parts = [...this.#board.save(), this.#vcpu.save()];
    const time = this.#time + CLOCK_STEP * this.#looks;
    return { version: MACHINE_STATE_VERSION, accelerator: 'wasm', time, parts };
  }

  /** Instructions retired. */
  get count(): bigint {
    return this.#vcpu.instructions();
  }

  /** Guest nanoseconds. */
  get time(): number {
    return this.#time;
  }

  /** For whoever goes on with its memory. */
  get timing(): LockstepTime {
    return { time: this.#time, ahead: this.#ahead };
  }

  get state(): VcpuState {
    return this.#vcpu.state();
  }

  /** Whether it sleeps in HLT. */
  get halted(): boolean {
    return this.#view.getUint32(L.HALTED, true) !== 0;
  }

  /** Lets timers fire and interrupts in; guest time stands until the next turn. */
  beginTurn(): void {
    const counted = Number(this.count) + this.#ahead;
    this.#time = Math.max(counted, this.#time + CLOCK_STEP * this.#looks);
    this.#looks = 0;
    this.#board.advance(this.#time);
    const deadline = this.halted ? this.#board.nextDeadline() : Number.POSITIVE_INFINITY;
    if (Number.isFinite(deadline) && this.#vcpu.asleep()) {
      this.#time = Math.max(this.#time, deadline);
      this.#board.advance(this.#time);
    }
    if (!this.#vcpu.enter()) this.ended = true;
  }

  /** Runs to so many instructions since the start, to the end of the block there, or to HLT. */
  advance(limit: bigint): void {
    if (this.#vcpu.advance(limit) === 'shutdown') this.ended = true;
    const written = this.#board.serialOutput.read();
    if (written.length > 0) {
      this.output += Buffer.from(written).toString('latin1');
      this.output = this.output.slice(-OUTPUT_LIMIT);
    }
    this.#board.pumpOutput();
  }

  /** One instruction, or one iteration of a repeated one, interpreted; no interrupt comes in between. */
  step(): void {
    this.#view.setUint32(L.MODE, this.#view.getUint32(L.MODE, true) | L.MODE_STEP, true);
    this.advance(this.count + 1n);
  }

  /** Reads of ports and of device memory so far. */
  get deviceReads(): number {
    return this.#board.reads;
  }

  /** Takes over registers. */
  adopt(state: Partial<Pick<VcpuState, 'gpr' | 'rip' | 'rflags' | 'segments'>>): void {
    const view = this.#view;
    state.gpr?.forEach((value, register) => {
      view.setBigUint64(L.GPR + register * 8, value, true);
    });
    state.segments?.forEach((selector, index) => {
      view.setUint32(L.SEG_SEL + (L.SEG_ES + index) * 4, selector, true);
    });
    if (state.rip !== undefined) view.setBigUint64(L.RIP, state.rip, true);
    if (state.rflags === undefined) return;
    view.setUint32(L.CC_OP, 0, true);
    view.setUint32(L.FLAGS, Number(state.rflags), true);
  }

  /** Code at a linear address as far as the processor has fetched from there lately. */
  code(rip: bigint, length: number): Uint8Array | undefined {
    const set = this.#view.getUint32(L.TLB_SET, true);
    // The index is core/mmu.ts's execOffset.
    const page = Number((rip >> 12n) & 0xffffffffn);
    const entry = set + L.TLB_EXEC + (((page ^ (page >>> 8)) & (L.TLB_ENTRIES - 1)) << 4);
    if (this.#view.getBigUint64(entry, true) !== (rip & ~0xfffn)) return undefined;
    const offset = Number(rip & 0xfffn);
    const physical = this.#view.getUint32(entry + 8, true) + offset;
    return this.#bytes.slice(
      L.GUEST_BASE + physical,
      L.GUEST_BASE + physical + Math.min(length, 0x1000 - offset),
    );
  }

  /** Width of the code that runs: 16, 32 or 64 bits. */
  get bits(): number {
    return 16 << (this.#view.getUint32(L.MODE, true) & L.MODE_CODE_MASK);
  }
}
