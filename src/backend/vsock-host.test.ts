/** The host end against a guest of the test's own, packet by packet (virtio 1.2, 5.10.6). */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createConnection } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { EVENT_IDX, TestDriver } from '../devices/virtio/testing/driver.js';
import { VirtioVsock, VSOCK_HEADER } from '../devices/virtio/vsock.js';
import { PandoError } from '../error.js';
import { VsockHost } from './vsock-host.js';
import { VsockSocket } from './vsock-socket.js';
import { OPERATION } from './vsock-stream.js';

const CID = 3;
const DATA = 0x20000;
const SLOT = 0x2000;
const SLOTS = 8;

interface Packet {
  readonly hostPort: number;
  readonly guestPort: number;
  readonly operation: number;
  readonly flags: number;
  readonly bufferSize: number;
  readonly forwarded: number;
  readonly data: Buffer;
}

/** A guest that has a few buffers for packets, and sends what the test says. */
class Guest {
  host!: VsockHost;
  readonly driver = new TestDriver((transport) => {
    return new VirtioVsock(transport, CID, (link) => {
      this.host = new VsockHost(link);
      return this.host;
    });
  });
  readonly #free: number[] = [];
  readonly #received: Packet[] = [];
  bufferSize = 100_000;
  forwarded = 0;

  constructor(private readonly features = 0n) {
    this.boot();
  }

  /** Resets the device and sets it up anew. */
  boot(): void {
    this.driver.start(this.features);
    this.#free.splice(0, SLOTS, ...Array(SLOTS).keys());
    this.refill();
    this.host.serve();
  }

  /** Gives the device all its buffers. */
  refill(): void {
    for (const slot of this.#free.splice(0)) {
      this.driver.submit(0, [{ address: DATA + slot * SLOT, length: SLOT, writable: true }], slot);
    }
    this.driver.notify(0);
  }

  send(packet: Partial<Packet>): void {
    this.leave(packet);
    this.host.serve();
    assert.ok(this.driver.used(1), 'a packet is taken at once, whatever waits for the guest');
  }

  /** Sends what the host end has not looked at yet. */
  leave(packet: Partial<Packet>): void {
    const {
      hostPort = 0,
      guestPort = 0,
      operation = 0,
      flags = 0,
      data = Buffer.alloc(0),
    } = packet;
    const at = 0x60000;
    const view = new DataView(
      this.driver.ram.buffer,
      this.driver.ram.byteOffset + at,
      VSOCK_HEADER,
    );
    view.setBigUint64(0, BigInt(CID), true);
    view.setBigUint64(8, 2n, true);
    view.setUint32(16, guestPort, true);
    view.setUint32(20, hostPort, true);
    view.setUint32(24, data.length, true);
    view.setUint16(28, 1, true);
    view.setUint16(30, operation, true);
    view.setUint32(32, flags, true);
    view.setUint32(36, this.bufferSize, true);
    view.setUint32(40, this.forwarded, true);
    this.driver.ram.set(data, at + VSOCK_HEADER);
    this.driver.submit(1, [{ address: at, length: VSOCK_HEADER + data.length }]);
    this.driver.notify(1);
  }

  /** What has come, once all that is due has been sent. */
  async packets(refill = true): Promise<Packet[]> {
    for (let quiet = 0; quiet < 3; quiet++) {
      await turn();
      for (let used = this.driver.used(0); used !== undefined; used = this.driver.used(0)) {
        quiet = 0;
        const at = DATA + used.head * SLOT;
        const view = new DataView(this.driver.ram.buffer, this.driver.ram.byteOffset + at, SLOT);
        this.#received.push({
          hostPort: view.getUint32(16, true),
          guestPort: view.getUint32(20, true),
          operation: view.getUint16(30, true),
          flags: view.getUint32(32, true),
          bufferSize: view.getUint32(36, true),
          forwarded: view.getUint32(40, true),
          data: Buffer.from(this.driver.ram.slice(at + VSOCK_HEADER, at + used.written)),
        });
        this.#free.push(used.head);
      }
      if (refill && this.#free.length > 0) {
        this.refill();
        this.host.serve();
      }
    }
    return this.#received.splice(0);
  }

  /** A connection of the host's to a port, as both sides have it. */
  async accept(
    port: number,
  ): Promise<{ stream: Duplex; peer: { hostPort: number; guestPort: number } }> {
    const connecting = this.host.connect(port);
    const [request] = await this.packets();
    assert.equal(request?.operation, OPERATION.REQUEST);
    const peer = { hostPort: request.hostPort, guestPort: port };
    this.send({ ...peer, operation: OPERATION.RESPONSE });
    return { stream: await connecting, peer };
  }
}

