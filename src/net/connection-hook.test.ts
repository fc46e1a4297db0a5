import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { PassThrough, Writable } from 'node:stream';
import { test } from 'node:test';
import type { ConnectionInfo } from './connection-info.js';
import { GuestPeer, readAll, unreachableCode } from './testing/guest-peer.js';
import { plugIn, tcpServer, withNetwork } from './testing/with-network.js';

test('a hook sees each connection with what the policy says', async () => {
  const seen: ConnectionInfo[] = [];
  const onConnection = (info: ConnectionInfo): undefined => {
    seen.push(info);
  };
  await withNetwork({ onConnection, deny: ['192.0.2.0/24'] }, async (network) => {
    const link = await network.link({ name: 'seen', publish: ['127.0.0.1:0:80'] });
    const peer = new GuestPeer(link);
    await peer.dhcp();
    await assert.rejects(peer.connect('192.0.2.1', 443).connected, /refused/);
    const refused = peer.icmp();
    peer.sendDatagram('10.0.2.1', 123, Buffer.from('x'), 5000);
    assert.equal(unreachableCode(await refused), 13);
    peer.listen(80, (socket) => socket.end());
    const host = connect({ host: '127.0.0.1', port: link.published[0]!.hostPort });
    host.resume().end();
    await once(host, 'close');
    assert.deepEqual(
      seen.map(({ vm, protocol, direction, destination, policy }) => [
        vm,
        protocol,
        direction,
        destination.address,
        destination.port,
        policy,
      ]),
      [
        ['seen', 'tcp', 'out', '192.0.2.1', 443, 'deny'],
        ['seen', 'udp', 'out', '127.0.0.1', 123, 'deny'],
        ['seen', 'tcp', 'in', '10.0.2.2', 80, 'allow'],
      ],
    );
    assert.equal(seen[0]?.reason, 'denied by 192.0.2.0/24');
  });
});

test('a hook refuses, and does not open what the policy refuses', async () => {
  const server = await tcpServer((socket) => socket.end('reached'));
  try {
    const allow = [`127.0.0.1:${server.port}`];
    await withNetwork({ allow, onConnection: () => 'deny' as const }, async (network) => {
      const peer = await plugIn(network);
      await assert.rejects(peer.connect('10.0.2.1', server.port).connected, /refused/);
    });
    await withNetwork({ onConnection: () => 'allow' as const }, async (network) => {
      const peer = await plugIn(network);
      await assert.rejects(peer.connect('10.0.2.1', server.port).connected, /refused/);
    });
    const fails = () => Promise.reject(new Error('hook'));
    await withNetwork({ allow, onConnection: fails }, async (network) => {
      const peer = await plugIn(network);
      await assert.rejects(peer.connect('10.0.2.1', server.port).connected, /refused/);
    });
  } finally {
    server.server.close();
  }
});

test('a hook answers in the place of any destination', async () => {
  const onConnection = ({ destination }: ConnectionInfo) => {
    const stream = new PassThrough();
    if (destination.port === 80) stream.write('metadata of our own; ');
    return stream;
  };
  await withNetwork({ onConnection }, async (network) => {
    const peer = await plugIn(network);
    const socket = peer.connect('169.254.169.254', 80);
    await socket.connected;
    socket.end('echo');
    assert.equal((await readAll(socket)).toString(), 'metadata of our own; echo');
    assert.equal(await socket.ended, 'done');
  });
});

