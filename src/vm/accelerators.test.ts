import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseCpuModel } from '../accel/kvm/cpuid.js';
import { KvmSystem } from '../accel/kvm/system.js';
import { PandoError } from '../error.js';
import { chooseAccelerator, probeAccelerators } from './accelerators.js';

const coded =
  (code: string, text: RegExp) =>
  (error: unknown): boolean =>
    error instanceof PandoError && error.code === code && text.test(error.toLine());

test('the probe measures, decides, and says why', () => {
  const { kvm, choice, reason } = probeAccelerators();
  if (kvm.works) {
    assert.ok(kvm.instructionsPerSecond > 1000, `${kvm.instructionsPerSecond}`);
    assert.ok(kvm.exitNanoseconds > 100 && kvm.exitNanoseconds < 1e7, `${kvm.exitNanoseconds}`);
    assert.equal(choice, kvm.emulated ? 'wasm' : 'kvm');
    assert.match(reason, /\d million instructions a second/);
  } else {
    assert.equal(choice, 'wasm');
    assert.match(kvm.error.code, /^KVM_/);
  }
  assert.equal(chooseAccelerator('auto'), choice);
  assert.equal(chooseAccelerator('kvm'), 'kvm');
  assert.equal(probeAccelerators(), probeAccelerators());
});

test('a device that is missing, or is not KVM, is refused with a code and a remedy', () => {
  const missing = coded('KVM_DEVICE_MISSING', /--accel wasm/);
  assert.throws(() => KvmSystem.open('/nonexistent/kvm'), missing);
  assert.throws(() => KvmSystem.open('/dev/null'), coded('KVM_API_VERSION', /ENOTTY/));
});

test('CPU models are a level and features to take away', () => {
  assert.deepEqual(parseCpuModel('host,-cx16,-avx').without, ['cx16', 'avx']);
  assert.equal(parseCpuModel('host').level, undefined);
  assert.throws(() => parseCpuModel('v9'), coded('CPU_MODEL_UNKNOWN', /v9/));
  assert.throws(() => parseCpuModel('v2,+avx'), coded('CPU_FEATURE_UNKNOWN', /\+avx/));
  assert.throws(() => parseCpuModel('host,-nothing'), coded('CPU_FEATURE_UNKNOWN', /-nothing/));
});