/** What a VM's host end is closed with. */
const ENDED = new PandoError('VM_ENDED', 'the VM has ended');

const coded = (code: string) => (error: unknown) =>
  error instanceof PandoError && error.code === code;
const operations = (packets: readonly Packet[]): number[] =>
  packets.map((packet) => packet.operation);

test('a connection goes both ways, and closes half by half', async () => {
  const guest = new Guest();
  const { stream, peer } = await guest.accept(1024);
  stream.write('hello');
  const [sent] = await guest.packets();
  assert.deepEqual([sent?.operation, sent?.data.toString()], [OPERATION.RW, 'hello']);
  guest.send({ ...peer, operation: OPERATION.RW, data: Buffer.from('answer') });
  assert.equal(String((await once(stream, 'data'))[0]), 'answer');
  stream.end('bye');
  const last = await guest.packets();
  assert.deepEqual(operations(last), [OPERATION.RW, OPERATION.SHUTDOWN]);
  assert.equal(last[1]?.flags, 2);
  guest.send({ ...peer, operation: OPERATION.RW, data: Buffer.from('still') });
  assert.equal(String((await once(stream, 'data'))[0]), 'still');
  const closed = once(stream, 'close');
  guest.send({ ...peer, operation: OPERATION.SHUTDOWN, flags: 3 });
  assert.deepEqual(operations(await guest.packets()), [OPERATION.RST]);
  await closed;
});

test('a port without a listener refuses, on either side; without a driver nothing connects', async () => {
  const guest = new Guest();
  const refused = assert.rejects(guest.host.connect(7), coded('VSOCK_REFUSED'));
  const [request] = await guest.packets();
  guest.send({ hostPort: request!.hostPort, guestPort: 7, operation: OPERATION.RST });
  await refused;
  guest.send({ hostPort: 99, guestPort: 5000, operation: OPERATION.REQUEST });
  assert.deepEqual(operations(await guest.packets()), [OPERATION.RST]);
  guest.driver.write(0x70, 0);
  guest.host.serve();
  await assert.rejects(guest.host.connect(7), coded('VSOCK_NOT_READY'));
});

test('the guest connects to a listener', async () => {
  const guest = new Guest();
  const streams: Duplex[] = [];
  const stop = guest.host.listen(80, (stream) => streams.push(stream));
  assert.throws(() => guest.host.listen(80, () => undefined), coded('VSOCK_PORT_TAKEN'));
  const peer = { hostPort: 80, guestPort: 5000 };
  guest.send({ ...peer, operation: OPERATION.REQUEST });
  assert.deepEqual(operations(await guest.packets()), [OPERATION.RESPONSE]);
  streams[0]!.write('from the host');
  assert.equal((await guest.packets())[0]?.data.toString(), 'from the host');
  stop();
  guest.send({ hostPort: 80, guestPort: 5001, operation: OPERATION.REQUEST });
  assert.deepEqual(operations(await guest.packets()), [OPERATION.RST]);
});

test('the host sends no more than the guest has room for', async () => {
  const guest = new Guest();
  const { stream, peer } = await guest.accept(1);
  const bytes = randomBytes(250_000);
  stream.write(bytes);
  const first = Buffer.concat((await guest.packets()).map(({ data }) => data));
  assert.equal(first.length, guest.bufferSize);
  guest.forwarded = first.length;
  guest.send({ ...peer, operation: OPERATION.CREDIT_UPDATE });
  const second = Buffer.concat((await guest.packets()).map(({ data }) => data));
  guest.forwarded += second.length;
  guest.send({ ...peer, operation: OPERATION.CREDIT_UPDATE });
  const third = Buffer.concat((await guest.packets()).map(({ data }) => data));
  assert.ok(Buffer.concat([first, second, third]).equals(bytes));
});

