import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { buildElf, ENTRY, kernelLayout } from '../../loader/testing/elf-builder.js';
import { Vm } from '../../vm/vm.js';
import { WorkerPool } from './pool.js';

/** Says that user space runs, then sends back what comes in at the serial port, without ever halting. */
const ECHO = [
  ...[0xba, 0xfc, 0x03, 0, 0, 0xb0, 3, 0xee], // mov edx, 0x3fc; mov al, DTR | RTS; out dx, al
  ...[0xba, 0xf4, 0, 0, 0, 0xb0, 7, 0xee], // mov edx, 0xf4; mov al, 7; out dx, al
  ...[0xba, 0xfd, 0x03, 0, 0, 0xec, 0xa8, 1, 0x74, 0xf6], // 1: in al, 0x3fd; test al, 1; jz 1b
  ...[0xba, 0xf8, 0x03, 0, 0, 0xec, 0xee, 0xeb, 0xed], // in al, 0x3f8; out 0x3f8, al; jmp 1b
];

const folder = mkdtempSync(join(tmpdir(), 'pando-own-thread-'));
after(() => rmSync(folder, { recursive: true }));
const kernel = join(folder, 'echo');
const image = buildElf(kernelLayout(64));
image.set(ECHO, 0x1000 + (ENTRY & 0xfff));
writeFileSync(kernel, image);

const pool = WorkerPool.shared();
const create = () => Vm.create({ kernel, memory: 64 << 20, accelerator: 'wasm', tier: '0' });

/** Starts a VM and gives what its console has said so far. */
function started(vm: Vm): () => string {
  let text = '';
  vm.onConsole((bytes) => {
    text += new TextDecoder().decode(bytes);
  });
  vm.start();
  return () => text;
}

async function until(condition: () => boolean): Promise<void> {
  for (let tries = 0; !condition(); tries++) {
    assert.ok(tries < 6000, 'it has not come in 60 s');
    await sleep(10);
  }
}

test('a guest runs before there is a worker, and a worker takes it over', async () => {
  await using vm = await create();
  assert.equal(pool.schedule.workers(), 0);
  const text = started(vm);
  let workersAtEntry: number | undefined;
  vm.onStage(({ name }) => {
    if (name === 'vmm_init_end') workersAtEntry = pool.schedule.workers();
  });
  await until(() => vm.stages.length >= 2);
  assert.equal(workersAtEntry, 0);
  await until(() => pool.schedule.workers() > 0);
  vm.writeConsole(new TextEncoder().encode('taken over'));
  await until(() => text() === 'taken over');
});

test('without workers, the thread that made a VM runs it between its own turns', async () => {
  await until(() => pool.schedule.workers() === 0);
  pool.doWithoutWorkers();
  await using first = await create();
  await using second = await create();
  const texts = [started(first), started(second)];
  first.writeConsole(new TextEncoder().encode('one'));
  second.writeConsole(new TextEncoder().encode('two'));
  await until(() => texts[0]?.() === 'one' && texts[1]?.() === 'two');
  assert.equal(pool.schedule.workers(), 0);

  await first.pause();
  const paused = first.instructions();
  const running = second.instructions();
  await until(() => second.instructions() > running);
  assert.equal(first.instructions(), paused);
  first.writeConsole(new TextEncoder().encode(' more'));
  first.start();
  await until(() => texts[0]?.() === 'one more');
  await second.stop();
  assert.deepEqual(await second.exited, { kind: 'stopped' });
});
