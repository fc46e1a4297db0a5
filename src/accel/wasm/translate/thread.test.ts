import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';

const moduleAt = (file: string): string => JSON.stringify(new URL(file, import.meta.url).href);

/** Starts and ends a translator in a process of its own, which prints the flags that are set meanwhile. */
function translate(first: string) {
  const program = `
    import { syncBuiltinESMExports } from 'node:module';
    import v8 from 'node:v8';
    const set = v8.setFlagsFromString;
    v8.setFlagsFromString = (flag) => {
      console.log(flag);
      set(flag);
    };
    syncBuiltinESMExports();
    const { ownProcess } = await import(${moduleAt('../../../platform/own-process.js')});
    const { TranslatorThread } = await import(${moduleAt('./thread.js')});
    ${first}
    const thread = new TranslatorThread(1, {
      died: (error) => { throw error; },
      loaded: () => {},
      kept: () => {},
    });
    thread.connect();
    await thread.close();
  `;
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    ['--input-type=module', '--eval', program],
    { encoding: 'utf8' },
  );
  return { status, stdout, stderr };
}

test("a program that uses the library keeps V8's flags", () => {
  assert.deepEqual(translate(''), { status: 0, stdout: '', stderr: '' });
});

test('a process of Pando sets them without a word of V8, whichever it knows', () => {
  const { status, stdout, stderr } = translate('ownProcess();');
  assert.deepEqual({ status, stderr }, { status: 0, stderr: '' });
  assert.match(stdout, /^--no-wasm-lazy-compilation$/m);
});
