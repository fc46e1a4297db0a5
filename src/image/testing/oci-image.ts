/** An image of four layers, made with umoci, that has everything that is easy to get wrong. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TarMember, tarArchive } from './tar-builder.js';

const folder = (name: string, more: Partial<TarMember> = {}): TarMember => ({
  ...{ name, type: '5', mode: 0o755 },
  ...more,
});
const CAPABILITY = Buffer.from('0100000202040000000000000000000000000000', 'hex');
const LONG = `${'long-name-'.repeat(20)}end`;

/** Device nodes and owners need root, also when they are unpacked. */
export const LAYERS: readonly (readonly TarMember[])[] = [
  [
    folder('./'),
    folder('etc/'),
    { name: 'etc/passwd', content: 'root:x:0:0:root:/root:/bin/sh\n' },
    { name: 'etc/removed', content: 'x' },
    folder('bin/'),
    { name: 'bin/su', content: '#!/bin/true\n', mode: 0o4755 },
    {
      name: 'bin/ping',
      content: 'ping',
      mode: 0o755,
      pax: { 'SCHILY.xattr.security.capability': CAPABILITY },
    },
    folder('usr/'),
    folder('usr/lib/'),
    { name: 'lib', type: '2', linkName: 'usr/lib', mode: 0o777 },
    { name: 'usr/lib/libc.so', content: Buffer.alloc(123_457, 'c'), mode: 0o755 },
    folder('dev/'),
    { name: 'dev/null', type: '3', major: 1, minor: 3, mode: 0o666 },
    { name: 'dev/disk', type: '4', major: 259, minor: 7, mode: 0o660, gid: 6 },
    { name: 'dev/pipe', type: '6', mode: 0o600 },
    folder('data/', { uid: 1000, gid: 1000, mode: 0o2775 }),
    { name: 'data/a', content: 'lower a', uid: 1000, gid: 1000 },
    folder('data/sub/'),
    { name: 'data/sub/b', content: 'lower b' },
    folder('whole/'),
    { name: 'whole/gone', content: 'gone' },
    folder('tmp/', { mode: 0o1777 }),
    { name: 'link-a', type: '1', linkName: 'data/a' },
  ],
  [
    { name: 'etc/.wh.removed' },
    { name: 'lib/through-link', content: 'reached usr/lib', mtime: 1_500_000_000 },
    { name: 'usr/second', type: '1', linkName: 'usr/lib/libc.so' },
    {
      name: LONG.slice(0, 10),
      content: 'long',
      pax: { path: `usr/${LONG}`, mtime: '1600000001.25' },
    },
    { name: 'bin/owner', content: 'o', pax: { uid: '70000', gid: '4000000000' } },
    { name: 'data/named', content: 'n', pax: { 'SCHILY.xattr.user.mime_type': 'text/plain' } },
  ],
  [
    folder('data/sub/', { mode: 0o700 }),
    { name: 'data/sub/.wh..wh..opq' },
    { name: 'data/sub/c', content: 'upper c' },
    { name: '.wh.whole' },
    { name: 'empty', content: '' },
  ],
  [
    { name: 'whole', content: 'a file now' },
    { name: 'data/a', content: 'upper a', uid: 1000, gid: 1000 },
    { name: 'usr/lib/name with ümlaut', content: 'ü' },
  ],
];

export const CONFIG = {
  entrypoint: ['/bin/program', '--flag'],
  cmd: ['first', 'second word'],
  env: ['PATH=/usr/bin:/bin', 'GREETING=hello world'],
  user: '1000:1000',
  workdir: '/data',
  exposedPorts: ['80/tcp'],
  labels: { 'org.example.a': 'b' },
};

function run(command: string, ...args: string[]): void {
  const { status, stdout, stderr } = spawnSync(command, args, { encoding: 'utf8' });
  assert.equal(status, 0, `${command} ${args.join(' ')}: ${stdout}${stderr}`);
}

/**
 * Makes the image and unpacks it.
 * @returns the OCI layout with the tag `four`, and the folder that umoci has unpacked it to
 */
export function makeOciImage(work: string): { readonly layout: string; readonly rootfs: string } {
  mkdirSync(work, { recursive: true });
  const layout = join(work, 'layout');
  const image = `${layout}:four`;
  run('umoci', 'init', '--layout', layout);
  run('umoci', 'new', '--image', image);
  LAYERS.forEach((members, index) => {
    const file = join(work, `layer-${index}.tar`);
    writeFileSync(file, tarArchive(members));
    run('umoci', 'raw', 'add-layer', '--image', image, file);
  });
  run(
    'umoci',
    'config',
    ...['--image', image, '--config.user', CONFIG.user, '--config.workingdir', CONFIG.workdir],
    ...CONFIG.entrypoint.map((word) => `--config.entrypoint=${word}`),
    ...CONFIG.cmd.map((word) => `--config.cmd=${word}`),
    ...['--clear', 'config.env', ...CONFIG.env.map((variable) => `--config.env=${variable}`)],
    ...CONFIG.exposedPorts.map((port) => `--config.exposedports=${port}`),
    ...Object.entries(CONFIG.labels).map(([name, value]) => `--config.label=${name}=${value}`),
  );
  const bundle = join(work, 'bundle');
  run('umoci', 'unpack', '--image', image, bundle);
  return { layout, rootfs: join(bundle, 'rootfs') };
}
