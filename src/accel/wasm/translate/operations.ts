/**
 * The operations that the translator writes out, by number: what each reads and writes, and how flags
 * live between them.
 */

import { CONDITIONS } from '../isa/integer.js';
import { CONTROL_EMITTERS } from './emit-control.js';
import { INTEGER_EMITTERS, MULTIPLY, ROTATE } from './emit-integer.js';
import type { Emit, Emitter } from './emitter.js';
import type { FunctionBuilder } from './function-builder.js';
import type { Operation, RegionBlock } from './region.js';
import type { Cursor } from './region-frame.js';

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
      this.#conditions[number] = name.startsWith('J') ? CONDITIONS.indexOf(name.slice(1)) : -1;
      for (const emitter of [...INTEGER_EMITTERS, MULTIPLY, ROTATE, ...CONTROL_EMITTERS]) {
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
    if (emitter === MULTIPLY && operation.size < 2) return undefined;
    if (emitter === ROTATE && (operation.size < 2 || operation.memory)) return undefined;
    return emitter;
  }

  /** Writes the instruction; false when the interpreter must do it. */
  emit(builder: FunctionBuilder, operation: Operation, cursor: Cursor, flags: boolean): boolean {
    const known = this.#known[operation.op];
    if (!known || !this.emitter(operation)) return false;
    if (known.emitter === ROTATE && flags) return false;
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
