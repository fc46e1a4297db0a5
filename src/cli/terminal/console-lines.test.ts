import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ConsoleTail, LineCutter, printable } from './console-lines.js';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

test('control sequences and control characters do not reach a message', () => {
  assert.equal(
    printable(bytes('\u001b[31mred\u001b[0m\u0007\u001bc\rb\tc\u001b]0;title\u0007d\u001b(Be')),
    'redb\tcde',
  );
});

test('the tail holds the last lines, an unfinished one included', () => {
  const tail = new ConsoleTail();
  tail.feed(bytes('one\r\n\r\ntw'));
  tail.feed(bytes('o\r\nthr'));
  assert.deepEqual(tail.last(2), ['two', 'thr']);
  assert.deepEqual(tail.last(9), ['one', 'two', 'thr']);
  tail.feed(bytes('x'.repeat(100_000)));
  assert.deepEqual(
    tail.last(9).map((line) => line.length),
    [16 * 1024],
  );
});

test('lines are cut at line feeds whatever the chunks; a rest is given on flush', () => {
  const lines: string[] = [];
  const cutter = new LineCutter((line) => lines.push(new TextDecoder().decode(line)));
  cutter.feed(bytes('a\r'));
  cutter.feed(bytes('\nb\n\nc'));
  assert.deepEqual(lines, ['a', 'b', '']);
  cutter.flush();
  cutter.flush();
  assert.deepEqual(lines, ['a', 'b', '', 'c']);
});

test('a line without end is given in pieces', () => {
  const lengths: number[] = [];
  const cutter = new LineCutter((line) => lengths.push(line.length));
  cutter.feed(new Uint8Array(5000).fill(65));
  assert.deepEqual(lengths, [5000]);
});
