import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { VirtioBlk } from './blk.js';
import { TestDriver } from './testing/driver.js';
import { MemorySource } from './testing/memory-source.js';

const HEADER = 0x20000;
const DATA = 0x21000;
const STATUS = 0x40000;
const FLUSH = 1n << 9n;

interface Wanted {
  readonly type: number;
  readonly sector?: number;
  readonly out?: Uint8Array;
  readonly length?: number;
}

class Disk {
  readonly source: MemorySource;
  readonly driver: TestDriver<VirtioBlk>;

  constructor(readOnly = false, features = readOnly ? 0n : FLUSH) {
    this.source = new MemorySource(64 * 512, readOnly);
    this.source.data.forEach((_, i, all) => {
      all[i] = i >> 9;
    });
    this.driver = new TestDriver((transport) => new VirtioBlk(transport, this.source, 'disk-7'));
    assert.equal(this.driver.start(features), 15);
  }

  /** Puts a request into the ring, without a word to the device. */
  queue({ type, sector = 0, out, length = 0 }: Wanted, slot = 0): void {
    const { driver } = this;
    const header = HEADER + slot * 16;
    driver.view.setUint32(header, type, true);
    driver.view.setBigUint64(header + 8, BigInt(sector), true);
    driver.ram[STATUS + slot] = 0xff;
    if (out) driver.ram.set(out, DATA + slot * 0x1000);
    const data = { address: DATA + slot * 0x1000, length: out?.length ?? length, writable: !out };
    driver.submit(
      0,
      [
        { address: header, length: 16 },
        ...(data.length > 0 ? [data] : []),
        { address: STATUS + slot, length: 1, writable: true },
      ],
      slot * 3,
    );
  }

  status(slot = 0): number {
    return this.driver.ram[STATUS + slot]!;
  }

  data(length: number, slot = 0): Uint8Array {
    return this.driver.ram.slice(DATA + slot * 0x1000, DATA + slot * 0x1000 + length);
  }

  /** Lets the host end work until it is done. */
  async settle(): Promise<void> {
    for (let served = 0; served < this.driver.rings; served += 1) {
      this.driver.device.serve();
      await new Promise(setImmediate);
    }
  }

  async request(wanted: Wanted): Promise<number> {
    this.queue(wanted);
    this.driver.notify(0);
    await this.settle();
    assert.notEqual(this.driver.used(0), undefined);
    return this.status();
  }
}

