/**
 * The engine as the subject of instruction tests: a guest in 64-bit mode, privilege 0, whose page
 * tables show the arena at its linear addresses, and whose interrupt gates lead to landing places of
 * their own.
 */

import {
  type CoreImports,
  coreModule,
  installDecodeTables,
  instantiateCore,
} from '../core-module.js';
import {
  ARENA_NEXT,
  BLK_LENGTH,
  BLK_PHYS,
  BLOCK_ARENA,
  BLOCK_HASH,
  BLOCK_HASH_ENTRIES,
  CC_OP,
  CONTEXT_ARENA,
  CONTEXT_NEXT,
  CR0,
  CR3,
  CR4,
  DEAD_BLOCK,
  EFER,
  EXC_VECTOR,
  EXIT_BUDGET,
  EXIT_SHUTDOWN,
  FLAGS,
  FPR,
  FPU_CW,
  FPU_SW,
  FPU_TAG,
  FPU_TOP,
  GDT_BASE,
  GDT_LIMIT,
  GUEST_BASE,
  HOT_THRESHOLD,
  IDT_BASE,
  IDT_LIMIT,
  LARGE_LOW,
  MODE,
  MODE_CODE32,
  MODE_CODE64,
  MODE_FLAT,
  MODE_STACK32,
  MODE_STEP,
  MXCSR,
  PAGE_CODE,
  PAGE_CODE_ENTRY,
  RAM_PAGES,
  RIP,
  SEG_ATTR,
  SEG_BASE,
  SEG_CS,
  SEG_DS,
  SEG_ES,
  SEG_LIMIT,
  SEG_SEL,
  SEG_SS,
  SEG_TR,
  SLOT_4G,
  TIER_COUNT,
  TIER_STATE,
  TLB_SET,
  TLB_SUPERVISOR,
  VCPU_BLOCKS,
  VCPU_SIZE,
  XMM,
} from '../layout.js';
import { Library } from '../translate/library.js';
import { LocalService } from '../translate/service.js';
import { FORCED_TIER, Tier } from '../translate/tier.js';
import {
  ARENA,
  ARENA_SIZE,
  type Bits,
  CODE,
  FX_MXCSR,
  FX_ST,
  FX_XMM,
  narrowState,
  type Processor,
  SLOT_COUNT,
  SLOT_SIZE,
  STATE_FLAGS,
  STATE_FX,
  STATE_RIP,
  STATE_SIZE,
  WINDOW,
  WINDOW_CENTER,
  WINDOW_SIZE,
} from './arena.js';
import { SILENT_HOST } from './silent-host.js';
import { emptyTlbs } from './tlb.js';

const GUEST_RAM = 0x100_0000;
/* Guest physical addresses. */
const PML4 = 0x1000;
const PDPT = 0x2000;
const PD = 0x3000;
const PT = 0x4000;
const ARENA_PD = 0x8000;
const GDT = 0x5000;
const IDT = 0x6000;
const TSS = 0x7000;
/** End of the page tables and descriptor tables. */
const TABLES_END = 0x9000;
const ARENA_PHYSICAL = 0x20_0000;
/** The window's second half, away from its first: an access that crosses must look both pages up. */
const SECOND_PAGE = 0x80_0000;
/* Linear addresses in the arena, beyond the window. */
const HANDLERS = ARENA + 0x1a_0000;
const READ_FLAGS = ARENA + 0x1b_0000;
const EXCEPTION_STACK = ARENA + 0x1c_0000;
/** Slices of a repeated string operation; one that goes on for longer hangs. */
const RUN_LIMIT = 4096;
const VECTORS = 32;
const UD_VECTOR = 6;
const HANDLER_STRIDE = 16;

const SELECTOR_CODE = 0x08;
const SELECTOR_DATA = 0x10;
const SELECTOR_TSS = 0x18;
const CODE_ATTRIBUTES = 0xa09b;
const CODE32_ATTRIBUTES = 0xc09b;
const DATA_ATTRIBUTES = 0xc093;
const TSS_ATTRIBUTES = 0x008b;

const ARITHMETIC = 0x8d5;

/** `JMP $`: where a test ends. */
const STOP = [0xeb, 0xfe];
/** LAHF; SETO AL; JMP $: the lazy flags, through the engine's own instructions. */
const FLAGS_CODE = [0x9f, 0x0f, 0x90, 0xc0, ...STOP];

