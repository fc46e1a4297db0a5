/**
 * A vCPU of the wasm accelerator: the core's run loop with interrupts put in between its slices. Its
 * registers are in the VM's control area (layout.ts), so any thread may continue it.
 */

import type { Clock } from '../../arch/clock.js';
import type { EntryState, SegmentState } from '../../arch/entry-state.js';
import { type StatePart, statePart } from '../../arch/state-part.js';
import type { VcpuState } from '../../arch/vcpu-state.js';
import { PandoError } from '../../error.js';
import type { MachineBus, Vcpu, VcpuStop } from '../accelerator.js';
import { type Core, instantiateCore } from './core-module.js';
import * as L from './layout.js';
import { forgetModules } from './translate/installer.js';
import type { Library } from './translate/library.js';
import { Tier, type TierOptions } from './translate/tier.js';
import {
  restoreRegisters,
  saveRegisters,
  VCPU_STATE_BYTES,
  VCPU_STATE_VERSION,
  wasmVcpuState,
} from './vcpu-state.js';

/** The host's hooks of one vCPU. */
export interface WasmVcpuOptions {
  readonly module: WebAssembly.Module;
  readonly memory: WebAssembly.Memory;
  readonly id: number;
  readonly bus: MachineBus;
  readonly clock: Clock;
  /** The thread's translations; without them the vCPU only interprets. */
  readonly library?: Library | undefined;
  readonly tier?: TierOptions | undefined;
  /** Milliseconds since 1970 at guest time 0, by default the host's. */
  readonly bootTime?: () => number;
}

/** What one `run` may cost beside its instructions, in the units of core/work.ts: about a millisecond. */
const RUN_WORK = 1_000_000;
const CALL_COST = 1000;

export class WasmVcpu implements Vcpu {
  readonly id: number;
  readonly #core: Core;
  readonly #bus: MachineBus;
  /** Offset of the vCPU block in the VM's memory. */
  readonly #at: number;
  readonly #view: DataView;
  readonly #words: Int32Array;
  readonly #tier: Tier | undefined;
  readonly #memory: WebAssembly.Memory;
  /** WRITTEN_PENDING of the VM. */
  readonly #pending: Int32Array;

