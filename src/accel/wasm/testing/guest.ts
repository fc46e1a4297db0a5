/**
 * A small bare guest for tests of the engine's core: descriptor tables, page tables and a task state
 * segment in guest RAM, code given as bytes, and the vCPU's state to look at.
 *
 * Every interrupt gate leads to a HLT of its own at HANDLERS, so that an exception stops the run with
 * its frame on the stack. In long mode the first 2 MiB are mapped one to one by 4 KiB pages, writable
 * and user-accessible; in protected and real mode paging is off.
 */
import {
  type Core,
  type CoreImports,
  coreModule,
  installDecodeTables,
  instantiateCore,
} from '../core-module.js';
import * as L from '../layout.js';
import { Library } from '../translate/library.js';
import { LocalService } from '../translate/service.js';
import { FORCED_TIER, Tier } from '../translate/tier.js';

export const PML4 = 0x1000;
export const PDPT = 0x2000;
export const PD = 0x3000;
export const PT = 0x4000;
export const GDT = 0x6000;
export const IDT = 0x7000;
export const TSS = 0x8000;
/** Tops of stacks: of the code that starts, of the TSS (RSP0, IST1), of user code. */
export const STACK = 0xa000;
export const RSP0 = 0xb000;
export const IST1 = 0xc000;
export const USER_STACK = 0xd000;
/** The handler of vector v is a HLT at HANDLERS + 16 × v. */
export const HANDLERS = 0x10000;
export const CODE = 0x20000;
export const DATA = 0x40000;
const RAM = 0x400000;

export const KERNEL_CS = 0x08;
export const KERNEL_DS = 0x10;
export const USER_CS32 = 0x18;
export const USER_DS = 0x20;
export const USER_CS64 = 0x28;
export const TSS_SELECTOR = 0x30;
export const KERNEL_CS32 = 0x40;
/** First selector that a test may define. */
export const FREE_SELECTOR = 0x50;

const GDT_LIMIT = 0xff;
const TSS_LIMIT = 0x67;

export type Mode = 'long' | 'protected' | 'real';

/** What the core exports for the host, beyond the accelerator's use. */
export interface SystemCore extends Core {
  updateMode(cpu: number): void;
  resetVcpu(cpu: number): void;
  interruptible(cpu: number): number;
}

/** Little-endian bytes of a value. */
export function le(value: number | bigint, bytes: number): number[] {
  const wide = BigInt.asUintN(64, BigInt(value));
  return Array.from({ length: bytes }, (_, index) => Number((wide >> BigInt(8 * index)) & 0xffn));
}

/** Joins machine code: hexadecimal text and byte lists. */
export function code(...parts: ReadonlyArray<string | readonly number[]>): number[] {
  return parts.flatMap((part) =>
    typeof part === 'string'
      ? part
          .split(/\s+/)
          .filter((text) => text !== '')
          .map((text) => Number.parseInt(text, 16))
      : [...part],
  );
}

/** A segment descriptor (Intel SDM vol. 3, figure 3-8). `access`: bits 40–47, `flags`: bits 52–55. */
export function segment(base: number, limit: number, access: number, flags: number): bigint {
  const b = BigInt(base >>> 0);
  const l = BigInt(limit);
  return (
    (l & 0xffffn) |
    ((b & 0xffffffn) << 16n) |
    (BigInt(access) << 40n) |
    ((l >> 16n) << 48n) |
    (BigInt(flags) << 52n) |
    ((b >> 24n) << 56n)
  );
}

/** A gate (Intel SDM vol. 3, figure 6-2): the low eight bytes. `parameter`: IST or parameter count. */
export function gate(selector: number, offset: number, access: number, parameter = 0): bigint {
  const at = BigInt(offset >>> 0);
  return (
    (at & 0xffffn) |
    (BigInt(selector) << 16n) |
    (BigInt(parameter) << 32n) |
    (BigInt(access) << 40n) |
    ((at >> 16n) << 48n)
  );
}

/** Access bytes of gates: present, DPL 0 or 3. */
export const INTERRUPT_GATE = 0x8e;
export const TRAP_GATE = 0x8f;
export const USER_GATE = 0xee;

export class Guest {
  readonly core: SystemCore;
  readonly memory: WebAssembly.Memory;
  readonly cpu = L.VCPU_BLOCKS;
  readonly #view: DataView;
  readonly #long: boolean;
  /** With PANDO_TEST_TIER=1 in the environment everything is translated before it runs. */
  readonly #tier: Tier | undefined;