test('a slow reader gives the guest no credit; one who sends without it is cut off', async () => {
  const guest = new Guest();
  const { stream, peer } = await guest.accept(1);
  const piece = Buffer.alloc(32768, 1);
  for (let i = 0; i < 8; i++) guest.send({ ...peer, operation: OPERATION.RW, data: piece });
  const told = (await guest.packets()).at(-1)?.forwarded ?? 0;
  assert.equal(told, 0, 'nobody has read');
  let read = 0;
  stream.on('data', (bytes: Buffer) => {
    read += bytes.length;
  });
  const updates = await guest.packets();
  assert.equal(read, 8 * piece.length);
  assert.ok((updates.at(-1)?.forwarded ?? 0) > 0);
  stream.pause();
  for (let i = 0; i < 9; i++) guest.send({ ...peer, operation: OPERATION.RW, data: piece });
  assert.equal(operations(await guest.packets()).at(-1), OPERATION.RST);
});

test('packets wait while the guest takes none, and none is lost', async () => {
  const guest = new Guest();
  const { stream } = await guest.accept(1);
  const bytes = randomBytes(90_000);
  stream.write(bytes);
  const got: Buffer[] = [];
  for (let round = 0; round < 4; round++) {
    got.push(...(await guest.packets(false)).map(({ data }) => data));
    guest.refill();
    guest.host.serve();
  }
  got.push(...(await guest.packets()).map(({ data }) => data));
  assert.ok(Buffer.concat(got).equals(bytes));
});

test('a guest whose machine was restored hears that its connections are over', async () => {
  const guest = new Guest();
  await guest.accept(1);
  const event = 0x70000;
  guest.driver.submit(2, [{ address: event, length: 4, writable: true }]);
  guest.driver.ram.fill(0xff, event, event + 4);
  const next = new VsockHost(guest.driver.device);
  next.serve();
  assert.deepEqual(guest.driver.used(2), { head: 0, written: 4 });
  assert.equal(guest.driver.view.getUint32(event, true), 0);
  next.serve();
  assert.equal(guest.driver.used(2), undefined, 'once');
});

for (const features of [0n, EVENT_IDX]) {
  const how = features === 0n ? 'flags' : 'event indices';
  test(`a connection waits until a restored guest has taken that, with ${how}`, async () => {
    const guest = new Guest(features);
    await guest.accept(1);
    const event = 0x70000;
    const give = (): void => {
      guest.driver.submit(2, [{ address: event, length: 4, writable: true }]);
      guest.driver.notify(2);
    };
    give();
    give();
    const next = new VsockHost(guest.driver.device);
    const connecting = next.connect(1);
    assert.deepEqual(await guest.packets(), []);
    assert.ok(guest.driver.used(2));
    give();
    assert.ok(guest.driver.wantsNotice(2), 'the device hears of the buffer');
    next.serve();
    const [request] = await guest.packets();
    assert.equal(request?.operation, OPERATION.REQUEST);
    next.close(ENDED);
    await assert.rejects(connecting);
  });
}

test('a guest that does not take that is not waited for for ever; when it does, it has ended what was begun', async () => {
  const guest = new Guest();
  await guest.accept(1);
  const event = [{ address: 0x70000, length: 4, writable: true }];
  guest.driver.submit(2, event);
  const next = new VsockHost(guest.driver.device, 20);
  guest.host = next;
  const connecting = next.connect(1);
  let request: Packet | undefined;
  while (request === undefined) [request] = await guest.packets();
  assert.equal(request.operation, OPERATION.REQUEST);
  const peer = { hostPort: request.hostPort, guestPort: 1 };
  guest.send({ ...peer, operation: OPERATION.RESPONSE });
  const stream = await connecting;
  guest.driver.submit(2, event);
  guest.driver.notify(2);
  next.serve();
  await once(stream.resume(), 'close');
  const again = await guest.accept(1);
  assert.ok(!again.stream.destroyed);
  next.close(ENDED);
});

test('a guest that was restored twice is waited for until it has taken both events', async () => {
  const guest = new Guest();
  await guest.accept(1);
  const give = (): void => {
    guest.driver.submit(2, [{ address: 0x70000, length: 4, writable: true }]);
    guest.driver.notify(2);
  };
  give();
  give();
  const between = new VsockHost(guest.driver.device);
  const lost = between.connect(1);
  const next = new VsockHost(guest.driver.device);
  const connecting = next.connect(1);
  between.close(ENDED);
  await assert.rejects(lost);
  assert.deepEqual(await guest.packets(), []);
  give();
  next.serve();
  assert.deepEqual(await guest.packets(), [], 'one of the two');
  give();
  next.serve();
  assert.equal((await guest.packets())[0]?.operation, OPERATION.REQUEST);
  next.close(ENDED);
  await assert.rejects(connecting);
});

