import assert from 'node:assert/strict';
import { closeSync } from 'node:fs';
import { test } from 'node:test';
import { createEventfd, signalEventfd, takeEventfd } from '../../host/eventfd.js';
import { Assembler } from '../conformance/testing/assembler.js';
import { APIC_EOI, COUNT, GuestCode } from '../conformance/testing/guest.js';
import { absence } from '../conformance/testing/subject.js';
import { EXIT, STRUCT } from './api.js';
import { BareVm } from './testing/bare-vm.js';

const absent = absence('kvm');
const RAM = 32 << 20;
const CODE = 0x1000;
const SHOW = 0xf4;
const GSI = 4;
const EINTR = -4;

/** Sends EAX to the host; keeps the other registers. */
function show(code: Assembler): void {
  code.emit(0xe7, SHOW);
}

/** Runs until the guest shows a value. */
function next(vm: BareVm): number {
  assert.equal(vm.enter(), EXIT.KVM_EXIT_IO);
  assert.equal(vm.port, SHOW);
  return vm.portValue;
}

/** Finishes the instruction of the last exit, as `KvmVcpu.settle` does. */
function settle(vm: BareVm): void {
  vm.run.setUint8(STRUCT.kvm_run.immediate_exit, 1);
  assert.equal(vm.enter(), EINTR);
  vm.run.setUint8(STRUCT.kvm_run.immediate_exit, 0);
}

test('a signalled eventfd interrupts the guest, and not any more once disconnected', (t) => {
  if (absent !== undefined) return t.skip(absent);
  using vm = new BareVm(RAM);
  const code = new GuestCode()
    .stack()
    .interruptTable()
    .gate(0x20 + GSI, 'irq');
  code
    .pic(~(1 << GSI))
    .storeValue(COUNT, 0)
    .mov('eax', 0);
  show(code);
  code.sleepUntilCount(1).load('eax', COUNT);
  show(code);
  // Long enough for an interrupt to come that should not.
  code.emit('fb').mov('ecx', 20000).label('wait').emit('ffc9').j('nz', 'wait').load('eax', COUNT);
  show(code);
  code.countingHandler('irq', 'pic');
  vm.load(code.origin, code.bytes());
  const fd = createEventfd();
  try {
    vm.machine.connectInterrupt(fd, GSI);
    assert.equal(next(vm), 0);
    signalEventfd(fd);
    assert.equal(next(vm), 1);
    vm.machine.connectInterrupt(fd, GSI, false);
    signalEventfd(fd);
    assert.equal(next(vm), 1);
  } finally {
    closeSync(fd);
  }
});

test('a doorbell signals an eventfd without an exit: a port, one value of it, memory', (t) => {
  if (absent !== undefined) return t.skip(absent);
  using vm = new BareVm(RAM);
  const [any, value, memory] = [0x510, 0x520, 0xd0001000];
  const code = new Assembler(CODE);
  for (let round = 0; round < 2; round += 1) {
    code.out(any, 1, 2).out(any, 2, 2).out(value, 7).out(value, 8).storeValue(memory, 5);
    code.mov('eax', round);
    show(code);
  }
  vm.load(CODE, code.bytes());
  const fds = [createEventfd(), createEventfd(), createEventfd()] as const;
  const at = [
    { space: 'port', address: any, length: 2 },
    { space: 'port', address: value, length: 1, value: 7n },
    { space: 'mmio', address: memory, length: 4 },
  ] as const;
  try {
    for (const [i, where] of at.entries()) vm.machine.connectDoorbell(fds[i]!, where);
    assert.equal(vm.enter(), EXIT.KVM_EXIT_IO);
    assert.deepEqual([vm.port, vm.portValue], [value, 8], 'another value leaves the guest');
    assert.equal(next(vm), 0);
    assert.deepEqual(fds.map(takeEventfd), [2n, 1n, 1n]);
    for (const [i, where] of at.entries()) vm.machine.connectDoorbell(fds[i]!, where, false);
    const exits: number[] = [];
    while (vm.enter() === EXIT.KVM_EXIT_IO && vm.port !== SHOW) exits.push(vm.port);
    assert.deepEqual(exits, [any, any, value, value]);
    assert.equal(vm.run.getUint32(STRUCT.kvm_run.exit_reason, true), EXIT.KVM_EXIT_MMIO);
    assert.equal(next(vm), 1);
    assert.deepEqual(fds.map(takeEventfd), [0n, 0n, 0n]);
  } finally {
    for (const fd of fds) closeSync(fd);
  }
});

test('a saved vCPU goes on from where it was, registers, vectors and local APIC', (t) => {
  if (absent !== undefined) return t.skip(absent);
  using vm = new BareVm(RAM);
  const TASK_PRIORITY = APIC_EOI - 0x30;
  const code = new Assembler(CODE).mov('ebx', 0);
  code.label('again').emit('ffc3');
  // MOV EAX, EBX; SHL EAX, 4; the task priority becomes it.
  code.emit('89d8 c1e004').store(TASK_PRIORITY, 'eax').load('eax', TASK_PRIORITY);
  // ADD EAX, EBX.
  code.emit('01d8');
  show(code);
  code.load('eax', TASK_PRIORITY);
  show(code);
  code.jmp('again');
  vm.load(CODE, code.bytes());
  const values = (count: number): number[] => Array.from({ length: count }, () => next(vm));
  assert.deepEqual(values(5), [0x11, 0x10, 0x22, 0x20, 0x33]);
  settle(vm);
  const saved = vm.owner.save();
  assert.deepEqual(values(4), [0x30, 0x44, 0x40, 0x55]);
  settle(vm);
  vm.owner.restore(saved);
  assert.deepEqual(values(3), [0x30, 0x44, 0x40]);
  settle(vm);
  vm.owner.restore();
  vm.load(CODE, code.bytes());
  assert.deepEqual(values(2), [0x11, 0x10], 'as it was made');
});

test('saved interrupt controllers, timer and clock come back', (t) => {
  if (absent !== undefined) return t.skip(absent);
  using vm = new BareVm(RAM);
  const code = new Assembler(CODE).out(0x21, 0xab).mov('eax', 0);
  show(code);
  code.out(0x21, 0xcd).mov('eax', 1);
  show(code);
  code.in(0x21);
  show(code);
  vm.load(CODE, code.bytes());
  assert.equal(next(vm), 0);
  vm.machine.setClock(5_000_000_000n);
  const saved = vm.machine.save();
  assert.ok(saved.clock >= 5_000_000_000n && saved.clock < 6_000_000_000n, `${saved.clock}`);
  assert.equal(next(vm), 1);
  vm.machine.setClock(0n);
  vm.machine.restore(saved);
  assert.equal(next(vm) & 0xff, 0xab);
  const clock = vm.machine.clock();
  assert.ok(clock >= saved.clock && clock < saved.clock + 1_000_000_000n, `${clock}`);
});
