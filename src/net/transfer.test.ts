import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { test } from 'node:test';
import { NO_OFFLOADS } from '../devices/frame-link.js';
import { Network } from './network.js';
import { GuestPeer, type PeerBehaviour } from './testing/guest-peer.js';

const MEGABYTE = 2 ** 20;

/** Pseudo-random numbers from 0 to 1, the same in each run. */
function randomNumbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

/** Bytes that end after `megabytes`, and their digest. */
function source(megabytes: number): { stream: Readable; digest: () => string } {
  const hash = createHash('sha256');
  const chunk = randomBytes(MEGABYTE);
  let left = megabytes;
  const stream = new Readable({
    read() {
      if (left === 0) {
        this.push(null);
        return;
      }
      chunk.writeUInt32LE(left, 0);
      left -= 1;
      const bytes = Buffer.from(chunk);
      hash.update(bytes);
      this.push(bytes);
    },
  });
  return { stream, digest: () => hash.digest('hex') };
}

/** Of all bytes to the end; unlike an iterator, leaves the other direction open. */
async function digestOf(stream: Readable): Promise<string> {
  const hash = createHash('sha256');
  stream.on('data', (chunk: Buffer) => hash.update(chunk));
  await once(stream, 'end');
  return hash.digest('hex');
}

/** Both directions at once, between a guest and a server of the host's. */
async function transfer(megabytes: number, behaviour: PeerBehaviour): Promise<void> {
  const toGuest = source(megabytes);
  const toHost = source(megabytes);
  let received: Promise<string> | undefined;
  const server = createServer({ allowHalfOpen: true }, (socket: Socket) => {
    received = digestOf(socket);
    toGuest.stream.pipe(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const network = new Network({ allow: [`127.0.0.1:${port}`] });
  try {
    const link = await network.link();
    const peer = new GuestPeer(link, behaviour);
    await peer.dhcp();
    const socket = peer.connect('10.0.2.1', port);
    await socket.connected;
    const sent = pipeline(toHost.stream, socket, { end: true });
    const arrived = await digestOf(socket);
    await sent;
    assert.equal(arrived, toGuest.digest());
    assert.equal(await received, toHost.digest());
    assert.equal(await socket.ended, 'done');
    assert.equal(link.statistics().queuedBytes, 0, 'all memory of the streams is given back');
  } finally {
    network.close();
    server.close();
  }
}

test('100 MB both ways, with frames lost and no room in the guest, arrive byte for byte', async () => {
  const random = randomNumbers(1);
  await transfer(100, {
    lose: () => random() < 0.005,
    loseSent: () => random() < 0.005,
    full: () => random() < 0.05,
  });
});

test('10 MB both ways to a guest that takes no offload', async () => {
  const random = randomNumbers(2);
  await transfer(10, { offloads: NO_OFFLOADS, full: () => random() < 0.02 });
});
