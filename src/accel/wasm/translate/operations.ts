/**
 * The operations that the translator writes out, by number: what each reads and writes, and how flags
 * live between them.
 */
import * as L from '../layout.js';
import type { Cursor, FunctionBuilder } from './function-builder.js';
import { CONTROL_EMITTERS } from './emit-control.js';
import { INTEGER_EMITTERS, MULTIPLY } from './emit-integer.js';
import type { Operation, RegionBlock } from './region.js';

/** Writes one instruction; `flags` tells whether anything may look at the flags that it sets. */
export type Emit = (builder: FunctionBuilder, operation: Operation, cursor: Cursor, flags: boolean) => void;

/** One family of operations. */
export interface Emitter {
  /** Matches operation names. */
  readonly pattern: RegExp;
  readonly emit: (match: RegExpExecArray) => Emit;
  /** What it does with the flags: sets all, reads, or leaves alone. */
  readonly flags: 'set' | 'read' | 'none' | 'read-set';
  /** Register operands: which of r and b (when it is a register) it reads or writes. */
  readonly operands: 'rb' | 'r' | 'b' | '';
  /** General registers that it uses besides, as a bit mask. */
  readonly implicit?: number;
  /** Whether it ends the block by leaving the region. */
  readonly leaves?: boolean;
  /** Whether it can fault after the flags of an earlier instruction must be right. */
  readonly memory?: boolean;
}

const JUMPS = ['O', 'NO', 'B', 'AE', 'E', 'NE', 'BE', 'A', 'S', 'NS', 'P', 'NP', 'L', 'GE', 'LE', 'G'];

interface Known {
  readonly emitter: Emitter;
  readonly emit: Emit;
}

export class OperationTable {
  readonly #names: string[] = [];
  readonly #known: (Known | undefined)[] = [];
  readonly #conditions: number[] = [];

  constructor(numbers: ReadonlyMap<string, number>) {
    for (const [name, number] of numbers) {
      if (name.startsWith('FIRST_')) continue;
      this.#names[number] = name;
      this.#conditions[number] = name.startsWith('J') ? JUMPS.indexOf(name.slice(1)) : -1;
      for (const emitter of [...INTEGER_EMITTERS, MULTIPLY, ...CONTROL_EMITTERS]) {
        const match = emitter.pattern.exec(name);
        if (match) this.#known[number] = { emitter, emit: emitter.emit(match) };
      }
    }
  }

  name(op: number): string {
    return this.#names[op] ?? '';
  }

  /** The condition code of Jcc, else -1. */
  conditionOfJump(op: number): number {
    return this.#conditions[op] ?? -1;
  }

  leaves(op: number): boolean {
    return this.#known[op]?.emitter.leaves ?? false;
  }

  /** Who writes the instruction out; undefined when the interpreter does it. */
  emitter(operation: Operation): Emitter | undefined {
    const emitter = this.#known[operation.op]?.emitter;
    return emitter === MULTIPLY && operation.size < 2 ? undefined : emitter;
  }

  /** Writes the instruction; false when the interpreter must do it. */
  emit(builder: FunctionBuilder, operation: Operation, cursor: Cursor, flags: boolean): boolean {
    const known = this.#known[operation.op];
    if (!known || !this.emitter(operation)) return false;
    known.emit(builder, operation, cursor, flags);
    return true;
  }

  /** The general registers that written-out operations use and write, as bit masks. */
  registers(blocks: readonly RegionBlock[]): { used: number; written: number } {
    let used = 0;
    let written = 0;
    const bit = (slot: number): number => (slot < 128 ? 1 << (slot >> 3) : 0);
    for (const { operations } of blocks) {
      for (const operation of operations) {
        const emitter = this.emitter(operation);
        if (!emitter) continue;
        if (operation.memory) used |= bit(operation.b) | bit(operation.x);
        if (emitter.operands.includes('r')) written |= bit(operation.r);
        if (emitter.operands.includes('b') && !operation.memory) written |= bit(operation.b);
        written |= emitter.implicit ?? 0;
      }
    }
    return { used: used | written, written };
  }
}

/** For each operation of a block: whether the flags that it sets may be looked at. */
export function flagNeeds(table: OperationTable, block: RegionBlock): boolean[] {
  const needs: boolean[] = [];
  let live = true;
  for (let index = block.operations.length - 1; index >= 0; index--) {
    const operation = block.operations[index];
    if (!operation) continue;
    needs[index] = live;
    const emitter = table.emitter(operation);
    if (!emitter) {
      live = table.name(operation.op) !== 'NOP';
      continue;
    }
    if (emitter.flags === 'set') live = false;
    if (emitter.flags.startsWith('read')) live = true;
    // An instruction that may fault shows the flags as they were before it.
    if (operation.memory || emitter.memory) live = true;
  }
  return needs;
}

/** Size index of a name's suffix. */
export const SIZE_OF: Readonly<Record<string, number>> = { '8': 0, '16': 1, '32': 2, '64': 3 };

/** Bit masks of the general registers that instructions use implicitly. */
export const RAX_BIT = 1 << (L.RAX >> 3);
export const RCX_BIT = 1 << (L.RCX >> 3);
export const RDX_BIT = 1 << (L.RDX >> 3);
export const RSP_BIT = 1 << (L.RSP >> 3);
export const RBP_BIT = 1 << (L.RBP >> 3);
