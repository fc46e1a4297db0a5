/** Threads of vCPUs that fail or die before their VM has started, or while it runs. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Worker } from 'node:worker_threads';
import { GuestCode } from '../../accel/conformance/testing/guest.js';
import { absence, Subject } from '../../accel/conformance/testing/subject.js';
import type { KvmDescription } from './board.js';
import type { VcpuEvent } from './vcpu-event.js';
import { VcpuThreads } from './vcpu-threads.js';

const threads: Worker[] = [];
process.on('worker', (worker) => threads.push(worker));

/** A VM that no thread can run. */
const ASSIGNMENT = { vm: {} as KvmDescription, vcpu: 0 };

describe('the thread of a vCPU', () => {
  test('that cannot run its VM says so, and waits for the next one', async () => {
    const pool = new VcpuThreads();
    const heard: VcpuEvent[] = [];
    const { detached } = pool.take(ASSIGNMENT, (event) => heard.push(event), assert.fail);
    await detached;
    assert.equal(heard[0]?.kind, 'failed');
    assert.equal(heard.length, 1);
    assert.deepEqual(pool.size, { busy: 0, idle: 1 });
  });

  test('that dies is counted out, and its owner hears it', async () => {
    const pool = new VcpuThreads();
    const heard: VcpuEvent[] = [];
    const before = threads.length;
    pool.prepare(1);
    while (threads.length === before) await new Promise((resolve) => process.nextTick(resolve));
    const dead = threads.at(-1)?.terminate();
    const { detached } = pool.take(ASSIGNMENT, (event) => heard.push(event), assert.fail);
    await dead;
    await detached;
    const [event] = heard;
    assert.equal(event?.kind === 'failed' && event.event.code, 'WORKER_FAILED');
    assert.deepEqual(pool.size, { busy: 0, idle: 0 });
  });
});

describe('a VM on kvm whose thread dies', { skip: absence('kvm') }, () => {
  for (const started of [false, true]) {
    test(started ? 'ends while it runs' : 'ends before its first start', async () => {
      const code = new GuestCode().stack().print('ready\n').label('spin').jmp('spin');
      await using subject = await Subject.create('kvm', code);
      if (started) {
        subject.vm.start();
        await subject.until('ready\n');
      }
      await Promise.all(threads.map((thread) => thread.terminate()));
      subject.vm.start();
      const exit = await subject.vm.exited;
      assert.equal(exit.kind === 'error' && exit.code, 'WORKER_FAILED');
      await subject.vm.close();
    });
  }
});
