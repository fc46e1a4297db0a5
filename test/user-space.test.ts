/**
 * Debian's bash, coreutils, python3, perl and openssl compute in a guest what they compute on the host:
 * the same programs run the same scripts (test/guest/) on both, and print the same bytes.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { ENVIRONMENT, UserSpace } from '#dist/image/testing/user-space.js';
import { bootToShell, debianImage } from './testing/boot.js';
import type { Console } from './testing/console.js';

/** dist/test/ is as deep below the project as the sources are below the folder that holds them. */
const SCRIPTS = fileURLToPath(new URL('../../test/guest', import.meta.url));

/** Whether processes of this host can execute 32-bit code; asked in a process that takes no harm. */
function hostRuns32(): boolean {
  const oracle = new URL('../accel/wasm/testing/oracle.js', import.meta.url).href;
  const ask = `import('${oracle}').then(({ Oracle }) => process.exit(new Oracle().runs32() ? 0 : 1))`;
  return spawnSync(process.execPath, ['-e', ask]).status === 0;
}

const COMMANDS = [
  'python3.11 arithmetic.py',
  'python3.11 library.py',
  `python3.11 processes.py${hostRuns32() ? '' : ' --without-compatibility-mode'}`,
  'perl text.pl',
  'bash text.sh',
  'bash openssl.sh',
];

const image = await debianImage();
const space = await UserSpace.open();

/** Parts of debug.py that this host lacks: monitors of virtual hosts leave some out. */
const lacking = (await space.runHere('python3.11 debug.py probe', SCRIPTS)).trim();
COMMANDS.push(`python3.11 debug.py ${lacking}`);

const sha256 = (text: string): string => createHash('sha256').update(text, 'latin1').digest('hex');

/** The text of a guest's file. */
async function fetchFile(console: Console, path: string): Promise<string> {
  const packed = await console.run(`gzip -c ${path} | base64`);
  return gunzipSync(Buffer.from(packed, 'base64')).toString('latin1');
}

/** The first lines that differ, for a message that a person can read. */
function differences(guest: string, host: string): string {
  const ours = guest.split('\n');
  const theirs = host.split('\n');
  const found: string[] = [];
  let different = 0;
  for (let n = 0; n < Math.max(ours.length, theirs.length); n++) {
    if (ours[n] === theirs[n]) continue;
    if (different++ < 10) found.push(`line ${n + 1}\n  guest: ${ours[n]}\n  host:  ${theirs[n]}`);
  }
  return `${different} lines of ${theirs.length} differ\n${found.join('\n')}`;
}

test('programs print the same bytes in a guest as on the host', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'pando-user-space-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const initrd = join(folder, 'initrd');
  // Linux unpacks archives that follow one another into the same tree.
  const own = await readFile(image.initrdPath!);
  await writeFile(initrd, Buffer.concat([own, space.archive(SCRIPTS)]));

  const { vm, console } = await bootToShell(image, { initrd, immutableImages: false });
  await using _ = vm;
  await console.run('mount -t proc proc /debian/proc && mount --bind /dev /debian/dev');
  await t.test('the C library finds x86-64-v2', async () => {
    const help = await console.run('chroot /debian /lib64/ld-linux-x86-64.so.2 --help');
    assert.match(help, /x86-64-v2 \(supported, searched\)/);
    assert.doesNotMatch(help, /x86-64-v3 \(supported/);
    const flags = await console.run('grep -m1 ^flags /proc/cpuinfo');
    for (const name of ['aes', 'pclmulqdq', 'movbe', 'adx', 'lahf_lm'])
      assert.ok(flags.split(/\s+/).includes(name), name);
  });
  const environment = Object.entries(ENVIRONMENT).map(([name, value]) => `${name}=${value}`);
  /** The whole of what a command prints in the guest is `expected`. */
  const printsThere = async (command: string, expected: string): Promise<void> => {
    // In and out as on the host: programs buffer what they write to a file or terminal in other ways.
    const shell = `cd /tests; { ${command}; } 2>&1 < /dev/null | cat > /tmp/out`;
    await console.run(`${environment.join(' ')} chroot /debian /bin/bash -c '${shell}'; true`);
    const [sum] = (await console.run('sha256sum /debian/tmp/out')).split(' ');
    if (sum === sha256(expected)) return;
    const guest = await fetchFile(console, '/debian/tmp/out');
    assert.fail(differences(guest, expected));
  };
  for (const command of COMMANDS) {
    await t.test(command, async () => {
      const host = await space.runHere(command, SCRIPTS);
      assert.ok(host.length > 2000, `the script works on the host:\n${host.slice(-2000)}`);
      await printsThere(command, host);
    });
  }
  await t.test('debug.py prints what the manuals say, parts that this host lacks too', async () => {
    const expected = await readFile(join(SCRIPTS, 'debug.txt'), 'latin1');
    await printsThere('python3.11 debug.py', expected);
  });
});
