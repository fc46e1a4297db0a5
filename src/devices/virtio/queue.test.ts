import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { VirtioDevice, VirtioTransport } from './device.js';
import { EVENT_IDX, QUEUE_SIZE, TestDriver } from './testing/driver.js';

const DATA = 0x20000;
const INDIRECT = 4;

/** Gives each chain back with its readable bytes copied to the writable ones. */
class Echo implements VirtioDevice {
  readonly type = 42;
  readonly features = 0n;
  readonly queues = 1;
  readonly configuration = Uint8Array.of(1, 2, 3, 4);
  taken = 0;
  readonly #transport: VirtioTransport;

  constructor(transport: VirtioTransport) {
    this.#transport = transport;
  }

  process(queue: number): void {
    this.#transport.drain(queue, (ring) => {
      const chain = ring.pop();
      if (chain === undefined) return false;
      this.taken += 1;
      const bytes = new Uint8Array(chain.readableBytes);
      chain.read(0, bytes);
      ring.push(chain, chain.write(0, bytes));
      return true;
    });
  }
}

function setUp(features = 0n): TestDriver<Echo> {
  const driver = new TestDriver((transport) => new Echo(transport));
  assert.equal(driver.start(features), 15);
  return driver;
}

describe('the transport', () => {
  test('has the registers of version 2, and the device’s configuration', () => {
    const driver = setUp();
    assert.equal(driver.read(0), 0x74726976);
    assert.equal(driver.read(4), 2);
    assert.equal(driver.read(8), 42);
    assert.equal(driver.read(0x34), 256);
    assert.equal(driver.read(0x100), 0x04030201);
    assert.equal(driver.mmio.readMmio(0x102, 1), 3);
    assert.equal(driver.read(0x104), 0);
    driver.write(0x14, 1);
    assert.equal(driver.read(0x10), 1, 'VERSION_1');
    driver.write(0x30, 1);
    assert.equal(driver.read(0x34), 0, 'there is one queue');
  });

  test('refuses features that are not offered, and a driver without VERSION_1', () => {
    const driver = new TestDriver((transport) => new Echo(transport));
    assert.equal(driver.start(1n << 5n) & 8, 0);
    driver.write(0x70, 0);
    driver.write(0x70, 3);
    driver.write(0x70, 11);
    assert.equal(driver.read(0x70), 3);
    driver.write(0x70, 15);
    assert.equal(driver.read(0x70) & 12, 0, 'no DRIVER_OK without FEATURES_OK');
  });

  test('keeps queue registers and features as they are once the driver is ready', () => {
    const driver = setUp();
    driver.write(0x30, 0);
    driver.write(0x38, 3);
    driver.write(0x80, 1);
    driver.write(0x44, 0);
    driver.write(0x20, 0xffffffff);
    assert.equal(driver.read(0x44), 1);
    driver.submit(0, [{ address: DATA, length: 4, writable: true }]);
    driver.notify(0);
    assert.deepEqual(driver.used(0), { head: 0, written: 0 });
  });

  test('begins anew after a reset', () => {
    const driver = setUp();
    driver.submit(0, [{ address: DATA, length: 4, writable: true }]);
    driver.notify(0);
    driver.write(0x70, 0);
    assert.equal(driver.read(0x70), 0);
    assert.equal(driver.read(0x60), 0);
    assert.equal(driver.read(0x44), 0);
    driver.start();
    driver.submit(0, [{ address: DATA, length: 4, writable: true }], 3);
    driver.notify(0);
    assert.deepEqual(driver.used(0), { head: 3, written: 0 });
  });
});

