import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { PandoError } from '../error.js';
import { Apt, parseStanza } from './apt.js';
import { readPackageFile } from './deb.js';
import { kernelDependency, resolveKernel } from './debian.js';
import { silent } from './progress.js';
import { sha256 } from './store.js';

const hasApt = spawnSync('apt-get', ['--version']).status === 0;
const skip = hasApt ? false : 'no APT on this host';

describe('package records', () => {
  it('parses stanzas with continuation lines', () => {
    const fields = parseStanza('Package: a\nDescription: one\n two\n .\nSHA256:  x \n');
    assert.deepEqual(
      [...fields],
      [
        ['Package', 'a'],
        ['Description', 'one\ntwo\n.'],
        ['SHA256', 'x'],
      ],
    );
  });

  it('finds the kernel that a metapackage depends on', () => {
    assert.equal(
      kernelDependency('linux-image-6.1.0-56-cloud-amd64 (= 6.1.192-2)'),
      'linux-image-6.1.0-56-cloud-amd64=6.1.192-2',
    );
    assert.equal(kernelDependency('kmod, linux-image-amd64, x'), 'linux-image-amd64');
    assert.equal(
      kernelDependency('kmod, linux-base (>= 4.3~), initramfs-tools | linux-initramfs-tool'),
      undefined,
    );
  });
});

/** A folder of packages with an index, and APT's configuration folder that names it as the source. */
class Repository {
  readonly folder = mkdtempSync(join(tmpdir(), 'pando-repository-'));
  readonly packages = join(this.folder, 'packages');
  private index = '';

  constructor() {
    chmodSync(this.folder, 0o755);
    mkdirSync(this.packages);
    for (const name of ['apt.conf.d', 'preferences.d', 'trusted.gpg.d', 'sources.list.d']) {
      mkdirSync(join(this.folder, 'etc', name), { recursive: true });
    }
    writeFileSync(
      join(this.folder, 'apt.conf'),
      `Dir::Etc "${join(this.folder, 'etc')}";\nAcquire::Retries "0";\n`,
    );
    this.setSource(`deb [trusted=yes] file:${this.packages} ./`);
  }

  setSource(line: string): void {
    writeFileSync(join(this.folder, 'etc', 'sources.list'), `${line}\n`);
  }

  add(
    name: string,
    version: string,
    depends: string,
    files: Readonly<Record<string, string>>,
    more = '',
  ): void {
    const root = join(this.folder, 'build', name);
    mkdirSync(join(root, 'DEBIAN'), { recursive: true });
    const control =
      `Package: ${name}\nVersion: ${version}\nArchitecture: amd64\nMaintainer: nobody\n` +
      `${depends === '' ? '' : `Depends: ${depends}\n`}${more}Description: test\n`;
    writeFileSync(join(root, 'DEBIAN', 'control'), control);
    for (const [path, content] of Object.entries(files)) {
      mkdirSync(join(root, path, '..'), { recursive: true });
      writeFileSync(join(root, path), content);
    }
    const file = `${name}_${version}_amd64.deb`;
    const built = spawnSync('dpkg-deb', ['--build', root, join(this.packages, file)]);
    assert.equal(built.status, 0, built.stderr.toString());
    const bytes = readFileSync(join(this.packages, file));
    this.index += `${control}Filename: ./${file}\nSize: ${bytes.length}\nSHA256: ${sha256(bytes)}\n\n`;
    writeFileSync(join(this.packages, 'Packages'), this.index);
  }

  /** Runs `work` with APT reading this repository only. */
  async use<T>(work: (apt: Apt, cache: string) => Promise<T>): Promise<T> {
    const cache = mkdtempSync(join(this.folder, 'cache-'));
    const before = process.env.APT_CONFIG;
    process.env.APT_CONFIG = join(this.folder, 'apt.conf');
    try {
      const apt = await Apt.open(cache, silent, join(this.folder, 'no-lists'));
      try {
        return await work(apt, cache);
      } finally {
        await apt.dispose();
        assert.deepEqual(readdirSync(join(cache, 'apt')), []);
      }
    } finally {
      if (before === undefined) delete process.env.APT_CONFIG;
      else process.env.APT_CONFIG = before;
    }
  }
}

