#!/usr/bin/env node
// The launcher: in a checkout it first builds what is missing or older than its sources.
const { existsSync } = require('node:fs');
const { dirname, join } = require('node:path');

const root = dirname(__dirname);

/** Builds; standard output belongs to the command. */
function setUp() {
  const { spawnSync } = require('node:child_process');
  const setup = join(root, 'scripts', 'setup.mjs');
  const stdio = ['ignore', 2, 2];
  const { status } = spawnSync(process.execPath, [setup, '--quiet'], { stdio });
  if (status !== 0) process.exit(status ?? 1);
}

function bundlesAreUsable() {
  if (!existsSync(join(root, 'src')) || !existsSync(join(root, 'scripts', 'freshness.cjs'))) {
    return existsSync(join(root, 'dist', 'bundles', 'complete'));
  }
  const { buildIsFresh, bundlesAreFresh } = require('../scripts/freshness.cjs');
  if (!buildIsFresh(root)) setUp();
  return bundlesAreFresh(root);
}

// `run` has a bundle of its own, which starts faster than the whole command line.
if (!bundlesAreUsable()) import('../dist/cli/main.js');
else if (process.argv[2] === 'run') require('../dist/bundles/run-main.cjs');
else require('../dist/bundles/main.cjs');