  constructor(mode: Mode, imports: Partial<CoreImports> = {}) {
    this.memory = new WebAssembly.Memory({
      initial: (L.GUEST_BASE + RAM) / 0x10000,
      maximum: 65536,
      shared: true,
    });
    this.#view = new DataView(this.memory.buffer);
    installDecodeTables(this.memory);
    this.core = instantiateCore(coreModule(), this.memory, {
      portIn: () => 0xffffffff,
      portOut: () => {},
      mmioRead: () => 0xffffffff,
      mmioWrite: () => {},
      readMsr: () => 0,
      writeMsr: () => 0,
      clock: () => 0,
      bootTime: () => 0,
      readCr8: () => 0,
      writeCr8: () => {},
      ...imports,
    }) as SystemCore;
    this.set32(L.ARENA_NEXT, L.BLOCK_ARENA);
    this.set32(L.RAM_PAGES, RAM / 0x1000);
    this.core.resetVcpu(this.cpu);
    this.#long = mode === 'long';
    if (process.env.PANDO_TEST_TIER === '1') {
      const library = new Library(new LocalService());
      this.#tier = new Tier(this.core, this.memory, this.cpu, library, FORCED_TIER);
    }
    if (mode === 'real') this.#startReal();
    else this.#startProtected();
    this.core.updateMode(this.cpu);
  }

