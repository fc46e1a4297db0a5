import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { perfectHash } from './perfect-hash.js';

const numbers = fc.uniqueArray(fc.integer(), { minLength: 1, maxLength: 100 });

test('each number has a place of its own', () => {
  fc.assert(
    fc.property(numbers, (given) => {
      const { multiplier, shift, places } = perfectHash(given);
      given.forEach((number, index) => {
        assert.equal(places[Math.imul(number, multiplier) >>> shift], index);
      });
      assert.equal(places.filter((index) => index >= 0).length, given.length);
      assert.equal(places.length, 2 ** (32 - shift));
    }),
  );
});

test('the table of neighbours is small', () => {
  for (const count of [1, 2, 10, 64, 96]) {
    const { places } = perfectHash(Array.from({ length: count }, (_, index) => index * 4 - 100));
    assert.ok(places.length <= 8 * count, `${places.length} places for ${count}`);
  }
});
