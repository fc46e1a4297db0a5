import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { manualPage } from './testing/manual-page.js';
import { withReference } from './testing/reference.js';

const PAGE = new URL('../../docs/pando.1', import.meta.url);

test("README.md has the program's own commands, options and exit statuses (node scripts/readme.mjs)", () => {
  const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8');
  assert.equal(withReference(readme), readme);
});

test('docs/pando.1 has them, too', () => {
  assert.equal(readFileSync(PAGE, 'utf8'), manualPage());
});

const hasGroff = spawnSync('groff', ['--version']).status === 0;

test('the manual page has no mistake that groff finds', { skip: !hasGroff }, () => {
  const page = fileURLToPath(PAGE);
  // Plain text: hosts differ in how bold letters are printed.
  const options = ['-man', '-Tascii', '-P-cbou', '-ww'];
  const { stdout, stderr } = spawnSync('groff', [...options, page], { encoding: 'utf8' });
  assert.equal(stderr, '');
  assert.match(stdout, /pando run \[options\]/);
});
