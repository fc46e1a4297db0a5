import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DETACH_KEYS, parseDetachKeys, untilDetached } from './detach-keys.js';

async function typed(pieces: readonly string[], keys: string): Promise<[string, boolean]> {
  let detached = false;
  async function* input(): AsyncGenerator<Uint8Array> {
    for (const piece of pieces) yield Buffer.from(piece, 'latin1');
  }
  let text = '';
  const filtered = untilDetached(input(), parseDetachKeys(keys), () => {
    detached = true;
  });
  for await (const piece of filtered) text += Buffer.from(piece).toString('latin1');
  return [text, detached];
}

test('keys are read as Docker reads them', () => {
  assert.deepEqual([...parseDetachKeys(DETACH_KEYS)], [16, 17]);
  assert.deepEqual([...parseDetachKeys('a,ctrl-@,CTRL-Z,ctrl-[,ctrl-_')], [97, 0, 26, 27, 31]);
  for (const wrong of ['', 'ctrl-', 'ctrl-1', 'ab', 'a,,b', 'ctrl-pq', '\t'])
    assert.throws(() => parseDetachKeys(wrong), { code: 'USAGE' }, wrong);
});

test('the keys detach, in whatever pieces they come; what is behind them goes nowhere', async () => {
  assert.deepEqual(await typed(['ls\r\x10\x11more'], DETACH_KEYS), ['ls\r', true]);
  assert.deepEqual(await typed(['a\x10', '\x11', 'b'], DETACH_KEYS), ['a', true]);
  assert.deepEqual(await typed(['\x10\x10\x11'], DETACH_KEYS), ['\x10', true]);
  assert.deepEqual(await typed(['aab'], 'a,b'), ['a', true]);
  assert.deepEqual(await typed(['aabaac'], 'a,a,b,a,a,c'), ['', true]);
  assert.deepEqual(await typed(['aabaabaac'], 'a,a,b,a,a,c'), ['aab', true]);
});

test('what is not all of the keys is typed', async () => {
  assert.deepEqual(await typed(['\x10', 'x\x11'], DETACH_KEYS), ['\x10x\x11', false]);
  assert.deepEqual(
    await typed(['x\x10'], DETACH_KEYS),
    ['x\x10', false],
    'at the end of the input',
  );
});
