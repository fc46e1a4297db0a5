import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { createIsolatedVm } from './fleet.js';
import { VmProcess } from './process.js';
import type { RemoteVm } from './remote-vm.js';
import { FAKE_STATE } from './testing/fake-vm.js';

const entry = new URL('./testing/fake-vm-process.js', import.meta.url);
const optionsOf = (commandLine: string) => ({ kernel: '', commandLine, load: 'read' }) as const;

async function gone(pid: number): Promise<boolean> {
  for (let tries = 0; tries < 1200 && existsSync(`/proc/${pid}`); tries++) await sleep(50);
  return !existsSync(`/proc/${pid}`);
}

/** Resolves when the console has printed a text. */
function said(vm: RemoteVm, text: string): Promise<void> {
  let heard = '';
  return new Promise((resolve) => {
    vm.onConsole((bytes) => {
      heard += new TextDecoder().decode(bytes);
      if (heard === text) resolve();
    });
  });
}

test('console, stages, observations and the exit pass between the processes', async () => {
  const host = new VmProcess({ entry });
  const vm = await host.createVm(optionsOf('echo stage:linux_start_kernel say:hello wait:50'));
  const heard = said(vm, 'hello');
  const back = said(vm, 'helloback');
  assert.notEqual(host.pid, process.pid);
  assert.equal(vm.pid, host.pid);
  assert.equal(vm.load, 'read');
  assert.ok(vm.begun >= host.started - 1000 && vm.timeOrigin <= vm.begun);
  vm.start();
  await heard;
  vm.writeConsole(new TextEncoder().encode('back'));
  await back;
  assert.deepEqual(
    vm.stages.map(({ name }) => name),
    ['linux_start_kernel'],
  );
  const seen = await vm.observe();
  assert.equal(seen.instructions, 12345n);
  assert.equal(seen.vcpu.rip, FAKE_STATE.rip);
  assert.equal(seen.memory.parts[0]?.shared, 60);
  assert.equal(await vm.trim(), 42);
  await vm.stop();
  assert.deepEqual(await vm.exited, { kind: 'stopped' });
  assert.equal((await vm.observe()).instructions, 12345n, 'an ended VM can be observed');
  await vm.close();
  await assert.rejects(vm.observe(), { code: 'VM_CLOSED' });
  await host.close();
  assert.ok(await gone(host.pid));
});

test('a process holds many VMs, each with its own console and end', async () => {
  await using host = new VmProcess({ entry });
  const words = ['one', 'two', 'three'];
  const vms = await Promise.all(words.map((word) => host.createVm(optionsOf(`say:${word}`))));
  const heard = vms.map((vm, index) => said(vm, words[index]!));
  for (const vm of vms) vm.start();
  await Promise.all(heard);
  await vms[0]!.close();
  assert.deepEqual(await vms[0]!.exited, { kind: 'stopped' });
  const nmi = said(vms[1]!, 'NMI');
  vms[1]!.injectNmi();
  await nmi;
  await vms[2]!.pause();
  vms[2]!.pressPowerButton();
  assert.deepEqual(await vms[2]!.exited, { kind: 'poweroff' });
});

test('an error of creation keeps its code and remedy, and leaves no process', async () => {
  const error = { code: 'FAKE_REFUSED', remedy: 'change the script' };
  await assert.rejects(createIsolatedVm(0, optionsOf('refuse'), entry), error);
  await using host = new VmProcess({ entry });
  await assert.rejects(host.createVm(optionsOf('refuse')), error);
  const vm = await host.createVm(optionsOf('poweroff'));
  vm.start();
  assert.deepEqual(await vm.exited, { kind: 'poweroff' }, 'the process goes on');
});

test('a process that dies ends its own VMs and no other, and says so', async () => {
  const [dying, other] = [new VmProcess({ entry }), new VmProcess({ entry })];
  const vms = [await dying.createVm(optionsOf('crash')), await dying.createVm(optionsOf('wait:1'))];
  const survivor = await other.createVm(optionsOf('wait:20 say:on poweroff'));
  vms[0]!.start();
  for (const vm of vms) {
    const exit = await vm.exited;
    assert.ok(exit.kind === 'error');
    assert.equal(exit.code, 'VM_PROCESS_DIED');
    assert.match(exit.message, /^VM process \d+ ended by SIGKILL/);
    await assert.rejects(vm.observe(), { code: 'VM_PROCESS_DIED' });
    await vm.stop();
    await vm.close();
  }
  await assert.rejects(dying.createVm(optionsOf('')), { code: 'VM_PROCESS_DIED' });
  survivor.start();
  assert.deepEqual(await survivor.exited, { kind: 'poweroff' });
  await Promise.all([dying.close(), other.close()]);
});

test('a process that does not start says why', async () => {
  const host = new VmProcess({ entry: new URL('./testing/none.js', import.meta.url) });
  await assert.rejects(host.createVm(optionsOf('')), {
    code: 'VM_PROCESS_DIED',
    message: /ended with status 1/,
  });
  await host.close();
});

test('a process that waits at its start for what the system refuses is given up', async () => {
  await using host = new VmProcess({
    entry: new URL('./testing/silent-process.js', import.meta.url),
  });
  await assert.rejects(host.createVm(optionsOf('')), {
    code: 'VM_PROCESS_DIED',
    message: /does not start/,
    remedy: /ulimit -u/,
  });
  await host.ended;
  assert.ok(await gone(host.pid));
});

test('a process of VMs ends with its parent, even when a guest has its thread', async () => {
  const program = fileURLToPath(new URL('./testing/orphan-parent.js', import.meta.url));
  const parent = spawn(process.execPath, [program], { stdio: ['ignore', 'pipe', 'inherit'] });
  const pid = await new Promise<number>((resolve) => {
    parent.stdout.once('data', (text: Buffer) => resolve(Number(text.toString())));
  });
  assert.ok(existsSync(`/proc/${pid}`));
  parent.kill('SIGKILL');
  assert.ok(await gone(pid));
});
