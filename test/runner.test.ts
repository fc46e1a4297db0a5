/** How `npm test` runs test files: with the store of the tests, and none without end. */
import assert from 'node:assert/strict';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

interface Runner {
  runTests(
    files: readonly string[],
    options: {
      cwd: string;
      stdio: 'ignore' | ['ignore', number, 'ignore'];
      limit?: number;
      concurrency?: number;
    },
  ): Promise<number>;
}

const runner = new URL('../../scripts/test-run.mjs', import.meta.url).href;
const { runTests } = (await import(runner)) as Runner;
const folder = mkdtempSync(join(tmpdir(), 'pando-runner-'));
after(() => rmSync(folder, { recursive: true }));

function write(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

test("files have the tests' store, not the user's", async () => {
  const users = join(homedir(), '.local', 'share', 'pando');
  const file = write(
    'store.test.mjs',
    `import assert from 'node:assert';
     assert.match(process.env.PANDO_STORE, /test-store$/);
     assert.ok(!process.env.PANDO_STORE.startsWith(${JSON.stringify(users)}));`,
  );
  assert.equal(await runTests([file], { cwd: folder, stdio: 'ignore' }), 0);
});

test('a file that never ends is ended, and fails', async () => {
  const spins = write('spins.test.mjs', 'for (;;);');
  const waits = write('waits.test.mjs', 'setInterval(() => {}, 1000);');
  const limit = 1000;
  assert.equal(await runTests([spins, waits], { cwd: folder, stdio: 'ignore', limit }), 1);
});

test('files begin in the order given, and one that fails fails the run', async () => {
  const began = join(folder, 'began');
  const note = (name: string): string =>
    write(
      name,
      `import { appendFileSync } from 'node:fs';
      appendFileSync(${JSON.stringify(began)}, '${name} ');`,
    );
  const files = ['z.test.mjs', 'b.test.mjs', 'a.test.mjs'].map(note);
  assert.equal(await runTests(files, { cwd: folder, stdio: 'ignore', concurrency: 1 }), 0);
  assert.equal(readFileSync(began, 'utf8'), 'z.test.mjs b.test.mjs a.test.mjs ');
  const fails = write('fails.test.mjs', 'process.exitCode = 1;');
  assert.equal(await runTests([...files, fails], { cwd: folder, stdio: 'ignore' }), 1);
});

test('what failed is said once more at the end, with its file and its error', async () => {
  const file = write(
    'one-fails.test.mjs',
    `import { test } from 'node:test';
    test('first', () => { throw new Error('the reason'); });
    for (let at = 0; at < 50; at++) test('later ' + at, () => {});`,
  );
  const log = openSync(join(folder, 'log'), 'w');
  try {
    const status = await runTests([file], { cwd: folder, stdio: ['ignore', log, 'ignore'] });
    assert.equal(status, 1);
  } finally {
    closeSync(log);
  }
  const [, end] = readFileSync(join(folder, 'log'), 'utf8').split('# FAILED one-fails.test.mjs: ');
  assert.match(end ?? '', /^first\n# +Error: the reason\n/);
});
