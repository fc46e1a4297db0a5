/**
 * A guest whose time is the number of its instructions: two of them, made alike, go through the same
 * states whatever runs their code.
 */
import { coreModule, installDecodeTables } from '../accel/wasm/core-module.js';
import * as L from '../accel/wasm/layout.js';
import { Library } from '../accel/wasm/translate/library.js';
import { LocalService } from '../accel/wasm/translate/service.js';
import { TIER_OPTIONS, type TierOptions } from '../accel/wasm/translate/tier.js';
import { WasmVcpu } from '../accel/wasm/vcpu.js';
import { pvhEntryState } from '../arch/entry-state.js';
import type { VcpuState } from '../arch/vcpu-state.js';
import { writeBootData } from '../boot/boot-data.js';
import { Board } from '../devices/board.js';
import { GuestMemory } from '../memory/guest-memory.js';
import { placeImages } from '../memory/place-images.js';
import type { GuestImages } from './images.js';
import { TSC_FREQUENCY } from './machine.js';
import { writeCpuid } from './wasm-execution.js';

/** Nanoseconds that pass from one look at the clock to the next. */
const CLOCK_STEP = 20;
/** The guest's wall clock starts here: 2024-01-01. */
const WALL_CLOCK = 1_704_067_200_000;
/** Ranges of the vCPU block that are state of the processor. */
const STATE: readonly (readonly [from: number, to: number])[] = [
  [L.GPR, L.RIP + 8],
  [L.SEG_BASE, L.IDT_LIMIT + 4],
  [L.CR0, L.CPL + 4],
  [L.SHADOW, L.SHADOW + 4],
  [L.MSR_STAR, L.MSR_KVM_SYSTEM_TIME + 8],
  [L.XMM, L.MXCSR + 4],
];

export { TIER_OPTIONS };

export interface LockstepGuestOptions {
  readonly images: GuestImages;
  readonly memory: number;
  readonly commandLine: string;
  /** Translates when given. */
  readonly tier: TierOptions | undefined;
}

export class LockstepGuest {
  readonly #memory: GuestMemory;
  readonly #board: Board;
  readonly #vcpu: WasmVcpu;
  readonly #bytes: Uint8Array;
  #time = 0;
  #looks = 0;
  /** Console output so far. */
  output = '';
  ended = false;

  constructor({ images, memory, commandLine, tier }: LockstepGuestOptions) {
    this.#memory = GuestMemory.create({ ramBytes: memory, controlBytes: L.GUEST_BASE });
    const wasm = this.#memory.memory;
    const files = { kernel: images.kernel, ...(images.initrd ? { initrd: images.initrd } : {}) };
    placeImages(this.#memory, images.placements, files, 'map');
    installDecodeTables(wasm);
    const clock = { now: () => this.#time + CLOCK_STEP * this.#looks++ };
    const end = (): void => {
      this.ended = true;
    };
    this.#board = new Board({
      state: wasm.buffer as unknown as SharedArrayBuffer,
      byteOffset: L.BOARD_STATE_AREA,
      vcpus: 1,
      clock,
      tscFrequency: TSC_FREQUENCY,
      wallClock: () => WALL_CLOCK + this.#time / 1e6,
      hooks: { onPowerOff: end, onReset: end, wake: () => this.#vcpu.interruptsChanged() },
    });
    const library = tier ? new Library(new LocalService()) : undefined;
    this.#vcpu = new WasmVcpu({
      module: coreModule(),
      memory: wasm,
      id: 0,
      bus: this.#board,
      clock,
      library,
      tier,
      bootTime: () => WALL_CLOCK,
    });
    const modules = images.initrd
      ? [{ address: images.initrdAddress, size: images.initrd.size }]
      : [];
    const startInfo = writeBootData(
      { write: (address, bytes) => this.#memory.bytes(address, bytes.length).set(bytes) },
      { memoryBytes: memory, vcpus: 1, commandLine, modules },
    );
    const view = new DataView(wasm.buffer);
    view.setUint32(L.VCPU_BLOCKS + L.ARENA_NEXT, L.BLOCK_ARENA, true);
    view.setUint32(L.VCPU_BLOCKS + L.RAM_PAGES, memory / 4096, true);
    view.setUint32(L.VCPU_BLOCKS + L.CPUID_ROWS, writeCpuid(view), true);
    this.#board.reset();
    this.#vcpu.reset(pvhEntryState(images.plan.entry, startInfo));
    this.#bytes = new Uint8Array(wasm.buffer);
  }