  #startReal(): void {
    for (const slot of [L.SEG_ES, L.SEG_CS, L.SEG_SS, L.SEG_DS])
      this.setSegment(slot, 0, 0n, 0xffff, 0x93);
    for (let vector = 0; vector < 256; vector++) {
      this.put(HANDLERS - 0x1000 + vector * 16, [0xf4]);
      this.put(vector * 4, [...le(vector * 16, 2), ...le((HANDLERS - 0x1000) / 16, 2)]);
    }
    this.set64(L.RSP, BigInt(STACK));
  }

  #startProtected(): void {
    const long = this.#long;
    this.setDescriptor(KERNEL_CS, segment(0, 0xfffff, 0x9b, long ? 0xa : 0xc));
    this.setDescriptor(KERNEL_DS, segment(0, 0xfffff, 0x93, 0xc));
    this.setDescriptor(USER_CS32, segment(0, 0xfffff, 0xfb, 0xc));
    this.setDescriptor(USER_DS, segment(0, 0xfffff, 0xf3, 0xc));
    this.setDescriptor(USER_CS64, segment(0, 0xfffff, 0xfb, 0xa));
    this.setDescriptor(TSS_SELECTOR, segment(TSS, TSS_LIMIT, 0x8b, 0));
    this.setDescriptor(KERNEL_CS32, segment(0, 0xfffff, 0x9b, 0xc));
    for (let vector = 0; vector < 256; vector++) {
      this.put(HANDLERS + vector * 16, [0xf4]);
      this.setGate(vector, INTERRUPT_GATE);
    }
    if (long) {
      this.put(TSS + 4, le(RSP0, 8));
      this.put(TSS + 0x24, le(IST1, 8));
      this.put(PML4, le(PDPT | 7, 8));
      this.put(PDPT, le(PD | 7, 8));
      this.put(PD, le(PT | 7, 8));
      for (let page = 0; page < 512; page++) this.put(PT + page * 8, le((page << 12) | 7, 8));
    } else {
      this.put(TSS + 4, [...le(RSP0, 4), ...le(KERNEL_DS, 4)]);
    }
    this.put(TSS + 0x66, le(TSS_LIMIT + 1, 2));
    this.set64(L.GDT_BASE, BigInt(GDT));
    this.set32(L.GDT_LIMIT, GDT_LIMIT);
    this.set64(L.IDT_BASE, BigInt(IDT));
    this.set32(L.IDT_LIMIT, 0xfff);
    this.set64(L.CR0, long ? 0x80010011n : 0x11n);
    this.set64(L.CR3, BigInt(PML4));
    this.set64(L.CR4, long ? 0x20n : 0n);
    this.set64(L.EFER, long ? 0xd01n : 0n);
    this.setSegment(L.SEG_CS, KERNEL_CS, 0n, 0xffffffff, long ? 0xa09b : 0xc09b);
    for (const slot of [L.SEG_ES, L.SEG_SS, L.SEG_DS, L.SEG_FS, L.SEG_GS]) {
      this.setSegment(slot, KERNEL_DS, 0n, 0xffffffff, 0xc093);
    }
    this.setSegment(L.SEG_TR, TSS_SELECTOR, BigInt(TSS), TSS_LIMIT, 0x8b);
    this.setSegment(L.SEG_LDTR, 0, 0n, 0, 0);
    this.set64(L.RSP, BigInt(STACK));
  }

  /** Makes the next run start at privilege 3, in 64-bit code or, with `compat`, in 32-bit code. */
  user(compat = !this.#long): this {
    this.setSegment(
      L.SEG_CS,
      (compat ? USER_CS32 : USER_CS64) | 3,
      0n,
      0xffffffff,
      compat ? 0xc0fb : 0xa0fb,
    );
    this.setSegment(L.SEG_SS, USER_DS | 3, 0n, 0xffffffff, 0xc0f3);
    for (const slot of [L.SEG_ES, L.SEG_DS, L.SEG_FS, L.SEG_GS]) {
      this.setSegment(slot, USER_DS | 3, 0n, 0xffffffff, 0xc0f3);
    }
    this.set64(L.RSP, BigInt(USER_STACK));
    this.core.updateMode(this.cpu);
    return this;
  }

  setSegment(
    slot: number,
    selector: number,
    base: bigint,
    limit: number,
    attributes: number,
  ): void {
    this.set64(L.SEG_BASE + slot * 8, base);
    this.set32(L.SEG_LIMIT + slot * 4, limit);
    this.set32(L.SEG_ATTR + slot * 4, attributes);
    this.set32(L.SEG_SEL + slot * 4, selector);
  }

  setDescriptor(selector: number, ...words: readonly bigint[]): void {
    words.forEach((word, index) => {
      this.put(GDT + selector + index * 8, le(word, 8));
    });
  }

  /** Points the gate of `vector` at its handler, with the access byte and IST given. */
  setGate(vector: number, access: number, ist = 0, selector = KERNEL_CS): void {
    const low = gate(selector, HANDLERS + vector * 16, access, ist);
    if (this.#long) this.put(IDT + vector * 16, [...le(low, 8), ...le(0, 8)]);
    else this.put(IDT + vector * 8, le(low, 8));
  }

  /** Writes bytes at a guest physical address, behind the core's back: not where code has run already. */
  put(address: number, bytes: readonly number[]): void {
    new Uint8Array(this.memory.buffer).set(bytes, L.GUEST_BASE + address);
  }

  /** Reads a guest physical address. */
  peek(address: number, bytes: 1 | 2 | 4 | 8 = 8): bigint {
    const at = L.GUEST_BASE + address;
    if (bytes === 8) return this.#view.getBigUint64(at, true);
    return BigInt(
      bytes === 4
        ? this.#view.getUint32(at, true)
        : bytes === 2
          ? this.#view.getUint16(at, true)
          : this.#view.getUint8(at),
    );
  }

  /** Fields of the vCPU block by their offsets in layout.ts. */
  get64(offset: number): bigint {
    return this.#view.getBigUint64(this.cpu + offset, true);
  }

  get32(offset: number): number {
    return this.#view.getUint32(this.cpu + offset, true);
  }

  set64(offset: number, value: bigint): void {
    this.#view.setBigUint64(this.cpu + offset, BigInt.asUintN(64, value), true);
  }

  set32(offset: number, value: number): void {
    this.#view.setUint32(this.cpu + offset, value, true);
  }

  selector(slot: number): number {
    return this.get32(L.SEG_SEL + slot * 4);
  }

  flags(): number {
    return this.core.getFlags(this.cpu) >>> 0;
  }

  /** Runs code placed at CODE (or `at`) until HLT or another reason to stop; gives EXIT_*. */
  run(bytes: readonly number[], at = CODE): number {
    this.put(at, bytes);
    this.set64(L.RIP, BigInt(at));
    return this.resume();
  }

  resume(): number {
    for (let slices = 0; slices < 100; slices++) {
      const reason = this.#tier?.runTranslated(1000) ?? this.core.run(this.cpu, 1000);
      if (reason !== L.EXIT_BUDGET) return reason;
    }
    return L.EXIT_BUDGET;
  }

  /** Runs code and gives the vector whose handler stopped it, or -1 when no handler did. */
  vector(bytes: readonly number[], at = CODE): number {
    return this.run(bytes, at) === L.EXIT_HALT ? this.handler() : -1;
  }

  /** The vector whose handler's HLT was the last instruction; -1 when it was elsewhere. */
  handler(): number {
    const cs = this.get64(L.SEG_BASE + L.SEG_CS * 8);
    const at =
      Number(cs + this.get64(L.RIP)) - 1 - (this.get64(L.CR0) & 1n ? HANDLERS : HANDLERS - 0x1000);
    return at >= 0 && at < 0x1000 && at % 16 === 0 ? at / 16 : -1;
  }

  /** The word `index` of the stack, in units of `bytes`. */
  stack(index: number, bytes: 2 | 4 | 8 = 8): bigint {
    return this.peek(Number(this.get64(L.RSP)) + index * bytes, bytes);
  }
}
