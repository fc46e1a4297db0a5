import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { TextWatch } from './text-watch.js';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

test('a text is found across chunks, and where a false start overlaps it', () => {
  const watch = new TextWatch('aab');
  assert.equal(watch.feed(bytes('xa')), false);
  assert.equal(watch.feed(bytes('aa')), false);
  assert.equal(watch.feed(bytes('b')), true);
  assert.equal(watch.feed(bytes('')), true);
});

test('a text is found exactly when the whole stream contains it, however it is cut', () => {
  const letters = fc.string({ unit: fc.constantFrom('a', 'b', 'ü'), maxLength: 40 });
  const needle = fc.string({ unit: fc.constantFrom('a', 'b', 'ü'), minLength: 1, maxLength: 5 });
  fc.assert(
    fc.property(letters, needle, fc.integer({ min: 1, max: 7 }), (stream, text, size) => {
      const watch = new TextWatch(text);
      const whole = bytes(stream);
      for (let at = 0; at < whole.length; at += size) watch.feed(whole.subarray(at, at + size));
      assert.equal(watch.seen, stream.includes(text));
    }),
  );
});