  /** Instructions retired. */
  get count(): bigint {
    return this.#vcpu.instructions();
  }

  get state(): VcpuState {
    return this.#vcpu.state();
  }

  /** Lets timers fire and interrupts in; guest time stands until the next turn. */
  beginTurn(): void {
    const instructions = Number(this.count);
    this.#time = Math.max(instructions, this.#time + CLOCK_STEP * this.#looks);
    this.#looks = 0;
    this.#board.advance(this.#time);
    const state = this.#vcpu.state();
    const deadline = this.#board.nextDeadline();
    if (state.halted && this.#vcpu.asleep() && Number.isFinite(deadline)) {
      this.#time = Math.max(this.#time, deadline);
      this.#board.advance(this.#time);
    }
    if (!this.#vcpu.enter()) this.ended = true;
  }

  /** Runs up to so many instructions since the start, or to HLT. */
  advance(limit: bigint): void {
    if (this.#vcpu.advance(limit) === 'shutdown') this.ended = true;
    this.output += Buffer.from(this.#board.serialOutput.read()).toString('latin1');
    this.#board.pumpOutput();
  }

  /** What of the processor's state differs from another guest's, as text; empty when nothing does. */
  differences(other: LockstepGuest): string[] {
    const found: string[] = [];
    for (const [from, to] of STATE) {
      for (let at = from; at < to; at += 4) {
        const mine = this.#word(at);
        const its = other.#word(at);
        if (mine !== its) {
          found.push(`vCPU +0x${at.toString(16)}: ${mine.toString(16)} and ${its.toString(16)}`);
        }
      }
    }
    const { rflags } = this.state;
    if (rflags !== other.state.rflags) {
      found.push(`rflags: ${rflags.toString(16)} and ${other.state.rflags.toString(16)}`);
    }
    return found;
  }

  #word(at: number): number {
    return new DataView(this.#bytes.buffer).getUint32(L.VCPU_BLOCKS + at, true);
  }

  /** Guest physical address where RAM differs from another guest's; -1 when it is the same. */
  memoryDifference(other: LockstepGuest): number {
    const mine = Buffer.from(this.#bytes.buffer, L.GUEST_BASE, this.#memory.ramBytes);
    const its = Buffer.from(other.#bytes.buffer, L.GUEST_BASE, this.#memory.ramBytes);
    const step = 1 << 20;
    for (let at = 0; at < mine.length; at += step) {
      if (mine.compare(its, at, at + step, at, at + step) === 0) continue;
      let first = at;
      while (mine[first] === its[first]) first++;
      return first;
    }
    return -1;
  }

  /** Code at a linear address as far as the processor has fetched from there lately. */
  code(rip: bigint, length: number): Uint8Array | undefined {
    const view = new DataView(this.#bytes.buffer, L.VCPU_BLOCKS);
    const set = view.getUint32(L.TLB_SET, true);
    const entry = set + (Number((rip >> 12n) & BigInt(L.TLB_ENTRIES - 1)) << 4) + L.TLB_EXEC;
    if (view.getBigUint64(entry, true) !== (rip & ~0xfffn)) return undefined;
    const offset = Number(rip & 0xfffn);
    const physical = view.getUint32(entry + 8, true) + offset;
    return this.#bytes.slice(
      L.GUEST_BASE + physical,
      L.GUEST_BASE + physical + Math.min(length, 0x1000 - offset),
    );
  }

  release(): void {
    this.#memory.release();
  }
}
