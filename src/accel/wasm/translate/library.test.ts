import assert from 'node:assert/strict';
import { test } from 'node:test';
import { region } from '../testing/regions.js';
import { Library, TranslationsLost } from './library.js';
import type { Release } from './service.js';

/** A module without regions. */
function module(sequence: number): Release {
  return { sequence, first: 1, oldest: 1, regions: [], module: {} } as unknown as Release;
}

/** Gives out what `next` returns, until it has ended. */
function library(next: () => Release | undefined, ended: () => boolean): Library {
  const service = {
    request: () => undefined,
    receive: next,
    get ended() {
      return ended();
    },
  };
  return new Library(service);
}

test('a module that another thread has is waited for', () => {
  let looks = 0;
  let sequence = 0;
  const next = () => (++looks % 4 === 0 ? module(++sequence) : undefined);
  const translations = library(next, () => false);
  assert.equal(translations.release(2)?.sequence, 2);
  assert.ok(looks >= 8);
});

test('of translations with one root the newest comes first, and those of a profile in their order behind it', () => {
  const modules = [true, true, false, false].map((kept, index): Release => {
    const regions = [region(0, 8)];
    return { ...module(index + 1), first: index + 1, kept, regions };
  });
  const translations = library(
    () => modules.shift(),
    () => false,
  );
  translations.update();
  const found = translations.candidates(region(0, 8).hash);
  assert.deepEqual(
    found.map(({ number }) => number),
    [4, 3, 1, 2],
  );
});

test('one that was under way when the translator ended is lost, unless it has come', () => {
  const come = [module(1)];
  const translations = library(
    () => come.shift(),
    () => true,
  );
  assert.throws(() => translations.release(2), TranslationsLost);
  assert.equal(translations.release(1)?.sequence, 1);
});
