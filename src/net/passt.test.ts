import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { test } from 'node:test';
import { formatIpv4 } from './address.js';
import { Network } from './network.js';
import { PasstLink } from './passt.js';
import { GuestPeer, readAll } from './testing/guest-peer.js';
import { tcpServer, udpServer } from './testing/with-network.js';

const installed = spawnSync('passt', ['--version']).error === undefined;
const skip = installed ? false : 'passt is not installed';

/** Each implementation of a network, with what makes the host's loopback reachable. */
const LINKS = {
  user: async () => {
    const network = new Network({ allow: ['127.0.0.1'] });
    return { link: await network.link(), close: () => network.close() };
  },
  passt: async () => {
    const link = await PasstLink.open({ mtu: 1500 });
    return { link, close: () => link.close() };
  },
};

/** Runs the same steps with both, as the one is the other's oracle. */
function onBoth(name: string, run: (peer: GuestPeer, gateway: string) => Promise<void>): void {
  for (const [implementation, open] of Object.entries(LINKS)) {
    test(`${name} (${implementation})`, { skip: implementation === 'passt' && skip }, async () => {
      const { link, close } = await open();
      try {
        const peer = new GuestPeer(link);
        await peer.dhcp();
        await run(peer, formatIpv4(peer.gateway));
      } finally {
        close();
      }
    });
  }
}

onBoth('a page is fetched, the server ends first', async (peer, gateway) => {
  const server = await tcpServer((socket) => socket.end('page').resume());
  try {
    const socket = peer.connect(gateway, server.port);
    await socket.connected;
    assert.equal((await readAll(socket)).toString(), 'page');
    socket.end();
    assert.equal(await socket.ended, 'done');
  } finally {
    server.server.close();
  }
});

onBoth('the guest ends first, and still gets everything', async (peer, gateway) => {
  const server = await tcpServer((socket) => {
    socket.resume().on('end', () => socket.end('after the end'));
  });
  try {
    const socket = peer.connect(gateway, server.port);
    await socket.connected;
    socket.end('request');
    // Debian 12's passt sends the bytes, and no FIN behind them.
    const [chunk] = (await once(socket, 'data')) as [Buffer];
    assert.equal(chunk.toString(), 'after the end');
  } finally {
    server.server.close();
  }
});

onBoth('a reset of the server reaches the guest', async (peer, gateway) => {
  const server = await tcpServer((socket) => socket.once('data', () => socket.resetAndDestroy()));
  try {
    const socket = peer.connect(gateway, server.port);
    await socket.connected;
    socket.write('x');
    assert.equal(await socket.ended, 'reset');
  } finally {
    server.server.close();
  }
});

onBoth('16 MB go both ways at once', async (peer, gateway) => {
  const sent = randomBytes(16 * 2 ** 20);
  const digest = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
  const server = await tcpServer((socket) => void socket.pipe(socket));
  try {
    const socket = peer.connect(gateway, server.port);
    await socket.connected;
    const echoed: Buffer[] = [];
    let count = 0;
    const all = new Promise<void>((resolve) => {
      socket.on('data', (chunk: Buffer) => {
        echoed.push(chunk);
        count += chunk.length;
        if (count === sent.length) resolve();
      });
    });
    // Open to the end: Debian 12's passt recovers from losses slowly once the guest has ended.
    socket.write(sent);
    await all;
    assert.equal(digest(Buffer.concat(echoed)), digest(sent));
  } finally {
    server.server.close();
  }
});

onBoth('datagrams and echo requests come back', async (peer, gateway) => {
  const echo = await udpServer((message) => message);
  try {
    const answer = peer.datagram(9000);
    peer.sendDatagram(gateway, echo.port, Buffer.from('udp'), 9000);
    const { address, port, payload } = await answer;
    assert.deepEqual([address, port, payload.toString()], [gateway, echo.port, 'udp']);
  } finally {
    echo.server.close();
  }
});

test('passt that is not there is an error with a code', async () => {
  await assert.rejects(PasstLink.open({ program: '/nonexistent/passt' }), {
    code: 'NET_PASST_MISSING',
  });
});

test('passt that does not start is an error with its words', { skip }, async () => {
  await assert.rejects(PasstLink.open({ args: ['--no-such-option'] }), {
    code: 'NET_PASST_FAILED',
  });
});

test('when passt goes, the carrier does', { skip }, async () => {
  const link = await PasstLink.open();
  try {
    const carrier = await new Promise<boolean>((resolve) => {
      link.attach({
        offloads: link.offloads,
        receive: () => true,
        sendReady: () => {},
        carrier: resolve,
      });
      process.kill(link.pid, 'SIGTERM');
    });
    assert.equal(carrier, false);
  } finally {
    link.close();
  }
});
