import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NO_OFFLOADS } from '../devices/frame-link.js';
import { parseIpv4 } from './address.js';
import { write16, write32 } from './bytes.js';
import { checksumOf, sumOf } from './checksum.js';
import { GuestPeer, readAll } from './testing/guest-peer.js';
import { plugIn, withNetwork } from './testing/with-network.js';

test('two VMs find each other by name, and talk without the gateway', () =>
  withNetwork({ deny: ['0.0.0.0/0'] }, async (network) => {
    const one = await plugIn(network, { name: 'one' });
    const two = await plugIn(network, { name: 'two' });
    const { addresses } = await one.lookUp('two');
    assert.deepEqual(addresses, ['10.0.2.3']);
    one.gatewayMac = await one.resolveMac(parseIpv4('10.0.2.3')!);
    two.gatewayMac = one.mac;
    assert.deepEqual(one.gatewayMac, two.mac);
    const reply = await one.ping(two.address, Buffer.from('neighbour'));
    assert.equal(reply.subarray(8).toString(), 'neighbour');
    two.listen(80, (socket) => socket.end('from two'));
    assert.equal((await readAll(one.connect('10.0.2.3', 80))).toString(), 'from two');
  }));

test('large segments of one VM are cut for another that takes no offload', () =>
  withNetwork({}, async (network) => {
    const one = await plugIn(network);
    const two = await plugIn(network, {}, { offloads: NO_OFFLOADS });
    one.gatewayMac = two.mac;
    two.gatewayMac = one.mac;
    const text = 'segment '.repeat(50_000);
    one.listen(80, (socket) => socket.end(text));
    two.frames = [];
    assert.equal((await readAll(two.connect('10.0.2.2', 80))).toString(), text);
    assert.ok(two.frames.length > text.length / 1460, 'many small frames');
  }));

/** An Ethernet frame. */
function frame(to: Uint8Array, from: Uint8Array, type: number, payload: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(14 + payload.length);
  bytes.set(to, 0);
  bytes.set(from, 6);
  write16(bytes, 12, type);
  bytes.set(payload, 14);
  return bytes;
}

function ipv4(source: number, destination: number, protocol: number, payload: Uint8Array) {
  const bytes = new Uint8Array(20 + payload.length);
  bytes.set([0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol]);
  write16(bytes, 2, bytes.length);
  write32(bytes, 12, source);
  write32(bytes, 16, destination);
  write16(bytes, 10, checksumOf(sumOf(bytes, 0, 20)));
  bytes.set(payload, 20);
  return bytes;
}

function ipv6(source: Uint8Array, next: number, payload: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(40 + payload.length);
  bytes[0] = 0x60;
  write16(bytes, 4, payload.length);
  bytes[6] = next;
  bytes[7] = 255;
  bytes.set(source, 8);
  bytes.set([0xff, 2], 24);
  bytes[39] = 1;
  bytes.set(payload, 40);
  return bytes;
}

const EVERYBODY = new Uint8Array(6).fill(255);

test('a VM can be nobody else: neither by MAC, nor IPv4, nor ARP, nor IPv6', () =>
  withNetwork({}, async (network) => {
    const link = await network.link({ name: 'bad' });
    const bad = new GuestPeer(link);
    await bad.dhcp();
    const good = await plugIn(network);
    const address6 = (last: number) =>
      Uint8Array.from([0xfe, 0x80, ...new Array(13).fill(0), last]);
    good.sendFrame(frame(EVERYBODY, good.mac, 0x86dd, ipv6(address6(2), 59, [])));
    const { gatewayMac } = good;
    const arp = (mac: Uint8Array, address: number) =>
      Uint8Array.from([0, 1, 8, 0, 6, 4, 0, 2, ...mac, ...ip4(address), ...EVERYBODY, ...ip4(0)]);
    const udp67 = Uint8Array.from([0, 67, 0, 68, 0, 8, 0, 0]);
    const forged: Readonly<Record<string, Uint8Array>> = {
      "another's MAC": frame(EVERYBODY, good.mac, 0x0800, ipv4(bad.address, 0xffffffff, 17, udp67)),
      "the gateway's MAC": frame(EVERYBODY, gatewayMac, 0x88b5, new Uint8Array(46)),
      "a group's MAC": frame(EVERYBODY, EVERYBODY, 0x88b5, new Uint8Array(46)),
      "another's IPv4": frame(good.mac, bad.mac, 0x0800, ipv4(good.address, bad.address, 1, udp67)),
      "the gateway's IPv4": frame(
        good.mac,
        bad.mac,
        0x0800,
        ipv4(bad.gateway, good.address, 1, udp67),
      ),
      "nobody's IPv4": frame(good.mac, bad.mac, 0x0800, ipv4(0x08080808, good.address, 1, udp67)),
      'ARP for another': frame(EVERYBODY, bad.mac, 0x0806, arp(bad.mac, good.address)),
      'ARP for the gateway': frame(EVERYBODY, bad.mac, 0x0806, arp(bad.mac, bad.gateway)),
      'a DHCP server': frame(EVERYBODY, bad.mac, 0x0800, ipv4(bad.address, 0xffffffff, 17, udp67)),
      "another's IPv6": frame(EVERYBODY, bad.mac, 0x86dd, ipv6(address6(2), 59, [])),
      'a router': frame(EVERYBODY, bad.mac, 0x86dd, ipv6(address6(9), 58, [134, 0, 0, 0])),
      'a hidden router': frame(
        EVERYBODY,
        bad.mac,
        0x86dd,
        ipv6(address6(9), 60, [58, 0, 1, 4, 0, 0, 0, 0, 134, 0, 0, 0]),
      ),
      'a router in fragments': frame(
        EVERYBODY,
        bad.mac,
        0x86dd,
        ipv6(address6(9), 44, [58, 0, 0, 1, 0, 0, 0, 0, 134, 0, 0, 0]),
      ),
      'a short frame': frame(EVERYBODY, bad.mac, 0x0806, new Uint8Array(4)),
    };
    good.frames = [];
    for (const [name, bytes] of Object.entries(forged)) {
      const before = link.statistics().rejected;
      bad.sendFrame(bytes);
      assert.equal(link.statistics().rejected, before + 1, name);
    }
    // What is sent after them arrives, so they would have.
    bad.sendFrame(frame(good.mac, bad.mac, 0x88b5, Uint8Array.of(1, 2, 3)));
    await good.ping(good.gateway, Buffer.from('x'));
    const strange = good.frames.filter((bytes) => bytes[6 + 5] === bad.mac[5]);
    assert.deepEqual(
      strange.map((bytes) => [...bytes.subarray(14)]),
      [[1, 2, 3]],
    );
  }));

