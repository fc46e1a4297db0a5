/**
 * The translator: a region of decoded blocks to one WebAssembly function. Operations that have an emitter
 * are written out (operations.ts); any other calls the interpreter's own routine (core/run.ts execute).
 */
import * as L from '../layout.js';
import type { ModuleFunction } from './encoder.js';
import { agrees, entryKinds, type Kinds } from './flag-kinds.js';
import { FunctionBuilder } from './function-builder.js';
import { A64, CONTEXT, CPU, EXECUTE, INTO, LEFT, PAGE, STATUS, TARGET } from './locals.js';
import { flagNeeds, type OperationTable } from './operations.js';
import { perfectHash } from './perfect-hash.js';
import { CALLS, type Region, type RegionBlock, regionPages } from './region.js';
import type { Cursor } from './region-frame.js';
import { type Layout, layOut, type Scope } from './structure.js';

/** A translated region. */
export interface Translation {
  readonly body: ModuleFunction;
  /** Links of its context. */
  readonly links: number;
  /** Records for the interpreter's routines, behind the links. */
  readonly records: readonly Uint8Array[];
}

/** Offsets that a block goes on to directly or after a call, fall-through first. */
export function successors(table: OperationTable, block: RegionBlock): number[] {
  const after = block.offset + block.length;
  const last = block.operations[block.operations.length - 1];
  if (block.falls || last === undefined) return [after];
  const name = table.name(last.op);
  if (table.conditionOfJump(last.op) >= 0) return [after, block.offset + last.imm];
  if (block.enters) return [block.offset + last.imm];
  if (CALLS.includes(name)) return [after];
  return name === 'JMP' ? [block.offset + last.imm] : [];
}

/**
 * For each block of a region the indices of those that it goes on to. Blocks that select others do so by way of one
 * more node, behind the blocks, which leads to all that are selected.
 */
function edgesOf(table: OperationTable, { blocks }: Region): number[][] {
  const byOffset = new Map(blocks.map((block, index) => [block.offset, index]));
  const selected = blocks.flatMap((block, index) => (block.selected ? [index] : []));
  const selects = selected.length > 0 && blocks.some((block) => block.selects);
  const edges = blocks.map((block) => [
    ...successors(table, block)
      .map((offset) => byOffset.get(offset))
      .filter((index) => index !== undefined),
    ...(selects && block.selects ? [blocks.length] : []),
  ]);
  return selects ? [...edges, selected] : edges;
}

/** Translates a region. */
export function translate(table: OperationTable, region: Region): Translation {
  const edges = edgesOf(table, region);
  const layout = layOut(edges);
  const first = new RegionWriter(table, region, layout, []);
  const plain = first.write();
  const kinds = entryKinds(table, region, edges, first.ends);
  if (kinds === undefined) return plain;
  const second = new RegionWriter(table, region, layout, kinds);
  const translation = second.write();
  return agrees(edges, kinds, second.ends) ? translation : plain;
}

/** Writes a region's blocks in their layout. */
class RegionWriter {
  /** By block: the kind of the flags at its end where it is known. */
  readonly ends: (number | undefined)[] = [];
  readonly #table: OperationTable;
  readonly #region: Region;
  readonly #layout: Layout;
  readonly #entries: Kinds;
  readonly #builder: FunctionBuilder;
  /** Layout positions by offset. */
  readonly #position = new Map<number, number>();
  /** Layout position of the node that leads to the selected blocks; -1 without one. */
  readonly #selection: number;
  /** Open scopes, innermost last, with the level to branch to. */
  readonly #open: { level: number; scope: Scope }[] = [];