test('a connection that the guest answers with what is no answer ends with an error', async () => {
  const guest = new Guest();
  const refused = assert.rejects(guest.host.connect(7), coded('VSOCK_CLOSED'));
  const [request] = await guest.packets();
  const peer = { hostPort: request!.hostPort, guestPort: 7 };
  guest.send({ ...peer, operation: OPERATION.RW, data: Buffer.from('early') });
  await refused;
  assert.deepEqual(operations(await guest.packets()), [OPERATION.RST]);
});

test('ports of a host end are none that the one before it had', async () => {
  const guest = new Guest();
  const before = await guest.accept(1);
  const next = new VsockHost(guest.driver.device);
  guest.host.close(ENDED);
  guest.host = next;
  assert.notEqual((await guest.accept(1)).peer.hostPort, before.peer.hostPort);
});

test('a guest whose machine was restored without connections hears of none', async () => {
  const guest = new Guest();
  const { stream } = await guest.accept(1);
  stream.destroy();
  while (!(await guest.packets()).some(({ operation }) => operation === OPERATION.RST));
  const event = 0x70000;
  guest.driver.submit(2, [{ address: event, length: 4, writable: true }]);
  const next = new VsockHost(guest.driver.device);
  next.serve();
  assert.equal(guest.driver.used(2), undefined);
});

test('what a reset or a closed host end leaves open ends', async () => {
  const guest = new Guest();
  const { stream } = await guest.accept(1);
  guest.boot();
  await once(stream.resume(), 'close');
  const { stream: unheard } = await guest.accept(2);
  guest.host.close(ENDED);
  await once(unheard.resume(), 'close');
});

test('connections of a VM that has ended give what the guest had sent, then fail', async () => {
  const guest = new Guest();
  const { stream: idle } = await guest.accept(1);
  const reading = buffer(idle);
  const { stream: unread, peer } = await guest.accept(2);
  const { stream: whole, peer: over } = await guest.accept(3);
  guest.send({ ...over, operation: OPERATION.RW, data: Buffer.from('all') });
  guest.send({ ...over, operation: OPERATION.SHUTDOWN, flags: 2 });
  const connecting = guest.host.connect(4);
  guest.host.listen(9, () => undefined);
  guest.leave({ ...peer, operation: OPERATION.RW, data: Buffer.from('the last words') });
  guest.host.finish();
  guest.host.close(ENDED);
  await assert.rejects(reading, ENDED);
  await assert.rejects(connecting, ENDED);
  await assert.rejects(guest.host.connect(5), ENDED);
  assert.throws(() => guest.host.listen(10, () => undefined), ENDED);
  unread.write('nobody takes this, and nobody waits for it');
  let words = '';
  await assert.rejects(async () => {
    for await (const piece of unread) words += String(piece);
  }, ENDED);
  assert.equal(words, 'the last words');
  assert.equal(String(await buffer(whole)), 'all', 'the guest had ended it');
});

test('a UNIX socket takes CONNECT', async () => {
  const guest = new Guest();
  const folder = mkdtempSync(join(tmpdir(), 'pando-vsock-'));
  const path = join(folder, 'socket');
  const socket = await VsockSocket.listen(path, (port) => guest.host.connect(port));
  await assert.rejects(
    VsockSocket.listen(path, (port) => guest.host.connect(port)),
    coded('VSOCK_SOCKET_FAILED'),
  );
  const client = createConnection(path);
  client.write('CONNECT 1024\nearly');
  let request: Packet | undefined;
  while (request === undefined) [request] = await guest.packets();
  const peer = { hostPort: request.hostPort, guestPort: 1024 };
  guest.send({ ...peer, operation: OPERATION.RESPONSE });
  assert.equal(String((await once(client, 'data'))[0]), `OK ${request.hostPort}\n`);
  let seen = '';
  while (seen !== 'early') seen += (await guest.packets()).map(({ data }) => data).join('');
  guest.send({ ...peer, operation: OPERATION.RW, data: Buffer.from('back') });
  assert.equal(String((await once(client, 'data'))[0]), 'back');
  client.destroy();
  const wrong = createConnection(path);
  wrong.write('GET / HTTP/1.1\r\n');
  await once(wrong.resume(), 'close');
  socket.close();
  rmSync(folder, { recursive: true });
});
