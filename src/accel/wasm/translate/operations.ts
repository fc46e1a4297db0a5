/**
 * The operations that the translator writes out, by number: what each reads and writes, and how flags
 * live between them.
 */

import { CONDITIONS } from '../isa/integer.js';
import { ALU_EMITTERS } from './emit-alu.js';
import { BIT_EMITTERS } from './emit-bits.js';
import { CONTROL_EMITTERS } from './emit-control.js';
import { MOVE_EMITTERS } from './emit-move.js';
import { MULTIPLY_EMITTERS } from './emit-multiply.js';
import { SHIFT_EMITTERS } from './emit-shift.js';
import { SSE_FLOAT_EMITTERS } from './emit-sse-float.js';
import { SSE_INTEGER_EMITTERS } from './emit-sse-integer.js';
import { SSE_MOVE_EMITTERS } from './emit-sse-move.js';
import { SSE4_EMITTERS } from './emit-sse4.js';
import type { Emit, Emitter } from './emitter.js';
import type { FunctionBuilder } from './function-builder.js';
import { ROUTINES } from './interpret.js';
import type { Operation, RegionBlock } from './region.js';
import type { Cursor, RegisterUse } from './region-frame.js';

interface Known {
  readonly emitter: Emitter;
  readonly emit: Emit;
}

/** The first that matches and covers an operation writes it out. */
const EMITTERS: readonly Emitter[] = [
  ...ALU_EMITTERS,
  ...MOVE_EMITTERS,
  ...SHIFT_EMITTERS,
  ...BIT_EMITTERS,
  ...MULTIPLY_EMITTERS,
  ...CONTROL_EMITTERS,
  ...SSE_MOVE_EMITTERS,
  ...SSE_INTEGER_EMITTERS,
  ...SSE_FLOAT_EMITTERS,
  ...SSE4_EMITTERS,
  ...ROUTINES,
];

export class OperationTable {
  readonly #names: string[] = [];
  readonly #conditions: number[] = [];
  /** By number, as operations come up: there are some thousand, and few are in any guest's hot code. */
  readonly #known: Known[][] = [];

  constructor(numbers: ReadonlyMap<string, number>) {
    for (const [name, number] of numbers) {
      if (name.startsWith('FIRST_')) continue;
      this.#names[number] = name;
      this.#conditions[number] = name.startsWith('J') ? CONDITIONS.indexOf(name.slice(1)) : -1;
    }
  }

  /** Who may write an operation out. */
  #emitters(op: number): readonly Known[] {
    const found = this.#known[op];
    if (found !== undefined) return found;
    const known: Known[] = [];
    for (const emitter of EMITTERS) {
      const match = emitter.pattern.exec(this.name(op));
      if (match) known.push({ emitter, emit: emitter.emit(match) });
    }
    this.#known[op] = known;
    return known;
  }

  name(op: number): string {
    return this.#names[op] ?? '';
  }

  /** The condition code of Jcc, else -1. */
  conditionOfJump(op: number): number {
    return this.#conditions[op] ?? -1;
  }

  leaves(op: number): boolean {
    return this.#emitters(op)[0]?.emitter.leaves ?? false;
  }

  #covering(operation: Operation): Known | undefined {
    return this.#emitters(operation.op).find(({ emitter }) => emitter.covers?.(operation) ?? true);
  }

  /** Who writes the instruction out; undefined when the interpreter does it with all state in memory. */
  emitter(operation: Operation): Emitter | undefined {
    return this.#covering(operation)?.emitter;
  }

  /** Writes the instruction; false when the interpreter must do it with all state in memory. */
  emit(builder: FunctionBuilder, operation: Operation, cursor: Cursor, flags: boolean): boolean {
    const known = this.#covering(operation);
    known?.emit(builder, operation, cursor, flags);
    return known !== undefined;
  }

  /** The registers that written-out operations use and write. */
  registers(blocks: readonly RegionBlock[]): RegisterUse {
    let used = 0;
    let written = 0;
    let vectors = 0;
    let entering = 0;
    const bit = (slot: number): number => (slot < 128 ? 1 << (slot >> 3) : 0);
    for (const { operations } of blocks) {
      let filled = 0;
      for (const operation of operations) {
        const emitter = this.emitter(operation);
        if (!emitter) continue;
        if (operation.memory) used |= bit(operation.b) | bit(operation.x);
        const named = (operands: string): number =>
          (operands.includes('r') ? bit(operation.r) : 0) |
          (operands.includes('b') && !operation.memory ? bit(operation.b) : 0);
        used |= named(emitter.operands);
        written |= named(emitter.writes ?? emitter.operands);
        written |= emitter.implicit ?? 0;
        const touch = (slot: number): void => {
          const vector = 1 << (slot >> 4);
          vectors |= vector;
          entering |= vector & ~filled;
        };
        if (emitter.vectors?.includes('b') && !operation.memory) touch(operation.b);
        if (emitter.fills === 'r') filled |= 1 << (operation.r >> 4);
        if (emitter.vectors?.includes('r')) touch(operation.r);
      }
    }
    return { used: used | written, written, vectors, entering };
  }
}

/** For each operation of a block: whether the flags that it sets may be looked at. */
export function flagNeeds(table: OperationTable, block: RegionBlock): boolean[] {
  const needs: boolean[] = [];
  let live = true;
  for (let index = block.operations.length - 1; index >= 0; index--) {
    const operation = block.operations[index];
    if (!operation) continue;
    const emitter = table.emitter(operation);
    // A store to the region's own code leaves it behind the instruction.
    needs[index] = live || operation.memory;
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
