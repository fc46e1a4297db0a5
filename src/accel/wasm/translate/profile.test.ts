import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { readProfile, writeProfile } from './profile.js';

const folder = mkdtempSync(join(tmpdir(), 'pando-profile-'));
after(() => rmSync(folder, { recursive: true }));
const path = join(folder, 'profiles', 'kernel');
const regions = [
  {
    body: Uint8Array.of(1, 2, 3),
    packed: new Uint8Array(5000).fill(7),
    links: 3,
    records: new Uint8Array(32).fill(1),
  },
  { body: Uint8Array.of(4), packed: Uint8Array.of(9), links: 0, records: new Uint8Array(0) },
];

test('a profile comes back as it was written', () => {
  writeProfile(path, regions);
  assert.deepEqual(
    readProfile(path).map(({ packed, links, records, body }) => ({
      packed: new Uint8Array(packed),
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
