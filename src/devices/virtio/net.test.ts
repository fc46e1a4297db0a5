import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { Frame, MAX_FRAME_BYTES } from '../frame-link.js';
import { HeldLink } from '../testing/held-link.js';
import { VirtioNet } from './net.js';
import { TestDriver } from './testing/driver.js';

const DATA = 0x20000;
const CSUM = 1n << 0n;
const GUEST_CSUM = 1n << 1n;
const HOST_TSO4 = 1n << 11n;
const MRG_RXBUF = 1n << 15n;

class Card {
  readonly link: HeldLink;
  readonly driver: TestDriver<VirtioNet>;

  constructor(features = 0n) {
    this.link = new HeldLink({ checksum: true, tso4: true, tso6: false });
    const { mac, mtu, offloads } = this.link;
    this.driver = new TestDriver((transport) => new VirtioNet(transport, { mac, mtu, offloads }));
    this.driver.device.connect(this.link);
    assert.equal(this.driver.start(features), 15);
  }

  /** Puts a frame with its header into the transmit queue. */
  transmit(frame: Uint8Array, header = new Uint8Array(12), slot = 0): void {
    const at = DATA + slot * 0x800;
    this.driver.ram.set(header, at);
    this.driver.ram.set(frame, at + 12);
    this.driver.submit(1, [{ address: at, length: 12 + frame.length }], slot);
  }

  serve(): void {
    this.driver.notify(0);
    this.driver.device.serve();
  }
}

function bytes(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (i * 7) & 0xff);
}

function frame(length: number): Frame {
  return new Frame().setPlain(bytes(length), length);
}

