import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import * as L from '../layout.js';
import { readProfile, writeProfile } from './profile.js';
import { PackedHead, pack } from './region.js';
import type { EncodedRegion } from './translator.js';

const folder = mkdtempSync(join(tmpdir(), 'pando-profile-'));
after(() => rmSync(folder, { recursive: true }));
const path = join(folder, 'profiles', 'kernel');

/** A region of one block, of so many bytes. */
function region(offset: number, length: number, ...body: readonly number[]): EncodedRegion {
  const code = new Uint8Array(length).fill(7);
  const records = new Uint8Array(L.REC_SIZE);
  const packed = pack(L.MODE_CODE64, false, [
    { offset, length, count: 1, flags: 0, records, code },
  ]);
  return {
    body: Uint8Array.from(body),
    packed,
    hash: new PackedHead(packed).hash,
    links: offset,
    records: new Uint8Array(2 * length).fill(1),
  };
}
const regions = [region(3, 16, 1, 2, 3), region(0x123, 1, 4)];

test('a profile comes back as it was written', () => {
  writeProfile(path, regions);
  assert.deepEqual(
    readProfile(path).map(({ packed, hash, links, records, body }) => ({
      packed: new Uint8Array(packed),
      hash,
      links,
      records: new Uint8Array(records),
      body: new Uint8Array(body),
    })),
    regions,
  );
});

test('a damaged profile, another core’s and a missing one give nothing', () => {
  writeProfile(path, regions);
  const whole = readFileSync(path);
  for (const at of [0, 20, whole.length - 1]) {
    const damaged = Buffer.from(whole);
    damaged[at] = (damaged[at] ?? 0) ^ 1;
    writeFileSync(path, damaged);
    assert.deepEqual(readProfile(path), []);
  }
  assert.deepEqual(readProfile(join(folder, 'none')), []);
});