/** The engine, ready to run instructions of the arena. */
export class Subject implements Processor {
  bits: Bits = 64;
  readonly code: Uint8Array;
  /** With 32-bit code: SP instead of ESP, in a stack segment that begins here. */
  stackBase: number | undefined;
  readonly #interpret: (budget: number) => number;
  readonly #run: (cpu: number, budget: number) => number;
  readonly #bytes: Uint8Array;
  readonly #words: DataView;
  readonly #firstHalf: Uint8Array;
  readonly #secondHalf: Uint8Array;
  /** With PANDO_TEST_TIER=1 in the environment everything is translated before it runs. */
  #tier: Tier | undefined;
  readonly #newTier: (() => Tier) | undefined;
  #decoding: Uint8Array | undefined;
  #tables: Uint8Array | undefined;

  /** `devices` answers ports and MSRs; by default there are none. */
  constructor(devices: Partial<CoreImports> = {}) {
    const memory = new WebAssembly.Memory({
      initial: (GUEST_BASE + GUEST_RAM) / 0x10000,
      maximum: 65536,
      shared: true,
    });
    this.#bytes = new Uint8Array(memory.buffer);
    this.#words = new DataView(memory.buffer);
    installDecodeTables(memory);
    const core = instantiateCore(coreModule(), memory, { ...SILENT_HOST, ...devices });
    const newTier = (): Tier =>
      new Tier(core, memory, VCPU_BLOCKS, new Library(new LocalService()), FORCED_TIER);
    if (process.env.PANDO_TEST_TIER === '1') {
      this.#newTier = newTier;
      this.#tier = newTier();
    }
    this.#interpret = (budget) => core.run(VCPU_BLOCKS, budget);
    this.#run = (cpu, budget) => this.#tier?.runTranslated(budget) ?? core.run(cpu, budget);
    this.#pageTables();
    this.#descriptors();
    this.#processor();
    this.code = this.#physical(ARENA_PHYSICAL + CODE - ARENA, SLOT_COUNT * SLOT_SIZE);
    const half = WINDOW_SIZE / 2;
    this.#firstHalf = this.#physical(ARENA_PHYSICAL + WINDOW - ARENA, half);
    this.#secondHalf = this.#physical(SECOND_PAGE, half);
    for (let vector = 0; vector < VECTORS; vector++) this.land(HANDLERS + vector * HANDLER_STRIDE);
    this.#physical(ARENA_PHYSICAL + READ_FLAGS - ARENA, FLAGS_CODE.length).set(FLAGS_CODE);
  }

