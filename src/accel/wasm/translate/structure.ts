/**
 * Control flow of a region as nested WebAssembly blocks and loops. Blocks are laid out in reverse
 * postorder; a forward edge becomes a branch out of a `block` that ends before its target, a backward
 * edge a branch to a `loop` around its target. An edge that enters a loop beside its head goes to the head
 * and is sent on from there, so any graph can be laid out.
 */

/** A scope [start, end) in layout positions: opened before block `start`, closed before block `end`. */
export interface Scope {
  readonly kind: 'block' | 'loop';
  readonly start: number;
  end: number;
}

export interface Layout {
  /** Indices of the blocks in order of emission; the root first. */
  readonly order: readonly number[];
  /** Outermost first among those that start together. */
  readonly scopes: readonly Scope[];
  /**
   * Where the edge between two layout positions arrives first: at `to`, or at the head of the outermost
   * loop that it would enter beside its head.
   */
  hop(from: number, to: number): number;
  /** For heads of loops: the positions that they send on to. */
  readonly sent: ReadonlyMap<number, ReadonlySet<number>>;
}

/** @param edges for each block its successors inside the region; block 0 is the root */
export function layOut(edges: readonly (readonly number[])[]): Layout {
  const order = reversePostorder(edges);
  const position = new Map(order.map((block, index) => [block, index]));
  const jumps: [from: number, to: number][] = [];
  order.forEach((block, from) => {
    for (const next of edges[block] ?? []) {
      const to = position.get(next);
      if (to !== undefined) jumps.push([from, to]);
    }
  });

  const loops = new Map<number, Scope>();
  for (const [from, to] of jumps) {
    if (to > from) continue;
    const loop = loops.get(to);
    if (loop) loop.end = Math.max(loop.end, from + 1);
    else loops.set(to, { kind: 'loop', start: to, end: from + 1 });
  }
  // Loops that overlap are made to nest: the outer one reaches at least as far.
  for (let changed = true; changed; ) {
    changed = false;
    for (const outer of loops.values()) {
      for (const inner of loops.values()) {
        if (outer.start < inner.start && inner.start < outer.end && inner.end > outer.end) {
          outer.end = inner.end;
          changed = true;
        }
      }
    }
  }

  const hop = (from: number, to: number): number => {
    let first = to;
    for (const { start, end } of loops.values()) {
      if (from < start && start < first && to > start && to < end) first = start;
    }
    return first;
  };
  const blocks = new Map<number, Scope>();
  const sent = new Map<number, Set<number>>();
  const branch = (from: number, to: number): void => {
    let start = from;
    // A branch out of a loop: its block begins outside of it.
    for (const loop of loops.values()) {
      if (loop.start <= start && start < loop.end && loop.end < to)
        start = Math.min(start, loop.start);
    }
    const known = blocks.get(to);
    blocks.set(to, { kind: 'block', start: Math.min(start, known?.start ?? start), end: to });
  };
  for (const [from, to] of jumps) {
    if (to <= from) continue;
    let at = from;
    for (let next = hop(at, to); next !== to; next = hop(at, to)) {
      branch(at, next);
      at = next;
      sent.set(at, (sent.get(at) ?? new Set()).add(to));
    }
    if (at !== from || to > from + 1) branch(at, to);
  }
  nestBlocks([...blocks.values()], [...loops.values()], blocks);
  const scopes = [...loops.values(), ...blocks.values()].sort(
    (a, b) => a.start - b.start || b.end - a.end || (a.kind === 'block' ? -1 : 1),
  );
  return { order, scopes, hop, sent };
}

/** Moves the starts of blocks outwards until all scopes nest. */
function nestBlocks(all: Scope[], loops: readonly Scope[], blocks: Map<number, Scope>): void {
  for (let changed = true; changed; ) {
    changed = false;
    for (const block of all) {
      let start = block.start;
      for (const other of [...loops, ...blocks.values()]) {
        if (other === block) continue;
        if (other.start < start && start < other.end && other.end < block.end) start = other.start;
      }
      if (start !== block.start) {
        const moved: Scope = { kind: 'block', start, end: block.end };
        blocks.set(block.end, moved);
        all[all.indexOf(block)] = moved;
        changed = true;
      }
    }
  }
}

function reversePostorder(edges: readonly (readonly number[])[]): number[] {
  const postorder: number[] = [];
  const visited = new Set<number>([0]);
  const stack: { block: number; next: number }[] = [{ block: 0, next: 0 }];
  while (stack.length > 0) {
    const top = stack[stack.length - 1];
    if (!top) break;
    const successors = edges[top.block] ?? [];
    // The last successor is visited first, so the first, the fall-through, comes right after its block.
    const next = successors[successors.length - 1 - top.next];
    if (next === undefined) {
      postorder.push(top.block);
      stack.pop();
      continue;
    }
    top.next++;
    if (visited.has(next)) continue;
    visited.add(next);
    stack.push({ block: next, next: 0 });
  }
  return postorder.reverse();
}
