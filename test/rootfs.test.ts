/** A program in a container image's root file system: EROFS, an overlay above it, the image's configuration. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Sandbox } from 'pando';
import { importOciImage } from '#dist/image/oci/pull.js';
import { ImageStore } from '#dist/image/store.js';
import { type TarMember, tarArchive } from '#dist/image/testing/tar-builder.js';
import { FileSource } from '#dist/loader/byte-source.js';
import { readInitrd } from '#dist/loader/cpio.js';
import { debianImage } from './testing/boot.js';

const MAIN = fileURLToPath(new URL('../../bin/pando.js', import.meta.url));
const NAME = 'test-rootfs';
const LARGE = Buffer.alloc(3_000_000, 'large');
const work = mkdtempSync(join(tmpdir(), 'pando-rootfs-'));
const store = new ImageStore();

/** Debian's static busybox, out of the image's initrd. */
function busybox(initrd: string): Uint8Array {
  const source = FileSource.open(initrd);
  try {
    for (const entry of readInitrd(source, 1 << 30)) {
      if (entry.name === 'bin/busybox') return entry.read().slice();
    }
  } finally {
    source.close();
  }
  throw new Error('the initrd has no bin/busybox');
}

/** Writes an image in the OCI layout. */
function writeLayout(
  folder: string,
  layers: readonly (readonly TarMember[])[],
  config: object,
): void {
  const blobs = join(folder, 'blobs', 'sha256');
  mkdirSync(blobs, { recursive: true });
  const put = (bytes: Uint8Array) => {
    const hash = createHash('sha256').update(bytes).digest('hex');
    writeFileSync(join(blobs, hash), bytes);
    return { digest: `sha256:${hash}`, size: bytes.length };
  };
  const json = (value: object) => Buffer.from(JSON.stringify(value));
  const stored = layers.map((members) => put(tarArchive(members)));
  const rootfs = { type: 'layers', diff_ids: stored.map(({ digest }) => digest) };
  const configuration = put(json({ os: 'linux', architecture: 'amd64', config, rootfs }));
  const manifest = put(json({ schemaVersion: 2, config: configuration, layers: stored }));
  writeFileSync(join(folder, 'index.json'), json({ schemaVersion: 2, manifests: [manifest] }));
}

async function pando(...words: string[]) {
  const args = [MAIN, 'run', NAME, '--memory', '256M', '--timeout', '600', ...words];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  const [stdout, stderr, [status]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, 'exit'),
  ]);
  return { status, stdout, stderr };
}

