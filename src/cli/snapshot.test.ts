/** `pando snapshot` and `pando run --snapshot`, with a guest that prints before and after it was written down. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { GuestCode } from '../accel/conformance/testing/guest.js';

const MAIN = fileURLToPath(new URL('../../bin/pando.js', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'pando-snapshot-'));
const store = join(folder, 'store');
const kernel = join(folder, 'guest.elf');
after(() => rmSync(folder, { recursive: true }));

/** Says that it is ready, waits for a byte, says that it goes on, and powers off. */
function guest(): Uint8Array {
  const code = new GuestCode().stack().print('ready\n').label('poll');
  code.emit('66bafd03 ec a801').j('z', 'poll').emit('66baf803 ec').print('goes on\n');
  return code.powerOff().image();
}

function pando(input: string, ...args: string[]) {
  const env = { ...process.env, PANDO_STORE: store };
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, ...args], {
    input,
    env,
    encoding: 'utf8',
    timeout: 600_000,
  });
  return { status, stdout, stderr };
}

test('a snapshot is made, listed, looked at, run, run several times, and removed', () => {
  writeFileSync(kernel, guest());
  const create = ['snapshot', 'create', 'one', '--kernel', kernel, '--memory', '64M'];
  const made = pando('', ...create, '--until', 'ready');
  assert.deepEqual([made.status, made.stderr], [0, '']);
  assert.match(made.stdout, /^one: .* pando run --snapshot one\n$/);
  const again = pando('', ...create, '--until', 'ready');
  assert.deepEqual([again.status, again.stderr.split(':')[0]], [1, 'SNAPSHOT_EXISTS']);
  assert.equal(pando('', ...create, '--until', 'ready', '--replace').status, 0);

  assert.match(
    pando('', 'snapshot', 'ls').stdout,
    /\none +\d{4}-\d\d-\d\d \d\d:\d\d +wasm +67\.1 MB/,
  );
  const [listed] = JSON.parse(pando('', 'snapshot', 'ls', '--json').stdout) as { name: string }[];
  assert.equal(listed?.name, 'one');
  assert.match(pando('', 'snapshot', 'inspect', 'one').stdout, /wasm, 67\.1 MB, 1 vCPU/);

  const ran = pando('x', 'run', '--snapshot', 'one');
  assert.deepEqual([ran.status, ran.stdout.replaceAll('\r', '')], [0, 'goes on\n']);
  for (const isolate of ['shared', 'process']) {
    const all = ['--count', '3', '--isolate', isolate, '--serial', 'null', '--timeout', '1'];
    const several = pando('', 'run', '--snapshot', 'one', ...all);
    assert.equal(several.status, 3, several.stderr);
  }
  const conflict = pando('', 'run', '--snapshot', 'one', '--memory', '1G');
  assert.deepEqual([conflict.status, conflict.stderr.split(':')[0]], [1, 'OPTION_CONFLICT']);

  assert.equal(pando('', 'snapshot', 'rm', 'one').status, 0);
  assert.deepEqual(readdirSync(join(store, 'snapshots')).sort(), ['objects', 'temporary']);
  const gone = pando('', 'run', '--snapshot', 'one');
  assert.deepEqual([gone.status, gone.stderr.split(':')[0]], [1, 'SNAPSHOT_NOT_FOUND']);
});