  constructor(options: WasmVcpuOptions) {
    const { module, memory, id, bus, clock, library, tier } = options;
    this.id = id;
    this.#memory = memory;
    this.#bus = bus;
    this.#at = L.VCPU_BLOCKS + id * L.VCPU_SIZE;
    this.#view = new DataView(memory.buffer, this.#at, L.VCPU_SIZE);
    this.#words = new Int32Array(memory.buffer, this.#at, L.VCPU_SIZE / 4);
    const pending = L.VCPU_BLOCKS + L.WRITTEN_PENDING;
    this.#pending = new Int32Array(memory.buffer, pending, 1);
    const view = this.#view;
    this.#core = instantiateCore(module, memory, {
      portIn: (port, size) => bus.portIn(port, size),
      portOut: (port, size, value) => bus.portOut(port, size, value >>> 0),
      mmioRead: (low, high, size) => bus.mmioRead(id, (high >>> 0) * 2 ** 32 + (low >>> 0), size),
      mmioWrite: (low, high, size, value) =>
        bus.mmioWrite(id, (high >>> 0) * 2 ** 32 + (low >>> 0), size, value >>> 0),
      readMsr: (index) => {
        const value = bus.readMsr(id, index >>> 0);
        if (value === undefined) return 0;
        view.setBigUint64(L.HOST_VALUE, value, true);
        return 1;
      },
      writeMsr: (index) =>
        bus.writeMsr(id, index >>> 0, view.getBigUint64(L.HOST_VALUE, true)) ? 1 : 0,
      clock: () => Math.floor(clock.now()),
      bootTime: options.bootTime ?? (() => Date.now() - clock.now() / 1e6),
      readCr8: () => bus.readCr8(id),
      writeCr8: (value) => bus.writeCr8(id, value),
    });
    this.#tier = library ? new Tier(this.#core, memory, this.#at, library, tier) : undefined;
  }

  reset(entry: EntryState): void {
    const view = this.#view;
    for (const word of [L.HALTED, L.KICKED, L.POLL, L.INTERRUPT_WINDOW]) {
      view.setUint32(word, 0, true);
    }
    view.setUint32(L.VCPU_ID, this.id, true);
    view.setUint32(L.HOT_COUNT, 0, true);
    view.setUint32(L.CONTEXT_NEXT, L.CONTEXT_ARENA, true);
    this.#core.resetVcpu(this.#at);
    view.setBigUint64(L.GPR + L.RDX, 0n, true);
    view.setBigUint64(L.RIP, BigInt(entry.eip), true);
    view.setBigUint64(L.GPR + L.RBX, BigInt(entry.ebx), true);
    view.setUint32(L.FLAGS, entry.eflags, true);
    view.setBigUint64(L.CR0, BigInt(entry.cr0), true);
    view.setBigUint64(L.CR4, BigInt(entry.cr4), true);
    view.setBigUint64(L.EFER, BigInt(entry.efer), true);
    this.#segment(L.SEG_ES, entry.es);
    this.#segment(L.SEG_CS, entry.cs);
    this.#segment(L.SEG_SS, entry.ss);
    this.#segment(L.SEG_DS, entry.ds);
    this.#segment(L.SEG_FS, entry.fs);
    this.#segment(L.SEG_GS, entry.gs);
    this.#segment(L.SEG_TR, entry.tr);
    this.#segment(L.SEG_LDTR, entry.ldtr);
    view.setBigUint64(L.GDT_BASE, BigInt(entry.gdtr.base), true);
    view.setUint32(L.GDT_LIMIT, entry.gdtr.limit, true);
    view.setBigUint64(L.IDT_BASE, BigInt(entry.idtr.base), true);
    view.setUint32(L.IDT_LIMIT, entry.idtr.limit, true);

    this.#core.updateMode(this.#at);
  }

  /** Forgets all decoded and translated code, and all that leads to it: the memory below is another now. */
  forgetCode(): void {
    this.#core.flushBlocks();
  }

  /** Forgets the translations too, those of all threads: whoever runs the VM next may have others. */
  forgetTranslations(): void {
    this.forgetCode();
    forgetModules(this.#memory);
  }

  get #part(): string {
    return `vcpu${this.id}`;
  }

  get #block(): Uint8Array {
    return new Uint8Array(this.#view.buffer, this.#at, L.VCPU_SIZE);
  }

  /** Registers, MSRs, x87 and SSE state; the vCPU does not run. */
  save(): StatePart {
    const bytes = saveRegisters(this.#block);
    return { name: this.#part, version: VCPU_STATE_VERSION, bytes };
  }

  /**
   * Goes on from a saved state, over the memory that it was saved with; the vCPU does not run.
   * @throws PandoError STATE_PART_MISSING, STATE_PART_VERSION, STATE_PART_SIZE
   */
  restore(parts: readonly StatePart[]): void {
    const place = { version: VCPU_STATE_VERSION, bytes: VCPU_STATE_BYTES };
    restoreRegisters(this.#block, statePart(parts, this.#part, place));
    // A new VM has none, and clearing its tables would cost it their memory.
    const next = new DataView(this.#memory.buffer).getUint32(L.VCPU_BLOCKS + L.ARENA_NEXT, true);
    if (next !== L.BLOCK_ARENA) this.forgetCode();
    this.#core.flushTlb(this.#at, 0);
    this.#core.updateMode(this.#at);
  }

  #segment(slot: number, segment: SegmentState): void {
    const view = this.#view;
    view.setBigUint64(L.SEG_BASE + slot * 8, BigInt(segment.base), true);
    view.setUint32(L.SEG_LIMIT + slot * 4, segment.limit, true);
    view.setUint32(L.SEG_SEL + slot * 4, segment.selector, true);
    const attributes =
      segment.type |
      (segment.s << 4) |
      (segment.dpl << 5) |
      (segment.present << 7) |
      (segment.avl << 12) |
      (segment.l << 13) |
      (segment.db << 14) |
      (segment.g << 15);
    view.setUint32(L.SEG_ATTR + slot * 4, attributes, true);
  }

  /** Code that devices have overwritten is not run again. */
  /** Forgets code that others have written meanwhile; the vCPU does not run. */
  dropForeignWrites(): void {
    if (Atomics.load(this.#pending, 0) !== 0) this.#core.dropForeignWrites(this.#at);
  }

  /** Delivers what waits. False after a triple fault. */
  #takeInterrupts(): boolean {
    const view = this.#view;
    // Then the loop is to come out again once what holds them is over.
    if (this.#core.held(this.#at) !== 0) {
      view.setUint32(L.INTERRUPT_WINDOW, 1, true);
      Atomics.or(this.#words, L.POLL / 4, L.POLL_WINDOW);
      return true;
    }
    if (this.#bus.pendingNmi(this.id) && this.#core.nmiBlocked(this.#at) === 0) {
      this.#bus.takeNmi(this.id);
      view.setUint32(L.HALTED, 0, true);
      return this.#core.nmi(this.#at) !== 0;
    }
    if (this.#bus.pendingVector(this.id) < 0) {
      view.setUint32(L.INTERRUPT_WINDOW, 0, true);
      return true;
    }
    if (this.#core.interruptible(this.#at) === 0) {
      view.setUint32(L.INTERRUPT_WINDOW, 1, true);
      return true;
    }
    const vector = this.#bus.acknowledge(this.id);
    // Another interrupt may be behind it, and IF is 0 in its handler.
    view.setUint32(L.INTERRUPT_WINDOW, this.#bus.pendingVector(this.id) < 0 ? 0 : 1, true);
    if (vector < 0) return true;
    view.setUint32(L.HALTED, 0, true);
    return this.#core.interrupt(this.#at, vector) !== 0;
  }

  /** Delivers what waits; false after a triple fault. For lock-step, with `advance`. */
  enter(): boolean {
    Atomics.and(this.#words, L.POLL / 4, ~(L.POLL_HOST | L.POLL_WINDOW));
    return this.#takeInterrupts();
  }

  /** Counts a call of the core; false when what the run may cost is used up. */
  #charge(): boolean {
    const left = this.#view.getInt32(L.WORK, true) - CALL_COST;
    this.#view.setInt32(L.WORK, Math.max(left, 0), true);
    return left > 0;
  }

  /** Runs until `limit` instructions have retired since the VM was made, without looking at interrupts. */
  advance(limit: bigint): VcpuStop {
    const view = this.#view;
    view.setInt32(L.WORK, 0, true);
    for (;;) {
      if (view.getUint32(L.HALTED, true) !== 0) return 'halt';
      Atomics.and(this.#words, L.POLL / 4, ~(L.POLL_HOST | L.POLL_WINDOW));
      this.dropForeignWrites();
      const left = Number(limit - view.getBigUint64(L.ICOUNT, true));
      if (left <= 0) return 'budget';
      const reason = this.#tier ? this.#tier.run(left) : this.#core.run(this.#at, left);
      if (reason === L.EXIT_SHUTDOWN) return 'shutdown';
      if (reason === L.EXIT_HALT) view.setUint32(L.HALTED, 1, true);
    }
  }

  run(budget: number): VcpuStop {
    const view = this.#view;
    const limit = view.getBigUint64(L.ICOUNT, true) + BigInt(budget);
    view.setInt32(L.WORK, RUN_WORK, true);
    for (;;) {
      Atomics.and(this.#words, L.POLL / 4, ~(L.POLL_HOST | L.POLL_WINDOW));
      this.dropForeignWrites();
      if (!this.#takeInterrupts()) return 'shutdown';
      if (view.getUint32(L.HALTED, true) !== 0) return 'halt';
      const left = Number(limit - view.getBigUint64(L.ICOUNT, true));
      if (left <= 0 || !this.#charge()) return 'budget';
      const reason = this.#tier ? this.#tier.run(left) : this.#core.run(this.#at, left);
      switch (reason) {
        case L.EXIT_BUDGET:
          return 'budget';
        case L.EXIT_HALT:
          view.setUint32(L.HALTED, 1, true);
          break;
        case L.EXIT_POLL:
          if (Atomics.load(this.#words, L.KICKED / 4) !== 0) {
            Atomics.store(this.#words, L.KICKED / 4, 0);
            return 'kick';
          }
          break;
        case L.EXIT_SHUTDOWN:
          return 'shutdown';
        default:
          throw new PandoError(
            'ENGINE_STATE_INVALID',
            `vCPU ${this.id} met a state that the engine cannot go on from at RIP 0x${view.getBigUint64(L.RIP, true).toString(16)}`,
          );
      }
    }
  }

  asleep(): boolean {
    if (this.#view.getUint32(L.HALTED, true) === 0) return false;
    if (this.#bus.pendingNmi(this.id)) return false;
    return !(this.#bus.pendingVector(this.id) >= 0 && this.#core.interruptible(this.#at) !== 0);
  }

  kick(): void {
    Atomics.store(this.#words, L.KICKED / 4, 1);
    Atomics.or(this.#words, L.POLL / 4, L.POLL_HOST);
  }

  /** Asks the run loop to come out and look at the interrupts; from any thread. */
  interruptsChanged(): void {
    Atomics.or(this.#words, L.POLL / 4, L.POLL_HOST);
  }

  /** This thread no longer runs the VM. */
  close(): void {
    this.#tier?.close();
  }

  /** What the time-stamp counter is ahead of guest time in nanoseconds (IA32_TSC_ADJUST). */
  timestampOffset(): bigint {
    return this.#view.getBigUint64(L.TSC_OFFSET, true);
  }

  instructions(): bigint {
    return this.#view.getBigUint64(L.ICOUNT, true);
  }

  state(): VcpuState {
    return wasmVcpuState(this.#view, BigInt(this.#core.getFlags(this.#at) >>> 0));
  }
}
