import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CONTROL_BYTES, VM_CONTROL, vcpuWords, WORD_STILL } from '../../accel/kvm/layout.js';
import { REQUEST_HOLD, VmControl } from '../control.js';
import { whileStill } from './stand-still.js';

function setUp() {
  const buffer = new SharedArrayBuffer(CONTROL_BYTES);
  const control = new VmControl(buffer, VM_CONTROL);
  control.initialise();
  return { control, words: vcpuWords(buffer, 1) };
}

test('a vCPU is looked at while it stands still, and goes on', () => {
  const { control, words } = setUp();
  const kick = () => void Atomics.store(words, WORD_STILL, control.requests() & REQUEST_HOLD);
  assert.equal(
    whileStill(control, { id: 1, words, kick }, () => control.requests()),
    REQUEST_HOLD,
  );
  assert.equal(control.requests(), 0);
});

test('one that does not leave the guest is not looked at, and is told to go on', () => {
  const { control, words } = setUp();
  const look = () => assert.fail('it runs');
  const vcpu = { id: 1, words, kick: () => undefined };
  assert.throws(() => whileStill(control, vcpu, look, 10), {
    code: 'VCPU_SILENT',
    message: /vCPU 1 .* 10 ms/,
  });
  assert.equal(control.requests(), 0);
});
