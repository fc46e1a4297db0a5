/** The command's console on a terminal, as a person has it. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { PseudoTerminal } from '#dist/cli/testing/pseudo-terminal.js';
import { INIT_SCRIPT } from '#dist/image/init-script.js';
import { writeCpio } from '#dist/loader/cpio-writer.js';
import { debianImage } from './testing/boot.js';

const MAIN = fileURLToPath(new URL('../../bin/pando.js', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'pando-terminal-'));
after(() => rmSync(folder, { recursive: true }));

test("the guest's console has the terminal's size, and Ctrl-A X leaves", async () => {
  const image = await debianImage();
  // An image may have been pulled with an earlier init.
  const init = {
    name: 'init',
    permissions: 0o755,
    kind: 'file',
    content: Buffer.from(INIT_SCRIPT),
  } as const;
  const initrd = join(folder, 'initrd');
  writeFileSync(initrd, Buffer.concat([readFileSync(image.initrdPath ?? ''), writeCpio([init])]));
  const terminal = new PseudoTerminal(37, 101);
  const words = ['run', '--initrd', initrd, '--accel', 'wasm', '--memory', '256M'];
  const child = terminal.start(process.execPath, [MAIN, ...words]);
  const ended = once(child, 'exit');
  await terminal.until(' # ');
  terminal.type('stty size\r');
  await terminal.until('37 101');
  terminal.type('\u0001x');
  assert.deepEqual(await ended, [0, null]);
  terminal.close();
});
