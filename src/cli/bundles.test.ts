/** V8 takes the code caches that the build makes of Pando's bundles (docs/start.md). */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const BUNDLES = fileURLToPath(new URL('../bundles/', import.meta.url));
const TRAINING = new URL('../../scripts/training-kernel.mjs', import.meta.url);
const AWAIT_THREADS = fileURLToPath(new URL('../../scripts/await-threads.cjs', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'pando-bundles-'));
after(() => rmSync(folder, { recursive: true }));

/** Loaded first by every thread: says of each script with a cache whether V8 took it. */
const REPORTER = `
const vm = require('node:vm');
const { writeSync } = require('node:fs');
const { basename } = require('node:path');
vm.Script = class extends vm.Script {
  constructor(source, options) {
    super(source, options);
    const taken = this.cachedDataRejected === false;
    writeSync(2, basename(options.filename) + (taken ? ' taken' : ' compiled') + '\\n');
  }
};
`;

const built = existsSync(join(BUNDLES, 'complete'));

test('code caches are taken, by threads too', { skip: !built && 'no bundler' }, async () => {
  const { trainingKernel, TRAINING_WORD } = (await import(TRAINING.href)) as {
    trainingKernel: () => Uint8Array;
    TRAINING_WORD: string;
  };
  const kernel = join(folder, 'kernel');
  writeFileSync(kernel, trainingKernel());
  const reporter = join(folder, 'reporter.cjs');
  writeFileSync(reporter, REPORTER);
  const words = [
    [
      '--require',
      AWAIT_THREADS,
      '--require',
      reporter,
      join(BUNDLES, 'run-main.cjs'),
      'run',
      '--kernel',
      kernel,
    ],
    ['--accel', 'wasm', '--tier', '1', '--serial', 'null', '--until', TRAINING_WORD],
  ].flat();
  const { status, stderr } = spawnSync(process.execPath, words, {
    encoding: 'utf8',
    timeout: 600_000,
  });
  assert.equal(status, 0, stderr);
  const reports = stderr.split('\n').filter((line) => / (taken|compiled)$/.test(line));
  assert.deepEqual(reports.sort(), [
    'run-main.js taken',
    'translator-worker.js taken',
    'worker.js taken',
  ]);
});
