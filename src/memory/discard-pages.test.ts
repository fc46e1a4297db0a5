import assert from 'node:assert/strict';
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { mapFileOver } from '../host/mmap.js';
import { PAGE_OWN, readPageStates } from '../host/pagemap.js';
import { discardPages } from './discard-pages.js';
import { GuestMemory } from './guest-memory.js';

const PAGE = 4096;

function ownPages(guest: GuestMemory): number[] {
  const states = readPageStates(guest.ramHostAddress, 16);
  return [...states.keys()].filter((page) => states[page] === PAGE_OWN);
}

test('whole pages of the range go, what is kept and what lies around stays', () => {
  const guest = GuestMemory.create({ ramBytes: 16 * PAGE, controlBytes: 0 });
  guest.bytes(0, 16 * PAGE).fill(0x5a);
  const kept = [
    { guestAddress: 7 * PAGE + 1, length: 10 },
    { guestAddress: 4 * PAGE, length: 2 * PAGE },
    { guestAddress: 4 * PAGE, length: PAGE },
  ];
  assert.equal(discardPages(guest, 2 * PAGE - 8, 8 * PAGE + 16, kept), 5 * PAGE);
  assert.deepEqual(ownPages(guest), [0, 1, 4, 5, 7, 10, 11, 12, 13, 14, 15]);
  assert.deepEqual(new Set(guest.bytes(2 * PAGE, 2 * PAGE)), new Set([0]));
  assert.equal(discardPages(guest, 12 * PAGE + 1, PAGE), 0);
  assert.throws(() => discardPages(guest, 15 * PAGE, 2 * PAGE), { code: 'GUEST_ADDRESS_RANGE' });
  guest.release();
});

test('a page of a mapped file is the file again', () => {
  const folder = mkdtempSync(join(tmpdir(), 'pando-discard-'));
  const guest = GuestMemory.create({ ramBytes: 16 * PAGE, controlBytes: 0 });
  try {
    writeFileSync(join(folder, 'file'), Buffer.alloc(PAGE, 'f'));
    const fd = openSync(join(folder, 'file'), 'r');
    assert.equal(mapFileOver(guest.hostRange(PAGE, PAGE), PAGE, fd, 0), undefined);
    closeSync(fd);
    guest.bytes(PAGE, PAGE).fill(0);
    assert.equal(discardPages(guest, 0, 16 * PAGE), 16 * PAGE);
    assert.equal(Buffer.from(guest.bytes(PAGE, 4)).toString(), 'ffff');
  } finally {
    guest.release();
    rmSync(folder, { recursive: true });
  }
});
