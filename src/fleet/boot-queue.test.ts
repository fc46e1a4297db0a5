import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { PandoError } from '../error.js';
import { BootQueue } from './boot-queue.js';
import { LocalVm } from './fleet-vm.js';
import { PlannedVm } from './planned-vm.js';
import { FakeVm } from './testing/fake-vm.js';

/** VMs that do what their scripts say, and the order in which they were made and closed. */
function fixture(scripts: readonly string[]) {
  const made: number[] = [];
  const fakes: FakeVm[] = [];
  const vms = scripts.map(
    (commandLine, index) =>
      new PlannedVm(index, async () => {
        made.push(index);
        const vm = await FakeVm.create({ kernel: '', commandLine });
        fakes.push(vm);
        return new LocalVm(index, vm);
      }),
  );
  return { vms, made, fakes };
}

async function eventually(what: () => boolean): Promise<void> {
  for (let tries = 0; !what(); tries++) {
    assert.ok(tries < 3000, 'half a minute has passed');
    await sleep(10);
  }
}

test('as many boot at once as there is room for, the oldest first', async () => {
  const { vms, made } = fixture([
    'wait:20 stage:linux_start_user wait:60000',
    'wait:60000',
    'wait:20 poweroff',
    'stage:linux_start_kernel wait:60000',
    'poweroff',
  ]);
  const queue = new BootQueue(vms, 2, assert.fail);
  await queue.prepare();
  assert.deepEqual(made, [0, 1]);
  queue.start();
  await eventually(() => made.length === 4);
  await sleep(100);
  assert.deepEqual(made, [0, 1, 2, 3], 'two boot: the fifth has to wait');
  queue.stop();
  await Promise.all(vms.map((vm) => vm.close()));
  assert.deepEqual(await vms[4]?.exited, { kind: 'stopped' });
  assert.equal(made.length, 4);
});

test('a VM that waits for something makes room', async () => {
  const { vms, made, fakes } = fixture(['wait:60000', 'wait:60000']);
  const queue = new BootQueue(vms, 1, assert.fail);
  await queue.prepare();
  const [first] = fakes;
  assert.ok(first !== undefined);
  const busy = first.vcpuState();
  first.vcpuState = () => ({ ...busy, halted: true });
  queue.start();
  await eventually(() => made.length === 2);
  queue.stop();
  await Promise.all(vms.map((vm) => vm.close()));
});

test('a VM that has done what is waited for makes room, one that cannot be looked at does not', async () => {
  const { vms, made, fakes } = fixture(['wait:60000', 'wait:60000', 'wait:60000']);
  let done = false;
  const queue = new BootQueue(vms, 1, assert.fail, ({ index }) => index === 0 && done);
  await queue.prepare();
  const [first] = fakes;
  assert.ok(first !== undefined);
  let looks = 0;
  first.memory = () => {
    looks += 1;
    throw new PandoError('TOO_MANY_OPEN_FILES', '/proc/self/smaps');
  };
  queue.start();
  await eventually(() => looks > 1);
  assert.deepEqual(made, [0]);
  done = true;
  await eventually(() => made.length === 2);
  queue.stop();
  await Promise.all(vms.map((vm) => vm.close()));
});

test('what a VM prints reaches those who listened before it was made', async () => {
  const { vms } = fixture(['stage:linux_start_user say:hello poweroff']);
  const [vm] = vms;
  assert.ok(vm !== undefined);
  let text = '';
  const stages: string[] = [];
  vm.onConsole((bytes) => {
    text += new TextDecoder().decode(bytes);
  });
  vm.onStage(({ name }) => stages.push(name));
  const off = vm.onConsole(() => assert.fail('it does not listen any more'));
  off();
  await assert.rejects(vm.observe(), { code: 'VM_NOT_MADE' });
  const queue = new BootQueue(vms, 2, assert.fail);
  await queue.prepare();
  queue.start();
  assert.deepEqual(await vm.exited, { kind: 'poweroff' });
  assert.deepEqual([text, stages], ['hello', ['linux_start_user']]);
  await vm.close();
});

test('a VM that cannot be made is told: at once among the first, by the call later', async () => {
  const early = fixture(['refuse', 'wait:60000']);
  await assert.rejects(new BootQueue(early.vms, 2, assert.fail).prepare(), {
    code: 'FAKE_REFUSED',
  });
  await Promise.all(early.vms.map((vm) => vm.close()));
  assert.deepEqual(
    early.fakes.map(({ closed }) => closed),
    [1],
  );
  const late = fixture(['poweroff', 'refuse']);
  const failed = new Promise((resolve) => {
    const queue = new BootQueue(late.vms, 1, resolve);
    void queue.prepare().then(() => queue.start());
  });
  assert.equal(((await failed) as { code: string }).code, 'FAKE_REFUSED');
  await Promise.all(late.vms.map((vm) => vm.close()));
});
