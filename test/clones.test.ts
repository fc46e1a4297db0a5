/** Debian with disks, persistent memory, a network and sockets, cloned and written to the store: each copy is a machine of its own. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { ensureImage, type Image, Network, PandoError, Vm } from 'pando';
import { SnapshotStore } from '#dist/snapshot/snapshot-store.js';
import { bootToShell } from './testing/boot.js';
import { Console } from './testing/console.js';

const NAME = 'test-clones';
const MIB = 2 ** 20;
const folder = mkdtempSync(join(tmpdir(), 'pando-clones-'));
const written = join(folder, 'written');
const read = join(folder, 'read');
const mapped = join(folder, 'mapped');
/** A server that sends nothing and keeps what comes. */
const sockets = new Set<Socket>();
const server = createServer((socket) => {
  sockets.add(socket.on('error', () => {}));
  socket.once('close', () => sockets.delete(socket));
});
let image: Image;

before(async () => {
  writeFileSync(written, Buffer.alloc(8 * MIB, 'w'));
  writeFileSync(read, randomBytes(MIB));
  writeFileSync(mapped, randomBytes(2 * MIB));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  image = await ensureImage('debian', { progress: () => {}, modules: true });
});

after(async () => {
  server.close();
  for (const socket of sockets) socket.destroy();
  await new SnapshotStore().remove(NAME).catch(() => 0);
  rmSync(folder, { recursive: true });
});

function sha256(path: string): string {
  return createHash('sha256').update(readFileSync(path)).digest('hex');
}

/** What a guest says of one of its disks. */
async function sumOf(console: Console, device: string): Promise<string> {
  const text = await console.run(`sha256sum ${device}`);
  return /[0-9a-f]{64}/.exec(text)?.[0] ?? text;
}

const CHANGES = 'cat /sys/class/net/eth0/carrier_changes';

test('disks, network, sockets and memory of clones and snapshots', async () => {
  const port = (server.address() as AddressInfo).port;
  const { vm, console } = await bootToShell(image, {
    accelerator: 'wasm',
    memory: 256 * MIB,
    immutableImages: false,
    modules: image.modulesPath,
    disks: [
      { path: written, mode: 'cow' },
      { path: read, mode: 'ro' },
    ],
    pmem: [mapped],
    rng: true,
    vsock: true,
    net: { mode: 'user', allow: [`127.0.0.1:${port}`], publish: ['127.0.0.1:0:80'] },
  });
  const vms = [vm];
  const lan = new Network();
  try {
    await console.run('modprobe nd_pmem');
    assert.equal(await sumOf(console, '/dev/vda'), sha256(written));
    await console.run('printf first | dd of=/dev/vda bs=1M seek=3 conv=notrunc,fsync 2>/dev/null');
    await console.run('mkdir /www; hostname > /www/index.html; httpd -p 80 -h /www');
    const connected = once(server, 'connection', { signal: AbortSignal.timeout(60_000) });
    await console.run(`(nc gateway ${port} </dev/zero >/dev/null 2>&1; echo $? > /ended) & true`);
    await connected;
    assert.equal(sockets.size, 1);
    const changes = Number.parseInt(await console.run(CHANGES), 10);

    const clones = (await vm.clone(2)).map((result) => {
      if (result.status === 'rejected') throw result.reason;
      return result.value;
    });
    vms.push(...clones);
    const again = await vm.snapshot({ name: NAME, replace: true });
    assert.deepEqual(
      again.disks.map(({ mode, layer }) => [mode, layer?.clusters.size]),
      [
        ['cow', 4096],
        ['ro', undefined],
      ],
    );
    vms.push(await Vm.restore({ snapshot: NAME }));
    const copies = vms.slice(1);
    for (const copy of copies) copy.start();
    const consoles = copies.map((copy) => new Console(copy));
    for (const [index, copied] of consoles.entries()) {
      copied.send('\n');
      await copied.prompt();
      // What the guest wrote before, what the file has, what it writes now.
      const word = await copied.run('dd if=/dev/vda bs=1M skip=3 count=1 2>/dev/null | head -c 7');
      assert.match(word, /^firstww/);
      const other = `copy${index}`;
      await copied.run(
        `printf ${other} | dd of=/dev/vda bs=1M seek=5 conv=notrunc,fsync 2>/dev/null`,
      );
      await copied.run('echo 3 > /proc/sys/vm/drop_caches');
      const now = await copied.run('dd if=/dev/vda bs=1M skip=5 count=1 2>/dev/null | head -c 6');
      assert.match(now, new RegExp(`^${other}w`));
      assert.equal(await sumOf(copied, '/dev/vdb'), sha256(read));
      assert.equal(await sumOf(copied, '/dev/pmem0'), sha256(mapped));
    }
    assert.ok(readFileSync(written).equals(Buffer.alloc(8 * MIB, 'w')));

    // The network is another one: the cable was pulled, connections are over, ports lead to each.
    const ports = new Set(vms.map(({ published }) => published[0]?.hostPort));
    assert.equal(ports.size, vms.length);
    for (const [index, copied] of consoles.entries()) {
      await copied.run('while [ ! -e /ended ]; do usleep 10000; done');
      await copied.run('until [ "$(cat /sys/class/net/eth0/carrier)" = 1 ]; do usleep 10000; done');
      assert.equal(Number.parseInt(await copied.run(CHANGES), 10), changes + 2);
      await copied.run(`echo copy${index} > /www/index.html`);
    }
    for (const [index, copy] of copies.entries()) {
      const page = await fetch(`http://127.0.0.1:${copy.published[0]?.hostPort}/`);
      assert.equal(await page.text(), `copy${index}\n`);
    }
    assert.equal(sockets.size, 1, 'the connection of the first one stays');

    // Two of one network: each is given the address that its link has, and reaches the other.
    const links = [await lan.link({ name: 'one' }), await lan.link({ name: 'two' })];
    const stations: Console[] = [];
    for (const net of links) {
      const station = await Vm.restore({ snapshot: NAME, net });
      vms.push(station);
      station.start();
      const its = new Console(station);
      stations.push(its);
      its.send('\n');
      await its.prompt();
      const mac = [...net.mac].map((byte) => byte.toString(16).padStart(2, '0')).join(':');
      await its.run(`ip link set eth0 address ${mac}`);
      // Its script sets the address after it has said so.
      const lease = 'udhcpc -i eth0 -s /etc/udhcpc.script -n -q >/dev/null 2>&1';
      const given = `ip -4 addr show eth0 | grep -q ${net.ipAddress}/`;
      await its.run(`until ${lease} && ${given}; do usleep 10000; done`);
    }
    for (const [index, its] of stations.entries()) {
      const other = links[1 - index];
      assert.match(await its.run(`ping -c 1 -w 30 ${other?.ipAddress}`), / 0% packet loss/);
    }
  } finally {
    await Promise.all(vms.map((each) => each.close()));
    lan.close();
  }

  const bytes = readFileSync(read);
  writeFileSync(read, Buffer.concat([bytes.subarray(1), bytes.subarray(0, 1)]));
  await assert.rejects(Vm.restore({ snapshot: NAME }), (error: unknown) => {
    assert.ok(error instanceof PandoError);
    return error.code === 'SNAPSHOT_DISK_CHANGED';
  });
});
