/** A VM's methods at moments when something else is under way, on whichever accelerator runs it. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { createConnection } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { GuestCode, SERIAL } from '../accel/conformance/testing/guest.js';
import { ACCELERATORS, absence, Subject } from '../accel/conformance/testing/subject.js';
import { WorkerPool } from '../run/wasm/pool.js';
import { Vm } from './vm.js';

/** Prints `ready`, and at a byte from the console goes on at `then`. */
function waiting(): GuestCode {
  const code = new GuestCode()
    .stack()
    .out(SERIAL + 4, 0x03)
    .print('ready\n');
  return code
    .label('poll')
    .in(SERIAL + 5)
    .emit('a801')
    .j('z', 'poll')
    .in(SERIAL);
}

/** Until a thread of its own drives the guest: this one can be kept busy then. */
async function driven(accelerator: string): Promise<void> {
  while (accelerator === 'wasm' && WorkerPool.shared().schedule.workers() === 0) await sleep(5);
}

/** Keeps this thread from hearing anything. */
function deaf(milliseconds: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);
}

/** Warnings of the process while something runs. */
async function warningsOf(work: () => Promise<void>): Promise<Error[]> {
  const warnings: Error[] = [];
  const listener = (warning: Error): void => void warnings.push(warning);
  process.on('warning', listener);
  try {
    await work();
    await sleep(0);
  } finally {
    process.off('warning', listener);
  }
  return warnings;
}

