import assert from 'node:assert/strict';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { probeZeroPage } from '../host/capabilities.js';
import { GuestMemory } from './guest-memory.js';
import { placeImages } from './place-images.js';
import { accountSharing, accountSharingBySmaps } from './sharing.js';

const PAGE = 4096;
const MIB = 1 << 20;
const part = (name: 'text' | 'data', guestAddress: number, length: number) => ({
  part: name,
  guestAddress,
  length,
});

test("RAM that is merely read costs what the host's page of zeros does, written RAM is the VM's own", () => {
  const guest = GuestMemory.create({ ramBytes: 4 * MIB, controlBytes: MIB });
  assert.equal(guest.bytes(3 * PAGE, 1)[0], 0);
  guest.bytes(7 * PAGE, 2 * PAGE).fill(1);
  guest.bytes(MIB, 1)[0] = 1;
  const { source, exact, parts } = accountSharing(guest, [part('data', 0, 16 * PAGE)]);
  assert.deepEqual([source, exact], ['/proc/self/pagemap', true]);
  const own = probeZeroPage().works ? 2 : 3;
  assert.deepEqual(parts.data, { total: 16, shared: 0, own, untouched: 16 - own });
  assert.deepEqual(parts.rest, { total: 1008, shared: 0, own: 1, untouched: 1007 });
  assert.equal(parts.text.total, 0);
});

test('a page that two parts enter counts for the first', () => {
  const guest = GuestMemory.create({ ramBytes: MIB, controlBytes: 0 });
  const ranges = [part('text', 0, PAGE + 100), part('data', PAGE + 100, PAGE)];
  const { text, data, rest } = accountSharing(guest, ranges).parts;
  assert.deepEqual([text.total, data.total, rest.total], [2, 1, 253]);
});

test('smaps gives the same figures where mappings lie within parts', () => {
  const guest = GuestMemory.create({ ramBytes: 4 * MIB, controlBytes: MIB });
  const fd = openSync(process.execPath, 'r');
  const text = {
    source: 'kernel',
    part: 'text',
    fileOffset: 0,
    fileLength: MIB,
    guestAddress: MIB,
    zeroLength: 0,
  } as const;
  const file = { fd, size: 2 * MIB, name: process.execPath };
  const { ranges } = placeImages(guest, [text], { kernel: file }, 'map');
  for (let page = 0; page < 256; page += 4) guest.bytes(MIB + page * PAGE, 1)[0] = 1;
  for (let page = 0; page < 256; page += 4)
    assert.notEqual(guest.bytes(MIB + (page + 1) * PAGE, 1)[0], undefined);
  guest.bytes(3 * MIB, 5 * PAGE).fill(1);
  const smaps = readFileSync('/proc/self/smaps', 'latin1');
  const bySmaps = accountSharingBySmaps(guest, ranges, smaps);
  const byPagemap = accountSharing(guest, ranges);
  assert.equal(byPagemap.parts.text.own, 64);
  assert.deepEqual(bySmaps.parts.text, byPagemap.parts.text);
  assert.equal(bySmaps.source, '/proc/self/smaps');
  closeSync(fd);
});

test('a mapping that spans parts makes figures from smaps inexact, and they say so', () => {
  const guest = GuestMemory.create({ ramBytes: MIB, controlBytes: 0 });
  guest.clear();
  const start = Number(guest.ramHostAddress);
  const smaps = [
    `${start.toString(16)}-${(start + MIB).toString(16)} rw-p 00000000 00:00 0 `,
    'Rss:                 512 kB',
    'Anonymous:           256 kB',
    'Swap:                  0 kB',
  ].join('\n');
  const { exact, parts } = accountSharingBySmaps(guest, [part('text', 0, MIB / 4)], smaps);
  assert.equal(exact, false);
  assert.deepEqual(parts.text, { total: 64, shared: 16, own: 16, untouched: 32 });
  assert.deepEqual(parts.rest, { total: 192, shared: 48, own: 48, untouched: 96 });
  const whole = accountSharingBySmaps(guest, [part('text', 0, MIB)], smaps);
  assert.equal(whole.exact, true);
});

test('a large guest is counted quickly', () => {
  const guest = GuestMemory.create({ ramBytes: 1024 * MIB, controlBytes: 0 });
  guest.bytes(1023 * MIB, PAGE).fill(1);
  const start = process.cpuUsage();
  const { rest } = accountSharing(guest, []).parts;
  const { user, system } = process.cpuUsage(start);
  const ms = (user + system) / 1000;
  assert.deepEqual(rest, { total: 262144, shared: 0, own: 1, untouched: 262143 });
  assert.ok(ms < 1000, `${ms} ms`);
});
