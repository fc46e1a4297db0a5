/** What has one place in the sources: a second one would have to be kept equal by hand. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../src/', import.meta.url));
const sources = readdirSync(root, { recursive: true, encoding: 'utf8' })
  .filter((file) => /\.ts$/.test(file) && !/\.test\.ts$|\btesting\/|\/core\//.test(file))
  .map((file) => ({ file, text: readFileSync(join(root, file), 'utf8') }));

const ONCE: readonly (readonly [what: string, text: RegExp, file: string])[] = [
  ['pagemap is opened', /(open\w*\(|path = )[`'"]\/proc\/[^`'"]*\/pagemap/, 'host/pagemap.ts'],
  ['processes are forked', /\bfork\b.*from 'node:child_process'/, 'fleet/process.ts'],
  ['a first memory is written', /import .*\bwriteBootData\b/, 'run/first-memory.ts'],
  ['sizes are read', /\[KMGT\]/, 'cli/terminal/units.ts'],
];

for (const [what, text, file] of ONCE) {
  test(`${what} in one place`, () => {
    const places = sources.filter((source) => text.test(source.text)).map((source) => source.file);
    assert.deepEqual(places, [file]);
  });
}
