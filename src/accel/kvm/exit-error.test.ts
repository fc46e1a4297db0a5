import assert from 'node:assert/strict';
import { test } from 'node:test';
import { viewOf } from '../../host/libc.js';
import { mapZero, unmap } from '../../host/mmap.js';
import { absence } from '../conformance/testing/subject.js';
import { EXIT, INTERNAL_ERROR, STRUCT } from './api.js';
import { exitError, guestBytesAt } from './exit-error.js';
import { BareVm } from './testing/bare-vm.js';

const absent = absence('kvm');
const RUN = STRUCT.kvm_run;
const CODE = 0x1000;

test('each way in which the kernel gives up has a code, registers, bytes and a remedy', (t) => {
  if (absent !== undefined) return t.skip(absent);
  using vm = new BareVm(1 << 20);
  vm.load(CODE, Uint8Array.of(0xf4, 0x90, 0x0f, 0x0b));
  const { fd } = vm.owner.handle;
  const error = (reason: number, fill: () => void) => {
    new Uint8Array(vm.run.buffer, vm.run.byteOffset, RUN.size).fill(0);
    vm.run.setUint32(RUN.exit_reason, reason, true);
    fill();
    return exitError(fd, 3, vm.run, (address, length) => vm.ram.slice(address, address + length));
  };
  const where = 'vCPU 3: rip=1000 .*cr0=11 .*; bytes at RIP: f4900f0b';

  const entry = error(EXIT.KVM_EXIT_FAIL_ENTRY, () =>
    vm.run.setBigUint64(RUN['fail_entry.hardware_entry_failure_reason'], 0x80000021n, true),
  );
  assert.equal(entry.code, 'KVM_FAIL_ENTRY');
  assert.match(entry.message, new RegExp(`reason 0x80000021; ${where}`));

  const delivery = error(EXIT.KVM_EXIT_INTERNAL_ERROR, () => {
    vm.run.setUint32(RUN['internal.suberror'], INTERNAL_ERROR.KVM_INTERNAL_ERROR_DELIVERY_EV, true);
    vm.run.setUint32(RUN['internal.ndata'], 2, true);
    vm.run.setBigUint64(RUN['internal.data'], 0xabn, true);
  });
  assert.equal(delivery.code, 'KVM_INTERNAL_ERROR');
  assert.match(delivery.message, new RegExp(`KVM_INTERNAL_ERROR_DELIVERY_EV, data ab 0; ${where}`));

  const emulation = error(EXIT.KVM_EXIT_INTERNAL_ERROR, () => {
    vm.run.setUint32(RUN['internal.suberror'], INTERNAL_ERROR.KVM_INTERNAL_ERROR_EMULATION, true);
    vm.run.setUint32(RUN['internal.ndata'], 3, true);
    vm.run.setBigUint64(RUN['emulation_failure.flags'], 1n, true);
    vm.run.setUint8(RUN['emulation_failure.insn_size'], 2);
    vm.run.setUint16(RUN['emulation_failure.insn_bytes'], 0x770f, true);
  });
  assert.equal(emulation.code, 'KVM_EMULATION_FAILED');
  assert.match(emulation.message, /bytes at RIP: 0f77$/, "the kernel's own bytes");

  const other = error(EXIT.KVM_EXIT_HYPERCALL, () => {});
  assert.equal(other.code, 'KVM_EXIT_UNEXPECTED');
  assert.match(other.message, new RegExp(`KVM_EXIT_HYPERCALL; ${where}`));
  for (const { remedy } of [entry, delivery, emulation, other]) {
    assert.match(remedy ?? '', /--accel wasm/);
  }
});

test('guest bytes end with the RAM that they are in, below the hole and above', () => {
  const LOW = 0xc0000000;
  const bytes = LOW + 0x2000;
  const memory = mapZero(bytes);
  try {
    viewOf(memory + BigInt(LOW - 2), 4).set([1, 2, 3, 4]);
    const guest = guestBytesAt(memory, bytes);
    assert.deepEqual([...guest(LOW - 2, 8)], [1, 2]);
    assert.deepEqual([...guest(LOW, 8)], []);
    assert.deepEqual([...guest(0x1_0000_0000, 2)], [3, 4]);
    assert.equal(guest(0x1_0000_1ffc, 8).length, 4);
    assert.equal(guest(0x1_0000_2000, 8).length, 0);
  } finally {
    unmap(memory, bytes);
  }
});
