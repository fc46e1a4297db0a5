/** `pando bench footprint`: what it leaves in the store before it measures, and what it says. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { FootprintReport } from '#dist/bench/footprint-report.js';
import { storeDirectory } from '#dist/image/directories.js';
import { debianImage } from './testing/boot.js';

const PANDO = fileURLToPath(new URL('../../bin/pando.js', import.meta.url));
await debianImage();

test('what is measured has a profile and deduplicated pages, on a machine that never booted the image', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'pando-bench-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  for (const part of ['objects', 'manifests']) {
    await symlink(join(storeDirectory(), part), join(folder, part));
  }
  const json = join(folder, 'footprint.json');
  // The process that the VMs share is killed, and leaves nothing: what is there was there before.
  const words = ['--isolate', 'shared', '--load', 'map', '--instances', '1,2', '--settle', '2'];
  await promisify(execFile)(
    process.execPath,
    [PANDO, 'bench', 'footprint', '--accel', 'wasm', '--memory', '256M', ...words, '--json', json],
    { env: { ...process.env, PANDO_STORE: folder }, timeout: 900_000 },
  );
  assert.equal((await readdir(join(folder, 'profiles'))).length, 1);
  assert.equal((await readdir(join(folder, 'deduplicated'))).length, 1);
  const { series } = JSON.parse(await readFile(json, 'utf8')) as FootprintReport;
  const cells = series.flatMap((one) => one.cells);
  assert.deepEqual(
    cells.map(({ instances, processes }) => [instances, processes.length]),
    [
      [1, 1],
      [2, 1],
    ],
  );
  const [one, two] = cells;
  assert.ok(one && two && two.uss > one.uss, 'two guests take more memory than one');
});
