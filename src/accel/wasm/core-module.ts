/**
 * The engine's core as a WebAssembly module: compiled once in a process, instantiated once for each
 * vCPU and thread. An instance keeps nothing of its own: all state is in the VM's memory.
 */
import { readWhole } from '../../platform/file.js';
import { DECODE_TABLES } from './layout.js';

/** What the core calls (core/host.ts). Values of 64 bits pass through HOST_VALUE of the vCPU block. */
export interface CoreImports {
  portIn(port: number, size: number): number;
  portOut(port: number, size: number, value: number): void;
  mmioRead(low: number, high: number, size: number): number;
  mmioWrite(low: number, high: number, size: number, value: number): void;
  /** 0 when there is no such MSR. */
  readMsr(index: number): number;
  /** 0 when the value or the MSR is refused. */
  writeMsr(index: number): number;
  /** Guest time in nanoseconds. */
  clock(): number;
  /** Wall-clock time of guest time 0, in milliseconds since 1970. */
  bootTime(): number;
  readCr8(): number;
  writeCr8(value: number): void;
}

/** Functions that one core can call at once: translated code. Index 0 stays empty. */
export const TABLE_SIZE = 8192;
/** Functions that a core has room for at first: V8 takes half a millisecond to make a table of all. */
const FIRST_TABLE_SIZE = 16;

/** What the core exports (core/index.ts). */
export interface Core {
  /** Where translated functions are put for `run` to call. */
  readonly table: WebAssembly.Table;
  /** Runs a vCPU for about `budget` instructions; returns EXIT_*. */
  run(cpu: number, budget: number): number;
  /** Throws all decoded blocks and translations away. */
  flushBlocks(): void;
  /** Watches sub-blocks of the page at `phys` for stores: translated code lies there. */
  coverCode(cpu: number, phys: number, bitmap: number): void;
  /** Watches sub-blocks of a page for a region whose root is in another one (core/blocks.ts). */
  enterOutlier(cpu: number, block: number, phys: number, context: number, bitmap: number): void;
  /** Whether the region of `context` may go on in its page `number` at linear address `page`; not 0 when it may. */
  enterPage(cpu: number, context: number, number: number, page: bigint): number;
  /** Drops the code of pages that others than the vCPU have written. */
  dropForeignWrites(cpu: number): void;
  /** Forgets address translations; `keepGlobal` (0 or 1) spares pages with the G bit. */
  flushTlb(cpu: number, keepGlobal: number): void;
  /** The state after a hardware reset. */
  resetVcpu(cpu: number): void;
  /** Recomputes what decoding and privilege checks depend on, after a change of registers from outside. */
  updateMode(cpu: number): void;
  /** Delivers an external interrupt; 0 after a triple fault. */
  interrupt(cpu: number, vector: number): number;
  /** Delivers an NMI; 0 after a triple fault. */
  nmi(cpu: number): number;
  /** 1 when the guest would take an external interrupt now. */
  interruptible(cpu: number): number;
  /** 1 when interrupts wait for the next boundary only. */
  held(cpu: number): number;
  /** 1 when no NMI may be delivered now: from one to the next IRET, and while interrupts are held. */
  nmiBlocked(cpu: number): number;
  /** RFLAGS with the arithmetic flags computed. */
  getFlags(cpu: number): number;
}

let compiled: WebAssembly.Module | undefined;

/** The core's code. */
export function coreBytes(): Uint8Array<ArrayBuffer> {
  return readWhole(new URL('./core.wasm', import.meta.url));
}

/** The compiled module of this process; pass it to other threads rather than compiling it again. */
export function coreModule(): WebAssembly.Module {
  compiled ??= new WebAssembly.Module(coreBytes());
  return compiled;
}

/** Instantiates the core over a VM's memory. */
export function instantiateCore(
  module: WebAssembly.Module,
  memory: WebAssembly.Memory,
  imports: CoreImports,
): Core {
  const table = new WebAssembly.Table({
    initial: FIRST_TABLE_SIZE,
    maximum: TABLE_SIZE,
    element: 'anyfunc',
  });
  const instance = new WebAssembly.Instance(module, {
    env: { memory, table },
    host: { ...imports },
  });
  return { ...(instance.exports as unknown as Omit<Core, 'table'>), table };
}

/** Makes room in a core's table for the functions before `end`, at most TABLE_SIZE. */
export function growTable(table: WebAssembly.Table, end: number): void {
  const { length } = table;
  if (end > length) table.grow(Math.min(Math.max(end, 2 * length), TABLE_SIZE) - length);
}

let tables: Uint8Array | undefined;

/** The decoder's tables, which the build makes of the encoding table. */
export function decodeTables(): Uint8Array {
  tables ??= readWhole(new URL('./decode-tables.bin', import.meta.url));
  return tables;
}

/** Puts the decoder's tables into a VM's control area. */
export function installDecodeTables(memory: WebAssembly.Memory): void {
  new Uint8Array(memory.buffer).set(decodeTables(), DECODE_TABLES);
}
