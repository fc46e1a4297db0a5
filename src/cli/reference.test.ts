import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { withReference } from './testing/reference.js';

test("README.md has the program's own commands, options and exit statuses (node scripts/readme.mjs)", () => {
  const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8');
  assert.equal(withReference(readme), readme);
});
