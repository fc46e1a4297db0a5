import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isModule, KernelModules } from './kernel-modules.js';

/** A relocatable ELF file with section .modinfo alone. */
function module(...fields: string[]): Uint8Array {
  const info = Buffer.from(fields.map((field) => `${field}\0`).join(''), 'latin1');
  const names = Buffer.from('\0.modinfo\0.shstrtab\0');
  const bytes = new Uint8Array(64 + info.length + names.length + 3 * 64);
  const view = new DataView(bytes.buffer);
  bytes.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  bytes.set(info, 64);
  bytes.set(names, 64 + info.length);
  const table = 64 + info.length + names.length;
  view.setBigUint64(40, BigInt(table), true);
  view.setUint16(58, 64, true);
  view.setUint16(60, 3, true);
  view.setUint16(62, 2, true);
  const section = (index: number, name: number, offset: number, size: number): void => {
    view.setUint32(table + index * 64, name, true);
    view.setBigUint64(table + index * 64 + 24, BigInt(offset), true);
    view.setBigUint64(table + index * 64 + 32, BigInt(size), true);
  };
  section(1, 1, 64, info.length);
  section(2, 10, 64 + info.length, names.length);
  return bytes;
}

const ROOT = 'lib/modules/6.1.0-1-amd64';

test('the archive has the drivers with what they depend on, and tables for modprobe', () => {
  const modules = new KernelModules();
  const add = (path: string, ...fields: string[]): void =>
    modules.add(`${ROOT}/kernel/${path}`, module(...fields));
  add('drivers/net/virtio_net.ko', 'alias=virtio:d00000001v*', 'depends=net_failover,virtio');
  add('drivers/net/net_failover.ko', 'depends=failover');
  add('net/core/failover.ko', 'depends=');
  add('drivers/virtio/virtio.ko', 'depends=');
  add('drivers/char/hw_random/virtio-rng.ko', 'alias=virtio:d00000004v*', 'depends=virtio');
  add('drivers/other.ko', 'depends=virtio');
  const entries = modules.entries();
  const names = entries.map(({ name }) => name);
  assert.ok(names.includes(`${ROOT}/kernel/drivers/net/net_failover.ko`));
  assert.ok(!names.some((name) => name.includes('other')));
  assert.ok(names.indexOf(`${ROOT}/kernel`) < names.indexOf(`${ROOT}/kernel/drivers`));
  const text = (name: string): string => {
    const entry = entries.find((candidate) => candidate.name === `${ROOT}/${name}`);
    assert.ok(entry?.kind === 'file');
    return Buffer.from(entry.content).toString();
  };
  assert.ok(
    text('modules.dep').includes(
      'kernel/drivers/net/virtio_net.ko: kernel/drivers/net/net_failover.ko kernel/net/core/failover.ko kernel/drivers/virtio/virtio.ko\n',
    ),
  );
  assert.equal(
    text('modules.alias'),
    'alias virtio:d00000004v* virtio_rng\nalias virtio:d00000001v* virtio_net\n',
  );
});

test('a file that is no module is refused by name', () => {
  const modules = new KernelModules();
  modules.add(`${ROOT}/kernel/fs/erofs/erofs.ko`, new Uint8Array(100));
  assert.throws(() => modules.entries(), { code: 'KERNEL_MODULE_INVALID' });
  assert.equal(isModule(`${ROOT}/kernel/fs/erofs/erofs.ko.xz`), true);
  assert.equal(isModule(`usr/${ROOT}/kernel/fs/erofs/erofs.ko`), true);
  assert.equal(isModule(`${ROOT}/modules.order`), false);
});
