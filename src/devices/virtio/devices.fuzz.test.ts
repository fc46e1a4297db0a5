/**
 * Devices under drivers that do what they like: nothing throws, nothing hangs, no byte outside guest RAM
 * is touched, and a reset makes any of them work again.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { BalloonHost } from '../../backend/balloon-host.js';
import { VsockHost } from '../../backend/vsock-host.js';
import { Frame } from '../frame-link.js';
import { HeldLink } from '../testing/held-link.js';
import { VirtioBalloon } from './balloon.js';
import { VirtioBlk } from './blk.js';
import type { VirtioDevice, VirtioTransport } from './device.js';
import { VirtioNet } from './net.js';
import { VirtioPmem } from './pmem.js';
import { VirtioRng } from './rng.js';
import { QUEUE_SIZE, RAM, TestDriver } from './testing/driver.js';
import { MemorySource } from './testing/memory-source.js';
import { VirtioVsock } from './vsock.js';

/** Cases of each device; PANDO_FUZZ_CASES for longer runs by hand. */
const CASES = Number(process.env.PANDO_FUZZ_CASES ?? 10_000);

const DEVICES: Readonly<Record<string, (transport: VirtioTransport) => VirtioDevice>> = {
  rng: (transport) => new VirtioRng(transport, (bytes) => bytes.fill(0x5a)),
  vsock: (transport) => new VirtioVsock(transport, 3, (link) => new VsockHost(link)),
  net: (transport) => {
    const link = new HeldLink({ checksum: true, tso4: true, tso6: true });
    const net = new VirtioNet(transport, link);
    net.connect(link);
    return net;
  },
  pmem: (transport) => new VirtioPmem(transport, { address: 2 << 20, bytes: 2 << 20 }),
  balloon: (transport) =>
    new VirtioBalloon(transport, (link) => {
      const host = new BalloonHost(link);
      host.connect((address, length) => {
        assert.ok(address >= 0 && length >= 0 && address + length <= RAM);
        return length;
      });
      return host;
    }),
  blk: (transport) => new VirtioBlk(transport, new MemorySource(1 << 20), 'fuzz'),
};

const frame = new Frame().setPlain(new Uint8Array(3000), 3000);

/** Addresses near what matters: rings, data, the end of RAM, far beyond. */
const address = fc.oneof(
  fc.nat(RAM),
  fc.integer({ min: 0x1000, max: 0x5000 }),
  fc.integer({ min: RAM - 64, max: RAM + 64 }),
  fc.constantFrom(2 ** 32, 2 ** 52, 0xfffffffffffff000),
);
const length = fc.oneof(
  fc.nat(600),
  fc.constantFrom(0, 1, 16, 512, 4096, 65536, RAM, 0x7fffffff, 0xffffffff),
);

const descriptor = fc.record({
  index: fc.nat(QUEUE_SIZE - 1),
  address,
  length,
  flags: fc.nat(7),
  next: fc.oneof(fc.nat(QUEUE_SIZE), fc.nat(0xffff)),
});

const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('describe' as const), descriptor }) },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('memory' as const),
      address: fc.nat(RAM - 8),
      value: fc.nat(0xffffffff),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constant('offer' as const), head: fc.nat(QUEUE_SIZE) }),
  },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('notify' as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('serve' as const) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('register' as const),
      register: fc.oneof(fc.integer({ min: 0, max: 0x4f }), fc.integer({ min: 0, max: 0x3ff })),
      size: fc.constantFrom(1, 2, 4),
      value: fc.oneof(fc.nat(0xffffffff), fc.nat(16)),
    }),
  },
);

for (const [name, make] of Object.entries(DEVICES)) {
  describe(`${name} under a hostile driver`, () => {
    test(`${CASES} times`, { timeout: 3_600_000 }, async () => {
      const driver = new TestDriver(make);
      await fc.assert(
        fc.asyncProperty(
          fc.nat(driver.device.queues - 1),
          fc.bigInt(0n, (1n << 40n) - 1n),
          fc.array(step, { maxLength: 24 }),
          async (queue, features, steps) => {
            const offered = driver.device.features | (3n << 28n);
            driver.start(features & offered);
            const { descriptors } = driver.ringsOf(queue);
            for (const each of steps) {
              switch (each.kind) {
                case 'describe': {
                  const { index, flags, next, ...buffer } = each.descriptor;
                  driver.describe(descriptors, index, buffer, next, flags & 6);
                  if ((flags & 1) === 0)
                    driver.view.setUint16(descriptors + index * 16 + 12, flags, true);
                  break;
                }
                case 'memory':
                  driver.view.setUint32(each.address, each.value, true);
                  break;
                case 'offer':
                  driver.offer(queue, each.head);
                  break;
                case 'notify':
                  driver.notify(queue);
                  break;
                case 'serve':
                  driver.device.hostEnd?.serve();
                  if (driver.device instanceof VirtioNet) driver.device.receive(frame);
                  if (driver.device instanceof VirtioBalloon) {
                    driver.device.askStatistics();
                    driver.device.readStatistics();
                  }
                  await undefined;
                  break;
                case 'register':
                  driver.mmio.readMmio(each.register * 4, each.size);
                  if (each.size === 4) driver.write(each.register * 4, each.value);
                  else driver.mmio.writeMmio(each.register * 4, each.size, each.value);
                  break;
              }
            }
            driver.device.hostEnd?.serve();
            await undefined;
          },
        ),
        { numRuns: CASES },
      );
      assert.equal(driver.guarded, true);
      assert.equal(driver.start() & 0x4f, 15);
    });
  });
}
