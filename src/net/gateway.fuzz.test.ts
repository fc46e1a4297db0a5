import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import { test } from 'node:test';
import fc from 'fast-check';
import { Frame, type FrameStation, MAX_FRAME_BYTES, type Offloads } from '../devices/frame-link.js';
import { ArpPacket } from './arp.js';
import { write16, write32 } from './bytes.js';
import { checksumOf, pseudoSum, sumOf } from './checksum.js';
import { parseDhcp } from './dhcp-message.js';
import { addressesOf, answersQuery, parseDnsQuery } from './dns-message.js';
import { Ipv4Packet } from './ipv4.js';
import { Network } from './network.js';
import { TcpSegment } from './tcp/segment.js';
import { dnsQuery } from './testing/guest-peer.js';
import { UdpDatagram } from './udp.js';

/** Cases of each property; PANDO_FUZZ_RUNS in the environment says another number. */
const RUNS = Number(process.env.PANDO_FUZZ_RUNS ?? 10_000);

const bytes = fc.uint8Array({ maxLength: 200 });

test('parsers take any bytes without throwing, and stay inside them', () => {
  const packet = new Ipv4Packet();
  const segment = new TcpSegment();
  const datagram = new UdpDatagram();
  const arp = new ArpPacket();
  fc.assert(
    fc.property(bytes, fc.nat(64), (input, start) => {
      arp.parse(input, start, input.length);
      if (packet.parse(input, start, input.length)) {
        assert.ok(packet.payloadStart <= packet.payloadEnd && packet.payloadEnd <= input.length);
      }
      if (segment.parse(input, start, input.length)) {
        assert.ok(segment.payloadStart <= segment.payloadEnd);
        assert.ok(segment.payloadEnd <= input.length);
      }
      if (datagram.parse(input, start, input.length)) {
        assert.ok(datagram.payloadStart <= datagram.payloadEnd);
        assert.ok(datagram.payloadEnd <= input.length);
      }
    }),
    { numRuns: RUNS },
  );
});

/** A whole message with some of its bytes changed, and cut. */
function damaged(message: Uint8Array): fc.Arbitrary<Uint8Array> {
  const change = fc.tuple(fc.nat(message.length - 1), fc.nat(255));
  const cut = fc.oneof(fc.constant(message.length), fc.nat(message.length));
  return fc.tuple(fc.array(change, { maxLength: 6 }), cut).map(([changes, length]) => {
    const copy = message.slice();
    for (const [at, value] of changes) copy[at] = value;
    return copy.subarray(0, length);
  });
}

function dhcpMessage(): Uint8Array {
  const message = new Uint8Array(300);
  message.set([1, 1, 6, 0, 1, 2, 3, 4]);
  message.set([0x52, 0x55, 10, 0, 2, 2], 28);
  message.set([99, 130, 83, 99, 53, 1, 1, 50, 4, 10, 0, 2, 2, 255], 236);
  return message;
}

function dnsAnswer(): Uint8Array {
  const query = dnsQuery('www.example.org', 1);
  const record = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 1, 2, 3, 4];
  const answer = Uint8Array.from([...query, ...record, ...record]);
  answer[2] = 0x81;
  answer[7] = 2;
  return answer;
}

test('DHCP and DNS messages, damaged in any way, are read or are none', () => {
  const query = parseDnsQuery(dnsQuery('www.example.org', 1))!;
  fc.assert(
    fc.property(
      fc.oneof(bytes, damaged(dhcpMessage())),
      fc.oneof(bytes, damaged(dnsQuery('www.example.org', 1))),
      fc.oneof(bytes, damaged(dnsAnswer())),
      (dhcp, asked, answered) => {
        parseDhcp(dhcp, 0, dhcp.length);
        const parsed = parseDnsQuery(asked);
        if (parsed !== undefined) {
          assert.ok(parsed.questionEnd <= asked.length);
          assert.ok(parsed.name.length <= 4 * 255);
        }
        answersQuery(answered, query);
        assert.ok(addressesOf(answered, query).length <= 512);
      },
    ),
    { numRuns: RUNS },
  );
});

const GUEST = 0x0a000202;
const GATEWAY = 0x0a000201;
const GUEST_MAC = [0x52, 0x55, 10, 0, 2, 2];
const GATEWAY_MAC = [0x52, 0x55, 10, 0, 2, 1];

/** An IPv4 frame with right checksums, so that it reaches what is inside. */
function packetFrame(destination: number, protocol: number, fragment: number, payload: Uint8Array) {
  const frame = new Uint8Array(34 + payload.length);
  frame.set([...GATEWAY_MAC, ...GUEST_MAC, 8, 0, 0x45]);
  write16(frame, 16, 20 + payload.length);
  write16(frame, 20, fragment);
  frame[22] = 64;
  frame[23] = protocol;
  write32(frame, 26, GUEST);
  write32(frame, 30, destination);
  write16(frame, 24, checksumOf(sumOf(frame, 14, 34)));
  frame.set(payload, 34);
  const at = { 1: 36, 6: 50, 17: 40 }[protocol];
  if (at !== undefined && at + 2 <= frame.length) {
    write16(frame, at, 0);
    const pseudo = protocol === 1 ? 0 : pseudoSum(GUEST, destination, protocol, payload.length);
    write16(frame, at, checksumOf(sumOf(frame, 34, frame.length, pseudo)));
  }
  return frame;
}