  /** @param entries by block: the kind of the flags where it begins, where it is known */
  constructor(table: OperationTable, region: Region, layout: Layout, entries: Kinds) {
    this.#table = table;
    this.#region = region;
    this.#layout = layout;
    this.#entries = entries;
    this.#builder = new FunctionBuilder(
      table.registers(region.blocks),
      region.mode,
      regionPages(region.blocks),
    );
    layout.order.forEach((index, at) => {
      const block = region.blocks[index];
      if (block) this.#position.set(block.offset, at);
    });
    this.#selection = layout.order.indexOf(region.blocks.length);
  }

  write(): Translation {
    const builder = this.#builder;
    builder.open();
    this.#layout.order.forEach((index, at) => {
      const block = this.#region.blocks[index];
      this.#openScopes(at);
      builder.kind = this.#entries[index];
      if (block) this.#block(block, at);
      else this.#writeSelection(at);
      this.ends[index] = builder.kind;
    });
    for (const _ of this.#open.splice(0)) builder.code.end();
    // Every path has left by a branch; validation needs to know that the end is not reached.
    builder.unreachable();
    const code = builder.close();
    return {
      body: { locals: builder.code.locals, code },
      links: builder.links,
      records: builder.records,
    };
  }

  /** Closes the scopes that end before position `at`, opens those that begin there. */
  #openScopes(at: number): void {
    const { code } = this.#builder;
    while (this.#open.at(-1)?.scope.end === at) {
      code.end();
      this.#open.pop();
    }
    for (const scope of this.#layout.scopes) {
      if (scope.start !== at) continue;
      if (scope.kind === 'loop') code.loop();
      else code.block();
      this.#open.push({ level: code.depth - 1, scope });
    }
    const sent = this.#layout.sent.get(at);
    if (sent === undefined) return;
    code.get(INTO).if();
    for (const to of sent) {
      code.get(INTO).i32(to).op('i32.eq').if();
      const next = this.#layout.hop(at, to);
      if (next === to) code.i32(0).set(INTO);
      this.#branch(next);
      code.end();
    }
    code.unreachable().end();
  }

  /** Branches forward to position `to`. */
  #branch(to: number): void {
    const found = this.#open.find(({ scope }) => scope.kind === 'block' && scope.end === to);
    if (found === undefined) throw new Error(`no scope ends at position ${to}`);
    this.#builder.code.br(found.level);
  }

  /** Offset of the block at a position; undefined for the selection. */
  #offset(at: number): number | undefined {
    return this.#region.blocks[this.#layout.order[at] ?? 0]?.offset;
  }

  #blockAt(position: number): RegionBlock {
    const block = this.#region.blocks[this.#layout.order[position] ?? 0];
    if (block === undefined) throw new Error(`no block at position ${position}`);
    return block;
  }

  /** Goes on at `offset`, from position `from`; `last`: no code of the block follows. */
  #go(from: number, offset: number, last: boolean): void {
    const builder = this.#builder;
    const to = this.#position.get(offset);
    if (to === undefined) {
      builder.leave(offset);
      return;
    }
    builder.crossTo(this.#blockAt(to), this.#offset(from));
    this.#goTo(from, to, last, () => builder.leaveAt(offset, 0));
  }

  /** Goes on at position `to`; `leave` leaves the region for there when the budget is used up or the host wants it. */
  #goTo(from: number, to: number, last: boolean, leave: () => void): void {
    const { code } = this.#builder;
    if (to > from) {
      const next = this.#layout.hop(from, to);
      if (next !== to) code.i32(to).set(INTO);
      if (next !== from + 1 || !last) this.#branch(next);
      return;
    }
    const head = this.#open.find(({ scope }) => scope.kind === 'loop' && scope.start === to);
    if (head === undefined) throw new Error(`no loop begins at position ${to}`);
    // Poll at back edges.
    code.get(LEFT).i32(0).op('i32.le_s');
    code.get(CPU).memory('i32.load', L.POLL).op('i32.or').if();
    leave();
    code.end();
    code.br(head.level);
  }

  /** Goes on at the address in TARGET, from position `from`: the last of its block's code. */
  #select(from: number): void {
    const block = this.#region.blocks[this.#layout.order[from] ?? 0];
    const leave = (): void => this.#builder.leaveIndirect();
    if (this.#selection >= 0 && block?.selects) this.#goTo(from, this.#selection, true, leave);
    else leave();
  }

  /** Sends control on to the selected block at the address in TARGET; leaves the region when there is none. */
  #writeSelection(at: number): void {
    const { code } = this.#builder;
    const offsets = this.#region.blocks
      .filter((block) => block.selected)
      .map(({ offset }) => offset);
    const { multiplier, shift, places } = perfectHash(offsets);
    // No scope ends at the next position; this block does.
    code.block();
    const following = code.depth - 1;
    code.block();
    const otherwise = code.depth - 1;
    for (const _ of offsets) code.block();
    const innermost = code.depth - 1;
    const levels = places.map((index) => (index < 0 ? otherwise : innermost - index));
    code.get(TARGET).get(PAGE).op('i64.sub').tee(A64);
    code.op('i32.wrap_i64').i32(multiplier).op('i32.mul').i32(shift).op('i32.shr_u');
    code.brTable(levels, otherwise);
    for (const offset of offsets) {
      code.end();
      code.get(A64).i64(offset).op('i64.ne').brIf(otherwise);
      const to = this.#position.get(offset) ?? -1;
      if (to > at && this.#layout.hop(at, to) === at + 1) {
        this.#builder.crossTo(this.#blockAt(to));
        if (to !== at + 1) code.i32(to).set(INTO);
        code.br(following);
      } else this.#go(at, offset, false);
    }
    code.end();
    this.#builder.leaveIndirect();
    code.end();
  }

  #block(block: RegionBlock, at: number): void {
    const table = this.#table;
    const builder = this.#builder;
    const { code } = builder;
    code.get(LEFT).i32(block.count).op('i32.sub').set(LEFT);
    const needs = flagNeeds(table, block);
    const after = block.offset + block.length;
    const returns = this.#position.has(after);
    const cursor: Cursor = {
      block,
      offset: block.offset,
      index: 0,
      returns,
      select: () => this.#select(at),
    };
    for (const [index, operation] of block.operations.entries()) {
      cursor.index = index;
      const condition = table.conditionOfJump(operation.op);
      if (condition >= 0) {
        const taken = block.offset + operation.imm;
        if (taken === after) {
          this.#go(at, after, true);
          return;
        }
        const isNext = this.#position.get(taken) === at + 1;
        builder.condition(isNext ? condition ^ 1 : condition);
        code.if();
        this.#go(at, isNext ? after : taken, false);
        code.end();
        this.#go(at, isNext ? taken : after, true);
        return;
      }
      if (table.name(operation.op) === 'JMP') {
        this.#go(at, block.offset + operation.imm, true);
        return;
      }
      if (table.emit(builder, operation, cursor, needs[index] ?? true)) {
        if (!table.leaves(operation.op)) continue;
        if (block.enters) this.#go(at, block.offset + operation.imm, true);
        else if (cursor.returns && CALLS.includes(table.name(operation.op)))
          this.#go(at, after, true);
        return;
      }
      interpret(builder, cursor);
    }
    if (block.falls) this.#go(at, after, true);
    else builder.unreachable();
  }
}

