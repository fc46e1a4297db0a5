import assert from 'node:assert/strict';
import { test } from 'node:test';
import { write16 } from './bytes.js';
import { addressesOf, answersQuery, buildDnsResponse, parseDnsQuery } from './dns-message.js';
import { framed } from './dns-upstream.js';
import { parseResolvConf, parseResolver } from './resolvers.js';
import { dnsQuery, type GuestPeer, readAll, readDnsAnswer } from './testing/guest-peer.js';
import { plugIn, tcpServer, udpServer, withNetwork } from './testing/with-network.js';

/** What the fake server answers: addresses by name. */
const ZONE: Readonly<Record<string, readonly number[]>> = {
  'local.test': [127, 0, 0, 1],
  'public.test': [192, 0, 2, 80],
};

function zoneAnswer(message: Uint8Array): Uint8Array {
  const query = parseDnsQuery(message)!;
  const address = ZONE[query.name];
  if (address === undefined) return buildDnsResponse(message, query, 3);
  return buildDnsResponse(message, query, 0, [Uint8Array.from(address)], 60);
}

async function withServers(
  options: (dns: number, web: number) => { allow?: string[]; deny?: string[] },
  run: (peer: GuestPeer, web: number, asked: string[]) => Promise<void>,
): Promise<void> {
  const asked: string[] = [];
  const dns = await udpServer((message) => {
    asked.push(parseDnsQuery(message)!.name);
    return zoneAnswer(message);
  });
  const web = await tcpServer((socket) => socket.end('web'));
  try {
    const resolvers = [`127.0.0.1:${dns.port}`];
    await withNetwork({ resolvers, ...options(dns.port, web.port) }, async (network) => {
      await run(await plugIn(network), web.port, asked);
    });
  } finally {
    dns.server.close();
    web.server.close();
  }
}

test('names are looked up with the resolvers; unknown ones do not exist', () =>
  withServers(
    () => ({}),
    async (peer) => {
      assert.deepEqual(await peer.lookUp('public.test'), { rcode: 0, addresses: ['192.0.2.80'] });
      assert.deepEqual(await peer.lookUp('no.test'), { rcode: 3, addresses: [] });
      assert.deepEqual(await peer.lookUp('public.test', 28), { rcode: 0, addresses: [] });
      assert.deepEqual(await peer.lookUp('nobody.internal'), { rcode: 3, addresses: [] });
    },
  ));

test('with an allow list no other name leaves the gateway', () =>
  withServers(
    () => ({ allow: ['public.test', '*.sub.test'] }),
    async (peer, _web, asked) => {
      assert.equal((await peer.lookUp('secret.tunnel.test')).rcode, 5);
      assert.equal((await peer.lookUp('sub.test')).rcode, 5);
      assert.equal((await peer.lookUp('public.test')).rcode, 0);
      assert.equal((await peer.lookUp('x.sub.test')).rcode, 3);
      assert.deepEqual(asked, ['public.test', 'x.sub.test']);
    },
  ));

test('a name that leads to the loopback opens it only where the address is named, too', async () => {
  await withServers(
    () => ({ allow: ['local.test'] }),
    async (peer, web) => {
      assert.deepEqual((await peer.lookUp('local.test')).addresses, ['127.0.0.1']);
      await assert.rejects(peer.connect('127.0.0.1', web).connected, /refused/);
    },
  );
  await withServers(
    (_dns, web) => ({ allow: ['local.test', `127.0.0.1:${web}`] }),
    async (peer, web) => {
      assert.equal((await readAll(peer.connect('127.0.0.1', web))).toString(), 'web');
    },
  );
});

test('DNS elsewhere is refused with an allow list, over UDP and TCP', () =>
  withServers(
    () => ({ allow: ['public.test', '192.0.2.0/24'] }),
    async (peer) => {
      const refused = peer.icmp();
      peer.sendDatagram('192.0.2.53', 53, dnsQuery('x.test', 1), 5353);
      assert.deepEqual([...(await refused).subarray(0, 2)], [3, 13]);
      await assert.rejects(peer.connect('192.0.2.53', 53).connected, /refused/);
    },
  ));

