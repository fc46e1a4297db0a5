import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import { test } from 'node:test';
import { connectInput, type InputStream } from './console-input.js';

class FakeInput extends EventEmitter implements InputStream {
  raw = false;
  paused = true;
  constructor(readonly isTTY: boolean) {
    super();
  }
  setRawMode(raw: boolean): void {
    this.raw = raw;
  }
  resume(): void {
    this.paused = false;
  }
  pause(): void {
    this.paused = true;
  }
  type(text: string): void {
    this.emit('data', Buffer.from(text, 'latin1'));
  }
}

function connect(input: FakeInput) {
  const seen: { guest: string; shown: string; quits: number; busy: Promise<void> | undefined } = {
    guest: '',
    shown: '',
    quits: 0,
    busy: undefined,
  };
  const disconnect = connectInput(input, {
    write: (bytes) => {
      seen.guest += Buffer.from(bytes).toString('latin1');
      return seen.busy;
    },
    show: (text) => {
      seen.shown += text;
    },
    quit: () => {
      seen.quits++;
    },
  });
  return { seen, disconnect };
}

test('a terminal is raw while connected; Ctrl-C goes to the guest, Ctrl-A X quits', () => {
  const input = new FakeInput(true);
  const listeners = process.listenerCount('exit');
  const { seen, disconnect } = connect(input);
  assert.equal(input.raw, true);
  input.type('ls\r\u0003');
  input.type('\u0001');
  input.type('\u0001a\u0001hb\u0001q\u0001x');
  assert.equal(seen.guest, 'ls\r\u0003\u0001ab');
  assert.equal(seen.quits, 1);
  assert.match(seen.shown, /Ctrl-A X +end the VM/);
  disconnect();
  disconnect();
  assert.deepEqual([input.raw, input.paused, input.listenerCount('data')], [false, true, 0]);
  assert.equal(process.listenerCount('exit'), listeners);
});

test('the terminal is restored when the process exits on any path', () => {
  const input = new FakeInput(true);
  connect(input);
  const restore = process.listeners('exit').at(-1) as (() => void) | undefined;
  restore?.();
  assert.equal(input.raw, false);
});

test('from a pipe every byte goes to the guest, Ctrl-A too', () => {
  const input = new FakeInput(false);
  const { seen, disconnect } = connect(input);
  input.type('a\u0001x');
  disconnect();
  input.type('late');
  assert.equal(seen.guest, 'a\u0001x');
  assert.deepEqual([seen.quits, input.raw], [0, false]);
});

test('reading stops while the guest has not taken what came before', async () => {
  const input = new FakeInput(false);
  const { seen, disconnect } = connect(input);
  let take = (): void => undefined;
  seen.busy = new Promise((resolve) => {
    take = resolve;
  });
  input.type('first');
  assert.equal(input.paused, true);
  seen.busy = undefined;
  take();
  await new Promise(setImmediate);
  assert.equal(input.paused, false);
  disconnect();
});

test('a terminal is read on while the guest takes nothing, for the escape key, but not for ever', () => {
  const input = new FakeInput(true);
  const { seen, disconnect } = connect(input);
  seen.busy = new Promise(() => undefined);
  input.type('typed\u0001x');
  assert.deepEqual([input.paused, seen.quits], [false, 1]);
  input.type('p'.repeat(1024 * 1024));
  assert.equal(input.paused, true);
  disconnect();
});

test('an input that fails has ended, before and after it is disconnected', () => {
  const input = new FakeInput(false);
  const { disconnect } = connect(input);
  input.emit('error', new Error('EBADF'));
  disconnect();
  input.emit('error', new Error('EIO'));
});

test('a terminal is raw again after the process was stopped and continued', () => {
  const input = new FakeInput(true);
  const modes: boolean[] = [];
  input.setRawMode = (raw) => void modes.push(raw);
  const before = process.listenerCount('SIGCONT');
  const { disconnect } = connect(input);
  process.emit('SIGCONT');
  assert.deepEqual(modes, [true, false, true]);
  disconnect();
  assert.equal(process.listenerCount('SIGCONT'), before);
});
