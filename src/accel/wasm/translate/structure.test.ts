import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Layout, layOut, type Scope } from './structure.js';

/** For each position the scopes that are open in its block, as whoever writes the blocks opens them. */
function openScopes({ order, scopes }: Layout): Scope[][] {
  const open: Scope[] = [];
  return order.map((_, at) => {
    while (open.at(-1)?.end === at) open.pop();
    for (const scope of open) assert.ok(scope.end > at, `a scope ends inside of another at ${at}`);
    for (const scope of scopes) {
      if (scope.start !== at) continue;
      assert.ok(scope.end > at);
      assert.ok(scope.end <= (open.at(-1)?.end ?? order.length), 'scopes nest');
      open.push(scope);
    }
    return [...open];
  });
}

/** Goes from one position to another as translated code does. */
function travel(layout: Layout, open: readonly Scope[][], from: number, to: number): void {
  const scopes = (at: number): readonly Scope[] => open[at] ?? [];
  if (to <= from) {
    assert.ok(scopes(from).some(({ kind, start }) => kind === 'loop' && start === to));
    return;
  }
  for (let at = from; at !== to; ) {
    const next = layout.hop(at, to);
    assert.ok(next > at && next <= to, `from ${at} by ${next} to ${to}`);
    const branches = scopes(at).some(({ kind, end }) => kind === 'block' && end === next);
    assert.ok(branches || next === from + 1, `a scope of ${at} ends at ${next}`);
    if (next !== to) assert.ok(layout.sent.get(next)?.has(to), `${next} sends on to ${to}`);
    at = next;
  }
}

/** Successors of each block, by number. */
const graphs = fc.integer({ min: 1, max: 14 }).chain((blocks) =>
  fc.array(fc.uniqueArray(fc.nat(blocks - 1), { maxLength: 4 }), {
    minLength: blocks,
    maxLength: blocks,
  }),
);

test('every edge of any graph leads through scopes that nest to where it should', () => {
  fc.assert(
    fc.property(graphs, (edges) => {
      const layout = layOut(edges);
      const position = new Map(layout.order.map((block, at) => [block, at]));
      assert.equal(layout.order[0], 0);
      const open = openScopes(layout);
      layout.order.forEach((block, from) => {
        for (const next of edges[block] ?? []) {
          const to = position.get(next);
          assert.ok(to !== undefined, 'what can be reached is laid out');
          travel(layout, open, from, to);
        }
      });
    }),
    { numRuns: 5000 },
  );
});