describe('private APT', { skip }, () => {
  let repository: Repository;

  before(() => {
    repository = new Repository();
    repository.add('linux-image-test', '2', 'linux-image-1-test (= 2)', {});
    repository.add('linux-image-1-test', '2', 'kmod', { 'boot/vmlinuz-1-test': 'kernel bytes' });
    repository.add('linux-image-loop', '1', 'linux-image-loop', {});
    repository.add('changed', '1', '', { 'etc/changed': 'as signed' });
    writeFileSync(join(repository.packages, 'changed_1_amd64.deb'), 'not as signed');
    repository.add('base', '1', '', { 'etc/base': 'base' }, 'Essential: yes\n');
    repository.add(
      'tool',
      '2',
      'library (>= 1)',
      { 'usr/bin/tool': 'tool' },
      'Recommends: extra\n',
    );
    repository.add('library', '1', '', { 'usr/lib/library': 'library' });
    repository.add('extra', '1', '', { 'usr/bin/extra': 'extra' });
    repository.add('unmet', '1', 'library (>= 2)', {});
  });
  after(() => rmSync(repository.folder, { recursive: true, force: true }));

  it('resolves a metapackage, downloads its kernel and reads the file', async () => {
    await repository.use(async (apt, cache) => {
      const record = await resolveKernel(apt, 'linux-image-test');
      assert.equal(record.name, 'linux-image-1-test');
      assert.equal(record.version, '2');
      const path = await apt.download(record);
      assert.deepEqual(readdirSync(join(cache, 'packages')), [
        `linux-image-1-test_${record.sha256}.deb`,
      ]);
      assert.equal(sha256(readFileSync(path)), record.sha256);
      const found = await readPackageFile(path, (name) => name.startsWith('boot/vmlinuz-'), 100);
      assert.equal(found.path, 'boot/vmlinuz-1-test');
      assert.equal(Buffer.from(found.bytes).toString(), 'kernel bytes');
    });
  });

  it('chooses what a new system consists of, and downloads it', async () => {
    await repository.use(async (apt) => {
      const records = await apt.resolve(['tool']);
      assert.deepEqual(records.map(({ name }) => name).sort(), ['base', 'library', 'tool']);
      const names = records.map(({ name }) => name);
      assert.ok(names.indexOf('library') < names.indexOf('tool'), names.join(' '));
      const files = await apt.downloadAll(records);
      assert.deepEqual(
        files.map((file) => sha256(readFileSync(file))),
        records.map((record) => record.sha256),
      );
      const { ino } = statSync(files[0]!);
      assert.equal(statSync((await apt.downloadAll(records))[0]!).ino, ino);
      await assert.rejects(apt.resolve(['tool', 'unmet']), (error: PandoError) => {
        assert.equal(error.code, 'PACKAGES_UNRESOLVABLE');
        assert.match(error.message, /unmet : Depends: library \(>= 2\)/);
        return true;
      });
      await assert.rejects(apt.resolve(['missing']), { code: 'PACKAGES_UNRESOLVABLE' });
      await assert.rejects(apt.resolve(['-o=x']), { code: 'PACKAGE_NAME_INVALID' });
    });
  });

  it('gets a damaged download again', async () => {
    await repository.use(async (apt) => {
      const record = await apt.show('linux-image-1-test=2');
      const path = await apt.download(record);
      const { ino, size } = statSync(path);
      assert.equal(await apt.download(record), path);
      assert.equal(statSync(path).ino, ino, 'an intact one is kept');
      writeFileSync(path, Buffer.alloc(size));
      assert.equal(sha256(readFileSync(await apt.download(record))), record.sha256);
    });
  });

  it('gives coded errors for what a source does not have or does not hold right', async () => {
    await repository.use(async (apt) => {
      await assert.rejects(apt.show('missing'), { code: 'PACKAGE_NOT_FOUND' });
      await assert.rejects(apt.show('-o=x'), { code: 'PACKAGE_NAME_INVALID' });
      await assert.rejects(apt.show('linux-image-1-test=3'), { code: 'PACKAGE_NOT_FOUND' });
      await assert.rejects(resolveKernel(apt, 'linux-image-loop'), { code: 'PACKAGE_CYCLE' });
      await assert.rejects(apt.download(await apt.show('changed')), (error: { code: string }) =>
        /^PACKAGE_(DOWNLOAD_FAILED|HASH_WRONG)$/.test(error.code),
      );
    });
  });

  it('says so when the network or the tools are missing', async () => {
    const offline = new Repository();
    try {
      offline.setSource('deb [trusted=yes] http://127.0.0.1:9/debian bookworm main');
      await offline.use((apt) =>
        assert.rejects(apt.show('busybox-static'), { code: 'PACKAGE_LISTS_FAILED' }),
      );
      const path = process.env.PATH;
      process.env.PATH = offline.folder;
      try {
        await assert.rejects(
          offline.use(async () => undefined),
          {
            code: 'TOOL_MISSING',
            remedy: /pando image import/,
          },
        );
      } finally {
        process.env.PATH = path;
      }
    } finally {
      rmSync(offline.folder, { recursive: true, force: true });
    }
  });

  it('reports malformed packages', async () => {
    const good = readFileSync(join(repository.packages, 'linux-image-1-test_2_amd64.deb'));
    const header = Buffer.from(good);
    header.write('9999999999', 8 + 48, 'latin1');
    const files: readonly [string, Buffer][] = [
      ['empty', Buffer.alloc(0)],
      ['text', Buffer.from('no archive at all')],
      ['magic only', good.subarray(0, 8)],
      ['truncated', good.subarray(0, good.length - 60)],
      ['member past the end', header],
    ];
    const path = join(repository.folder, 'malformed.deb');
    for (const [what, bytes] of files) {
      writeFileSync(path, bytes);
      await assert.rejects(
        readPackageFile(path, (name) => name === 'none', 100),
        {
          code: 'PACKAGE_MALFORMED',
        },
        what,
      );
    }
    writeFileSync(path, good);
    await assert.rejects(
      readPackageFile(path, (name) => name === 'none', 100),
      {
        code: 'PACKAGE_FILE_MISSING',
      },
    );
    await assert.rejects(
      readPackageFile(path, () => true, 5),
      { code: 'TAR_FILE_TOO_LARGE' },
    );
  });

  it('works for a user without rights and leaves the system as it is', async () => {
    const home = mkdtempSync(join(tmpdir(), 'pando-user-'));
    const system = ['/var/lib/apt/lists', '/var/lib/dpkg/status', '/var/cache/apt'];
    const times = () =>
      system.filter((path) => existsSync(path)).map((path) => statSync(path).mtimeMs);
    const before = times();
    if (process.getuid?.() === 0) chownSync(home, 65534, 65534);
    // The modules are loaded before the rights are given up: another user may not read them.
    const script = `
      import { Apt } from ${JSON.stringify(new URL('./apt.js', import.meta.url).href)};
      import { resolveKernel } from ${JSON.stringify(new URL('./debian.js', import.meta.url).href)};
      if (process.getuid() === 0) {
        process.setgroups([]);
        process.setgid(65534);
        process.setuid(65534);
      }
      const apt = await Apt.open(${JSON.stringify(home)}, () => undefined, '/nonexistent');
      const kernel = await resolveKernel(apt, 'linux-image-cloud-amd64');
      const path = await apt.download(await apt.show('busybox-static'));
      await apt.dispose();
      console.log(JSON.stringify({ uid: process.getuid(), kernel: kernel.name, path }));`;
    try {
      const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
        stdio: ['ignore', 'pipe', 'inherit'],
        cwd: home,
        env: { PATH: process.env.PATH, HOME: home },
      });
      let output = '';
      child.stdout.setEncoding('utf8').on('data', (piece: string) => {
        output += piece;
      });
      assert.equal(await new Promise((resolve) => child.on('close', resolve)), 0);
      const result = JSON.parse(output) as { uid: number; kernel: string; path: string };
      assert.notEqual(result.uid, 0);
      assert.match(result.kernel, /^linux-image-\d.*-cloud-amd64$/);
      assert.match(result.path, /busybox-static_[0-9a-f]{64}\.deb$/);
      assert.ok(statSync(result.path).size > 500_000);
      assert.deepEqual(times(), before);
    } finally {
      rmSync(home, { recursive: true, force: true });
    }
  });
});
