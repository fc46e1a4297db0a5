/** V8 takes the code caches that the build makes of Pando's bundles (docs/start.md). */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const BUNDLES = fileURLToPath(new URL('../bundles/', import.meta.url));
const TRAINING = new URL('../../scripts/training-kernel.mjs', import.meta.url);
const TRAINING_SNAPSHOT = fileURLToPath(
  new URL('../../scripts/training-snapshot.mjs', import.meta.url),
);
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

const skip = !existsSync(join(BUNDLES, 'complete')) && 'no bundler';

interface Training {
  trainingKernel(): Uint8Array;
  readonly TRAINING_WORD: string;
}
const { trainingKernel, TRAINING_WORD } = (await import(TRAINING.href)) as Training;
const kernel = join(folder, 'kernel');
writeFileSync(kernel, trainingKernel());
const reporter = join(folder, 'reporter.cjs');
writeFileSync(reporter, REPORTER);

/** What Node.js says on standard error. */
function node(...words: string[]): string {
  const { status, stderr } = spawnSync(process.execPath, words, {
    encoding: 'utf8',
    env: { ...process.env, PANDO_STORE: join(folder, 'store') },
    timeout: 600_000,
  });
  assert.equal(status, 0, stderr);
  return stderr;
}

/** Runs a machine until it has printed; says of each script with a cache whether V8 took it. */
function run(...machine: string[]): string[] {
  const stderr = node(
    ...['--require', AWAIT_THREADS, '--require', reporter, join(BUNDLES, 'run-main.cjs'), 'run'],
    ...[...machine, '--serial', 'null', '--until', TRAINING_WORD],
  );
  return stderr.split('\n').filter((line) => / (taken|compiled)$/.test(line));
}

test('code caches are taken, by threads too', { skip }, () => {
  const reports = run('--kernel', kernel, '--accel', 'wasm', '--tier', '1');
  assert.deepEqual(reports.sort(), [
    'run-main.js taken',
    'translator-worker.js taken',
    'worker.js taken',
  ]);
});

test('they are taken by a run that goes on from a snapshot, where the worker starts first', {
  skip,
}, () => {
  node(TRAINING_SNAPSHOT, kernel, 'ready', TRAINING_WORD, '1');
  const reports = run('--snapshot', 'ready');
  // The guest may have printed before the worker was there: the translator does not start then.
  assert.deepEqual(reports.slice(0, 2), ['run-main.js taken', 'worker.js taken']);
  assert.ok(reports.every((line) => line.endsWith(' taken')));
});

test('they hold the code that goes on from a snapshot', { skip }, () => {
  const cache = readFileSync(join(BUNDLES, 'run-main.cache'), 'latin1');
  assert.match(cache, /its accelerator is not known/, 'a text of what checks the manifest');
  assert.match(cache, /has a header that is none/, 'one of what decodes the state');
});
