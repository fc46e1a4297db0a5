import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';

test('the translator starts without a word, whichever flags this V8 knows', () => {
  const module = JSON.stringify(new URL('./thread.js', import.meta.url).href);
  const program = `
    const { TranslatorThread } = await import(${module});
    const thread = new TranslatorThread(1, (error) => { throw error; });
    thread.connect();
    await thread.close();
  `;
  const result = spawnSync(process.execPath, ['--input-type=module', '--eval', program], {
    encoding: 'utf8',
  });
  assert.deepEqual(
    { status: result.status, stdout: result.stdout, stderr: result.stderr },
    { status: 0, stdout: '', stderr: '' },
  );
});
