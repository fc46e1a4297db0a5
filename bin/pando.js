#!/usr/bin/env node
// The launcher: in a checkout it first builds what is missing or older than its sources.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));

if (existsSync(join(root, 'src')) && existsSync(join(root, 'scripts', 'freshness.mjs'))) {
  const { coreIsFresh, typescriptIsFresh } = await import('../scripts/freshness.mjs');
  if (!typescriptIsFresh(root) || !coreIsFresh(root)) {
    const setup = join(root, 'scripts', 'setup.mjs');
    // Standard output belongs to the command.
    const stdio = ['ignore', 2, 2];
    const { status } = spawnSync(process.execPath, [setup, '--quiet'], { stdio });
    if (status !== 0) process.exit(status ?? 1);
  }
}
await import('../dist/cli/main.js');
