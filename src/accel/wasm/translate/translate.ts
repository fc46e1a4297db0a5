/**
 * The translator: a region of decoded blocks to one WebAssembly function. Integer operations of the hot
 * unit are written out here; any other calls the interpreter's own routine (core/run.ts execute).
 */
import * as L from '../layout.js';
import type { ModuleFunction } from './encoder.js';
import { FunctionBuilder } from './function-builder.js';
import {
  CONTEXT,
  CPU,
  EXECUTE,
  F64_LOCALS,
  I32_LOCALS,
  I64_LOCALS,
  LEFT,
  STATUS,
} from './locals.js';
import { flagNeeds, type OperationTable } from './operations.js';
import { CALLS, type Region, type RegionBlock } from './region.js';
import type { Cursor } from './region-frame.js';
import { layOut } from './structure.js';

/** A translated region. */
export interface Translation {
  readonly body: ModuleFunction;
  /** Links of its context. */
  readonly links: number;
  /** Records for the interpreter's routines, behind the links. */
  readonly records: readonly Uint8Array[];
}

/** Offsets in the page that a block goes on to directly or after a call, fall-through first. */
export function successors(table: OperationTable, block: RegionBlock): number[] {
  const after = block.offset + block.length;
  const last = block.operations[block.operations.length - 1];
  if (block.falls || last === undefined) return [after];
  const name = table.name(last.op);
  if (table.conditionOfJump(last.op) >= 0) return [after, block.offset + last.imm];
  if (CALLS.includes(name)) return [after];
  return name === 'JMP' ? [block.offset + last.imm] : [];
}

/** Translates a region. */
export function translate(table: OperationTable, region: Region): Translation {
  const byOffset = new Map(region.blocks.map((block, index) => [block.offset, index]));
  const edges = region.blocks.map((block) =>
    successors(table, block)
      .map((offset) => byOffset.get(offset))
      .filter((index) => index !== undefined),
  );
  const layout = layOut(edges);
  const builder = new FunctionBuilder(table.registers(region.blocks));
  const { code } = builder;
  const position = new Map<number, number>();
  layout.order.forEach((block, at) => {
    position.set(region.blocks[block]?.offset ?? -1, at);
  });

  builder.open();
  /** Open scopes, innermost last, with the level to branch to. */
  const open: { level: number; start: number; end: number; loop: boolean }[] = [];

  /** Goes on at `offset` of the page, from layout position `from`; `next` follows it in the code. */
  const go = (from: number, offset: number, last: boolean): void => {
    const to = position.get(offset);
    if (to === undefined || !layout.inside(from, to)) {
      builder.leave(offset);
      return;
    }
    if (to === from + 1) {
      if (last) return;
    }
    if (to > from) {
      const scope = open.find(({ end, loop }) => end === to && !loop);
      if (scope) code.br(scope.level);
      else builder.leave(offset);
      return;
    }
    const scope = open.find(({ start, loop }) => start === to && loop);
    if (!scope) {
      builder.leave(offset);
      return;
    }
    // Poll at back edges.
    code.get(LEFT).i32(0).op('i32.le_s');
    code.get(CPU).memory('i32.load', L.POLL).op('i32.or').if();
    builder.leaveAt(offset, 0);
    code.end();
    code.br(scope.level);
  };

  layout.order.forEach((index, at) => {
    const block = region.blocks[index];
    if (!block) return;
    while (open.length > 0 && open[open.length - 1]?.end === at) {
      code.end();
      open.pop();
    }
    for (const scope of layout.scopes) {
      if (scope.start !== at) continue;
      if (scope.kind === 'loop') code.loop();
      else code.block();
      open.push({
        level: code.depth - 1,
        start: scope.start,
        end: scope.end,
        loop: scope.kind === 'loop',
      });
    }
    translateBlock(table, builder, block, {
      go: (offset, last) => go(at, offset, last),
      isNext: (offset) => position.get(offset) === at + 1,
      holds: (offset) => position.has(offset),
    });
  });
  while (open.length > 0) {
    code.end();
    open.pop();
  }
  // Every path has left by a branch; validation needs to know that the end is not reached.
  builder.unreachable();
  const body = builder.close();
  return {
    body: {
      i32Locals: I32_LOCALS,
      i64Locals: I64_LOCALS,
      f64Locals: F64_LOCALS,
      v128Locals: builder.vectorLocals,
      code: body,
    },
    links: builder.links,
    records: builder.records,
  };
}

/** Where a block can go on. */
interface Ways {
  /** Goes on at an offset of the page; `last`: no code of the block follows. */
  readonly go: (offset: number, last: boolean) => void;
  /** Whether the block at that offset follows in the code. */
  readonly isNext: (offset: number) => boolean;
  /** Whether the region has that block. */
  readonly holds: (offset: number) => boolean;
}

function translateBlock(
  table: OperationTable,
  builder: FunctionBuilder,
  block: RegionBlock,
  { go, isNext, holds }: Ways,
): void {
  const { code } = builder;
  code.get(LEFT).i32(block.count).op('i32.sub').set(LEFT);
  builder.kind = undefined;
  const needs = flagNeeds(table, block);
  const after = block.offset + block.length;
  const cursor: Cursor = { block, offset: block.offset, index: 0, returns: holds(after) };
  for (const [index, operation] of block.operations.entries()) {
    cursor.index = index;
    const condition = table.conditionOfJump(operation.op);
    if (condition >= 0) {
      const taken = block.offset + operation.imm;
      builder.condition(isNext(taken) ? condition ^ 1 : condition);
      code.if();
      go(isNext(taken) ? after : taken, false);
      code.end();
      go(isNext(taken) ? taken : after, true);
      return;
    }
    if (table.name(operation.op) === 'JMP') {
      go(block.offset + operation.imm, true);
      return;
    }
    if (table.emit(builder, operation, cursor, needs[index] ?? true)) {
      if (!table.leaves(operation.op)) continue;
      if (cursor.returns && CALLS.includes(table.name(operation.op))) go(after, true);
      return;
    }
    interpret(builder, cursor);
  }
  if (block.falls) go(after, true);
  else builder.unreachable();
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
  builder.kind = undefined;
  code.get(CONTEXT).memory('i32.load', L.CTX_FUNCTION).op('i32.eqz').if();
  builder.leaveAt(offset + operation.off + operation.length, block.count - index - 1);
  code.end();
}