describe('a program in an image', () => {
  before(async () => {
    const { initrdPath } = await debianImage();
    const applets = [
      'sh',
      'cat',
      'df',
      'echo',
      'id',
      'ls',
      'md5sum',
      'ip',
      'mount',
      'sed',
      'stat',
      'touch',
      'rm',
      'wget',
    ];
    const links = applets.map((name) => ({ name: `bin/${name}`, type: '2', linkName: 'busybox' }));
    const folder = (name: string) => ({ name, type: '5', mode: 0o755 });
    const layers: TarMember[][] = [
      [
        ...[folder('bin/'), folder('etc/'), folder('data/'), { ...folder('tmp/'), mode: 0o1777 }],
        { name: 'bin/busybox', content: busybox(initrdPath!), mode: 0o755 },
        ...links,
        {
          name: 'etc/passwd',
          content: 'root:x:0:0::/root:/bin/sh\nwww:x:33:44::/var/www:/bin/sh\n',
        },
        { name: 'etc/group', content: 'web:x:44:\nextra:x:99:www\n' },
        { name: 'data/low', content: 'low', mode: 0o4750, uid: 70_000, gid: 80_000 },
        { name: 'data/gone', content: 'gone' },
        { name: 'large', content: LARGE },
      ],
      [{ name: 'data/.wh.gone' }, { name: 'data/high', content: 'high' }],
    ];
    const layout = join(work, 'layout');
    writeLayout(layout, layers, {
      ...{ User: 'www', WorkingDir: '/srv/app', Env: ['GREETING=hello world'] },
      Cmd: ['sh', '-c', 'id; echo $GREETING; exit 7'],
    });
    await importOciImage(layout, undefined, { name: NAME, store });
  });
  after(async () => {
    await store.remove(NAME);
    rmSync(work, { recursive: true, force: true });
  });

  it('is the image’s own, as its configuration has it; its status is the command’s', async () => {
    const { status, stdout, stderr } = await pando();
    assert.deepEqual(
      { status, stdout, stderr },
      {
        status: 7,
        stdout: 'uid=33(www) gid=44(web) groups=44(web),99(extra)\nhello world\n',
        stderr: '',
      },
    );
  });

  it('sees the layers’ tree, and writes above it, to a disk of its own', async () => {
    const script = [
      'pwd; echo $HOME; echo $(ls /data); stat -c "%a %u %g %s" /data/low; cat /data/high; echo',
      'md5sum < /large; echo mine > /tmp/file; cat /tmp/file; touch /data/x 2>/dev/null || echo no',
      'mount | while read a b c d e f; do case $c in /) echo $a $e;; esac; done',
      'df -k / | sed -n "s/^overlay *\\([0-9]*\\).*/\\1/p"; cat /sys/block/vd?/size',
      'kill -9 $$',
    ].join('; ');
    // The disk of the user stays the first one; what the program writes goes to another.
    const disk = join(work, 'disk');
    writeFileSync(disk, LARGE.subarray(0, 1 << 20));
    const disks = ['--disk', `${disk},rw`, '--disk-size', '64M'];
    const { status, stdout } = await pando(...disks, '--', 'sh', '-c', script);
    const large = createHash('md5').update(LARGE).digest('hex');
    const [room] = /^6[2-5]\d{3}$/m.exec(stdout) ?? ['no file system of some 60 MB'];
    assert.equal(
      stdout,
      ['/srv/app', '/var/www', 'high low', '4750 70000 80000 3', 'high']
        .concat([`${large}  -`, 'mine', 'no', 'overlay overlay', room, '2048', '131072', ''])
        .join('\n'),
    );
    assert.equal(status, 128 + 9);
  });

  it('reads the mapped root without a page cache, and from a disk where it does not fit', async () => {
    const cached = '$(sed -n "s/^Cached: *\\([0-9]*\\) kB/\\1/p" /proc/meminfo)';
    const script = `a=${cached}; md5sum < /large; b=${cached}; echo $((b - a))`;
    const growths: number[] = [];
    for (const memory of ['256M', '3071M']) {
      const { stdout } = await pando('--memory', memory, '--', 'sh', '-c', script);
      const [sum, growth] = stdout.trim().split('\n');
      assert.equal(sum, `${createHash('md5').update(LARGE).digest('hex')}  -`);
      growths.push(Number(growth));
    }
    const [mapped, read] = growths;
    assert.ok(mapped! < 500, `${mapped} kB of page cache for a mapped file of 3 MB`);
    assert.ok(read! > 2500, `${read} kB of page cache for a file of 3 MB on a disk`);
  });

  it('runs in a sandbox of the image, its fork, and one of a snapshot', async () => {
    await using sandbox = await Sandbox.create({ image: NAME, memory: 256 * 2 ** 20 });
    const script = 'id -un; pwd; echo $GREETING; md5sum < /large; ls /data; stat -c %u /data/low';
    const large = createHash('md5').update(LARGE).digest('hex');
    const expected = `www\n/srv/app\nhello world\n${large}  -\nhigh\nlow\n70000\n`;
    assert.equal((await sandbox.exec(script, { check: true })).stdout, expected);
    await sandbox.files.writeFile('/data/high', 'higher');
    const [fork] = await sandbox.fork(1);
    assert.ok(fork?.status === 'fulfilled');
    await using copy = fork.value;
    assert.equal((await copy.exec('cat /data/high; pwd')).stdout, 'higher/srv/app\n');
    const again = await Sandbox.create({ image: NAME, memory: 256 * 2 ** 20, user: '0', cwd: '/' });
    assert.equal((await again.exec('cat /data/high; pwd; id -u')).stdout, 'high/\n0\n');
    // Its kernel, which says nothing else, says why it ends.
    const panic = { code: 'SANDBOX_ENDED', message: /kernel panicked: sysrq triggered crash/ };
    await assert.rejects(async () => await again.exec('echo c > /proc/sysrq-trigger'), panic);
    await again.close();
  });

  it('is on the network from its start: an address, a route, a name server, names of this host', async () => {
    const server = createServer((_, response) => response.end('from the host'));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const script = [
      'ip -o -4 addr show | sed "s/.*inet \\([^ ]*\\) .*/\\1/"; ip route show | sed -n "/default/p"',
      'cat /etc/resolv.conf; stat -c %a /etc/resolv.conf; cat /etc/hosts',
      `wget -q -O - http://gateway:${port}/; echo; wget -q -O - http://localhost:9/ 2>&1`,
    ].join('; ');
    try {
      const net = ['--net', 'user', '--allow', `127.0.0.1:${port}`];
      const { status, stdout, stderr } = await pando(...net, '--', 'sh', '-c', script);
      const network = ['127.0.0.1/8', '10.0.2.2/24', 'default via 10.0.2.1 dev eth0 '];
      const names = ['search internal', 'nameserver 10.0.2.1', '644', '127.0.0.1\tlocalhost pando'];
      const lines = [...network, ...names, '::1\tlocalhost ip6-localhost', 'from the host'];
      assert.equal(stdout.slice(0, stdout.indexOf('wget')), `${lines.join('\n')}\n`);
      assert.match(stdout, /\((?:127\.0\.0\.1|::1)\): Connection refused\n$/);
      assert.deepEqual([status, stderr], [1, '']);
    } finally {
      server.close();
    }
  });

  it('that is not there is status 127', async () => {
    const { status, stdout } = await pando('--', 'none');
    assert.deepEqual([status, stdout], [127, 'pando-launch: none: No such file or directory\n']);
  });
});
