/** Every test of instructions, paging, privileges and exceptions once more, with everything translated before it runs. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const folder = fileURLToPath(new URL('..', import.meta.url));

test('instruction tests pass with everything translated', { timeout: 600_000 }, () => {
  const files = readdirSync(folder)
    .filter((name) => name.endsWith('.test.js'))
    .map((name) => join(folder, name));
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  const options = ['--test', '--test-concurrency=2', '--test-reporter=tap'];
  const result = spawnSync(process.execPath, [...options, ...files], {
    env: { ...env, PANDO_TEST_TIER: '1' },
    encoding: 'utf8',
    maxBuffer: 1 << 28,
  });
  const failed = result.stdout.split('\n').filter((line) => /^\s*not ok/.test(line));
  assert.deepEqual(failed, []);
  assert.equal(result.status, 0, result.stdout.slice(-4000));
  const passed = Number(/^# pass (\d+)$/m.exec(result.stdout)?.[1]);
  assert.ok(passed > 1000, `${passed} passed`);
});
