/** The balloon and its host end over a driver of the test's own. */
import assert from 'node:assert/strict';
import { beforeEach, describe, test } from 'node:test';
import { BalloonHost } from '../../backend/balloon-host.js';
import { VirtioBalloon } from './balloon.js';
import { TestDriver } from './testing/driver.js';

const STATS_VQ = 1n << 1n;
const PAGE_POISON = 1n << 4n;
const REPORTING = 1n << 5n;
const INFLATE = 0;
const DEFLATE = 1;
const STATISTICS = 2;
const REPORTS = 3;
const POISON_REGISTER = 0x10c;

let host: BalloonHost;
let driver: TestDriver<VirtioBalloon>;
let given: [address: number, length: number, zeros: boolean][];

beforeEach(() => {
  driver = new TestDriver((transport) => {
    return new VirtioBalloon(transport, (link) => {
      host = new BalloonHost(link);
      return host;
    });
  });
  given = [];
  host.connect((address, length, zeros) => {
    given.push([address, length, zeros]);
    return length;
  });
  driver.start(STATS_VQ | REPORTING);
});

describe('free pages', () => {
  test('reported ones are discarded, each range once', () => {
    driver.submit(REPORTS, [
      { address: 0x20000, length: 0x4000, writable: true },
      { address: 0x40000, length: 0x1000, writable: true },
    ]);
    driver.notify(REPORTS);
    assert.equal(driver.rings, 1 + driver.device.queues);
    host.serve();
    host.serve();
    assert.deepEqual(given, [
      [0x20000, 0x4000, false],
      [0x40000, 0x1000, false],
    ]);
    assert.deepEqual(driver.used(REPORTS), { head: 0, written: 0 });
    assert.equal(host.report.discarded, 0x5000);
  });

  test('without statistics the reports have the queue before', () => {
    driver.start(REPORTING);
    driver.submit(STATISTICS, [{ address: 0x20000, length: 0x1000, writable: true }]);
    host.serve();
    assert.deepEqual(given, [[0x20000, 0x1000, false]]);
  });

  test('a driver that checks for zeros says so; one that poisons pages keeps them', () => {
    const report = { address: 0x20000, length: 0x1000, writable: true };
    driver.start(STATS_VQ | REPORTING | PAGE_POISON);
    driver.submit(REPORTS, [report]);
    host.serve();
    assert.deepEqual(given, [[0x20000, 0x1000, true]]);
    driver.write(POISON_REGISTER, 0xaaaaaaaa);
    driver.submit(REPORTS, [report], 1);
    host.serve();
    assert.equal(given.length, 1);
    assert.equal(driver.used(REPORTS)?.head, 0);
    assert.equal(driver.used(REPORTS)?.head, 1);
  });

  test('pages in the balloon are named by their numbers', () => {
    driver.view.setUint32(0x8000, 0x30, true);
    driver.view.setUint32(0x8004, 0x32, true);
    driver.submit(INFLATE, [{ address: 0x8000, length: 8 }]);
    driver.submit(DEFLATE, [{ address: 0x8000, length: 8 }]);
    host.serve();
    assert.deepEqual(
      given.map(([address, length]) => [address, length]),
      [
        [0x30000, 0x1000],
        [0x32000, 0x1000],
      ],
    );
    assert.equal(driver.used(INFLATE)?.head, 0);
    assert.equal(driver.used(DEFLATE)?.head, 0);
  });

  test('a page that is not RAM stops the device and gives nothing back', () => {
    driver.view.setUint32(0x8000, 0xffffffff, true);
    driver.submit(INFLATE, [{ address: 0x8000, length: 4 }]);
    host.serve();
    assert.deepEqual(given, []);
    assert.equal(driver.needsReset, true);
  });
});

describe('statistics', () => {
  const tags = (pairs: readonly (readonly [tag: number, value: bigint])[]): number => {
    pairs.forEach(([tag, value], index) => {
      driver.view.setUint16(0x8000 + 10 * index, tag, true);
      driver.view.setBigUint64(0x8002 + 10 * index, value, true);
    });
    return 10 * pairs.length;
  };

  test('the driver has its buffer back when new ones are wanted', async () => {
    const length = tags([
      [4, 100n],
      [5, 200n],
      [99, 1n],
    ]);
    driver.submit(STATISTICS, [{ address: 0x8000, length }]);
    host.serve();
    assert.equal(host.report.statistics, undefined);
    assert.equal(driver.used(STATISTICS), undefined);

    const refreshed = host.refresh(60_000);
    assert.deepEqual(driver.used(STATISTICS), { head: 0, written: 0 });
    tags([
      [4, 50n],
      [5, 200n],
      [3, 7n],
    ]);
    driver.submit(STATISTICS, [{ address: 0x8000, length }]);
    host.serve();
    await refreshed;
    assert.deepEqual(host.report.statistics, { free: 50, total: 200, minorFaults: 7 });
    assert.equal(driver.used(STATISTICS), undefined);
  });

  test('a guest that does not answer, or is over, holds nobody up', async () => {
    await host.refresh(1);
    const refreshed = host.refresh(60_000);
    host.close();
    await refreshed;
    await host.refresh(60_000);
    assert.equal(host.report.statistics, undefined);
  });
});
