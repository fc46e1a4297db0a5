/** The engine's rate: the mixed workload on the core alone, in 64-bit mode, without devices. */
import { performance } from 'node:perf_hooks';
import { coreModule, installDecodeTables, instantiateCore } from '#dist/accel/wasm/core-module.js';
import * as L from '#dist/accel/wasm/layout.js';
import { SILENT_HOST } from '#dist/accel/wasm/testing/silent-host.js';
import { CODE, fillWorkArea, WORK_AREA_BYTES, X87_INPUT, X87_OUTPUT } from './mixed-workload.js';

const GUEST_RAM = 4 << 20;
/* Guest physical addresses, identity-mapped. */
const PML4 = 0x1000;
const PDPT = 0x2000;
const PD = 0x3000;
const CODE_ADDRESS = 0x100000;
const WORK_ADDRESS = 0x200000;
const STACK_TOP = 0x180000;

/** Segment attributes as in SEG_ATTR: present, ring 0, long code; present, ring 0, writable data. */
const LONG_CODE = 0xa09b;
const DATA = 0xc093;

/** Between two returns to the host: as often as a VM looks at its timers. */
const BUDGET = 50_000;

/** What a run of the workload gave. */
export interface EngineRate {
  readonly instructions: number;
  readonly seconds: number;
  /** Millions of instructions a second. */
  readonly mips: number;
}

/** The core with the workload in its memory. */
export class EngineBench {
  readonly #view: DataView;
  readonly #run: (cpu: number, budget: number) => number;

  constructor() {
    const pages = (L.GUEST_BASE + GUEST_RAM) / 0x10000;
    const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
    const view = new DataView(memory.buffer);
    this.#view = view;
    installDecodeTables(memory);
    const core = instantiateCore(coreModule(), memory, SILENT_HOST);
    this.#run = core.run;
    const ram = (address: number, length: number): Uint8Array =>
      new Uint8Array(memory.buffer, L.GUEST_BASE + address, length);
    const entry = (table: number, value: number): void =>
      view.setBigUint64(L.GUEST_BASE + table, BigInt(value), true);
    entry(PML4, PDPT | 3);
    entry(PDPT, PD | 3);
    for (let page = 0; page < GUEST_RAM >> 21; page++) entry(PD + page * 8, (page << 21) | 0x83);
    ram(CODE_ADDRESS, CODE.length).set(CODE);
    fillWorkArea(ram(WORK_ADDRESS, WORK_AREA_BYTES), WORK_ADDRESS);
    const cpu = L.VCPU_BLOCKS;
    core.resetVcpu(cpu);
    view.setUint32(cpu + L.ARENA_NEXT, L.BLOCK_ARENA, true);
    view.setUint32(cpu + L.RAM_PAGES, GUEST_RAM / 4096, true);
    const registers: readonly (readonly [number, bigint])[] = [
      [L.CR0, 0x8001_0033n], // PG, WP, NE, ET, MP, PE
      [L.CR3, BigInt(PML4)],
      [L.CR4, 0x6a0n], // OSXMMEXCPT, OSFXSR, PGE, PAE
      [L.EFER, 0xd00n], // NXE, LMA, LME
    ];
    for (const [register, value] of registers) view.setBigUint64(cpu + register, value, true);
    for (const segment of [L.SEG_ES, L.SEG_CS, L.SEG_SS, L.SEG_DS, L.SEG_FS, L.SEG_GS]) {
      const attributes = segment === L.SEG_CS ? LONG_CODE : DATA;
      view.setBigUint64(cpu + L.SEG_BASE + segment * 8, 0n, true);
      view.setUint32(cpu + L.SEG_LIMIT + segment * 4, 0xffffffff, true);
      view.setUint32(cpu + L.SEG_ATTR + segment * 4, attributes, true);
    }
    view.setUint32(cpu + L.FLAGS, 2, true);
    core.updateMode(cpu);
  }

  /** Runs the workload for a number of rounds; throws when it did not compute what it should. */
  measure(rounds: number): EngineRate {
    const view = this.#view;
    const cpu = L.VCPU_BLOCKS;
    const register = (offset: number, value: number): void =>
      view.setBigUint64(cpu + offset, BigInt(value), true);
    register(L.RIP, CODE_ADDRESS);
    register(L.RDI, WORK_ADDRESS);
    register(L.RSI, rounds);
    register(L.RSP, STACK_TOP);
    const result = L.GUEST_BASE + WORK_ADDRESS + X87_OUTPUT;
    view.setFloat64(result, 0, true);
    const before = view.getBigUint64(cpu + L.ICOUNT, true);
    const start = performance.now();
    let exit: number;
    do {
      exit = this.#run(cpu, BUDGET);
    } while (exit === L.EXIT_BUDGET);
    const seconds = (performance.now() - start) / 1000;
    const input = view.getInt32(L.GUEST_BASE + WORK_ADDRESS + X87_INPUT, true);
    const product = view.getFloat64(result, true);
    if (exit !== L.EXIT_HALT || product !== input * (input + 1)) {
      throw new Error(`the workload ended with exit ${exit} and ${product}`);
    }
    const instructions = Number(view.getBigUint64(cpu + L.ICOUNT, true) - before);
    return { instructions, seconds, mips: instructions / seconds / 1e6 };
  }
}
