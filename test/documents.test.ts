/** Documents name files that are there, and link to documents and pictures that are there. */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../', import.meta.url));
const documents = [
  'README.md',
  join('docs', 'cookbook', 'README.md'),
  ...readdirSync(join(root, 'docs'))
    .filter((name) => name.endsWith('.md'))
    .map((name) => join('docs', name)),
];

/** Paths of the repository in backquotes; a placeholder has a character that no path has. */
const PATH = /`((?:src|test|scripts|bench|agent|bin)\/[\w./-]*)`/g;
const LINK = /\]\((?!https?:|#)([^)#]+)(?:#[^)]*)?\)/g;

for (const document of documents) {
  test(`${document} names what is there`, () => {
    const text = readFileSync(join(root, document), 'utf8');
    const missing = [
      ...[...text.matchAll(PATH)].map(([, path]) => path!),
      ...[...text.matchAll(LINK)].map(([, path]) => join(dirname(document), path!)),
    ].filter((path) => !/\bNAME\b/.test(path) && !existsSync(join(root, path)));
    assert.deepEqual(missing, []);
  });
}

test('how-it-works.md answers the four questions with paths', () => {
  const text = readFileSync(join(root, 'docs', 'how-it-works.md'), 'utf8');
  const rows = text.split('\n').filter((line) => /^\| (the|a) .*\? +\|/.test(line));
  assert.equal(rows.length, 4);
  for (const row of rows) assert.match(row, /`src\/[\w/-]+\.ts`/);
});

/** Tables of docs/testing.md by their first column, and the folder that their tests are named from. */
const TABLES = [
  { heading: '## The command and its streams', folder: 'src/cli', rows: 8 },
  { heading: '## The engine, interpreted and translated', folder: 'src/accel', rows: 10 },
  { heading: '## Kinds of faults', folder: 'src', rows: 21 },
];

for (const { heading, folder, rows } of TABLES) {
  test(`testing.md, "${heading}": each kind has tests that are there`, () => {
    const text = readFileSync(join(root, 'docs', 'testing.md'), 'utf8');
    const section = text.slice(text.indexOf(`${heading}\n`)).split('\n## ')[0] ?? '';
    const table = section.split('\n').filter((line) => /^\| (?!Kind |-)/.test(line));
    assert.ok(table.length >= rows, `${table.length} kinds`);
    for (const row of table) {
      const names = [...row.matchAll(/`([\w./-]+\.test\.ts)`/g)].map(([, name]) => name!);
      assert.ok(names.length > 0, `no test: ${row}`);
      for (const name of names) {
        const path = /^(src|test)\//.test(name) ? name : join(folder, name);
        assert.ok(existsSync(join(root, path)), `${path}: ${row}`);
        assert.match(readFileSync(join(root, path), 'utf8'), /\b(test|it)\(/);
      }
    }
  });
}