function ip4(address: number): number[] {
  return [address >>> 24, (address >>> 16) & 255, (address >>> 8) & 255, address & 255];
}

test('IPv6 and unknown protocols pass between VMs, and the gateway says nothing to them', () =>
  withNetwork({}, async (network) => {
    const one = await plugIn(network);
    const two = await plugIn(network);
    one.frames = [];
    two.frames = [];
    const source = Uint8Array.from([0xfe, 0x80, ...new Array(13).fill(0), 1]);
    one.sendFrame(frame(EVERYBODY, one.mac, 0x86dd, ipv6(source, 58, [133, 0, 0, 0, 0, 0, 0, 0])));
    await one.ping(one.gateway, Buffer.from('x'));
    await two.ping(two.gateway, Buffer.from('x'));
    assert.equal(two.frames.length, 2, 'the solicitation and the reply to the echo');
    assert.equal(one.frames.length, 1);
  }));

test('names, addresses and MAC addresses are given once', async () => {
  await withNetwork({ subnet: '192.168.77.0/29' }, async (network) => {
    const link = await network.link({ name: 'a', address: '192.168.77.3' });
    assert.equal(link.ipAddress, '192.168.77.3');
    await assert.rejects(network.link({ name: 'a' }), { code: 'NET_NAME_TAKEN' });
    await assert.rejects(network.link({ name: 'gateway' }), { code: 'NET_NAME_TAKEN' });
    await assert.rejects(network.link({ name: 'no.dots' }), { code: 'NET_NAME_INVALID' });
    await assert.rejects(network.link({ address: '192.168.77.3' }), { code: 'NET_ADDRESS_TAKEN' });
    await assert.rejects(network.link({ address: '192.168.77.1' }), { code: 'NET_ADDRESS_TAKEN' });
    await assert.rejects(network.link({ address: '10.0.0.1' }), { code: 'NET_ADDRESS_INVALID' });
    await assert.rejects(network.link({ mac: '01:00:00:00:00:00' }), { code: 'NET_MAC_INVALID' });
    const mac = '02:00:00:00:00:01';
    await network.link({ mac });
    await assert.rejects(network.link({ mac }), { code: 'NET_MAC_TAKEN' });
    await assert.rejects(network.link({ publish: ['nonsense'] }), { code: 'NET_PUBLISH_INVALID' });
    await assert.rejects(network.link({ publish: ['192.0.2.1:1:1'] }), {
      code: 'NET_PUBLISH_FAILED',
    });
    for (let count = 0; count < 3; count += 1) await network.link();
    await assert.rejects(network.link(), { code: 'NET_SUBNET_FULL' });
    link.close();
    assert.equal((await network.link()).ipAddress, '192.168.77.3');
  });
});

test('options that do not fit are refused with their codes', async () => {
  const { Network } = await import('./network.js');
  const codes: readonly [object, string][] = [
    [{ subnet: '10.0.2.0' }, 'NET_SUBNET_INVALID'],
    [{ subnet: '10.0.2.0/30' }, 'NET_SUBNET_INVALID'],
    [{ mtu: 1000 }, 'NET_MTU_INVALID'],
    [{ mtu: 65536 }, 'NET_MTU_INVALID'],
    [{ resolvers: ['x'] }, 'NET_RESOLVER_INVALID'],
    [{ names: { a: 'b' } }, 'NET_NAME_INVALID'],
    [{ limits: { connections: 0 } }, 'NET_LIMIT_INVALID'],
    [{ allow: ['???'] }, 'NET_RULE_INVALID'],
  ];
  for (const [options, code] of codes) assert.throws(() => new Network(options), { code });
});
