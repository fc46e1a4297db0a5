/** `pando template`: a run goes on from the image's, made again when the image is another. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { GuestCode } from '../accel/conformance/testing/guest.js';
import { BOOT_STAGE_PORT } from '../arch/layout.js';

const MAIN = fileURLToPath(new URL('./main.js', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'pando-template-'));
after(() => rmSync(folder, { recursive: true }));
/** What an image's init says there when user space runs. */
const USER_SPACE = 7;

/** Prints its name, is in user space, sleeps until a byte comes, says that it goes on, and powers off. */
function guest(name: string): Uint8Array {
  const code = new GuestCode().stack().interruptTable().gate(0x24, 'serial').pic(0xffef);
  code.print(`${name} boots\n`).out(BOOT_STAGE_PORT, USER_SPACE);
  code.out(0x3fc, 0x08).out(0x3f9, 0x01).sleepUntilCount(1).print(`${name} goes on\n`).powerOff();
  return code.countingHandler('serial', 'pic', () => code.in(0x3f8)).image();
}

function pando(input: string, ...args: string[]) {
  const env = { ...process.env, PANDO_STORE: join(folder, 'store') };
  const options = { input, env, encoding: 'utf8', timeout: 600_000 } as const;
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, ...args], options);
  assert.equal(status, 0, stderr);
  return stdout.replaceAll('\r', '');
}

function importImage(name: string): void {
  const kernel = join(folder, 'guest.elf');
  writeFileSync(kernel, guest(name));
  const initrd = join(folder, 'initrd');
  writeFileSync(initrd, '0707');
  pando('', 'image', 'import', 'small', '--kernel', kernel, '--initrd', initrd);
}

test('a run goes on from the template of its image, fresh ones and others boot', () => {
  const run = (...more: string[]): string =>
    pando('x', 'run', '--image', 'small', '--memory', '64M', ...more);
  importImage('one');
  assert.equal(run(), 'one boots\none goes on\n');
  const made = pando('', 'template', 'create', 'small', '--memory', '64M');
  assert.match(made, /^template of small: .*; pando run\n$/);
  assert.equal(run(), 'one goes on\n');
  assert.equal(run('--fresh'), 'one boots\none goes on\n');
  assert.equal(run('--memory', '128M'), 'one boots\none goes on\n');
  const listed = (): string => pando('', 'template', 'ls');
  assert.match(listed(), /\nsmall +\S+ \S+ +67\.1 MB .* current\n/);
  importImage('two');
  assert.match(listed(), / outdated\n/);
  assert.equal(run(), 'two goes on\n');
  assert.match(listed(), / current\n/);
  pando('', 'template', 'rm', 'small');
  assert.doesNotMatch(listed(), /small/);
  assert.equal(run(), 'two boots\ntwo goes on\n');
});
