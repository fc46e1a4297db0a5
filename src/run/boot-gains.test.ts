import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { STALE_AFTER_MS } from '../image/atomic-file.js';
import { boundProfiles } from './boot-gains.js';

test('a profile that is written takes away what killed processes left half-written', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'pando-boot-gains-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const names = ['old', 'old.1548', 'young', 'young.0123456789ab'];
  for (const name of names) writeFileSync(join(folder, name), 'hot');
  const old = new Date(Date.now() - 2 * STALE_AFTER_MS);
  for (const name of names.slice(0, 2)) utimesSync(join(folder, name), old, old);
  boundProfiles(join(folder, 'young'));
  assert.deepEqual(readdirSync(folder).sort(), ['old', 'young', 'young.0123456789ab']);
});
