import assert from 'node:assert/strict';
import { test } from 'node:test';
import { stampLines } from './stamp-lines.js';

test('each line has the time of the piece that it begins in', () => {
  const stamp = stampLines();
  const at = (text: string, time: string) => String(stamp(Buffer.from(text), time));
  assert.equal(at('a\nb', '1'), '1 a\n1 b');
  assert.equal(at('c\n', '2'), 'c\n');
  assert.equal(at('\nd\n', '3'), '3 \n3 d\n');
  assert.equal(at('', '4'), '');
});
