/**
 * Which kind of lazy flags control brings to each block of a region. A block that begins with a
 * conditional jump, SETcc, ADC or INC looks at flags that a block before it has set; where all blocks
 * before agree on the kind, the flags it needs are computed in line.
 */
import type { OperationTable } from './operations.js';
import type { Region, RegionBlock } from './region.js';

/** By block: a kind of FLAG_KIND, or undefined where it is not known. */
export type Kinds = readonly (number | undefined)[];

const READER = /^(?:SET|CMOV)/;

/**
 * Whether a block leaves the flags alone as far as its emitters tell: those of shifts by CL and of rotates
 * say so although they may set some. `agrees` finds such blocks out once they are written.
 */
function isTransparent(table: OperationTable, { operations }: RegionBlock): boolean {
  return operations.every((operation) => {
    if (table.conditionOfJump(operation.op) >= 0) return true;
    const name = table.name(operation.op);
    if (name === 'JMP') return true;
    const emitter = table.emitter(operation);
    if (emitter === undefined || emitter.leaves) return false;
    return emitter.flags === 'none' || (emitter.flags === 'read' && READER.test(name));
  });
}

/** Whether a block looks at flags before it sets them. */
function asks(table: OperationTable, { operations }: RegionBlock): boolean {
  for (const operation of operations) {
    if (table.conditionOfJump(operation.op) >= 0) return true;
    if (table.name(operation.op) === 'JMP') continue;
    const emitter = table.emitter(operation);
    if (emitter === undefined) return false;
    if (emitter.flags !== 'none') return emitter.flags.startsWith('read');
  }
  return false;
}

/** What several ways bring together; `null` where none has come yet. */
function meet(
  a: number | undefined | null,
  b: number | undefined | null,
): number | undefined | null {
  if (a === null) return b;
  if (b === null) return a;
  return a === b ? a : undefined;
}

/**
 * The kinds that blocks begin with, given those that they end with; undefined when no block that asks
 * for its kind would learn it.
 * @param edges for each block its successors inside the region; block 0 is also entered from outside
 */
export function entryKinds(
  table: OperationTable,
  { blocks }: Region,
  edges: readonly (readonly number[])[],
  ends: Kinds,
): Kinds | undefined {
  if (!blocks.some((block, index) => index > 0 && asks(table, block))) return undefined;
  // What is no block is the way from jumps to the blocks that they select.
  const transparent = edges.map((_, index) => {
    const block = blocks[index];
    return block === undefined || isTransparent(table, block);
  });
  const entry: (number | undefined | null)[] = edges.map((_, index) =>
    index === 0 ? undefined : null,
  );
  for (let changed = true; changed; ) {
    changed = false;
    edges.forEach((successors, from) => {
      const leaving = transparent[from] ? entry[from] : ends[from];
      if (leaving === null) return;
      for (const to of successors) {
        const met = meet(entry[to], leaving);
        if (met === entry[to]) continue;
        entry[to] = met;
        changed = true;
      }
    });
  }
  const known = entry.map((kind) => kind ?? undefined);
  const learnt = blocks.some((block, index) => known[index] !== undefined && asks(table, block));
  return learnt ? known : undefined;
}

/** Whether blocks that begin with these kinds end with those that the kinds were computed from. */
export function agrees(
  edges: readonly (readonly number[])[],
  entries: Kinds,
  ends: Kinds,
): boolean {
  return edges.every((successors, from) =>
    successors.every((to) => entries[to] === undefined || entries[to] === ends[from]),
  );
}
