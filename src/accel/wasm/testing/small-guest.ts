/** Small guests for tests of translated code against the interpreter. */
import assert from 'node:assert/strict';
import { GuestMemory } from '../../../memory/guest-memory.js';
import { coreModule, installDecodeTables, instantiateCore } from '../core-module.js';
import * as L from '../layout.js';
import { Library } from '../translate/library.js';
import { LocalService } from '../translate/service.js';
import { type Allowance, Tier } from '../translate/tier.js';
import { SILENT_HOST } from './silent-host.js';
import { emptyTlbs } from './tlb.js';

const RAM = 0x400_0000;
export const CODE = 0x1000;
export const CPU = L.VCPU_BLOCKS;

const SMALL = { blocks: 48, operations: 400, heat: 0 };

export interface SmallOptions {
  /** Entries of a block until it is translated; without it the interpreter runs. */
  readonly threshold?: number;
  /** Entries of a region until it is made wide; 0: never. */
  readonly wideThreshold?: number;
  readonly library?: Library;
  readonly allowance?: Allowance;
  readonly mode?: number;
  /** The guest that this is for another thread: its memory, with a core of its own. */
  readonly same?: SmallGuest;
}

/** A guest in 64-bit mode, or in another one, without paging whose code is at CODE. */
export class SmallGuest {
  readonly view: DataView;
  readonly #memory: WebAssembly.Memory;
  readonly #run: (budget: number) => number;

  constructor(
    code: readonly number[],
    { threshold, wideThreshold = 0, library, allowance, mode = L.MODE_CODE64, same }: SmallOptions,
  ) {
    const initial = (L.GUEST_BASE + RAM) / 0x10000;
    const memory =
      same === undefined
        ? new WebAssembly.Memory({ initial, maximum: 65536, shared: true })
        : same.#memory;
    this.#memory = memory;
    this.view = new DataView(memory.buffer);
    if (same === undefined) this.#reset(code, mode);
    const core = instantiateCore(coreModule(), memory, SILENT_HOST);
    if (threshold === undefined) {
      this.#run = (budget) => core.run(CPU, budget);
      return;
    }
    const tier = new Tier(core, memory, CPU, library ?? new Library(new LocalService()), {
      threshold,
      warm: 10,
      wideThreshold,
      provided: Number.POSITIVE_INFINITY,
      limits: { ...SMALL, wide: { ...SMALL, target: 10 } },
      batch: 1,
      delay: 0,
      ...(allowance ? { allowance } : {}),
    });
    this.#run = (budget) => tier.run(budget);
  }

  #reset(code: readonly number[], mode: number): void {
    installDecodeTables(this.#memory);
    emptyTlbs(new Uint8Array(this.#memory.buffer), CPU);
    this.view.setUint32(CPU + L.TLB_SET, L.TLB_SUPERVISOR, true);
    this.view.setUint32(CPU + L.MODE, mode, true);
    this.view.setBigUint64(CPU + L.CR4, 0x200n, true);
    this.view.setUint32(CPU + L.MXCSR, 0x1f80, true);
    this.view.setUint32(CPU + L.SEG_LIMIT + L.SEG_CS * 4, 0xffffffff, true);
    this.view.setBigUint64(CPU + L.SLOT_4G, 1n << 32n, true);
    this.view.setUint32(CPU + L.RAM_PAGES, RAM / 4096, true);
    this.view.setUint32(CPU + L.ARENA_NEXT, L.BLOCK_ARENA, true);
    this.view.setBigUint64(CPU + L.CR0, 1n, true);
    this.view.setBigUint64(CPU + L.RIP, BigInt(CODE), true);
    this.put(CODE, code);
  }

  put(address: number, bytes: readonly number[]): void {
    new Uint8Array(this.view.buffer).set(bytes, L.GUEST_BASE + address);
  }

  /** Runs until so many instructions have retired at least. */
  advance(limit: bigint): void {
    while (this.count < limit) {
      if (this.#run(Number(limit - this.count)) !== L.EXIT_BUDGET) assert.fail('left the loop');
    }
  }

  get count(): bigint {
    return this.view.getBigUint64(CPU + L.ICOUNT, true);
  }

  get memory(): GuestMemory {
    return GuestMemory.attach(this.#memory, L.GUEST_BASE);
  }

  /** General registers and RIP. */
  registers(): bigint[] {
    return [...Array(17).keys()].map((i) => this.view.getBigUint64(CPU + i * 8, true));
  }

  /** XMM registers. */
  vectors(): bigint[] {
    return [...Array(32).keys()].map((i) => this.view.getBigUint64(CPU + L.XMM + i * 8, true));
  }

  /** The link through which the last translation was left; 0 when it was left at a back edge. */
  lastLink(): number {
    return this.view.getUint32(CPU + L.JIT_LINK, true);
  }

  /** Contexts of the blocks that run translated. */
  #contexts(): number[] {
    const contexts: number[] = [];
    for (let bucket = 0; bucket < L.BLOCK_HASH_ENTRIES; bucket++) {
      let block = this.view.getUint32(L.BLOCK_HASH + bucket * 4, true);
      for (; block !== 0; block = this.view.getUint32(block + L.BLK_CHAIN, true)) {
        const context = this.view.getUint32(block + L.BLK_CODE, true);
        if (context !== 0) contexts.push(context);
      }
    }
    return contexts;
  }

  /** Blocks that run translated. */
  translated(): number {
    return this.#contexts().length;
  }

  /** How often regions are entered while so many instructions run. */
  entriesIn(instructions: bigint): number {
    const entries = (): number =>
      this.#contexts()
        .map((context) => this.view.getUint32(context + L.CTX_ENTRIES, true))
        .reduce((sum, count) => sum + count, 0);
    const before = entries();
    this.advance(this.count + instructions);
    return entries() - before;
  }
}

/**
 * Runs a guest interpreted, translated, and translated in wide regions, and compares registers and counts. Returns the
 * second and the third.
 */
export function compareTiers(
  code: readonly number[],
  limit: bigint,
  mode = L.MODE_CODE64,
  prepare: (guest: SmallGuest) => void = () => {},
): { fast: SmallGuest; wide: SmallGuest } {
  const guestOf = (options: SmallOptions): SmallGuest => {
    const guest = new SmallGuest(code, { ...options, mode });
    prepare(guest);
    return guest;
  };
  const fast = guestOf({ threshold: 20 });
  const wide = guestOf({ threshold: 20, wideThreshold: 50 });
  for (const translated of [fast, wide]) {
    const plain = guestOf({});
    for (let at = 1000n; at <= limit; at *= 3n) {
      translated.advance(at);
      plain.advance(translated.count);
      assert.equal(plain.count, translated.count);
      assert.deepEqual(translated.registers(), plain.registers());
      assert.deepEqual(translated.vectors(), plain.vectors());
    }
  }
  return { fast, wide };
}