/** Lets the interpreter's routine do the instruction, with all state in memory. */
function interpret(builder: FunctionBuilder, { block, offset, index }: Cursor): void {
  const { code } = builder;
  const operation = block.operations[index];
  if (!operation) return;
  builder.storeState();
  code.get(CPU);
  builder.linear(offset);
  code.memory('i64.store', L.RIP);
  code.get(CPU).get(CONTEXT).i32(builder.record(operation.record)).op('i32.add').i32(operation.op);
  code.call(EXECUTE).tee(STATUS).if();
  // What the routine left in memory stands; its status tells the run loop how to go on.
  code.get(CPU);
  builder.linear(offset + operation.off);
  code.memory('i64.store', L.JIT_RIP);
  code.get(CPU).i32(0).memory('i32.store', L.JIT_LINK);
  code.get(CPU).get(STATUS).memory('i32.store', L.JIT_STATUS);
  // ST_JUMP and ST_HALT have retired the instruction.
  code
    .get(LEFT)
    .i32(block.count - index)
    .op('i32.add');
  code.get(STATUS).i32(1).op('i32.shr_u').i32(1).op('i32.eq').op('i32.sub').return();
  code.end();
  builder.loadState();
  builder.forgetPages();
  builder.kind = undefined;
  builder.ifDead(() => {
    builder.leaveAt(offset + operation.off + operation.length, block.count - index - 1);
  });
}
