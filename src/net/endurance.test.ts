/**
 * A guest whose servers are killed and started again, whose link has no room now and then, and who resets
 * connections itself: what is whole arrives whole, nothing stays behind.
 */
import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { GuestPeer } from './testing/guest-peer.js';
import { tcpServer, withNetwork } from './testing/with-network.js';

/** Connections; PANDO_ENDURANCE in the environment says another number. */
const CONNECTIONS = Number(process.env.PANDO_ENDURANCE ?? 400);
const AT_ONCE = 8;
const PAYLOAD = Buffer.alloc(300_000, 'endurance ');

test(`${CONNECTIONS} connections under trouble leave nothing behind`, async () => {
  let state = 7;
  const random = (): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  const open = new Set<Socket>();
  const server = await tcpServer((socket) => {
    open.add(socket);
    socket.on('close', () => open.delete(socket));
    if (random() < 0.1) socket.resetAndDestroy();
    else socket.resume().write(PAYLOAD, () => socket.end());
  });
  try {
    await withNetwork({ allow: ['127.0.0.1'] }, async (network) => {
      const link = await network.link();
      let trouble = false;
      const peer = new GuestPeer(link, {
        full: () => trouble && random() < 0.05,
      });
      await peer.dhcp();
      trouble = true;
      let begun = 0;
      let whole = 0;
      let broken = 0;
      const one = async (): Promise<void> => {
        const socket = peer.connect('10.0.2.1', server.port);
        let count = 0;
        socket.on('data', (chunk: Buffer) => {
          count += chunk.length;
        });
        socket.on('end', () => socket.end());
        const fate = random();
        if (fate < 0.1) void socket.connected.then(() => socket.reset()).catch(() => {});
        // The server's host goes away with everything that is open.
        if (fate > 0.98) for (const each of open) if (!each.writableEnded) each.resetAndDestroy();
        if ((await socket.ended) === 'done') {
          assert.equal(count, PAYLOAD.length);
          whole += 1;
        } else broken += 1;
      };
      const worker = async (): Promise<void> => {
        while (begun < CONNECTIONS) {
          begun += 1;
          await one();
        }
      };
      await Promise.all(Array.from({ length: AT_ONCE }, worker));
      assert.equal(whole + broken, CONNECTIONS);
      assert.ok(whole > CONNECTIONS / 3, `${whole} whole`);
      assert.ok(broken > 0);
      while (link.statistics().openTcp > 0 || open.size > 0) await turn();
      assert.equal(link.statistics().queuedBytes, 0);
    });
  } finally {
    server.server.close();
  }
});
