import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Script } from 'node:vm';

const LAUNCHER = fileURLToPath(new URL('../../scripts/launcher.cjs', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'pando-launcher-'));
after(() => rmSync(folder, { recursive: true }));
const launcher = join(folder, 'sample.cjs');
copyFileSync(LAUNCHER, launcher);

/** A bundle that says a word, its first line the mark. */
function bundle(mark: string, word: string): string {
  const body = `process.stdout.write('${word} ' + typeof require('node:fs').readFileSync)`;
  return `// ${mark}\n(function (require, load, module, __filename) { ${body} })`;
}

/** The code that V8 makes of a bundle. */
function codeOf(source: string): Buffer {
  return new Script(source).createCachedData();
}

function run(source: string, cache?: Buffer): string {
  writeFileSync(join(folder, 'sample.js'), source);
  const file = join(folder, 'sample.cache');
  if (cache === undefined) rmSync(file, { force: true });
  else writeFileSync(file, cache);
  const { stdout, stderr, status } = spawnSync(process.execPath, [launcher], { encoding: 'utf8' });
  assert.equal(status, 0, stderr);
  return stdout;
}

const marked = (mark: string, code: Buffer): Buffer =>
  Buffer.concat([Buffer.from(`// ${mark}\n`), code]);

test('a bundle runs with its code cache and without', () => {
  const source = bundle('aa', 'one');
  assert.equal(run(source), 'one function');
  assert.equal(run(source, marked('aa', codeOf(source))), 'one function');
});

test('a cache that V8 refuses is not used', () => {
  const source = bundle('aa', 'one');
  assert.equal(run(source, Buffer.from('// aa\nnot what V8 makes')), 'one function');
  assert.equal(run(source, marked('aa', codeOf(source).subarray(0, 40))), 'one function');
});

test('the cache of another bundle of the same length is not used, though V8 would take it', () => {
  const [one, two] = [bundle('aa', 'one'), bundle('bb', 'two')];
  const code = codeOf(one);
  const taken = new Script(two, { cachedData: code });
  assert.equal(taken.cachedDataRejected, false);
  assert.equal(run(two, marked('aa', code)), 'two function');
});
