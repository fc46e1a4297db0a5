import assert from 'node:assert/strict';
import { test } from 'node:test';
import { unreachableCode } from './testing/guest-peer.js';
import { plugIn, udpServer, withNetwork } from './testing/with-network.js';

test('datagrams go to a server and back, with the address that the guest asked', async () => {
  const echo = await udpServer((message) => message);
  try {
    await withNetwork({ allow: [`127.0.0.1:${echo.port}`] }, async (network) => {
      const peer = await plugIn(network);
      for (const text of ['first', '']) {
        const answer = peer.datagram(7000);
        peer.sendDatagram('10.0.2.1', echo.port, Buffer.from(text), 7000);
        const { address, port, payload } = await answer;
        assert.deepEqual([address, port, payload.toString()], ['10.0.2.1', echo.port, text]);
      }
    });
  } finally {
    echo.server.close();
  }
});

test('what the policy refuses and what nobody takes is said so', async () => {
  const silent = await udpServer(() => undefined);
  const { port } = silent;
  await withNetwork({ allow: ['127.0.0.1'] }, async (network) => {
    const peer = await plugIn(network);
    const refused = peer.icmp();
    peer.sendDatagram('192.0.2.1', 9, Buffer.from('x'), 7001);
    assert.equal(unreachableCode(await refused), 13);
    await new Promise<void>((resolve) => silent.server.close(() => resolve()));
    const closed = peer.icmp();
    peer.sendDatagram('10.0.2.1', port, Buffer.from('x'), 7002);
    assert.equal(unreachableCode(await closed), 3);
  });
});

test('datagrams longer than the MTU go in fragments, both ways', async () => {
  const lengths: number[] = [];
  const echo = await udpServer((message) => {
    lengths.push(message.length);
    return message;
  });
  try {
    await withNetwork({ allow: [`127.0.0.1:${echo.port}`] }, async (network) => {
      const peer = await plugIn(network);
      peer.frames = [];
      const payload = Buffer.alloc(9000, 'fragment');
      const answer = peer.datagram(7003);
      peer.sendDatagram('10.0.2.1', echo.port, payload, 7003);
      assert.deepEqual((await answer).payload, payload);
      assert.deepEqual(lengths, [9000]);
      const longest = Math.max(...peer.frames.map(({ length }) => length));
      assert.ok(longest <= 1514, String(longest));
      assert.equal(peer.frames.length, 7);
    });
  } finally {
    echo.server.close();
  }
});

test('flows are bounded: the silent ones make room', async () => {
  const echo = await udpServer((message) => message);
  try {
    const options = { allow: [`127.0.0.1:${echo.port}`], limits: { udpFlows: 4 } };
    await withNetwork(options, async (network) => {
      const link = await network.link();
      const { GuestPeer } = await import('./testing/guest-peer.js');
      const peer = new GuestPeer(link);
      await peer.dhcp();
      for (let port = 8000; port < 8020; port += 1) {
        const answer = peer.datagram(port);
        peer.sendDatagram('10.0.2.1', echo.port, Buffer.from('x'), port);
        await answer;
      }
      assert.equal(link.statistics().openUdp, 4);
      assert.equal(link.statistics().limited, 16);
    });
  } finally {
    echo.server.close();
  }
});
