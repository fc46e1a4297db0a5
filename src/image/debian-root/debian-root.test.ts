/** Packages of the test's own: their layer, dpkg's database, and what comes back from the guest. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, describe, test } from 'node:test';
import type { LayerEntry } from '../oci/layer-entry.js';
import { parseLayerIndex } from '../oci/layer-entry.js';
import { ImageStore } from '../store.js';
import { TarReader } from '../tar.js';
import { type TarMember, tarArchive } from '../testing/tar-builder.js';
import { layerEntries, storeChanges } from './changes-layer.js';
import { CONFIGURING, configureScript } from './configure-script.js';
import { md5 } from './dpkg-database.js';
import { unpackPackages } from './unpack-packages.js';

const folder = mkdtempSync(join(tmpdir(), 'pando-debian-root-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const store = new ImageStore(join(folder, 'store'));
const skip = spawnSync('dpkg-deb', ['--version']).status === 0 ? false : 'dpkg-deb is missing';

let made = 0;

/** Builds a package of files by path; values that begin with `->` are symbolic links. */
function makePackage(control: string, files: Readonly<Record<string, string>>): string {
  const name = /^Package: (.*)$/m.exec(control)?.[1] ?? '';
  const root = join(folder, `${name}-${++made}`);
  mkdirSync(join(root, 'DEBIAN'), { recursive: true });
  writeFileSync(join(root, 'DEBIAN/control'), `${control}Maintainer: T <t@example.org>\n`);
  for (const [path, text] of Object.entries(files)) {
    const file = join(root, path);
    mkdirSync(dirname(file), { recursive: true });
    if (text.startsWith('->')) symlinkSync(text.slice(2), file);
    else writeFileSync(file, text);
    if (/inst$/.test(path)) chmodSync(file, 0o755);
  }
  const deb = `${root}.deb`;
  const args = ['--root-owner-group', '-Znone', '--build', root, deb];
  const { status, stderr } = spawnSync('dpkg-deb', args, { encoding: 'utf8' });
  assert.equal(status, 0, stderr);
  return deb;
}

const TOOL = `Package: tool
Version: 1.0-1
Architecture: amd64
Depends: libthing (>= 2)
Description: a tool
 that does something
`;
const LIBRARY = `Package: libthing
Version: 2.1
Architecture: amd64
Multi-Arch: same
Description: a library
`;

/** The layer's entries and what is in their files. */
async function unpacked(): Promise<{
  entries: LayerEntry[];
  names: readonly string[];
  text: (name: string) => string;
}> {
  const debs = [
    makePackage(LIBRARY, {
      'lib/x86_64-linux-gnu/libthing.so.2': 'library',
      'DEBIAN/triggers': 'interest-noawait ldconfig\ninterest /usr/share/things\nactivate other\n',
    }),
    makePackage(TOOL, {
      'bin/tool': 'program',
      'usr/share/things/a': 'a',
      'usr/bin/alias': '->/bin/tool',
      'etc/tool.conf': 'x = 1\n',
      'DEBIAN/conffiles': '/etc/tool.conf\n',
      'DEBIAN/postinst': '#!/bin/sh\n',
    }),
  ];
  const { layer, names } = await unpackPackages(debs, store, () => {});
  const entries = parseLayerIndex(readFileSync(store.objectPath(layer.index), 'utf8'));
  const data = readFileSync(store.objectPath(layer.data!));
  const text = (name: string): string => {
    const entry = entries.find((each) => each.name === name);
    assert.ok(entry !== undefined, name);
    return data.subarray(entry.dataOffset, entry.dataOffset + entry.size).toString();
  };
  return { entries, names, text };
}