test('a stream that takes nothing stops the guest, and goes on where it stopped', async () => {
  const taken: number[] = [];
  let release: () => void = () => {};
  const sink = new Writable({
    highWaterMark: 16384,
    write(chunk: Uint8Array, _encoding, done) {
      taken.push(chunk.length);
      if (taken.length > 1) done();
      else release = done;
    },
  });
  const { Duplex } = await import('node:stream');
  const onConnection = () => Duplex.from({ writable: sink, readable: new PassThrough() });
  await withNetwork({ onConnection }, async (network) => {
    const peer = await plugIn(network);
    const socket = peer.connect('192.0.2.1', 80);
    await socket.connected;
    const total = 8 * 2 ** 20;
    let sent = false;
    socket.write(Buffer.alloc(total), () => {
      sent = true;
    });
    // As many round trips as moving all of it would take many times over.
    for (let i = 0; i < 50; i += 1) await peer.ping(peer.gateway, Buffer.from('x'));
    assert.equal(sent, false);
    assert.ok(taken.length <= 1);
    release();
    socket.end();
    await once(sink, 'finish');
    assert.equal(
      taken.reduce((sum, length) => sum + length, 0),
      total,
    );
  });
});

test('a guest that reads nothing stops the server', async () => {
  let stuck = false;
  const server = await tcpServer((socket) => {
    const chunk = Buffer.alloc(2 ** 20);
    let left = 64;
    const more = (): void => {
      while (left > 0) {
        left -= 1;
        if (!socket.write(chunk)) {
          stuck = left > 0;
          socket.once('drain', more);
          return;
        }
      }
      socket.end();
    };
    more();
    socket.resume().on('error', () => {});
  });
  try {
    await withNetwork({ allow: ['127.0.0.1'] }, async (network) => {
      const link = await network.link();
      const peer = new GuestPeer(link);
      await peer.dhcp();
      const socket = peer.connect('10.0.2.1', server.port);
      await socket.connected;
      for (let i = 0; i < 200; i += 1) await peer.ping(peer.gateway, Buffer.from('x'));
      assert.equal(stuck, true);
      assert.ok(link.statistics().bytesOut < 8 * 2 ** 20, String(link.statistics().bytesOut));
      assert.equal((await readAll(socket)).length, 64 * 2 ** 20);
    });
  } finally {
    server.server.close();
  }
});

test('a reset of either side reaches the other', async () => {
  const events: string[] = [];
  const server = await tcpServer((socket) => {
    socket.on('error', (error: NodeJS.ErrnoException) => events.push(error.code ?? ''));
    socket.once('data', (chunk: Buffer) => {
      if (chunk.toString() === 'reset me') socket.resetAndDestroy();
      else events.push(chunk.toString());
    });
    socket.once('close', () => events.push('close'));
  });
  try {
    await withNetwork({ allow: ['127.0.0.1'] }, async (network) => {
      const peer = await plugIn(network);
      const first = peer.connect('10.0.2.1', server.port);
      await first.connected;
      first.write('reset me');
      assert.equal(await first.ended, 'reset');
      const second = peer.connect('10.0.2.1', server.port);
      await second.connected;
      second.write('hello');
      while (!events.includes('hello')) await peer.ping(peer.gateway, Buffer.from('x'));
      second.reset();
      while (events.length < 4) await peer.ping(peer.gateway, Buffer.from('x'));
      assert.deepEqual(events, ['close', 'hello', 'ECONNRESET', 'close']);
    });
  } finally {
    server.server.close();
  }
});

test('connections are bounded, and closing the network ends them all', async () => {
  const ended: Promise<unknown>[] = [];
  const server = await tcpServer((socket) => {
    socket.on('error', () => {});
    ended.push(new Promise((resolve) => socket.once('close', resolve)));
    socket.resume();
  });
  try {
    const options = { allow: ['127.0.0.1'], limits: { connections: 3 } };
    await withNetwork(options, async (network) => {
      const link = await network.link();
      const peer = new GuestPeer(link);
      await peer.dhcp();
      for (let i = 0; i < 3; i += 1) await peer.connect('10.0.2.1', server.port).connected;
      await assert.rejects(peer.connect('10.0.2.1', server.port).connected, /refused/);
      assert.equal(link.statistics().limited, 1);
      assert.equal(link.statistics().openTcp, 3);
    });
    await Promise.all(ended);
    assert.equal(ended.length, 3);
  } finally {
    server.server.close();
  }
});
