#!/usr/bin/env node
// The launcher: in a checkout it first builds what is missing or older than its sources.
const { existsSync } = require('node:fs');
const { dirname, join } = require('node:path');

const root = dirname(__dirname);
const SIGNALS = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 };

/** Builds, then calls `next`; standard output belongs to the command. */
function setUp(next) {
  const { spawn } = require('node:child_process');
  const setup = join(root, 'scripts', 'setup.mjs');
  const child = spawn(process.execPath, [setup, '--quiet'], { stdio: ['ignore', 2, 2] });
  let status = 0;
  const stop = (signal) => {
    status = SIGNALS[signal];
    child.kill('SIGTERM');
  };
  for (const signal of Object.keys(SIGNALS)) process.on(signal, stop);
  child.on('exit', (failed) => {
    for (const signal of Object.keys(SIGNALS)) process.off(signal, stop);
    if (status !== 0 || failed !== 0) process.exit(status || failed || 1);
    next();
  });
}

// `run` has a bundle of its own, which starts faster than the whole command line; the server has none.
function start(bundled) {
  if (!bundled || process.argv[2] === 'serve') import('../dist/cli/main.js');
  else if (process.argv[2] === 'run') require('../dist/bundles/run-main.cjs');
  else require('../dist/bundles/main.cjs');
}

if (!existsSync(join(root, 'src')) || !existsSync(join(root, 'scripts', 'freshness.cjs'))) {
  start(existsSync(join(root, 'dist', 'bundles', 'complete')));
} else {
  const { buildIsFresh, bundlesAreFresh, isProduct } = require('../scripts/freshness.cjs');
  if (buildIsFresh(root, isProduct)) start(bundlesAreFresh(root));
  else setUp(() => start(bundlesAreFresh(root)));
}
