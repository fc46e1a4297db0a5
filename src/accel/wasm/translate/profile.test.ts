import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { region } from '../testing/regions.js';
import { type Profile, readProfile, writeAges, writeProfile } from './profile.js';

const folder = mkdtempSync(join(tmpdir(), 'pando-profile-'));
after(() => rmSync(folder, { recursive: true }));
const path = join(folder, 'profiles', 'kernel');

const kept = [
  { region: region(3, 16, 1, 2, 3), age: 0 },
  { region: region(0x123, 1, 4), age: 5 },
];
const ages = (profile: Profile | undefined): number[] =>
  (profile?.kept ?? []).map(({ age }) => age);

test('a profile comes back as it was written', () => {
  const head = writeProfile(path, kept);
  const profile = readProfile(path);
  assert.deepEqual(new Uint8Array(profile?.head ?? []), new Uint8Array(head));
  assert.deepEqual(
    profile?.kept.map(({ region: { packed, records, body, ...rest }, age }) => ({
      region: {
        ...rest,
        packed: new Uint8Array(packed),
        records: new Uint8Array(records),
        body: new Uint8Array(body),
      },
      age,
    })),
    kept,
  );
});

test('a damaged profile, a part of one, another core’s and a missing one give nothing', () => {
  writeProfile(path, kept);
  const whole = readFileSync(path);
  for (const at of [0, 20, 72, whole.length - kept.length - 1]) {
    const damaged = Buffer.from(whole);
    damaged[at] = (damaged[at] ?? 0) ^ 1;
    writeFileSync(path, damaged);
    assert.equal(readProfile(path), undefined);
  }
  for (let length = 0; length < whole.length; length += 11) {
    writeFileSync(path, whole.subarray(0, length));
    assert.equal(readProfile(path), undefined);
  }
  // As it was before there were ages.
  writeFileSync(path, whole.subarray(0, whole.length - kept.length));
  assert.equal(readProfile(path), undefined);
  assert.equal(readProfile(join(folder, 'none')), undefined);
});

test('ages are written in their place, and only into the file that they are of', () => {
  const head = writeProfile(path, kept);
  const before = readFileSync(path);
  writeAges(path, head, Uint8Array.of(7, 255));
  assert.deepEqual(ages(readProfile(path)), [7, 255]);
  assert.deepEqual(readFileSync(path).subarray(0, -2), before.subarray(0, -2));
  const other = kept.toReversed();
  writeProfile(path, other);
  writeAges(path, head, Uint8Array.of(1, 1));
  assert.deepEqual(ages(readProfile(path)), [5, 0]);
  writeFileSync(path, head.subarray(0, 10));
  writeAges(path, head, Uint8Array.of(1, 1));
  assert.deepEqual(readFileSync(path), Buffer.from(head.subarray(0, 10)));
  rmSync(path);
  writeAges(path, head, Uint8Array.of(1, 1));
  assert.equal(readProfile(path), undefined);
});
