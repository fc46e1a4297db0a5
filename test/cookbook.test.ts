/** Every file of docs/cookbook/ runs as it stands, and prints what it says at its end. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { text } from 'node:stream/consumers';
import { before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { debianImage } from './testing/boot.js';

const FOLDER = new URL('../../docs/cookbook/', import.meta.url);
const files = readdirSync(FOLDER).filter((name) => name.endsWith('.mjs'));

before(async () => {
  await debianImage();
});

test('the index names all files', () => {
  const index = readFileSync(new URL('README.md', FOLDER), 'utf8');
  for (const name of files) assert.ok(index.includes(`(${name})`), name);
  assert.equal(files.length, 10);
});

for (const name of files) {
  test(name, async () => {
    const url = new URL(name, FOLDER);
    const [, promised = ''] = /\n\n((?:\/\/ .*\n)+)$/.exec(readFileSync(url, 'utf8')) ?? [];
    assert.notEqual(promised, '', 'it says nothing of what it prints');
    const program = spawn(process.execPath, [fileURLToPath(url)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const [printed, [status]] = await Promise.all([text(program.stdout), once(program, 'exit')]);
    assert.equal(printed, promised.replace(/^\/\/ /gm, ''));
    assert.equal(status, 0);
  });
}
