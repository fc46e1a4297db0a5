import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PandoError } from '../error.js';
import { encodeCommandLine, mergeCommandLine } from './command-line.js';

test('appended parameters come later, so they win', () => {
  assert.equal(
    mergeCommandLine('console=ttyS0 quiet', 'loglevel=7'),
    'console=ttyS0 quiet loglevel=7',
  );
  assert.equal(mergeCommandLine('', ' a '), 'a');
  assert.equal(mergeCommandLine('a', ''), 'a');
  assert.equal(mergeCommandLine('a="x  y"', 'b'), 'a="x  y" b');
});

test('what init is given stays last', () => {
  assert.equal(mergeCommandLine('quiet -- single', 'debug'), 'quiet debug -- single');
  assert.equal(mergeCommandLine('-- single', 'debug'), 'debug -- single');
  assert.equal(mergeCommandLine('a--b', 'c'), 'a--b c');
});

test('2047 bytes and a NUL fit, one more does not', () => {
  const encoded = encodeCommandLine('x'.repeat(2047));
  assert.equal(encoded.length, 2048);
  assert.equal(encoded[2047], 0);
  for (const text of ['x'.repeat(2048), 'é'.repeat(1024)]) {
    assert.throws(
      () => encodeCommandLine(text),
      (error: PandoError) => error.code === 'COMMAND_LINE_TOO_LONG',
    );
  }
});

test('control characters are refused', () => {
  for (const text of ['a\0b', 'a\nb', 'a\tb', '\x7f']) {
    assert.throws(
      () => encodeCommandLine(text),
      (error: PandoError) => error.code === 'COMMAND_LINE_CONTROL_CHARACTER',
    );
  }
});
