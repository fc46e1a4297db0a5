import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { networkInterfaces } from 'node:os';
import { test } from 'node:test';
import { parsePublication } from './publish.js';
import { GuestPeer } from './testing/guest-peer.js';
import { withNetwork } from './testing/with-network.js';

test('published ports are written as Docker has them; without an address it is the loopback', () => {
  const parsed = (text: string) => Object.values(parsePublication(text));
  assert.deepEqual(parsed('8080:80'), ['127.0.0.1', 8080, 80]);
  assert.deepEqual(parsed('0.0.0.0:0:443/tcp'), ['0.0.0.0', 0, 443]);
  assert.deepEqual(parsed('[::1]:8080:80'), ['::1', 8080, 80]);
  const bad = ['80', '80:', ':80', '8080:0', '8080:65536', '65536:80', 'host:8080:80', '::1:80:80'];
  for (const text of [...bad, '8080:80/udp', '127.0.0.1:8080:80:90']) {
    assert.throws(() => parsePublication(text), { code: 'NET_PUBLISH_INVALID' }, text);
  }
});

test('a port of an IPv6 address leads to the guest, too', async (t) => {
  const loopback = Object.values(networkInterfaces())
    .flatMap((list) => list ?? [])
    .some(({ address }) => address === '::1');
  if (!loopback) {
    t.skip('the host has no ::1');
    return;
  }
  await withNetwork({}, async (network) => {
    const link = await network.link({ publish: ['[::1]:0:80'] });
    const peer = new GuestPeer(link);
    await peer.dhcp();
    peer.listen(80, (socket) => socket.end('over IPv6'));
    const host = connect({ host: '::1', port: link.published[0]!.hostPort });
    const [chunk] = (await once(host, 'data')) as [Buffer];
    assert.equal(chunk.toString(), 'over IPv6');
    host.destroy();
  });
});

test('a guest that refuses or is not there resets who connects', () =>
  withNetwork({}, async (network) => {
    const link = await network.link({ publish: ['127.0.0.1:0:81'] });
    const peer = new GuestPeer(link);
    await peer.dhcp();
    const host = connect({ host: '127.0.0.1', port: link.published[0]!.hostPort });
    const [error] = (await once(host, 'error')) as [NodeJS.ErrnoException];
    assert.equal(error.code, 'ECONNRESET');
    assert.equal(link.statistics().openTcp, 0);
  }));