describe('the block device', () => {
  test('tells capacity, segments and identity', async () => {
    const disk = new Disk();
    assert.equal(disk.driver.read(0x100), 64);
    assert.equal(disk.driver.read(0x10c), 126);
    assert.equal(disk.driver.read(0x114), 512);
    assert.equal(await disk.request({ type: 8, length: 20 }), 0);
    assert.equal(Buffer.from(disk.data(20)).toString('latin1'), 'disk-7'.padEnd(20, '\0'));
  });

  test('reads and writes sectors', async () => {
    const disk = new Disk();
    assert.equal(await disk.request({ type: 0, sector: 3, length: 1024 }), 0);
    assert.deepEqual(disk.data(1024), disk.source.data.slice(3 * 512, 5 * 512));
    const bytes = new Uint8Array(512).fill(0x77);
    assert.equal(await disk.request({ type: 1, sector: 63, out: bytes }), 0);
    assert.deepEqual(disk.source.data.slice(63 * 512), bytes);
    assert.equal(disk.driver.rings, 0, 'without the host end');
  });

  test('a request past the end, of half a sector, or to a disk that may not be written, fails', async () => {
    const disk = new Disk();
    const before = disk.source.data.slice();
    assert.equal(await disk.request({ type: 0, sector: 63, length: 1024 }), 1);
    assert.equal(await disk.request({ type: 0, sector: 2 ** 53, length: 512 }), 1);
    assert.equal(await disk.request({ type: 1, sector: 64, out: new Uint8Array(512) }), 1);
    assert.equal(await disk.request({ type: 1, sector: 0, out: new Uint8Array(100) }), 1);
    assert.equal(await disk.request({ type: 99 }), 2);
    const readOnly = new Disk(true);
    assert.equal(await readOnly.request({ type: 1, out: new Uint8Array(512) }), 1);
    assert.deepEqual(disk.source.data, before);
  });

  test('a disk that fails is an error of the request, and the next one works', async () => {
    const disk = new Disk();
    disk.source.failure = new Error('ENOSPC');
    assert.equal(await disk.request({ type: 1, out: new Uint8Array(512) }), 1);
    assert.equal(await disk.request({ type: 0, length: 512 }), 1);
    assert.equal(await disk.request({ type: 4 }), 1);
    disk.source.failure = undefined;
    assert.equal(await disk.request({ type: 1, out: new Uint8Array(512) }), 0);
    assert.equal(disk.driver.needsReset, false);
  });

  test('a flush waits for the disk, and what follows it waits for the flush', async () => {
    const disk = new Disk();
    disk.queue({ type: 4 }, 0);
    disk.queue({ type: 0, sector: 9, length: 512 }, 1);
    disk.driver.notify(0);
    assert.equal(disk.driver.used(0), undefined);
    await disk.settle();
    assert.deepEqual(
      [disk.driver.used(0)?.head, disk.driver.used(0)?.head, disk.status(0), disk.status(1)],
      [0, 3, 0, 0],
    );
    assert.equal(disk.source.flushes, 1);
    assert.equal(disk.data(1, 1)[0], 9);
  });

  test('once the disk is slow, requests go to the host end: few at first, more when it stays slow', async (context) => {
    const disk = new Disk();
    let now = 0;
    let takes = 0;
    context.mock.method(performance, 'now', () => now);
    const read = disk.source.read.bind(disk.source);
    context.mock.method(disk.source, 'read', (at: number, into: readonly Uint8Array[]) => {
      now += takes;
      read(at, into);
    });
    /** How many requests the host end does until the device does one itself. */
    const beside = async (): Promise<number> => {
      for (let count = 0; ; count += 1) {
        const { rings } = disk.driver;
        assert.equal(await disk.request({ type: 0, sector: 7, length: 512 }), 0);
        assert.equal(disk.data(1)[0], 7);
        if (disk.driver.rings === rings) return count;
      }
    };
    takes = 21;
    assert.equal(await beside(), 0);
    for (const expected of [2, 8, 32, 64]) assert.equal(await beside(), expected);
    takes = 1;
    assert.equal(await beside(), 64);
    for (let i = 1; i < 64; i += 1) assert.equal(await beside(), 0);
    takes = 21;
    assert.equal(await beside(), 0, 'slow after 64 that were not');
    takes = 1;
    assert.equal(await beside(), 2);
  });

  test('without FLUSH, or with its cache switched off, every write is on the disk', async () => {
    const plain = new Disk(false, 0n);
    assert.equal(await plain.request({ type: 1, out: new Uint8Array(512) }), 0);
    assert.equal(plain.source.flushes, 1);
    const choosing = new Disk(false, FLUSH | (1n << 11n));
    assert.equal(choosing.driver.mmio.readMmio(0x120, 1), 1);
    assert.equal(await choosing.request({ type: 1, out: new Uint8Array(512) }), 0);
    assert.equal(choosing.source.flushes, 0);
    choosing.driver.mmio.writeMmio(0x120, 1, 0);
    assert.equal(choosing.driver.mmio.readMmio(0x120, 1), 0);
    assert.equal(await choosing.request({ type: 1, out: new Uint8Array(512) }), 0);
    assert.equal(choosing.source.flushes, 1);
  });

  test('discards and zeroes ranges, all of a request or none', async () => {
    const disk = new Disk();
    const range = (sector: number, sectors: number, flags: number): Uint8Array => {
      const bytes = new Uint8Array(16);
      const view = new DataView(bytes.buffer);
      view.setBigUint64(0, BigInt(sector), true);
      view.setUint32(8, sectors, true);
      view.setUint32(12, flags, true);
      return bytes;
    };
    const twice = Uint8Array.of(...range(1, 2, 0), ...range(8, 1, 0));
    assert.equal(await disk.request({ type: 11, out: twice }), 0);
    const zeroed = [1, 2, 8];
    assert.ok(zeroed.every((sector) => disk.source.data[sector * 512] === 0));
    assert.equal(await disk.request({ type: 13, out: range(20, 1, 1) }), 0);
    assert.equal(disk.source.data[20 * 512], 0);
    const wrong = Uint8Array.of(...range(30, 1, 0), ...range(60, 5, 0));
    assert.equal(await disk.request({ type: 13, out: wrong }), 1);
    assert.equal(disk.source.data[30 * 512], 30);
    assert.equal(
      await disk.request({ type: 11, out: range(30, 1, 1) }),
      2,
      'unmap is not for discard',
    );
    assert.equal(await disk.request({ type: 11, out: new Uint8Array(17) }), 1);
  });

  test('a reset while the disk works: what it did is nobody’s any more', async () => {
    const disk = new Disk();
    disk.queue({ type: 4 });
    disk.driver.notify(0);
    disk.driver.device.serve();
    disk.driver.start(FLUSH);
    await new Promise(setImmediate);
    assert.equal(disk.driver.used(0), undefined);
    assert.equal(disk.status(), 0xff);
    assert.equal(await disk.request({ type: 0, sector: 5, length: 512 }), 0);
    assert.equal(disk.data(1)[0], 5);
  });

  test('a request without header or status stops the device', () => {
    const disk = new Disk();
    disk.driver.submit(0, [
      { address: HEADER, length: 15 },
      { address: STATUS, length: 1, writable: true },
    ]);
    disk.driver.notify(0);
    assert.equal(disk.driver.needsReset, true);
    disk.driver.start(FLUSH);
    disk.driver.submit(0, [{ address: HEADER, length: 16 }]);
    disk.driver.notify(0);
    assert.equal(disk.driver.needsReset, true);
  });
});
