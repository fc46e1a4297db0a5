import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { errorEntries, errorPage, explained } from './testing/error-list.js';
import { ERROR_NOTES } from './testing/error-notes.js';
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

test('docs/errors.md has every code of the sources, with a meaning and a remedy (node scripts/readme.mjs)', () => {
  const page = readFileSync(new URL('../../docs/errors.md', import.meta.url), 'utf8');
  const entries = errorEntries();
  assert.equal(page, errorPage(entries));
  const said = explained(entries);
  assert.deepEqual(
    said.filter(({ meanings, remedies }) => meanings.length === 0 || remedies.length === 0),
    [],
  );
  // One of each way in which the sources name a code.
  const codes = new Set(said.map(({ code }) => code));
  for (const code of ['KVM_PERMISSION', 'OBJECT_DAMAGED', 'DISK_FULL', 'WORKER_FAILED'])
    assert.ok(codes.has(code), code);
});

test('a note on an error is only there where the sources say too little', () => {
  const bare = new Map(errorEntries().map((entry) => [entry.code, entry]));
  for (const [code, { meaning, remedy }] of Object.entries(ERROR_NOTES)) {
    const entry = bare.get(code);
    assert.ok(entry !== undefined, `${code} is no code any more`);
    assert.ok(meaning !== undefined || entry.meanings.length > 0, `${code} needs a meaning`);
    assert.ok(remedy === undefined || entry.remedies.length === 0, `${code} has a remedy itself`);
  }
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
