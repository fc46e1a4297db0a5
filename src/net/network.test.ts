import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { test } from 'node:test';
import { formatIpv4, formatMac } from './address.js';
import { Network } from './network.js';
import { GuestPeer, readAll } from './testing/guest-peer.js';

async function httpServer(body: string): Promise<{ server: Server; port: number }> {
  const server = createServer((_request, response) => response.end(body));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { server, port: (server.address() as AddressInfo).port };
}

test('a guest gets its address by DHCP, with router, name server, MTU and name', async () => {
  const network = new Network();
  try {
    const link = await network.link({ name: 'first' });
    const peer = new GuestPeer(link);
    const lease = await peer.dhcp();
    assert.equal(formatIpv4(lease.address), '10.0.2.2');
    assert.equal(link.ipAddress, '10.0.2.2');
    assert.equal(formatMac(link.mac), '52:55:0a:00:02:02');
    assert.deepEqual([...lease.options.get(1)!], [255, 255, 255, 0]);
    assert.deepEqual([...lease.options.get(3)!], [10, 0, 2, 1]);
    assert.deepEqual([...lease.options.get(6)!], [10, 0, 2, 1]);
    assert.deepEqual([...lease.options.get(26)!], [1500 >> 8, 1500 & 255]);
    assert.equal(Buffer.from(lease.options.get(12)!).toString(), 'first');
    const reply = await peer.ping(peer.gateway, Buffer.from('pando'));
    assert.equal(reply.subarray(8).toString(), 'pando');
    assert.deepEqual(await peer.lookUp('gateway'), { rcode: 0, addresses: ['10.0.2.1'] });
    assert.deepEqual(await peer.lookUp('first.internal'), { rcode: 0, addresses: ['10.0.2.2'] });
  } finally {
    network.close();
  }
});

test('a server of the loopback that a rule names is reached, and no other', async () => {
  const { server, port } = await httpServer('hello guest');
  const other = await httpServer('secret');
  const network = new Network({ allow: [`127.0.0.1:${port}`] });
  try {
    const peer = new GuestPeer(await network.link());
    await peer.dhcp();
    const socket = peer.connect('10.0.2.1', port);
    await socket.connected;
    socket.end('GET / HTTP/1.0\r\n\r\n');
    assert.match((await readAll(socket)).toString(), /hello guest$/);
    assert.equal(await socket.ended, 'done');
    await assert.rejects(peer.connect('10.0.2.1', other.port).connected, /refused/);
    await assert.rejects(peer.connect('192.0.2.1', 80).connected, /refused/);
    await assert.rejects(peer.connect('10.0.2.99', port).connected, /refused/);
  } finally {
    network.close();
    server.close();
    other.server.close();
  }
});

test('a port that nobody listens on refuses', async () => {
  const { server, port } = await httpServer('');
  server.close();
  await once(server, 'close');
  const network = new Network({ allow: ['127.0.0.1'] });
  try {
    const peer = new GuestPeer(await network.link());
    await peer.dhcp();
    await assert.rejects(peer.connect('10.0.2.1', port).connected, /refused/);
  } finally {
    network.close();
  }
});

test('a published port leads to the guest, both ways and to the end', async () => {
  const network = new Network();
  try {
    const link = await network.link({ publish: ['127.0.0.1:0:80'] });
    const peer = new GuestPeer(link);
    await peer.dhcp();
    peer.listen(80, (socket) => {
      socket.on('data', (chunk: Buffer) => socket.write(chunk));
      socket.on('end', () => socket.end());
    });
    const host = connect({ host: '127.0.0.1', port: link.published[0]!.hostPort });
    host.end('echo this');
    let text = '';
    host.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
    });
    await once(host, 'close');
    assert.equal(text, 'echo this');
    assert.equal(link.statistics().tcpIn, 1);
  } finally {
    network.close();
  }
});
