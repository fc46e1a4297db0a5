/**
 * Makes the generated parts of README.md anew: commands, options, exit statuses; and docs/pando.1 and
 * docs/errors.md. Needs a build.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const { withReference } = await import(join(root, 'dist', 'cli', 'testing', 'reference.js'));
const { manualPage } = await import(join(root, 'dist', 'cli', 'testing', 'manual-page.js'));
const errors = await import(join(root, 'dist', 'cli', 'testing', 'error-list.js'));
const path = join(root, 'README.md');
writeFileSync(path, withReference(readFileSync(path, 'utf8')));
writeFileSync(join(root, 'docs', 'pando.1'), manualPage());

const entries = errors.errorEntries();
writeFileSync(join(root, 'docs', 'errors.md'), errors.errorPage(entries));
for (const { code, meanings, remedies } of errors.explained(entries)) {
  if (meanings.length > 0 && remedies.length > 0) continue;
  console.error(
    `${code} has no meaning or no remedy: give it where the error is made, or in error-notes.ts`,
  );
  process.exitCode = 1;
}
