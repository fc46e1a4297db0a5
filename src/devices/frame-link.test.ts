import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  Frame,
  MAX_FRAME_BYTES,
  VIRTIO_NET_HDR_F_DATA_VALID,
  VIRTIO_NET_HDR_F_NEEDS_CSUM,
  VIRTIO_NET_HDR_GSO_ECN,
  VIRTIO_NET_HDR_GSO_NONE,
  VIRTIO_NET_HDR_GSO_TCPV4,
  VIRTIO_NET_HDR_GSO_TCPV6,
} from './frame-link.js';
import { HeldLink, wholeFrame } from './testing/held-link.js';

/** A frame whose bytes count from 0, the first four in its head. */
function counting(): Frame {
  const frame = new Frame().setPlain(Uint8Array.of(0, 1, 2, 3, 99), 4);
  frame.body = Uint8Array.of(99, 99, 4, 5, 6, 7, 99);
  frame.bodyStart = 2;
  frame.bodyLength = 4;
  return frame;
}

test('any range of a frame in two pieces is copied, and nothing past its end', () => {
  const frame = counting();
  for (let from = 0; from <= 9; from += 1) {
    for (let limit = 0; limit <= 9; limit += 1) {
      const target = new Uint8Array(12).fill(255);
      const expected = [0, 1, 2, 3, 4, 5, 6, 7].slice(from, from + limit);
      assert.equal(frame.copyTo(target, 1, from, limit), expected.length);
      const rest = new Array(11 - expected.length).fill(255);
      assert.deepEqual([...target], [255, ...expected, ...rest]);
    }
  }
});

test('setPlain leaves nothing of the frame before', () => {
  const frame = counting();
  frame.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM | VIRTIO_NET_HDR_F_DATA_VALID;
  frame.gsoType = VIRTIO_NET_HDR_GSO_TCPV6 | VIRTIO_NET_HDR_GSO_ECN;
  frame.gsoSize = 1440;
  frame.setPlain(Uint8Array.of(1, 2), 2);
  assert.deepEqual([...wholeFrame(frame)], [1, 2]);
  assert.deepEqual(frame, new Frame().setPlain(Uint8Array.of(1, 2), 2));
  assert.equal(frame.gsoType, VIRTIO_NET_HDR_GSO_NONE);
});

test('numbers are those of virtio 1.2, 5.1.6', () => {
  assert.equal(VIRTIO_NET_HDR_GSO_TCPV4, 1);
  assert.equal(VIRTIO_NET_HDR_GSO_TCPV6, 4);
  assert.equal(MAX_FRAME_BYTES, 65549);
});

test('a held link keeps frames while it has room, and says when it has again', () => {
  const link = new HeldLink();
  let ready = 0;
  link.attach({
    offloads: link.offloads,
    receive: () => true,
    sendReady: () => {
      ready += 1;
    },
    carrier: () => {},
  });
  assert.equal(link.send(counting()), true);
  link.room = false;
  assert.equal(link.send(counting()), false);
  link.room = true;
  assert.equal(ready, 1);
  assert.equal(link.sent.length, 1);
});