for (const accelerator of ACCELERATORS) {
  describe(`a VM's methods on ${accelerator}`, { skip: absence(accelerator) }, () => {
    test('what leads to a guest ends with it, before the VM is closed', async () => {
      const code = waiting().powerOff();
      const net = { mode: 'user', publish: ['0:80'] } as const;
      await using subject = await Subject.create(accelerator, code, { vsock: true, net });
      const { vm } = subject;
      vm.start();
      await subject.until('ready\n');
      const port = vm.published[0]?.hostPort ?? 0;
      const client = createConnection(port, '127.0.0.1');
      const cut = once(client, 'close').catch(() => undefined);
      await once(client, 'connect');
      vm.writeConsole('.');
      assert.deepEqual(await vm.exited, { kind: 'poweroff' });
      await cut;
      const late = createConnection(port, '127.0.0.1');
      await assert.rejects(once(late, 'connect'), { code: 'ECONNREFUSED' });
      assert.deepEqual(vm.published, []);
      assert.equal(vm.networkStatistics()?.openTcp, 0);
      const ended = { code: 'VM_ENDED', message: /the guest powered off/ };
      await assert.rejects(vm.vsock.connect(1), ended);
      assert.throws(() => vm.vsock.listen(1, () => undefined), ended);
      await assert.rejects(vm.clone(), ended);
    });

    test('a trim between an end and the news of it does not set the guest going again', async () => {
      const code = waiting().out(0x604, 0);
      code.print('going down\n').powerOff().print('undead\n').emit('f4 ebfd');
      await using subject = await Subject.create(accelerator, code);
      const { vm } = subject;
      vm.start();
      await subject.until('ready\n');
      await driven(accelerator);
      await vm.writeConsole(Buffer.from('g'));
      deaf(1000);
      const trimmed = vm.trim();
      assert.deepEqual(await vm.exited, { kind: 'poweroff' });
      assert.equal(await trimmed, 0);
      const before = vm.instructions();
      await sleep(100);
      assert.equal(vm.instructions(), before);
      assert.ok(!subject.text.includes('undead'), subject.text);
    });

    test('a trim between a reset and the news of it finds the machine anew', async () => {
      const code = waiting().emit('3c67').j('nz', 'off').out(0xcf9, 6).emit('f4 ebfd');
      await using subject = await Subject.create(accelerator, code.label('off').powerOff());
      const { vm } = subject;
      vm.start();
      await subject.until('ready\n');
      await driven(accelerator);
      for (let round = 2; round < 5; round += 1) {
        vm.writeConsole(Buffer.from('g'));
        deaf(100);
        await Promise.all([vm.trim(), vm.trim()]);
        await subject.until('ready\n'.repeat(round));
      }
      vm.writeConsole(Buffer.from('p'));
      assert.deepEqual(await vm.exited, { kind: 'poweroff' });
    });

    test('pauses meet, a start meets a pause, a stop ends both', async () => {
      await using subject = await Subject.create(accelerator, waiting().jmp('poll'));
      const { vm } = subject;
      await vm.pause();
      vm.start();
      await subject.until('ready\n');
      const pauses = [vm.pause(), vm.pause()];
      await Promise.all(pauses);
      const state = vm.vcpuState();
      await sleep(30);
      assert.deepEqual(vm.vcpuState(), state);
      vm.start();
      const pause = vm.pause();
      vm.start();
      await pause;
      const trims = Promise.all([vm.trim(), vm.trim(), vm.pause()]);
      vm.start();
      await trims;
      const last = vm.pause();
      const end = vm.stop();
      vm.start();
      await Promise.all([last, end]);
      assert.deepEqual(await vm.exited, { kind: 'stopped' });
      vm.start();
      await vm.pause();
      assert.equal(await vm.trim(), 0);
    });

    test('a listener that throws is a warning, and the end is heard', async () => {
      const warnings = await warningsOf(async () => {
        await using subject = await Subject.create(accelerator, waiting().print('bye').powerOff());
        const { vm } = subject;
        vm.onStage(() => assert.fail('a stage'));
        vm.onConsole(() => assert.fail('no room'));
        vm.start();
        await subject.until('ready\n');
        vm.writeConsole(Buffer.from('g'));
        assert.deepEqual(await vm.exited, { kind: 'poweroff' });
        assert.equal(subject.text, 'ready\nbye');
      });
      assert.ok(warnings.length >= 2);
      for (const warning of warnings) {
        assert.equal((warning as NodeJS.ErrnoException).code, 'VM_LISTENER_FAILED');
      }
    });

    test('a reset that finds its image cut ends the VM with the error', async () => {
      const folder = mkdtempSync(join(tmpdir(), 'pando-cut-'));
      try {
        const kernel = join(folder, 'guest.elf');
        writeFileSync(kernel, waiting().out(0xcf9, 6).emit('f4 ebfd').image());
        const options = { memory: 64 << 20, load: 'read', deduplicate: false, tier: '0' } as const;
        await using vm = await Vm.create({
          kernel,
          accelerator,
          immutableImages: true,
          ...options,
        });
        const ready = new Promise<void>((resolve) => vm.onConsole(() => resolve()));
        vm.start();
        await ready;
        truncateSync(kernel, 100);
        vm.writeConsole(Buffer.from('g'));
        const exit = await vm.exited;
        assert.equal(exit.kind === 'error' && exit.code, 'IMAGE_TRUNCATED');
      } finally {
        rmSync(folder, { recursive: true });
      }
    });

    test("no method of a closed VM answers with another one's data", async () => {
      await using subject = await Subject.create(accelerator, waiting());
      const { vm } = subject;
      vm.start();
      await subject.until('ready\n');
      await Promise.all([vm.close(), vm.close(), vm.stop(), vm.pause(), vm.trim()]);
      await using other = await Subject.create(accelerator, waiting());
      other.vm.start();
      await other.until('ready\n');
      for (const ask of [() => vm.vcpuState(), () => vm.memory(), () => vm.instructions()]) {
        assert.throws(ask, { code: 'VM_CLOSED' });
      }
      vm.start();
      vm.writeConsole(Buffer.from('g'));
      assert.equal(await vm.trim(), 0);
      await sleep(50);
      assert.equal(other.text, 'ready\n');
    });

    test('a VM that is made while the last one closes runs', async () => {
      let last = await Subject.create(accelerator, waiting());
      for (let round = 0; round < 8; round += 1) {
        last.vm.start();
        await last.until('ready\n');
        await driven(accelerator);
        await last.vm.pause();
        void last[Symbol.asyncDispose]();
        // The threads have been told to end, and may still count.
        for (let turn = 0; turn < 5 + round; turn += 1) await Promise.resolve();
        last = await Subject.create(accelerator, waiting());
      }
      last.vm.start();
      await last.until('ready\n');
      assert.equal(last.text, 'ready\n');
      await last[Symbol.asyncDispose]();
    });
  });
}
