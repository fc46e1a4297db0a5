import assert from 'node:assert/strict';
import { test } from 'node:test';
import { probeZeroPage } from '../host/capabilities.js';
import { GuestMemory } from './guest-memory.js';
import type { ImageRange } from './image-pages.js';
import { accountSharing } from './sharing.js';
import { discardZeroPages } from './zero-pages.js';

const PAGE = 4096;

test('pages of zeros go back to the host, all others keep their bytes', () => {
  const guest = GuestMemory.create({ ramBytes: 1 << 20, controlBytes: 1 << 16 });
  const own = (): number => accountSharing(guest, []).parts.rest.own;
  guest.bytes(0, 16 * PAGE).fill(1);
  guest.bytes(4 * PAGE, 6 * PAGE).fill(0);
  guest.bytes(8 * PAGE - 1, 1)[0] = 7;
  assert.equal(own(), 16);
  const image: ImageRange = {
    source: 'kernel',
    part: 'text',
    guestAddress: 9 * PAGE,
    length: 100,
    fileOffset: 0,
    how: 'mapped',
    reason: undefined,
  };
  assert.equal(discardZeroPages(guest, [image]), 4, 'without page 7 and the image page');
  assert.equal(own(), 12);
  assert.equal(discardZeroPages(guest, [{ ...image, how: 'zero' }]), 1);
  assert.equal(own(), 11);
  const bytes = guest.bytes(0, 16 * PAGE);
  const expected = new Uint8Array(16 * PAGE).fill(1).fill(0, 4 * PAGE, 10 * PAGE);
  expected[8 * PAGE - 1] = 7;
  assert.deepEqual(Buffer.from(bytes), Buffer.from(expected));
  // Reading them has made them anew where the host has no page of zeros.
  assert.equal(discardZeroPages(guest, []), probeZeroPage().works ? 0 : 5);
  guest.release();
});
