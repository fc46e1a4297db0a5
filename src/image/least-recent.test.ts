import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { removeLeastRecent } from './least-recent.js';

test('what was used longest ago goes until the rest is within the limit; what is in use stays', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'pando-recent-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const now = Date.now() / 1000;
  for (const [name, age] of [
    ['oldest', 4000],
    ['kept', 3000],
    ['older', 2000],
    ['old', 1000],
    ['young', 0],
  ] as const) {
    writeFileSync(join(folder, name), Buffer.alloc(100));
    utimesSync(join(folder, name), now - age, now - age);
  }
  const size = ({ size }: { readonly size: number }): number => size;
  assert.deepEqual(removeLeastRecent(folder, 500, size), []);
  assert.deepEqual(removeLeastRecent(folder, 300, size, 'kept'), ['oldest', 'older']);
  assert.deepEqual(readdirSync(folder).sort(), ['kept', 'old', 'young']);
  assert.deepEqual(removeLeastRecent(folder, 0, size), ['kept', 'old']);
  assert.deepEqual(readdirSync(folder), ['young']);
});
