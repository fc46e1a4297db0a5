import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { ImageStore } from '../image/store.js';
import { progressLine } from './terminal/image-progress.js';

const folder = mkdtempSync(join(tmpdir(), 'pando-cli-'));
const storeFolder = join(folder, 'images');
after(() => rmSync(folder, { recursive: true, force: true }));

/** Runs `pando image …` in a process of its own; a PandoError is printed by its code. */
function pando(...args: string[]) {
  const script = `
    import { Command } from 'commander';
    import { registerImageCommand } from ${JSON.stringify(new URL('./image.js', import.meta.url).href)};
    const program = new Command('pando');
    registerImageCommand(program);
    await program.parseAsync(process.argv.slice(1), { from: 'user' }).catch((error) => {
      console.error(error.code);
      process.exitCode = 2;
    });`;
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    ['--input-type=module', '-e', script, '--', 'image', ...args],
    {
      env: { ...process.env, PANDO_STORE: storeFolder, XDG_CACHE_HOME: join(folder, 'cache') },
      encoding: 'utf8',
      cwd: import.meta.dirname,
    },
  );
  return { status, stdout, stderr };
}

describe('pando image', () => {
  it('lists, inspects and removes', async () => {
    assert.match(pando('ls').stdout, /^no images in /);
    assert.deepEqual(JSON.parse(pando('ls', '--json').stdout), []);
    const store = new ImageStore(storeFolder);
    const kernel = await store.put(new TextEncoder().encode('no kernel'));
    await store.commit({
      format: 1,
      name: 'one',
      created: '2026-01-02T00:00:00.000Z',
      kernel,
      commandLine: 'x',
      provenance: {
        kind: 'import',
        kernelFile: '/k',
        kernelFileSha256: kernel.sha256,
        packages: [],
      },
    });
    assert.match(pando('ls').stdout, /\none {3}0\.0 MB {2}- {7}- {5}2026-01-02 {2}\/k\n$/);
    assert.equal((JSON.parse(pando('ls', '--json').stdout) as { name: string }[])[0]!.name, 'one');
    assert.equal(pando('inspect', 'one').stderr, 'KERNEL_FORMAT_UNKNOWN\n');
    assert.equal(pando('rm', 'one').stdout, 'removed one: 1 objects, 0.0 MB\n');
    assert.deepEqual(pando('rm', 'one'), { status: 2, stdout: '', stderr: 'IMAGE_NOT_FOUND\n' });
  });

  it('prunes downloads that no image was made of, and all when asked to', async () => {
    const downloads = join(folder, 'cache', 'pando', 'packages');
    mkdirSync(downloads, { recursive: true });
    const [used, replaced] = ['a', 'b'].map((digit) => digit.repeat(64)) as [string, string];
    const paths = [used, replaced].map((hash) => join(downloads, `linux_${hash}.deb`));
    for (const path of paths) writeFileSync(path, 'deb');
    writeFileSync(join(downloads, 'mine.deb'), 'not named by its hash');
    const store = new ImageStore(storeFolder);
    const kernel = await store.put(new TextEncoder().encode('another kernel'));
    const architecture = 'amd64';
    await store.commit({
      format: 1,
      name: 'pulled',
      created: '2026-01-02T00:00:00.000Z',
      kernel,
      commandLine: '',
      provenance: {
        kind: 'debian',
        kernelFile: 'boot/vmlinuz',
        kernelFileSha256: kernel.sha256,
        packages: [{ name: 'linux', version: '1', architecture, sha256: used, size: 3 }],
      },
    });
    assert.equal(
      pando('prune').stdout,
      'pruned 0 objects, 0.0 MB; 0 files, 0.0 MB; 0 profiles, 0.0 MB; 1 downloads, 0.0 MB\n',
    );
    assert.deepEqual(readdirSync(downloads).sort(), [`linux_${used}.deb`, 'mine.deb']);
    const { downloads: pruned } = JSON.parse(pando('prune', '--all', '--json').stdout) as {
      downloads: unknown;
    };
    assert.deepEqual(pruned, [{ name: `linux_${used}.deb`, size: 3 }]);
  });

  it('refuses what it cannot do, with a code', () => {
    assert.equal(pando('pull', 'plan9').stderr, 'DISTRIBUTION_UNKNOWN\n');
    assert.equal(pando('pull', 'debian', '--name', '../x').stderr, 'IMAGE_NAME_INVALID\n');
    assert.equal(pando('import', 'x', '--kernel', join(folder, 'none')).stderr, 'FILE_NOT_FOUND\n');
    assert.equal(pando('import', 'x').stderr, 'OPTION_CONFLICT\n');
    assert.equal(pando('import', 'x', '--kernel', 'k', '--oci', 'o').stderr, 'OPTION_CONFLICT\n');
    assert.equal(pando('import', 'x', '--oci', join(folder, 'none')).stderr, 'FILE_UNREADABLE\n');
    assert.equal(pando('pull', 'docker.io/UPPER').stderr, 'IMAGE_REFERENCE_INVALID\n');
    assert.equal(pando('inspect', join(folder, 'none')).stderr, 'FILE_NOT_FOUND\n');
  });

  it('makes an initrd', () => {
    mkdirSync(join(folder, 'root'));
    writeFileSync(join(folder, 'root', 'init'), 'x');
    const output = join(folder, 'out.cpio');
    const made = pando('initrd', join(folder, 'root'), '-o', output, '--json');
    assert.deepEqual(JSON.parse(made.stdout), { path: output, size: 512, entries: 1 });
    assert.ok(existsSync(output));
  });
});

describe('progress line', () => {
  it('draws over itself on a terminal and is silent in a pipe', () => {
    let written = '';
    const stream = { isTTY: true, columns: 12, write: (text: string) => (written += text) };
    const line = progressLine(stream);
    line.sink('fetching');
    line.sink('fetching', 0.5);
    line.sink('fetching', 0.501);
    line.sink('a long phase indeed');
    line.end();
    line.end();
    const clear = '\r\x1b[K';
    assert.equal(written, `${clear}fetching${clear}fetchi 50 %${clear}a long phas${clear}`);
    written = '';
    progressLine({ ...stream, isTTY: false }).sink('fetching');
    assert.equal(written, '');
  });
});