describe('a queue', () => {
  test('carries a chain of descriptors both ways', () => {
    const driver = setUp();
    driver.ram.set([1, 2, 3, 4, 5], DATA);
    driver.submit(0, [
      { address: DATA, length: 2 },
      { address: DATA + 2, length: 3 },
      { address: DATA + 0x101, length: 4, writable: true },
      { address: DATA + 0x200, length: 4, writable: true },
    ]);
    driver.notify(0);
    assert.deepEqual(driver.used(0), { head: 0, written: 5 });
    assert.deepEqual([...driver.ram.subarray(DATA + 0x101, DATA + 0x105)], [1, 2, 3, 4]);
    assert.deepEqual([...driver.ram.subarray(DATA + 0x200, DATA + 0x202)], [5, 0]);
    assert.equal(driver.interrupts, 1);
    assert.equal(driver.read(0x60), 1);
    driver.write(0x64, 1);
    assert.equal(driver.read(0x60), 0);
  });

  test('reads an indirect table', () => {
    const driver = setUp(1n << 28n);
    driver.ram.set([7, 8], DATA);
    const table = 0x30000;
    driver.describe(table, 0, { address: DATA, length: 2 }, 1);
    driver.describe(table, 1, { address: DATA + 64, length: 2, writable: true });
    driver.describe(
      driver.ringsOf(0).descriptors,
      5,
      { address: table, length: 32 },
      undefined,
      INDIRECT,
    );
    driver.offer(0, 5);
    driver.notify(0);
    assert.deepEqual(driver.used(0), { head: 5, written: 2 });
    assert.deepEqual([...driver.ram.subarray(DATA + 64, DATA + 66)], [7, 8]);
  });

  test('goes round its rings and the indices’ 65536', () => {
    const driver = setUp();
    for (let i = 0; i < 70_000; i += 1) {
      driver.submit(0, [{ address: DATA, length: 4, writable: true }], i % QUEUE_SIZE);
      driver.notify(0);
      assert.equal(driver.used(0)?.head, i % QUEUE_SIZE);
    }
  });

  test('interrupts as the driver asks for it, with and without event indices', () => {
    const plain = setUp();
    const { available } = plain.ringsOf(0);
    plain.view.setUint16(available, 1, true);
    plain.submit(0, [{ address: DATA, length: 4, writable: true }]);
    plain.notify(0);
    assert.equal(plain.interrupts, 0);

    const driver = setUp(EVENT_IDX);
    const event = driver.ringsOf(0).available + 4 + 2 * QUEUE_SIZE;
    driver.view.setUint16(event, 2, true);
    for (let i = 0; i < 4; i += 1) {
      driver.submit(0, [{ address: DATA, length: 4, writable: true }], i);
      driver.notify(0);
      assert.equal(driver.interrupts, i < 2 ? 0 : 1, `after chain ${i}`);
    }
    const told = driver.ringsOf(0).used + 4 + 8 * QUEUE_SIZE;
    assert.equal(driver.view.getUint16(told, true), 4, 'wants to hear of the next chain');
  });

  /** Each breaks the rings of a device that runs. */
  const BROKEN: [what: string, how: (driver: TestDriver<Echo>) => void][] = [
    ['a head past the table', (driver) => driver.offer(0, QUEUE_SIZE)],
    [
      'a circle',
      (driver) => {
        const { descriptors } = driver.ringsOf(0);
        driver.describe(descriptors, 0, { address: DATA, length: 4 }, 1);
        driver.describe(descriptors, 1, { address: DATA, length: 4 }, 0);
        driver.offer(0, 0);
      },
    ],
    [
      'a chained descriptor past the table',
      (driver) => {
        driver.describe(driver.ringsOf(0).descriptors, 0, { address: DATA, length: 4 }, QUEUE_SIZE);
        driver.offer(0, 0);
      },
    ],
    [
      'a buffer outside RAM',
      (driver) => driver.submit(0, [{ address: 0x80000 - 2, length: 4, writable: true }]),
    ],
    [
      'a buffer whose end wraps',
      (driver) => driver.submit(0, [{ address: 2 ** 52, length: 0xffffffff, writable: true }]),
    ],
    [
      'a readable buffer behind a writable one',
      (driver) =>
        driver.submit(0, [
          { address: DATA, length: 4, writable: true },
          { address: DATA, length: 4 },
        ]),
    ],
    [
      'an indirect table in an indirect table',
      (driver) => {
        const table = 0x30000;
        driver.describe(table, 0, { address: table, length: 16 }, undefined, INDIRECT);
        const { descriptors } = driver.ringsOf(0);
        driver.describe(descriptors, 0, { address: table, length: 16 }, undefined, INDIRECT);
        driver.offer(0, 0);
      },
    ],
    [
      'an indirect table of no whole descriptor',
      (driver) => {
        const { descriptors } = driver.ringsOf(0);
        driver.describe(descriptors, 0, { address: DATA, length: 15 }, undefined, INDIRECT);
        driver.offer(0, 0);
      },
    ],
    [
      'an available index that runs ahead',
      (driver) => driver.view.setUint16(driver.ringsOf(0).available + 2, 100, true),
    ],
  ];
  for (const [what, how] of BROKEN) {
    test(`with ${what} stops its device until a reset`, () => {
      const driver = setUp(1n << 28n);
      how(driver);
      driver.notify(0);
      assert.equal(driver.needsReset, true);
      assert.equal(driver.read(0x60) & 2, 2, 'a configuration interrupt tells');
      assert.equal(driver.used(0), undefined);
      driver.notify(0);
      assert.equal(driver.used(0), undefined);
      assert.equal(driver.start(), 15);
      driver.submit(0, [{ address: DATA, length: 4, writable: true }]);
      driver.notify(0);
      assert.deepEqual(driver.used(0), { head: 0, written: 0 });
      assert.equal(driver.guarded, true);
    });
  }

  test('whose rings lie outside RAM, or are no rings, is refused at DRIVER_OK', () => {
    for (const [register, value] of [
      [0x80, 0x80000 - 8],
      [0x90, 0x80000 - 4],
      [0xa0, 0x7fff0],
      [0x80, 0x1008],
      [0x94, 1],
      [0x38, 3],
      [0x38, 0],
      [0x38, 512],
    ] as const) {
      const driver = new TestDriver((transport) => new Echo(transport));
      driver.write(0x70, 3);
      driver.write(0x24, 1);
      driver.write(0x20, 1);
      driver.write(0x70, 11);
      driver.write(0x38, QUEUE_SIZE);
      driver.write(0x80, 0x1000);
      driver.write(0x90, 0x1400);
      driver.write(0xa0, 0x1800);
      driver.write(register, value);
      driver.write(0x44, 1);
      driver.write(0x70, 15);
      assert.equal(driver.needsReset, true, `${register.toString(16)}h = ${value}`);
    }
  });
});
