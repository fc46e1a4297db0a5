/** What `npm start` runs, on the Debian image. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const PANDO = fileURLToPath(new URL('../../bin/pando.js', import.meta.url));

test('the demo boots VMs mapped and read, clones a template, and says what each way costs', () => {
  const { status, stdout, stderr } = spawnSync(process.execPath, [PANDO, 'demo'], {
    encoding: 'utf8',
    timeout: 1_200_000,
  });
  assert.equal(status, 0, stderr);
  assert.match(stdout, /^4 Linux guests have booted from one mapped copy of kernel and initrd/m);
  assert.equal([...stdout.matchAll(/^VM [0-3] +\d+\.\d s +\d+ +\d+$/gm)].length, 4);
  const answers = [...stdout.matchAll(/^ {2}(sandbox-[0-9a-f]{8}) runs Linux 6\.\d+/gm)];
  assert.equal(new Set(answers.map(([, name]) => name)).size, 8);
  const memory = (how: string): number =>
    Number(new RegExp(`^${how} +\\d+ +\\d+\\.\\d\\d s +(\\d+\\.\\d) MiB$`, 'm').exec(stdout)?.[1]);
  // What booted VMs take right after their boot depends on how far the sharing of written pages has come.
  assert.ok(memory('cloned') < Math.min(memory('mapped'), memory('read')), stdout);
});
