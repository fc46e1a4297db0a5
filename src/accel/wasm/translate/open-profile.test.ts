/** What processes one after the other leave of a profile. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, beforeEach, describe, it } from 'node:test';
import { region } from '../testing/regions.js';
import { AGE_LIMIT, OpenProfile, TELLING } from './open-profile.js';
import { readProfile } from './profile.js';
import type { EncodedRegion } from './translator.js';
import { makeClock, makeUses, noteUse } from './uses.js';

const folder = mkdtempSync(join(tmpdir(), 'pando-open-profile-'));
after(() => rmSync(folder, { recursive: true }));
const path = join(folder, 'profiles', 'kernel');
beforeEach(() => rmSync(path, { force: true }));

/** So many regions, whose roots begin at `first` and behind it. */
const regions = (first: number, count: number): EncodedRegion[] =>
  Array.from({ length: count }, (_, index) => region(first + index, 8, index & 0xff));
const BOOT = regions(0, TELLING);
const ONE = regions(1000, 20);
const TWO = regions(2000, 20);
const THREE = regions(3000, 20);

const keys = (of: readonly EncodedRegion[]): string[] => of.map(({ key }) => key);

/** A process in which regions get hot, in this order: those that the profile gives are used, others made. */
class Process {
  readonly profile = new OpenProfile(path);
  readonly given: EncodedRegion[] = this.profile.read();
  readonly #clock = makeClock();
  /** Whether the file was written anew, each time. */
  readonly saved: boolean[] = [];

  run(...hot: readonly EncodedRegion[]): this {
    const given = new Set(keys(this.given));
    const made = hot.filter(({ key }) => !given.has(key));
    this.profile.add(made);
    const all = [...this.given, ...made];
    const uses = makeUses(this.#clock, all.length);
    this.profile.follow(keys(all), uses);
    const places = new Map(keys(all).map((key, index) => [key, index]));
    for (const { key } of hot) noteUse(uses, places.get(key) ?? 0);
    return this;
  }

  save(): this {
    this.saved.push(this.profile.save());
    return this;
  }
}

const run = (...hot: readonly EncodedRegion[]): Process => new Process().run(...hot).save();
const held = (): string[] => keys((readProfile(path)?.kept ?? []).map((kept) => kept.region));
const given = (): Set<string> => new Set(keys(new Process().given));
const has = (of: readonly EncodedRegion[]): boolean => {
  const now = given();
  return keys(of).every((key) => now.has(key));
};

describe('a profile', () => {
  it('loses what several processes in a row did without, and keeps the rest for ever', () => {
    run(...BOOT, ...ONE);
    for (let process = 1; process < AGE_LIMIT; process++) {
      assert.deepEqual(run(...BOOT).saved, [false]);
      assert.equal(held().length, BOOT.length + ONE.length);
      assert.ok(has(ONE));
    }
    assert.deepEqual(run(...BOOT).saved, [true]);
    assert.deepEqual(held(), keys(BOOT));
    for (let process = 0; process < 2 * AGE_LIMIT; process++) run(...BOOT);
    assert.deepEqual(held(), keys(BOOT));
  });

  it('keeps what workloads use that take turns', () => {
    for (let turn = 0; turn < 4 * AGE_LIMIT; turn++) {
      run(...BOOT, ...([ONE, TWO, THREE][turn % 3] ?? []));
    }
    assert.ok(has([...BOOT, ...ONE, ...TWO, ...THREE]));
  });

  it('is not written when nothing changes', () => {
    run(...BOOT);
    const before = statSync(path, { bigint: true });
    run(...BOOT);
    const { ino, mtimeNs, ctimeNs } = statSync(path, { bigint: true });
    assert.deepEqual([ino, mtimeNs, ctimeNs], [before.ino, before.mtimeNs, before.ctimeNs]);
  });

  it('learns nothing from a process whose guest hardly ran', () => {
    run(...BOOT, ...ONE);
    const before = readFileSync(path);
    for (let process = 0; process < 2 * AGE_LIMIT; process++) run(...BOOT.slice(0, 5));
    assert.deepEqual(readFileSync(path), before);
  });

  it('counts a process once, however often it is saved', () => {
    run(...BOOT, ...ONE);
    const process = new Process().run(...BOOT);
    for (let save = 0; save < 2 * AGE_LIMIT; save++) process.save();
    // It has written the file anew, for regions that came.
    process.run(...TWO);
    for (let save = 0; save < 2 * AGE_LIMIT; save++) process.save();
    assert.equal(process.saved.filter((anew) => anew).length, 1);
    assert.ok(has([...BOOT, ...ONE, ...TWO]));
  });

  it('begins with what was used first, and gives what was used last first', () => {
    run(...BOOT, ...ONE);
    run(...BOOT, ...TWO);
    assert.deepEqual(held(), keys([...BOOT, ...TWO, ...ONE]));
    run(...BOOT, ...ONE);
    assert.deepEqual(keys(new Process().given), keys([...BOOT, ...ONE, ...TWO]));
    const turned = BOOT.toReversed();
    run(...turned, ...THREE);
    assert.deepEqual(held().slice(0, BOOT.length), keys(turned));
  });

  it('takes back what gets hot again as long as the file has it', () => {
    const few = ONE.slice(0, 2);
    run(...BOOT, ...few);
    for (let process = 0; process < AGE_LIMIT; process++) run(...BOOT);
    // Two are too few to write the file again.
    assert.equal(held().length, BOOT.length + few.length);
    assert.ok(!has(few.slice(0, 1)));
    run(...BOOT, ...few);
    assert.ok(has(few));
  });

  it('holds each region once, though it was made again in the same process', () => {
    const process = run(...BOOT);
    process.profile.add(BOOT);
    process.run(...ONE).save();
    process.profile.add([...BOOT, ...ONE]);
    process.run(...TWO).save();
    assert.deepEqual(held().length, new Set(held()).size);
    assert.ok(has([...BOOT, ...ONE, ...TWO]));
  });

  it('keeps what a process has used whose module has gone meanwhile', () => {
    run(...BOOT, ...ONE);
    const process = new Process().run(...BOOT, ...ONE);
    // Made once more, and not used since.
    process.profile.follow(keys(ONE), makeUses(makeClock(), ONE.length));
    process.save();
    assert.deepEqual(
      readProfile(path)?.kept.map(({ age }) => age),
      [...BOOT, ...ONE].map(() => 0),
    );
  });

  it('of several processes at once has what each of them has made, and ages by one', () => {
    run(...BOOT, ...ONE);
    const all = Array.from({ length: 2 * AGE_LIMIT }, () => new Process().run(...BOOT));
    const [first, second] = [
      new Process().run(...BOOT, ...TWO),
      new Process().run(...BOOT, ...THREE),
    ];
    for (const process of [...all, first, second]) process.save();
    assert.ok(has([...BOOT, ...ONE, ...TWO, ...THREE]));
    // Those that come late know another file.
    for (const process of all) process.save();
    assert.ok(has([...BOOT, ...ONE, ...TWO, ...THREE]));
  });
});
