import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { parseCpuModel } from '../accel/kvm/cpuid.js';
import { KvmSystem } from '../accel/kvm/system.js';
import { PandoError } from '../error.js';
import {
  type AcceleratorProbe,
  chooseAccelerator,
  type KvmProbe,
  probeAccelerators,
} from './accelerators.js';

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

test('what wasm cannot run goes to kvm, however slow, or nowhere', () => {
  const refusal = { code: 'VM_CPUS_UNSUPPORTED', message: '2 vCPUs', remedy: 'use --cpus 1' };
  const works: KvmProbe = {
    works: true,
    emulated: true,
    instructionsPerSecond: 1e6,
    exitNanoseconds: 1e4,
  };
  const slow: AcceleratorProbe = { kvm: works, choice: 'wasm', reason: 'slow' };
  assert.equal(
    chooseAccelerator('auto', undefined, () => slow),
    'wasm',
  );
  assert.equal(
    chooseAccelerator('auto', refusal, () => slow),
    'kvm',
  );
  const error = new PandoError('KVM_PERMISSION', '/dev/kvm: EACCES', {
    remedy: 'join kvm; or use --accel wasm',
  });
  const none: AcceleratorProbe = { kvm: { works: false, error }, choice: 'wasm', reason: 'none' };
  assert.throws(
    () => chooseAccelerator('auto', refusal, () => none),
    coded('ACCELERATOR_NONE', /2 vCPUs; kvm: .*EACCES \(use --cpus 1, or for kvm join kvm\)$/),
  );
  assert.throws(
    () => chooseAccelerator('wasm', refusal),
    coded('VM_CPUS_UNSUPPORTED', /use --cpus 1, or --accel kvm/),
  );
});

test('a device that is missing, or is not KVM, is refused with a code and a remedy', () => {
  const missing = coded('KVM_DEVICE_MISSING', /--accel wasm/);
  assert.throws(() => KvmSystem.open('/nonexistent/kvm'), missing);
  assert.throws(() => KvmSystem.open('/dev/null'), coded('KVM_API_VERSION', /ENOTTY/));
});

test('a device that may not be opened names the group to join', () => {
  const folder = mkdtempSync(join(tmpdir(), 'pando-device-'));
  const device = join(folder, 'kvm');
  const privileged = process.geteuid?.() === 0;
  try {
    writeFileSync(device, '');
    chmodSync(device, 0);
    chmodSync(folder, 0o755);
    // The superuser may open anything.
    if (privileged) process.seteuid?.(65534);
    assert.throws(() => KvmSystem.open(device), coded('KVM_PERMISSION', /EACCES.*usermod -aG kvm/));
  } finally {
    if (privileged) process.seteuid?.(0);
    rmSync(folder, { recursive: true });
  }
});

test('CPU models are a level and features to take away', () => {
  assert.deepEqual(parseCpuModel('host,-cx16,-avx').without, ['cx16', 'avx']);
  assert.equal(parseCpuModel('host').level, undefined);
  assert.throws(() => parseCpuModel('v9'), coded('CPU_MODEL_UNKNOWN', /v9/));
  assert.throws(() => parseCpuModel('v2,+avx'), coded('CPU_FEATURE_UNKNOWN', /\+avx/));
  assert.throws(() => parseCpuModel('host,-nothing'), coded('CPU_FEATURE_UNKNOWN', /-nothing/));
});
