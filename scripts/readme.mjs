/** Makes the generated parts of README.md anew: commands, options, exit statuses; and docs/pando.1. Needs a build. */
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const { withReference } = await import(join(root, 'dist', 'cli', 'testing', 'reference.js'));
const { manualPage } = await import(join(root, 'dist', 'cli', 'testing', 'manual-page.js'));
const path = join(root, 'README.md');
writeFileSync(path, withReference(readFileSync(path, 'utf8')));
writeFileSync(join(root, 'docs', 'pando.1'), manualPage());