  #physical(address: number, length: number): Uint8Array {
    return this.#bytes.subarray(GUEST_BASE + address, GUEST_BASE + address + length);
  }

  #set64(physical: number, value: number): void {
    this.#words.setBigUint64(GUEST_BASE + physical, BigInt(value), true);
  }

  #pageTables(): void {
    const presentWritable = 3;
    const large = 0x80;
    this.#set64(PML4, PDPT | presentWritable);
    this.#set64(PDPT, PD | presentWritable);
    this.#set64(PD, 0 | large | presentWritable);
    this.#set64(PDPT + (ARENA >>> 30) * 8, ARENA_PD | presentWritable);
    this.#set64(ARENA_PD + ((ARENA >>> 21) & 511) * 8, PT | presentWritable);
    for (let page = 0; page < ARENA_SIZE / 0x1000; page++) {
      const second = ARENA + page * 0x1000 === WINDOW_CENTER;
      const physical = second ? SECOND_PAGE : ARENA_PHYSICAL + page * 0x1000;
      this.#set64(PT + page * 8, physical | presentWritable);
    }
  }

  /** A flat code and data segment, a TSS with one interrupt stack, a gate for each exception. */
  #descriptors(): void {
    const words = this.#words;
    const at = GUEST_BASE + GDT;
    words.setBigUint64(at + SELECTOR_CODE, 0x00af_9b00_0000_ffffn, true);
    words.setBigUint64(at + SELECTOR_DATA, 0x00cf_9300_0000_ffffn, true);
    words.setBigUint64(at + SELECTOR_TSS, 0x0000_8b00_7000_0067n, true);
    words.setBigUint64(GUEST_BASE + TSS + 36, BigInt(EXCEPTION_STACK), true);
    for (let vector = 0; vector < VECTORS; vector++) {
      const handler = HANDLERS + vector * HANDLER_STRIDE;
      const gate = GUEST_BASE + IDT + vector * 16;
      words.setUint32(gate, (SELECTOR_CODE << 16) | (handler & 0xffff), true);
      words.setUint32(gate + 4, (handler & 0xffff0000) | 0x8e01, true);
    }
  }

  #processor(): void {
    const words = this.#words;
    const cpu = VCPU_BLOCKS;
    const put64 = (offset: number, value: bigint): void =>
      words.setBigUint64(cpu + offset, value, true);
    const put32 = (offset: number, value: number): void =>
      words.setUint32(cpu + offset, value, true);
    put64(SLOT_4G, 1n << 32n);
    put64(CR0, 0x8001_0033n);
    put64(CR3, BigInt(PML4));
    put64(CR4, 0x6a0n);
    put64(EFER, 0xd01n);
    put32(MODE, MODE_CODE64);
    put32(TLB_SET, TLB_SUPERVISOR);
    put32(RAM_PAGES, GUEST_RAM / 0x1000);
    put32(ARENA_NEXT, BLOCK_ARENA);
    put64(LARGE_LOW, 0xffff_ffff_ffff_ffffn);
    emptyTlbs(this.#bytes, cpu);
    const segment = (
      slot: number,
      selector: number,
      base: number,
      limit: number,
      attributes: number,
    ) => {
      put64(SEG_BASE + slot * 8, BigInt(base));
      put32(SEG_SEL + slot * 4, selector);
      put32(SEG_LIMIT + slot * 4, limit);
      put32(SEG_ATTR + slot * 4, attributes);
    };
    segment(SEG_CS, SELECTOR_CODE, 0, 0xffffffff, CODE_ATTRIBUTES);
    for (const slot of [SEG_ES, SEG_SS, SEG_DS])
      segment(slot, SELECTOR_DATA, 0, 0xffffffff, DATA_ATTRIBUTES);
    segment(SEG_TR, SELECTOR_TSS, TSS, 0x67, TSS_ATTRIBUTES);
    put64(GDT_BASE, BigInt(GDT));
    put32(GDT_LIMIT, SELECTOR_TSS + 15);
    put64(IDT_BASE, BigInt(IDT));
    put32(IDT_LIMIT, VECTORS * 16 - 1);
    put32(FLAGS, 2);
    put32(FPU_CW, 0x37f);
    put32(FPU_TAG, 0xffff);
    put32(MXCSR, 0x1f80);
  }

  /** Bytes at a linear address of the arena outside the window's second half. */
  memory(address: number, length: number): Uint8Array {
    return this.#physical(ARENA_PHYSICAL + address - ARENA, length);
  }

  readWindow(into: Uint8Array): void {
    into.set(this.#firstHalf);
    into.set(this.#secondHalf, WINDOW_SIZE / 2);
  }

  writeWindow(from: Uint8Array): void {
    this.#firstHalf.set(from.subarray(0, WINDOW_SIZE / 2));
    this.#secondHalf.set(from.subarray(WINDOW_SIZE / 2));
  }

  land(address: number): void {
    this.#physical(ARENA_PHYSICAL + address - ARENA, STOP.length).set(STOP);
  }

  /** Drops the decoded blocks: code slots are about to be used again. */
  forget(): void {
    this.#bytes.fill(0, BLOCK_HASH, BLOCK_HASH + BLOCK_HASH_ENTRIES * 4);
    this.#bytes.fill(0, PAGE_CODE, PAGE_CODE + (GUEST_RAM / 0x1000) * PAGE_CODE_ENTRY);
    this.#words.setUint32(VCPU_BLOCKS + ARENA_NEXT, BLOCK_ARENA, true);
    if (!this.#newTier) return;
    this.#words.setUint32(VCPU_BLOCKS + CONTEXT_NEXT, CONTEXT_ARENA, true);
    this.#words.setUint32(TIER_STATE + TIER_COUNT, 0, true);
    this.#tier = this.#newTier();
  }

  #enterCode(): void {
    const cpu = VCPU_BLOCKS;
    const words = this.#words;
    const wide = this.bits === 64;
    const stack = this.stackBase === undefined ? MODE_STACK32 | MODE_FLAT : 0;
    words.setUint32(cpu + MODE, wide ? MODE_CODE64 : MODE_CODE32 | stack, true);
    words.setBigUint64(cpu + SEG_BASE + SEG_SS * 8, BigInt(this.stackBase ?? 0), true);
    const attributes = wide ? CODE_ATTRIBUTES : CODE32_ATTRIBUTES;
    words.setUint32(cpu + SEG_ATTR + SEG_CS * 4, attributes, true);
    words.setUint32(cpu + SEG_SEL + SEG_CS * 4, SELECTOR_CODE, true);
  }

  /**
   * Translates what is at these addresses together, where everything is translated before it runs: V8 takes
   * milliseconds for each module, however small.
   */
  translate(addresses: readonly number[]): void {
    if (!this.#tier) return;
    this.#enterCode();
    const enter = (address: number): void =>
      this.#words.setBigUint64(VCPU_BLOCKS + RIP, BigInt(address), true);
    for (const address of addresses) {
      enter(address);
      // Only lists the block: it is hot before it first runs.
      this.#interpret(1);
    }
    enter(READ_FLAGS);
    this.#run(VCPU_BLOCKS, 1);
  }

  /** `runs` limits the calls of `run`: one for each slice of a repeated string operation. */
  execute(before: Uint8Array, after: Uint8Array, runs = RUN_LIMIT): number {
    const cpu = VCPU_BLOCKS;
    const words = this.#words;
    const input = new DataView(before.buffer, before.byteOffset);
    const output = new DataView(after.buffer, after.byteOffset);
    this.#bytes.set(before.subarray(0, STATE_FLAGS), cpu);
    words.setUint32(cpu + CC_OP, 0, true);
    words.setUint32(cpu + FLAGS, input.getUint32(STATE_FLAGS, true), true);
    words.setUint32(cpu + EXC_VECTOR, 0, true);
    this.#enterCode();
    const floating = before.length >= STATE_SIZE;
    if (floating) this.#loadFx(before.subarray(STATE_FX));
    const start = input.getUint32(STATE_RIP, true);
    let result = EXIT_BUDGET;
    // A repeated string operation gives control back between its slices.
    for (let i = 0; i < runs; i++) {
      result = this.#run(cpu, 1);
      if (result !== EXIT_BUDGET || words.getUint32(cpu + RIP, true) !== start) break;
    }
    after.set(this.#bytes.subarray(cpu, cpu + STATE_FLAGS));
    if (this.bits === 32) narrowState(after);
    if (floating) this.#storeFx(after.subarray(STATE_FX));
    if (result === EXIT_SHUTDOWN) return words.getUint32(cpu + EXC_VECTOR, true) - 1;
    if (result !== EXIT_BUDGET) throw new Error(`run returned ${result}`);
    const rip = words.getUint32(cpu + RIP, true);
    if (rip >= HANDLERS && rip < HANDLERS + VECTORS * HANDLER_STRIDE)
      return this.#exception((rip - HANDLERS) / HANDLER_STRIDE, output);
    words.setBigUint64(cpu + RIP, BigInt(READ_FLAGS), true);
    this.#run(cpu, 1);
    const ah = this.#bytes[cpu + 1] ?? 0;
    const overflow = this.#bytes[cpu] ?? 0;
    const rest = words.getUint32(cpu + FLAGS, true) & ~ARITHMETIC;
    output.setBigUint64(STATE_FLAGS, BigInt(rest | (ah & ARITHMETIC) | (overflow << 11) | 2), true);
    return -1;
  }

  /**
   * How the engine decodes the bytes at `address` in `mode` (MODE_CODE16, MODE_CODE32, MODE_CODE64):
   * their length, or 0 when they raise #UD or are too long. The instruction is executed, with addresses
   * that nothing is mapped at; the processor is put back afterwards.
   */
  lengthAt(address: number, mode: number): number {
    const cpu = VCPU_BLOCKS;
    const words = this.#words;
    const wide = mode === MODE_CODE64;
    this.#decoding ??= this.#bytes.slice(cpu, cpu + VCPU_SIZE);
    this.#tables ??= this.#physical(0, TABLES_END).slice();
    for (let register = 0; register < 16; register++)
      words.setBigUint64(cpu + register * 8, wide ? 0x8000_0000_0000_0000n : 0x5000_0000n, true);
    words.setUint32(cpu + HOT_THRESHOLD, 0, true);
    words.setUint32(cpu + MODE, mode | MODE_STEP | MODE_STACK32, true);
    words.setBigUint64(cpu + RIP, BigInt(wide ? address : 0), true);
    words.setBigUint64(cpu + SEG_BASE + SEG_CS * 8, BigInt(wide ? 0 : address), true);
    const block = words.getUint32(cpu + ARENA_NEXT, true);
    words.setUint32(block + BLK_PHYS, 0, true);
    this.#run(cpu, 1);
    // A program may have written over its own instruction, which kills the block.
    const physical = words.getUint32(block + BLK_PHYS, true);
    const decoded = physical === ARENA_PHYSICAL + address - ARENA || physical === DEAD_BLOCK;
    const undefinedOpcode =
      words.getUint32(cpu + RIP, true) === HANDLERS + UD_VECTOR * HANDLER_STRIDE;
    const length = words.getUint16(block + BLK_LENGTH, true);
    const next = words.getUint32(cpu + ARENA_NEXT, true);
    this.#bytes.set(this.#decoding, cpu);
    this.#physical(0, TABLES_END).set(this.#tables);
    words.setUint32(cpu + ARENA_NEXT, next, true);
    return decoded && !undefinedOpcode ? length : 0;
  }

  /** Undoes the delivery of an exception: the frame holds what the instruction left. */
  #exception(vector: number, output: DataView): number {
    const rsp = this.#words.getUint32(VCPU_BLOCKS + 32, true);
    const hasError = [8, 10, 11, 12, 13, 14, 17].includes(vector);
    const frame = GUEST_BASE + ARENA_PHYSICAL + (rsp - ARENA) + (hasError ? 8 : 0);
    const saved = (index: number): bigint => this.#words.getBigUint64(frame + index * 8, true);
    output.setBigUint64(STATE_RIP, saved(0), true);
    output.setBigUint64(STATE_FLAGS, saved(2), true);
    output.setBigUint64(32, saved(3), true);
    return vector;
  }

  /** FXSAVE's image to the engine's registers: there x87 data registers are numbered physically. */
  #loadFx(fx: Uint8Array): void {
    const cpu = VCPU_BLOCKS;
    const image = new DataView(fx.buffer, fx.byteOffset);
    this.#bytes.set(fx.subarray(FX_XMM, FX_XMM + 256), cpu + XMM);
    this.#words.setUint32(cpu + MXCSR, image.getUint32(FX_MXCSR, true), true);
    const status = image.getUint16(2, true);
    const top = (status >> 11) & 7;
    const valid = fx[4] ?? 0;
    let tags = 0;
    for (let i = 0; i < 8; i++) {
      const physical = (top + i) & 7;
      this.#bytes.set(fx.subarray(FX_ST + i * 16, FX_ST + i * 16 + 10), cpu + FPR + physical * 16);
    }
    for (let physical = 0; physical < 8; physical++) {
      const exponent = this.#words.getUint16(cpu + FPR + physical * 16 + 8, true) & 0x7fff;
      const significand = this.#words.getBigUint64(cpu + FPR + physical * 16, true);
      const tag = valid & (1 << physical) ? tagOf(exponent, significand) : 3;
      tags |= tag << (physical * 2);
    }
    this.#words.setUint32(cpu + FPU_CW, image.getUint16(0, true), true);
    this.#words.setUint32(cpu + FPU_SW, status & ~0x3800, true);
    this.#words.setUint32(cpu + FPU_TOP, top, true);
    this.#words.setUint32(cpu + FPU_TAG, tags, true);
  }

  /** The engine's registers as FXSAVE shows them, without the last instruction's pointers. */
  #storeFx(fx: Uint8Array): void {
    const cpu = VCPU_BLOCKS;
    const image = new DataView(fx.buffer, fx.byteOffset);
    fx.set(this.#bytes.subarray(cpu + XMM, cpu + XMM + 256), FX_XMM);
    image.setUint32(FX_MXCSR, this.#words.getUint32(cpu + MXCSR, true), true);
    const top = this.#words.getUint32(cpu + FPU_TOP, true);
    const tags = this.#words.getUint32(cpu + FPU_TAG, true);
    image.setUint16(0, this.#words.getUint16(cpu + FPU_CW, true), true);
    image.setUint16(2, (this.#words.getUint16(cpu + FPU_SW, true) & ~0x3800) | (top << 11), true);
    let valid = 0;
    for (let physical = 0; physical < 8; physical++)
      if (((tags >> (physical * 2)) & 3) !== 3) valid |= 1 << physical;
    fx[4] = valid;
    for (let i = 0; i < 8; i++) {
      const from = cpu + FPR + ((top + i) & 7) * 16;
      fx.set(this.#bytes.subarray(from, from + 10), FX_ST + i * 16);
    }
  }
}

/** The tag of a register that is not empty (SDM vol. 1, 8.1.7). */
function tagOf(exponent: number, significand: bigint): number {
  if (exponent === 0 && significand === 0n) return 1;
  if (exponent === 0 || exponent === 0x7fff || significand >> 63n === 0n) return 2;
  return 0;
}
