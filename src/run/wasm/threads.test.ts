/** Threads that die are counted out, end only the VMs that they held, and are replaced. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import type { Worker } from 'node:worker_threads';
import { COUNT, GuestCode } from '../../accel/conformance/testing/guest.js';
import { Subject } from '../../accel/conformance/testing/subject.js';
import type { VmExit } from '../types.js';
import { WorkerPool } from './pool.js';

/** Threads of this process, in the order of their start. */
const threads: Worker[] = [];
process.on('worker', (worker) => threads.push(worker));
const warnings: string[] = [];
process.on('warning', (warning) => warnings.push((warning as NodeJS.ErrnoException).code ?? ''));

const pool = WorkerPool.shared();

/** Prints a dot after each million turns of a loop, without end, and never sleeps. */
function busy(): GuestCode {
  const code = new GuestCode().stack().label('again').mov('ecx', 1_000_000).label('turn');
  return code.increment(COUNT).emit('ffc9').j('nz', 'turn').print('.').jmp('again');
}

async function until(condition: () => boolean): Promise<void> {
  for (let tries = 0; !condition(); tries += 1) {
    assert.ok(tries < 6000, 'it has not come in 60 s');
    await sleep(10);
  }
}

async function goesOn(subject: Subject): Promise<void> {
  const { length } = subject.text;
  await until(() => subject.text.length > length + 1);
}

test('the translator of a VM that goes on starts behind the first worker', async () => {
  const before = threads.length;
  const arrived = pool.expect();
  pool.prepareBehind();
  {
    await using subject = await Subject.create('wasm', busy(), { tier: '0' });
    await arrived();
    assert.equal(threads.length, before);
    subject.vm.start();
    await until(() => threads.length === before + 2);
    assert.ok(pool.schedule.workers() >= 1, 'the first is the worker, which has loaded');
    assert.notEqual(await pool.translations(), undefined);
    await goesOn(subject);
  }
  await pool.endIdle();
});

test('a worker that dies ends no VM but the one that it held, and another takes its place', async () => {
  const before = threads.length;
  await using first = await Subject.create('wasm', busy(), { tier: '0' });
  await using second = await Subject.create('wasm', busy(), { tier: '0' });
  await using third = await Subject.create('wasm', busy(), { tier: '0' });
  const subjects = [first, second, third];
  for (const { vm } of subjects) vm.start();
  await until(() => pool.schedule.workers() >= 2);
  const workers = threads.slice(before);
  const ended = new Map<Subject, VmExit>();
  for (const subject of subjects) {
    void subject.vm.exited.then((exit) => ended.set(subject, exit));
  }
  await workers[0]?.terminate();
  // It held one, or died between two slices.
  assert.ok(ended.size <= 1);
  for (const exit of ended.values()) {
    assert.equal(exit.kind === 'error' && exit.code, 'WORKER_FAILED');
  }
  assert.ok(warnings.includes('WORKER_FAILED'));
  for (const subject of subjects) if (!ended.has(subject)) await goesOn(subject);
  await until(() => pool.schedule.workers() >= 2);
  await using later = await Subject.create('wasm', busy(), { tier: '0' });
  later.vm.start();
  await goesOn(later);
});

test('when all workers have died, VMs are made and run', async () => {
  await using first = await Subject.create('wasm', busy(), { tier: '0' });
  first.vm.start();
  await until(() => pool.schedule.workers() >= 1);
  await Promise.all(threads.map((thread) => thread.terminate()));
  await using second = await Subject.create('wasm', busy(), { tier: '0' });
  second.vm.start();
  await goesOn(second);
  await until(() => pool.schedule.workers() >= 1);
  await Promise.all(threads.map((thread) => thread.terminate()));
  await Promise.all([first.vm.close(), second.vm.close()]);
  await using third = await Subject.create('wasm', busy(), { tier: '0' });
  third.vm.start();
  await goesOn(third);
});

test('a VM that is made while the threads of the last one end runs', async () => {
  // Threads that start from now on can collect garbage, which keeps them from hearing that they are to end.
  setFlagsFromString('--expose-gc');
  await using first = await Subject.create('wasm', busy(), { tier: '0' });
  first.vm.start();
  await until(() => pool.schedule.workers() >= 1);
  await first.vm.stop();
  for (let turn = 0; turn < 100; turn += 1) pool.trimHeap();
  const closed = first.vm.close();
  await new Promise((resolve) => setImmediate(resolve));
  await using second = await Subject.create('wasm', busy(), { tier: '0' });
  second.vm.start();
  await goesOn(second);
  await closed;
});

test('a translator that throws ends no VM: they go on, and have another translator', async () => {
  const before = threads.length;
  await using first = await Subject.create('wasm', busy());
  await using second = await Subject.create('wasm', busy());
  for (const { vm } of [first, second]) vm.start();
  for (let round = 0; round < 3; round += 1) {
    for (;;) {
      const counters = await pool.translations();
      if ((counters?.translated ?? 0) > 0) break;
      await sleep(10);
    }
    await goesOn(first);
    const count = threads.length;
    // The translator is the first thread of all, and then the newest: this command it cannot take.
    threads[round === 0 ? before : count - 1]?.postMessage({ kind: 'connect' });
    await until(() => threads.length > count);
    await goesOn(first);
    await goesOn(second);
  }
  assert.equal(warnings.filter((code) => code === 'TRANSLATOR_FAILED').length, 3);
  await second.vm.stop();
  assert.deepEqual(await second.vm.exited, { kind: 'stopped' });
});