describe('packages as a layer', { skip }, () => {
  test('lie where a merged /usr has them, each directory once', async () => {
    const { entries, names, text } = await unpacked();
    assert.deepEqual(names, ['libthing:amd64', 'tool']);
    assert.equal(text('usr/bin/tool'), 'program');
    assert.equal(text('usr/lib/x86_64-linux-gnu/libthing.so.2'), 'library');
    const links = entries.filter(({ kind }) => kind === 'symlink');
    assert.deepEqual(
      links.map(({ name, linkName }) => `${name} ${linkName}`),
      [
        ...['bin usr/bin', 'lib usr/lib', 'lib64 usr/lib64', 'sbin usr/sbin'],
        'usr/bin/alias /bin/tool',
      ],
    );
    const directories = entries.filter(({ kind }) => kind === 'directory').map(({ name }) => name);
    assert.equal(new Set(directories).size, directories.length);
    assert.ok(entries.every(({ uid, gid }) => uid === 0 && gid === 0));
  });

  test('are unpacked and not configured, as dpkg reads its database', async () => {
    const { entries, text } = await unpacked();
    const database = join(folder, 'database');
    for (const { kind, name } of entries) {
      const path = /^var\/lib\/dpkg\/(.*)$/.exec(name)?.[1];
      if (kind !== 'file' || path === undefined) continue;
      mkdirSync(dirname(join(database, path)), { recursive: true });
      writeFileSync(join(database, path), text(name));
    }
    const query = (...args: string[]): string => {
      const all = [`--admindir=${database}`, ...args];
      const { status, stdout, stderr } = spawnSync('dpkg-query', all, { encoding: 'utf8' });
      assert.equal(status, 0, stderr);
      return stdout;
    };
    // biome-ignore lint/suspicious/noTemplateCurlyInString: dpkg-query's own.
    const format = '${Package} ${Version} ${db:Status-Abbrev}${Conffiles}\n';
    assert.equal(
      query('--show', `--showformat=${format}`),
      `libthing 2.1 iU \ntool 1.0-1 iU  /etc/tool.conf ${md5(Buffer.from('x = 1\n'))}\n`,
    );
    const listed = query('--listfiles', 'tool').split('\n');
    assert.ok(listed.includes('/.') && listed.includes('/bin/tool'), listed.join(' '));
    assert.match(query('--search', '/lib/x86_64-linux-gnu/libthing.so.2'), /^libthing:amd64: /);
    assert.equal(text('var/lib/dpkg/triggers/File'), '/usr/share/things libthing:amd64\n');
    assert.equal(text('var/lib/dpkg/triggers/ldconfig'), 'libthing:amd64/noawait\n');
    assert.equal(text('var/lib/dpkg/info/tool.postinst'), '#!/bin/sh\n');
  });
});

describe("a guest's changes", () => {
  const changes: readonly TarMember[] = [
    { name: './', type: '5' },
    { name: './etc/', type: '5', pax: { 'SCHILY.xattr.trusted.overlay.opaque': 'y' } },
    { name: './etc/new', content: 'new' },
    { name: './gone', type: '3' },
    { name: './usr/gone', type: '3' },
    { name: './null', type: '3', major: 1, minor: 3 },
    { name: './hard', type: '1', linkName: './etc/new' },
  ];

  test('become whiteouts and opaque marks of a layer', async () => {
    const reader = new TarReader(
      (async function* () {
        yield tarArchive(changes);
      })(),
    );
    const entries = [];
    for (let entry = await reader.next(); entry !== undefined; entry = await reader.next()) {
      entries.push(
        ...layerEntries(entry).map(({ kind, name, linkName }) => [kind, name, linkName]),
      );
    }
    assert.deepEqual(entries.slice(1), [
      ['directory', 'etc', ''],
      ['file', 'etc/.wh..wh..opq', ''],
      ['file', 'etc/new', ''],
      ['file', '.wh.gone', ''],
      ['file', 'usr/.wh.gone', ''],
      ['character', 'null', ''],
      ['link', 'hard', 'etc/new'],
    ]);
  });

  test('end where the archive ends, not the disk', async () => {
    const disk = join(folder, 'disk');
    writeFileSync(disk, Buffer.concat([tarArchive(changes), Buffer.alloc(1 << 20, 0xee)]));
    const { index, data } = await storeChanges(disk, store);
    assert.equal(parseLayerIndex(readFileSync(store.objectPath(index), 'utf8')).length, 8);
    assert.equal(readFileSync(store.objectPath(data!)).subarray(0, 3).toString(), 'new');
    writeFileSync(disk, tarArchive(changes).subarray(0, 700));
    await assert.rejects(storeChanges(disk, store), { code: 'TAR_MALFORMED' });
  });
});

test('the script is one that sh takes', () => {
  const script = configureScript(['base-passwd', "odd'name", 'libc6:amd64'], '/dev/vda');
  const { status, stderr } = spawnSync('sh', ['-n'], { input: script, encoding: 'utf8' });
  assert.equal(status, 0, stderr);
  assert.match(script, /for package in 'base-passwd' 'libc6:amd64'; do/);
  assert.equal(CONFIGURING.exec('Setting up libc6:amd64 (2.36-9) ...')?.[1], 'libc6:amd64');
});