const number32 = fc.oneof(fc.nat(0xffffffff), fc.constantFrom(0, 1, 0xffffffff, 0x80000000));
const port = fc.oneof(fc.constantFrom(53, 67, 80, 0), fc.nat(65535));

/** A TCP segment around numbers that a connection could have. */
const tcpPayload = fc
  .record({
    source: fc.integer({ min: 1000, max: 1003 }),
    destination: fc.constantFrom(80, 53),
    seq: fc.oneof(fc.nat(40), number32),
    ack: number32,
    offset: fc.oneof(fc.constant(5), fc.constant(7), fc.nat(15)),
    flags: fc.oneof(fc.constantFrom(2, 16, 17, 18, 4, 20, 24, 1), fc.nat(255)),
    window: fc.oneof(fc.constantFrom(0, 1, 65535), fc.nat(65535)),
    rest: fc.uint8Array({ maxLength: 60 }),
  })
  .map(({ source, destination, seq, ack, offset, flags, window, rest }) => {
    const payload = new Uint8Array(20 + rest.length);
    write16(payload, 0, source);
    write16(payload, 2, destination);
    write32(payload, 4, seq);
    write32(payload, 8, ack);
    payload[12] = offset << 4;
    payload[13] = flags;
    write16(payload, 14, window);
    payload.set(rest, 20);
    return payload;
  });

const udpPayload = fc
  .tuple(port, port, fc.oneof(bytes, damaged(dhcpMessage()), damaged(dnsQuery('a.test', 1))))
  .map(([source, destination, content]) => {
    const payload = new Uint8Array(8 + content.length);
    write16(payload, 0, source);
    write16(payload, 2, destination);
    write16(payload, 4, payload.length);
    payload.set(content, 8);
    return payload;
  });

const destination = fc.oneof(
  fc.constantFrom(GATEWAY, 0xffffffff, 0x0a0002ff, 0xc0000201),
  number32,
);
const fragment = fc.oneof(
  { weight: 4, arbitrary: fc.constant(0) },
  { weight: 1, arbitrary: fc.nat(0x3fff) },
);

const frames = fc.oneof(
  fc
    .tuple(destination, fragment, tcpPayload)
    .map(([to, at, payload]) => packetFrame(to, 6, at, payload)),
  fc
    .tuple(destination, fragment, udpPayload)
    .map(([to, at, payload]) => packetFrame(to, 17, at, payload)),
  fc
    .tuple(destination, fc.nat(255), bytes)
    .map(([to, protocol, payload]) => packetFrame(to, protocol, 0, payload)),
  fc.tuple(fc.constantFrom(0x0806, 0x86dd, 0x0800, 0x88b5), bytes).map(([type, content]) => {
    const frame = new Uint8Array(14 + content.length);
    frame.set([255, 255, 255, 255, 255, 255, ...GUEST_MAC, type >> 8, type & 255]);
    frame.set(content, 14);
    return frame;
  }),
  bytes,
);

const offload = fc.record({
  flags: fc.oneof({ weight: 6, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.nat(3) }),
  gsoType: fc.oneof(
    { weight: 6, arbitrary: fc.constant(0) },
    { weight: 1, arbitrary: fc.nat(255) },
  ),
  gsoSize: fc.oneof(fc.constantFrom(0, 1, 1460), fc.nat(65535)),
  hdrLen: fc.nat(65535),
  csumStart: fc.oneof(fc.constant(34), fc.nat(65535)),
  csumOffset: fc.oneof(fc.constant(16), fc.nat(65535)),
});

/** A station that checks what it is given, and has room now and then. */
class Station implements FrameStation {
  readonly offloads: Offloads;
  full = false;
  readonly #bytes = new Uint8Array(MAX_FRAME_BYTES);

  constructor(large: boolean) {
    this.offloads = { checksum: large, tso4: large, tso6: false };
  }

  receive(frame: Frame): boolean {
    assert.ok(frame.length <= MAX_FRAME_BYTES);
    assert.equal(frame.copyTo(this.#bytes, 0, 0, frame.length), frame.length);
    return !this.full;
  }

  sendReady(): void {}

  carrier(): void {}
}

test('a network takes any frames: nothing is thrown, flows and memory stay bounded', async () => {
  const network = new Network({
    resolvers: [],
    deny: ['0.0.0.0/0'],
    limits: { connections: 32, udpFlows: 16, queuedBytes: 2 ** 20 },
    onConnection: ({ protocol }) => (protocol === 'tcp' ? new PassThrough() : 'deny'),
  });
  try {
    const link = await network.link();
    const station = new Station(true);
    link.attach(station);
    const other = await network.link();
    other.attach(new Station(false));
    const frame = new Frame();
    let count = 0;
    await fc.assert(
      fc.asyncProperty(frames, offload, fc.boolean(), async (content, metadata, full) => {
        station.full = full;
        frame.setPlain(content, content.length);
        Object.assign(frame, metadata);
        assert.equal(link.send(frame), true);
        if (!full) link.receiveReady();
        count += 1;
        // Timers, microtasks and streams have their turns.
        if (count % 16 === 0) await new Promise((resolve) => setImmediate(resolve));
        const { openTcp, openUdp } = link.statistics();
        assert.ok(openTcp <= 32 && openUdp <= 16);
      }),
      { numRuns: RUNS },
    );
    assert.ok(link.statistics().tcpOut > 0, 'connections were made');
    assert.ok(link.statistics().framesOut > RUNS / 20, 'the gateway has answered');
  } finally {
    network.close();
  }
});