describe('the network device', () => {
  test('tells address, MTU and that the cable is plugged in', () => {
    const { driver, link } = new Card();
    assert.deepEqual(
      Array.from({ length: 6 }, (_, i) => driver.mmio.readMmio(0x100 + i, 1)),
      [...link.mac],
    );
    assert.equal(driver.mmio.readMmio(0x106, 2), 1);
    assert.equal(driver.mmio.readMmio(0x10a, 2), 1500);
    driver.device.carrier(false);
    assert.equal(driver.mmio.readMmio(0x106, 2), 0);
    assert.equal(driver.read(0x60) & 2, 2);
  });

  test('sends what the guest sends, and gives the buffers back', () => {
    const card = new Card();
    card.transmit(bytes(60), undefined, 0);
    card.transmit(bytes(100), undefined, 1);
    card.serve();
    assert.deepEqual(card.link.sent, [bytes(60), bytes(100)]);
    assert.deepEqual([card.driver.used(1)?.head, card.driver.used(1)?.head], [0, 1]);
  });

  test('keeps a frame that the link does not take, and goes on with it', () => {
    const card = new Card();
    card.link.room = false;
    card.transmit(bytes(60));
    card.serve();
    assert.equal(card.driver.used(1), undefined);
    const rings = card.driver.rings;
    card.link.room = true;
    assert.equal(card.driver.rings, rings + 1);
    card.driver.device.serve();
    assert.deepEqual(card.link.sent, [bytes(60)]);
    assert.equal(card.driver.used(1)?.head, 0);
  });

  test('passes checksum and segment marks on only as negotiated', () => {
    const header = Uint8Array.of(1, 1, 54, 0, 0xb4, 5, 34, 0, 16, 0, 0, 0);
    const seen: [number, number, number, number][] = [];
    for (const features of [CSUM | HOST_TSO4, CSUM, 0n]) {
      const card = new Card(features);
      const send = card.link.send.bind(card.link);
      card.link.send = (sent) => {
        seen.push([sent.flags, sent.gsoType, sent.gsoSize, sent.csumStart]);
        return send(sent);
      };
      card.transmit(bytes(2000), header);
      card.serve();
      assert.equal(card.driver.used(1)?.head, 0);
    }
    assert.deepEqual(seen, [[1, 1, 1460, 34]], 'a segment without the feature is dropped');
  });

  test('receives into one buffer, or says that there is none and asks again', () => {
    const card = new Card();
    assert.equal(card.driver.device.receive(frame(80)), false);
    card.driver.submit(0, [{ address: DATA, length: 1526, writable: true }], 4);
    card.serve();
    assert.equal(card.link.readyCalls, 1);
    assert.equal(card.driver.device.receive(frame(80)), true);
    assert.deepEqual(card.driver.used(0), { head: 4, written: 92 });
    assert.deepEqual(card.driver.ram.slice(DATA + 12, DATA + 92), bytes(80));
    assert.equal(card.driver.view.getUint16(DATA + 10, true), 1);
  });

  test('spreads a long frame over buffers, all or none of them', () => {
    const card = new Card(MRG_RXBUF | GUEST_CSUM);
    const buffer = (slot: number): void =>
      card.driver.submit(0, [{ address: DATA + slot * 0x800, length: 1000, writable: true }], slot);
    buffer(0);
    buffer(1);
    assert.equal(card.driver.device.receive(frame(2500)), false);
    assert.equal(card.driver.used(0), undefined);
    buffer(2);
    const long = frame(2500);
    long.flags = 1;
    long.csumStart = 34;
    assert.equal(card.driver.device.receive(long), true);
    const used = [0, 1, 2].map(() => card.driver.used(0));
    assert.deepEqual(used, [
      { head: 0, written: 1000 },
      { head: 1, written: 1000 },
      { head: 2, written: 512 },
    ]);
    const got = [0, 1, 2].flatMap((slot) => [
      ...card.driver.ram.subarray(DATA + slot * 0x800, DATA + slot * 0x800 + 1000),
    ]);
    assert.deepEqual(Uint8Array.from(got.slice(12, 2512)), bytes(2500));
    assert.deepEqual(got.slice(0, 12), [1, 0, 0, 0, 0, 0, 34, 0, 0, 0, 3, 0]);
  });

  test('frames that come together are one interrupt; one that a saved machine lacks is made up for', async () => {
    const card = new Card();
    for (let slot = 0; slot < 4; slot += 1) {
      card.driver.submit(0, [{ address: DATA + slot * 0x800, length: 1526, writable: true }], slot);
    }
    const before = card.driver.interrupts;
    assert.equal(card.driver.device.receive(frame(80)), true);
    assert.equal(card.driver.device.receive(frame(80)), true);
    assert.equal(card.driver.used(0)?.head, 0, 'the frames are there at once');
    await turn();
    assert.equal(card.driver.interrupts, before + 1);
    assert.equal(card.driver.device.receive(frame(80)), true);
    card.driver.device.close();
    await turn();
    assert.equal(card.driver.interrupts, before + 1, 'a closed device says nothing');
    card.driver.device.serve();
    assert.equal(card.driver.interrupts, before + 2);
  });

  test('what the link answers within a send finds the rings', () => {
    const card = new Card();
    card.driver.submit(0, [{ address: DATA + 0x4000, length: 1526, writable: true }], 2);
    const send = card.link.send.bind(card.link);
    card.link.send = (sent) => card.driver.device.receive(frame(64)) && send(sent);
    card.transmit(bytes(60));
    card.serve();
    assert.deepEqual(card.driver.used(0), { head: 2, written: 76 });
    assert.equal(card.driver.used(1)?.head, 0);
  });

  test('frames that are none are dropped, and broken rings stop the device', () => {
    const card = new Card();
    card.transmit(bytes(13), undefined, 0);
    card.driver.submit(1, [{ address: DATA, length: 4 }], 1);
    card.driver.submit(1, [{ address: 0, length: MAX_FRAME_BYTES + 13 }], 2);
    card.serve();
    assert.deepEqual(card.link.sent, []);
    assert.ok([0, 1, 2].every((head) => card.driver.used(1)?.head === head));
    card.driver.submit(0, [{ address: 0x7ffff, length: 1526, writable: true }], 4);
    assert.equal(card.driver.device.receive(frame(60)), false);
    assert.equal(card.driver.needsReset, true);
  });
});