test('queries over TCP are answered, each behind its length', async () => {
  const dns = await tcpServer((socket) => {
    socket.on('data', (chunk: Buffer) => socket.write(framed(zoneAnswer(chunk.subarray(2)))));
    socket.on('error', () => {});
  });
  try {
    await withNetwork({ resolvers: [`127.0.0.1:${dns.port}`] }, async (network) => {
      const peer = await plugIn(network);
      const socket = peer.connect('10.0.2.1', 53);
      const queries = ['public.test', 'gateway', 'no.test'].map((name) =>
        framed(dnsQuery(name, 1)),
      );
      socket.end(Buffer.concat(queries));
      const answers = await readAll(socket);
      const codes: number[] = [];
      for (let at = 0; at < answers.length; at += 2 + answers.readUInt16BE(at)) {
        codes.push(readDnsAnswer(answers.subarray(at + 2)).rcode);
      }
      assert.deepEqual(codes, [0, 0, 3]);
    });
  } finally {
    dns.server.close();
  }
});

test('an answer longer than the MTU sends the guest to TCP', async () => {
  const addresses = Array.from({ length: 120 }, (_, index) => Uint8Array.of(192, 0, 2, index));
  const dns = await udpServer((message) =>
    buildDnsResponse(message, parseDnsQuery(message)!, 0, addresses, 60),
  );
  try {
    await withNetwork({ resolvers: [`127.0.0.1:${dns.port}`] }, async (network) => {
      const peer = await plugIn(network);
      const answer = peer.datagram(6000);
      peer.sendDatagram('10.0.2.1', 53, dnsQuery('public.test', 1), 6000);
      const { payload } = await answer;
      assert.equal(payload[2]! & 2, 2, 'TC');
      assert.equal(payload.length, dnsQuery('public.test', 1).length);
    });
  } finally {
    dns.server.close();
  }
});

test('messages are read as RFC 1035 has them, and malformed ones are none', () => {
  const query = dnsQuery('WwW.Example.ORG', 1);
  const parsed = parseDnsQuery(query)!;
  assert.equal(parsed.name, 'www.example.org');
  const answer = buildDnsResponse(query, parsed, 0, [Uint8Array.of(1, 2, 3, 4)], 7);
  assert.deepEqual(addressesOf(answer, parsed), [{ address: 0x01020304, ttl: 7 }]);
  assert.equal(answersQuery(answer, parsed), true);
  assert.equal(answersQuery(answer, { ...parsed, id: 1 }), false);
  assert.equal(answersQuery(answer, { ...parsed, name: 'other.test' }), false);
  for (let length = 0; length < query.length; length += 1) {
    assert.equal(parseDnsQuery(query.subarray(0, length)), undefined);
  }
  // A name that points at itself.
  const circle = Uint8Array.from([...query.subarray(0, 12), 0xc0, 12, 0, 1, 0, 1]);
  assert.equal(parseDnsQuery(circle), undefined);
  const two = query.slice();
  write16(two, 4, 2);
  assert.equal(parseDnsQuery(two), undefined);
  // A dot inside a label is not one between labels.
  const dotted = dnsQuery('a', 1);
  dotted[13] = 0x2e;
  assert.equal(parseDnsQuery(dotted)!.name, '\\046');
});

test('resolv.conf and server notations', () => {
  const text =
    '# comment\nnameserver 192.0.2.1\n nameserver\t2001:db8::1\nsearch x\nnameserver bad\n';
  assert.deepEqual(
    parseResolvConf(text).map(({ address }) => address),
    ['192.0.2.1', '2001:db8::1'],
  );
  assert.deepEqual(parseResolver('[2001:db8::1]:5353'), { address: '2001:db8::1', port: 5353 });
  assert.deepEqual(parseResolver('192.0.2.1'), { address: '192.0.2.1', port: 53 });
  assert.throws(() => parseResolver('dns.test'), { code: 'NET_RESOLVER_INVALID' });
  assert.throws(() => parseResolver('192.0.2.1:0'), { code: 'NET_RESOLVER_INVALID' });
});
